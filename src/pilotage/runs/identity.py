"""What a value is and what a function does, as digests on which every Python process agrees.

`Encoder` turns a value into bytes that depend on nothing but the value: not on ``PYTHONHASHSEED``, the order in which
a dict was filled, or whether two equal strings are one object. `identity` does the same for a function or a class and
everything of the user's own that it reaches; `label` is what is left of that when its source is not to count.

The compiled code is looked at, not the file it came from: somebody may have edited the file since it was loaded, and
the result that is stored belongs to the code that ran. Comments, docstrings of functions and line numbers are not in
it. Another minor version of Python compiles otherwise, and there every call runs again.
"""

from __future__ import annotations

import ast
import builtins
import copyreg
import dis
import enum
import functools
import hashlib
import marshal
import sys
import sysconfig
import types
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from parsl.app.app import AppBase
from parsl.data_provider.files import File

PLAIN = frozenset({int, float, complex, str, bytes, bool, type(None)})
SIZE = 16
"""Bytes of a digest: two different calls have the same one with a probability of 2**-128."""

CACHED = type(functools.cache(len))
INLINE = 1024  # longer parts are hashed on the way, so that deep values are not copied once a level


class NotDigestibleError(Exception):
    """A value has nothing that another process could recognise it by: a lock, a file, a generator."""


def digest(data: bytes) -> bytes:
    """Return the `SIZE` bytes that stand for ``data``."""
    return hashlib.blake2b(data, digest_size=SIZE).digest()


def is_plain(value: Any) -> bool:
    """Return whether ``value`` is a scalar of Python's own, or a tuple or list of plain values; no subclass is."""
    kind = type(value)
    if kind is tuple or kind is list:
        return all(map(is_plain, value))
    return kind in PLAIN


def joined(tag: bytes, parts: Iterable[bytes]) -> bytes:
    """Return ``parts`` as one, so that no other parts and no other one-byte ``tag`` give the same."""
    body = b"".join([piece for part in parts for piece in (len(part).to_bytes(8, "little"), part)])
    return tag + b"#" + digest(body) if len(body) > INLINE else tag + b"=" + body


class Encoder:
    """Turns values into bytes; for one value and one thread.

    Parameters
    ----------
    reference: returns the bytes that stand for a function, class or module.
    """

    def __init__(self, reference: Callable[[Any], bytes]) -> None:
        self._reference = reference
        self._path: dict[int, int] = {}  # where on the way down each container is, for values that contain themselves

    def encode(self, value: Any) -> bytes:
        """Return the bytes of ``value``; raises NotDigestibleError, or what the value's own methods raise."""
        if is_plain(value):
            return b"m" + marshal.dumps(value, 0)  # version 0 knows no references between equal objects
        above = self._path.get(id(value))
        if above is not None:
            return b"^" + above.to_bytes(4, "little")
        self._path[id(value)] = len(self._path)
        try:
            return self._compound(value)
        finally:
            del self._path[id(value)]

    def _all(self, values: Iterable[Any]) -> list[bytes]:
        return [self.encode(value) for value in values]

    def _items(self, items: Iterable[tuple[Any, Any]]) -> list[bytes]:
        return [joined(b"i", (self.encode(key), self.encode(value))) for key, value in items]

    def _compound(self, value: Any) -> bytes:
        kind = type(value)
        if kind is list or kind is tuple:
            return joined(b"l" if kind is list else b"t", self._all(value))
        if kind is dict:
            return joined(b"d", sorted(self._items(value.items())))
        if isinstance(value, (set, frozenset)):  # a subclass too: what it reduces to has the order of the set
            return joined(b"s", [self._reference(kind), *sorted(self._all(value))])
        if isinstance(value, enum.Enum):
            return joined(b"e", [self._reference(kind), self.encode(value.name), self.encode(value.value)])
        if isinstance(value, File):
            return joined(b"f", [self._reference(kind), value.url.encode("utf-8", "surrogatepass")])
        called = self._callable(value)
        if called is not None:
            return called
        return self._array(value) or self._reduced(value)

    def _callable(self, value: Any) -> bytes | None:
        if isinstance(value, functools.partial):
            return joined(b"p", self._all([value.func, value.args, value.keywords]))
        if isinstance(value, types.MethodType):
            return joined(b"o", self._all([value.__func__, value.__self__]))
        if isinstance(value, types.BuiltinMethodType):
            owner = value.__self__
            named = owner is None or isinstance(owner, types.ModuleType)
            return self._reference(value) if named else joined(b"b", self._all([value.__name__, owner]))
        if isinstance(value, (type, types.FunctionType, types.ModuleType, AppBase, CACHED)):
            return self._reference(value)
        return None

    def _array(self, value: Any) -> bytes | None:
        numpy = sys.modules.get("numpy")
        if numpy is None or not (type(value) is numpy.ndarray or isinstance(value, numpy.generic)):
            return None
        # In C order, however it lies in memory.
        content = self.encode(value.tolist()) if value.dtype.hasobject else digest(value.tobytes())
        return joined(
            b"a", [qualified(type(value)).encode(), repr(value.dtype).encode(), content, *map(_number, value.shape)]
        )

    def _reduced(self, value: Any) -> bytes:
        """Return the bytes of any other object: what pickle would make of it, taken apart."""
        kind = type(value)
        origin = (kind.__module__ or "").partition(".")[0]
        # An AppFuture makes a task of an attribute that it is asked for; iterators of itertools warn.
        if isinstance(value, Future) or origin in ("parsl", "itertools"):
            raise NotDigestibleError(qualified(kind))
        reducer = copyreg.dispatch_table.get(kind)
        ask: Any = kind.__reduce_ex__
        reduced = reducer(value) if reducer is not None else ask(value, 4)
        if isinstance(reduced, str):
            return joined(b"n", [self._reference(kind), reduced.encode()])
        make, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
        entries = self._items(pairs or ())
        return joined(
            b"r",
            [
                self._reference(kind),
                *self._all([make, tuple(arguments), state, list(items or ())]),
                *(entries if isinstance(value, OrderedDict) else sorted(entries)),
            ],
        )


def _number(value: int) -> bytes:
    return value.to_bytes(8, "little")


def _wrapped(value: Any) -> Any:
    """Return the function that ``value`` says it wraps, or None; asks no ``__getattr__``."""
    attributes = getattr(type(value), "__dictoffset__", 0) and object.__getattribute__(value, "__dict__")
    return attributes.get("__wrapped__") if isinstance(attributes, dict) else None


def qualified(value: Any) -> str:
    """Return ``module.qualname`` of a function or class, and the name of a module."""
    if isinstance(value, types.ModuleType):
        return value.__name__
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None) or type(value).__qualname__
    return f"{getattr(value, '__module__', None)}.{name}"


def unwrapped(function: Any) -> Any:
    """Return what the user made an app of, without what Parsl has put around it (errors, bash, time, staging)."""
    while True:
        if isinstance(function, functools.partial) and _of_parsl(function.func) and function.args:
            function = function.args[0]
        elif isinstance(function, AppBase):
            function = vars(function)["func"]
        elif isinstance(function, types.FunctionType) and _of_parsl(function):
            inner = _wrapped(function) or next(filter(callable, _cells(function)), None)
            if inner is None:
                return function
            function = inner
        else:
            return function


def _of_parsl(function: Any) -> bool:
    return isinstance(function, types.FunctionType) and _home(function).partition(".")[0] == "parsl"


def _home(function: types.FunctionType) -> str:
    # functools.wraps gives a wrapper the __module__ of what it wraps; its globals are its own.
    return str(function.__globals__.get("__name__"))


def _cells(function: types.FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not filled yet
            yield None


_identities: weakref.WeakKeyDictionary[Any, bytes] = weakref.WeakKeyDictionary()
_labels: weakref.WeakKeyDictionary[Any, bytes] = weakref.WeakKeyDictionary()


def _remembered(known: weakref.WeakKeyDictionary[Any, bytes], key: Any, make: Callable[[Any], bytes]) -> bytes:
    try:
        found = known.get(key)
    except TypeError:  # it cannot be hashed, or not be referred to weakly
        return make(key)
    if found is None:
        found = make(key)
        try:
            known[key] = found
        except TypeError:
            pass
    return found


def identity(function: Any) -> bytes:
    """Return the digest of what a function, class or module does, `SIZE` bytes; computed once for each object.

    It covers the code, defaults and closure, and whatever of the user's own that code reaches by name: functions,
    classes, data, modules that it imports. Libraries count by name only.
    """
    return _remembered(_identities, function, lambda value: _Walk().digest(unwrapped(value)))


def label(function: Any) -> bytes:
    """Return what a function is known by when its source is not to count: its name, and the data bound to it.

    A function made in another function is one of many of that name, so that its closure and its defaults count; a
    lambda has no name to be known by, so that its source does.
    """
    return _remembered(_labels, function, lambda value: digest(_label(value, frozenset())))


def _label(value: Any, above: frozenset[int]) -> bytes:
    value = unwrapped(value)
    if id(value) in above:
        return b"^"
    encoder = Encoder(lambda other: _label(other, above | {id(value)}))
    if isinstance(value, types.FunctionType):
        parts = [qualified(value).encode()]
        place = value.__code__.co_qualname
        if "<lambda>" in place:
            parts.append(identity(value))
        elif "<locals>" in place:
            parts += [_tolerant(encoder, x) for x in (*_cells(value), value.__defaults__, value.__kwdefaults__)]
        return joined(b"L", parts)
    if isinstance(value, (type, types.ModuleType, types.BuiltinMethodType, CACHED)):
        return joined(b"L", [qualified(value).encode()])
    return _tolerant(encoder, value)


def _tolerant(encoder: Encoder, value: Any) -> bytes:
    """Return the bytes of ``value``, or those of its type where it has none."""
    try:
        return encoder.encode(value)
    except Exception:  # the value's own methods are asked, and may fail as they like
        return b"?" + qualified(type(value)).encode()


@functools.cache
def _is_users_file(name: str) -> bool:
    path = Path(name).resolve()
    library = [Path(sysconfig.get_path(key)).resolve() for key in ("stdlib", "platstdlib")]
    installed = {"site-packages", "dist-packages"} & set(path.parts)
    return not installed and not any(path.is_relative_to(folder) for folder in library)


def _is_users(module: str) -> bool:
    """Return whether a module is part of the user's program."""
    if module == "__main__":
        return True
    if module.partition(".")[0] in ("parsl", "pilotage"):
        return False
    loaded = sys.modules.get(module)
    if loaded is None:
        return True  # made by the program itself
    file = getattr(loaded, "__file__", None)
    return file is not None and _is_users_file(file)


JUMPS = frozenset(dis.hasjrel) | frozenset(dis.hasjabs)


class _Walk:
    """Goes through everything that a function reaches, each thing once, in an order that the code gives."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._found: list[Any] = []  # in the order of their numbers; it also keeps their ids theirs
        self._encoder = Encoder(self.reference)

    def digest(self, root: Any) -> bytes:
        parts = [self._value(root)]
        parts.extend(map(self._described, self._found))  # which grows while it is gone through
        return digest(joined(b"w", parts))

    def reference(self, value: Any) -> bytes:
        """Return the number of a thing to describe, or the name of one of a library."""
        value = unwrapped(value)
        if isinstance(value, types.FunctionType):
            described = _is_users(_home(value)) or bool(value.__closure__)
        elif isinstance(value, (type, types.ModuleType)):
            described = _is_users(value.__name__ if isinstance(value, types.ModuleType) else str(value.__module__))
        else:
            described = isinstance(value, (_File, CACHED))
        if not described:
            return b"@" + qualified(value).encode()
        if id(value) not in self._numbers:
            self._numbers[id(value)] = len(self._found)
            self._found.append(value)
        return b"&" + _number(self._numbers[id(value)])

    def _value(self, value: Any) -> bytes:
        return _tolerant(self._encoder, value)

    def _described(self, value: Any) -> bytes:
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, types.ModuleType):
            own = {name: x for name, x in vars(value).items() if not name.startswith("__")}
            return joined(b"M", [self._named(name, own[name]) for name in sorted(own)])
        if isinstance(value, _File):
            return self._file(value)
        return joined(b"W", [qualified(type(value)).encode(), self._value(_wrapped(value))])

    def _named(self, name: str, value: Any) -> bytes:
        return joined(b"N", [name.encode(), self._value(value)])

    def _function(self, function: types.FunctionType) -> bytes:
        if not _is_users(_home(function)):  # a library's decorator, perhaps around something of the user's
            parts = [self._value(x) for x in _cells(function) if callable(x) or is_plain(x)]
            return joined(b"D", [_home(function).encode(), function.__code__.co_qualname.encode(), *parts])
        parts = [self._value(x) for x in (function.__defaults__, function.__kwdefaults__, *_cells(function))]
        parts.append(self._value(_wrapped(function)))
        return joined(b"F", [self._code(function.__code__), *parts, *self._reached(function)])

    def _code(self, code: types.CodeType) -> bytes:
        flags = code.co_flags & ~0x4000000  # whether there is a docstring
        parts = [marshal.dumps((code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, flags), 0)]
        parts += [name.encode() for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]]
        parts.append(code.co_exceptiontable)
        # Lines without code of their own become NOPs.
        steps = [step for step in dis.get_instructions(code) if step.opname != "NOP"]
        places = {step.offset: number for number, step in enumerate(steps)}
        for step in steps:
            if step.argval == "__firstlineno__":
                parts.pop()  # the line on which a class stands
            if isinstance(step.argval, types.CodeType):
                operand = self._code(step.argval)
            elif step.opcode in JUMPS:
                operand = _number(places.get(step.argval, step.argval))
            else:
                operand = self._value(step.argval)
            parts.append(joined(b"I", [step.opname.encode(), operand]))
        return joined(b"C", parts)

    def _reached(self, function: types.FunctionType) -> Iterator[bytes]:
        """Yield what the names in a function's code stand for."""
        space = function.__globals__
        for name, attributes in _global_names(function.__code__):
            if name not in space:
                if not hasattr(builtins, name):
                    yield self._named(name, "not there")
                continue
            value = space[name]
            for attribute in attributes:
                if not isinstance(value, types.ModuleType) or attribute not in vars(value):
                    break
                value = vars(value)[attribute]
            yield self._named(name, value)
        for name in _imports(function.__code__, str(space.get("__package__") or "")):
            file = _File.of(name)
            if file is not None:
                yield joined(b"N", [name.encode(), self.reference(file)])

    def _class(self, kind: type) -> bytes:
        parts = [qualified(kind).encode(), self.reference(type(kind)), *map(self.reference, kind.__bases__)]
        if issubclass(kind, enum.Enum):
            parts += [self._named(name, member.value) for name, member in kind.__members__.items()]
        for name, value in sorted(vars(kind).items()):
            inner = _behind_descriptor(value)
            if inner is not None:
                parts.append(joined(b"N", [name.encode(), qualified(type(value)).encode(), *map(self._value, inner)]))
            elif _is_data(kind, name, value):
                parts.append(self._named(name, value))
        return joined(b"K", parts)

    def _file(self, file: _File) -> bytes:
        """Return what a module says that a function imports when it runs; whether it is loaded yet is chance."""
        try:
            tree = ast.parse(Path(file.path).read_bytes())
        except (OSError, SyntaxError, ValueError):
            return b"unreadable"
        parts = [ast.dump(tree).encode("utf-8", "surrogatepass")]
        for name in _imports_of_tree(tree, file.package):
            other = _File.of(name)
            if other is not None:
                parts.append(self.reference(other))
        return joined(b"A", parts)


def _is_data(kind: type, name: str, value: Any) -> bool:
    """Return whether a class's attribute is the user's: libraries keep caches and addresses under their own names."""
    if issubclass(kind, enum.Enum) and (name.startswith("_") or isinstance(value, kind)):
        return False  # its members are told by themselves
    return name == "__slots__" or not name.startswith(("__", "_abc_"))


def _behind_descriptor(value: Any) -> list[Any] | None:
    """Return the functions that a class's attribute is made of, or None where it is data."""
    if isinstance(value, types.FunctionType):
        return [value]
    if isinstance(value, (staticmethod, classmethod)):
        return [value.__func__]
    if isinstance(value, property):
        return [value.fget, value.fset, value.fdel]
    if isinstance(value, functools.cached_property):
        return [value.func]
    return None


def _global_names(code: types.CodeType) -> Iterator[tuple[str, list[str]]]:
    """Yield each global name that code reads, with the attributes asked of it: ``a.b.c`` is ("a", ["b", "c"])."""
    steps = list(dis.get_instructions(code))
    for place, step in enumerate(steps):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"):
            attributes = []
            for later in steps[place + 1 :]:
                if later.opname not in ("LOAD_ATTR", "LOAD_METHOD"):
                    break
                attributes.append(str(later.argval))
            yield str(step.argval), attributes
        if isinstance(step.argval, types.CodeType):
            yield from _global_names(step.argval)


def _imports(code: types.CodeType, package: str) -> Iterator[str]:
    """Yield the names of modules that code imports when it runs, and those of what it takes from them."""
    steps = list(dis.get_instructions(code))
    for place, step in enumerate(steps):
        if step.opname == "IMPORT_NAME":
            level, names = steps[place - 2].argval, steps[place - 1].argval
            yield from _import_names(step.argval, level if isinstance(level, int) else 0, names or (), package)
        if isinstance(step.argval, types.CodeType):
            yield from _imports(step.argval, package)


def _imports_of_tree(tree: ast.AST, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _import_names(alias.name, 0, (), package)
        elif isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names]
            yield from _import_names(node.module or "", node.level, names, package)


def _import_names(module: str, level: int, names: Iterable[str], package: str) -> Iterator[str]:
    if level:
        above = package.split(".")[: len(package.split(".")) - level + 1]
        module = ".".join([*above, *([module] if module else [])])
    pieces = module.split(".")
    yield from (".".join(pieces[:count]) for count in range(1, len(pieces) + 1))
    yield from (f"{module}.{name}" for name in names if name != "*")


class _File:
    """The source of a module of the user's, found without importing anything."""

    _known: dict[str, _File] = {}

    def __init__(self, path: str, package: str) -> None:
        self.path = path
        self.package = package

    @classmethod
    def of(cls, module: str) -> _File | None:
        """Return the file of a module, or None where it is a library's, built in, or not there."""
        if module.partition(".")[0] in sys.stdlib_module_names | {"parsl", "pilotage"}:
            return None
        places: Any = None
        spec = None
        pieces = module.split(".")
        for count in range(1, len(pieces) + 1):
            try:
                spec = PathFinder.find_spec(".".join(pieces[:count]), places)
            except (ImportError, ValueError, AttributeError):
                return None
            if spec is None:
                return None
            places = spec.submodule_search_locations
            if count < len(pieces) and places is None:
                return None
        if spec is None or not spec.has_location or not str(spec.origin).endswith(".py"):
            return None
        if not _is_users_file(str(spec.origin)):
            return None
        package = module if places is not None else module.rpartition(".")[0]
        return cls._known.setdefault(str(spec.origin), cls(str(spec.origin), package))
