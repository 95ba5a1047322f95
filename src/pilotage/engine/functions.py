"""Functions serialized once, for as long as nothing that travels with them has changed.

A function of the script travels with the globals that it uses, as they are at that moment, and only pickling it again
could tell whether one has changed. Unless all that travels is functions, modules and values that cannot change in
themselves: then it is enough that each name still stands for the same object. What is more than that (a long list, an
instance, a class of the script) is pickled for each call anew.
"""

from __future__ import annotations

import functools
import itertools
import operator
import sys
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

from cloudpickle import cloudpickle as internals

from pilotage.worker.importable import is_importable
from pilotage.worker.serializer import FunctionToWorker

KEPT = 1000
KEPT_BYTES = 64 << 20
WATCHED_ITEMS = 32
"""Items of a list or a dictionary up to which looking at each is cheaper than pickling."""
_ABSENT = object()
_CONSTANT = (
    *(int, float, bool, str, bytes, complex, type(None), range, type(...), type(NotImplemented)),
    *(types.MethodDescriptorType, types.WrapperDescriptorType, types.CodeType),
)


class Functions:
    """The serialized functions of one executor; not for several threads at once."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, Serialized] = OrderedDict()
        self._bytes = 0
        self._plugin = FunctionToWorker()

    def kept(self, function: Callable[..., Any]) -> Serialized | None:
        """Return what is kept of ``function``, None where there is nothing or something has changed."""
        kept = self._kept.get(id(function))
        return kept if kept is not None and kept.watch.holds() else None

    def serialized(self, function: Callable[..., Any], classes: list[type]) -> Serialized:
        """Return ``function`` as `FunctionToWorker` has it; raises whatever pickling raises.

        The classes that travel by value are appended to ``classes``; whoever waits for the answer keeps them.
        """
        kept = self.kept(function)
        if kept is not None:
            return kept
        self._forget(id(function))
        watch = Watch()
        watched = watch.see(function)
        made = Serialized(function, self._plugin.serialize_and_keep(function, classes), watch)
        # The script's own thread may have changed something in between: then nobody knows what was pickled.
        if watched and watch.holds():
            self._kept[id(function)] = made
            self._bytes += len(made.message)
            while len(self._kept) > KEPT or (len(self._kept) > 1 and self._bytes > KEPT_BYTES):
                self._forget(next(iter(self._kept)))
        return made

    def _forget(self, key: int) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._bytes -= len(kept.message)


class Serialized:
    """A function, what it is serialized, and what has to be as it was for that.

    ``note`` is the user's, for as long as the function is kept.
    """

    __slots__ = ("function", "message", "note", "watch")

    def __init__(self, function: Callable[..., Any], message: bytes, watch: Watch) -> None:
        self.function = function  # as long as it lives, no other has its id
        self.message = message
        self.watch = watch
        self.note: Any = None


class Watch:
    """What has to be as it was for a function to be what it was."""

    def __init__(self) -> None:
        self._names: list[tuple[dict[str, Any], str, Any]] = []
        self._cells: list[tuple[types.CellType, Any]] = []
        self._functions: list[tuple[types.FunctionType, Any, Any, Any]] = []
        self._sizes: list[tuple[dict[Any, Any], int]] = []
        self._items: list[tuple[Any, Callable[[Any], Any], list[Any]]] = []
        self._seen: dict[int, Any] = {}

    def holds(self) -> bool:
        """Return whether all is as it was; it is asked for each call."""
        for function, code, defaults, named in self._functions:
            if (
                function.__code__ is not code
                or function.__defaults__ is not defaults
                or function.__kwdefaults__ is not named
            ):
                return False
        for names, name, value in self._names:
            if names.get(name, _ABSENT) is not value:
                return False
        for cell, value in self._cells:
            try:
                if cell.cell_contents is not value:
                    return False
            except ValueError:  # empty
                if value is not _ABSENT:
                    return False
        for mapping, size in self._sizes:
            if len(mapping) != size:
                return False
        for items, listed, before in self._items:
            if len(items) * (1 + (listed is _flat)) != len(before):
                return False
            if before and not all(map(operator.is_, listed(items), before)):
                return False
        return True

    def see(self, value: Any) -> bool:
        """Watch all that travels with ``value``; returns False where that cannot be watched."""
        if id(value) in self._seen or value is _ABSENT:
            return True
        kind = type(value)
        self._seen[id(value)] = value
        if kind in _CONSTANT:
            return True
        if kind is types.BuiltinFunctionType:  # a method of an object travels with the object
            return value.__self__ is None or isinstance(value.__self__, types.ModuleType) or self.see(value.__self__)
        if kind is tuple or kind is frozenset:
            return all(map(self.see, value))
        if kind is list or kind is dict or kind is set:
            listed = _flat if kind is dict else iter
            self._items.append((value, listed, list(listed(value))))
            return len(value) <= WATCHED_ITEMS and all(map(self.see, self._items[-1][2]))
        if kind is types.ModuleType:
            return self._see_module(value)
        if kind is functools.partial:
            return self._see_partial(value)
        if isinstance(value, type):
            return is_importable(value.__module__) and internals._should_pickle_by_reference(value)
        if kind is types.FunctionType:
            return self._see_function(value)
        return False

    def _see_module(self, module: types.ModuleType) -> bool:
        if hasattr(module, "__path__"):  # which submodules travel along depends on those that are imported
            self._sizes.append((sys.modules, len(sys.modules)))
        return module.__name__ != "__main__" and is_importable(module.__name__)

    def _see_partial(self, partial: functools.partial[Any]) -> bool:
        self._sizes.append((partial.keywords, len(partial.keywords)))
        self._sizes.append((partial.__dict__, len(partial.__dict__)))
        self._see_items(partial.keywords)
        self._see_items(partial.__dict__)
        parts = (partial.func, partial.args, *partial.keywords.values(), *partial.__dict__.values())
        return all(map(self.see, parts))

    def _see_items(self, mapping: dict[str, Any]) -> None:
        self._names += [(mapping, name, value) for name, value in mapping.items()]

    def _see_function(self, function: types.FunctionType) -> bool:
        module = function.__module__
        if module and is_importable(module) and internals._should_pickle_by_reference(function):
            return True
        self._functions.append((function, function.__code__, function.__defaults__, function.__kwdefaults__))
        self._sizes.append((function.__dict__, len(function.__dict__)))
        self._see_items(function.__dict__)
        names = internals._extract_code_globals(function.__code__)
        found = {name: function.__globals__.get(name, _ABSENT) for name in names}
        self._names += [(function.__globals__, name, value) for name, value in found.items()]
        cells = [(cell, _content(cell)) for cell in function.__closure__ or ()]
        self._cells += cells
        parts = itertools.chain(
            found.values(),
            (value for _, value in cells),
            function.__dict__.values(),
            (function.__defaults__, *(function.__kwdefaults__ or {}).values()),
        )
        if function.__kwdefaults__:
            self._sizes.append((function.__kwdefaults__, len(function.__kwdefaults__)))
            self._see_items(function.__kwdefaults__)
        return all(map(self.see, parts))


def _flat(mapping: dict[Any, Any]) -> Iterator[Any]:
    return itertools.chain(mapping, mapping.values())


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # empty
        return _ABSENT
