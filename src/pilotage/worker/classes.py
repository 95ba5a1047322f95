"""Making a script's classes and functions anew on a worker, and finding them again in the driver.

To a worker they travel by value. There a class is made without the hooks that ran when the script defined it
(``__init_subclass__``, a metaclass's ``__new__``): their effects are in the class's state, which follows, and their
arguments are gone. On the way back they travel by reference, and the driver's are found.
"""

from __future__ import annotations

import abc
import contextlib
import enum
import sys
import types
import weakref
from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import Any

from cloudpickle import cloudpickle as internals

NEEDED_AT_ONCE = ("__module__", "__slots__", "__orig_bases__")
MADE_BY_CLASS_STATEMENT = 1 << 9  # Py_TPFLAGS_HEAPTYPE

# On a worker: what came from the driver. A class with its number in cloudpickle's book, a function with its place.
received_classes: weakref.WeakKeyDictionary[type, str] = weakref.WeakKeyDictionary()
received_functions: weakref.WeakKeyDictionary[types.FunctionType, tuple[str, str]] = weakref.WeakKeyDictionary()
_complete: weakref.WeakSet[type] = weakref.WeakSet()


def is_made(kind: type) -> bool:
    """Return whether a class was made at run time, by a class statement or an extension; others cannot be changed."""
    return bool(kind.__flags__ & MADE_BY_CLASS_STATEMENT)


def receive_class(number: str, *arguments: Any) -> type:
    """Return the driver's class with this number, made anew where it is not here yet; see `make_class`."""
    made = make_class(number, *arguments)
    received_classes[made] = number
    return made


def make_class(
    number: str, metaclass: Any, name: str, bases: tuple[type, ...], body: dict[str, Any], members: Any
) -> type:
    """Return an empty class to be filled by `fill_class`, or the one that is here under the same number.

    Parameters
    ----------
    number: the class's in cloudpickle's book.
    metaclass: its metaclass.
    name, bases: its name and base classes.
    body: the attributes that have to be there when it is made.
    members: of an enum, its members' data by name; else None.
    """
    known = internals._DYNAMIC_CLASS_TRACKER_BY_ID.get(number)
    if known is not None:
        return known  # type: ignore[no-any-return]
    if members is not None:
        made = _make_enum(metaclass, name, bases, body, members)
    else:
        made = _make_class(metaclass, name, bases, body)
    tracked: type = internals._lookup_class_or_track(number, made)
    return tracked


def _make_class(metaclass: Any, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> type:
    with _without_hooks(bases, received_classes):
        if metaclass not in received_classes:
            try:
                return types.new_class(name, bases, {"metaclass": metaclass}, lambda namespace: namespace.update(body))
            except Exception:  # noqa: S110  a library's hook, which misses what the script gave it
                pass
    plain = abc.ABCMeta if issubclass(metaclass, abc.ABCMeta) else type
    with _without_hooks(bases, None):
        made: type = plain.__new__(metaclass, name, bases, body)
        return made


@contextlib.contextmanager
def _without_hooks(bases: tuple[type, ...], only: Mapping[type, str] | None) -> Iterator[None]:
    """Take ``__init_subclass__`` away from all bases written in Python, or from those in ``only``."""
    hooks = []
    for kind in {kind for base in bases for kind in base.__mro__}:
        if is_made(kind) and "__init_subclass__" in vars(kind) and (only is None or kind in only):
            hooks.append((kind, vars(kind)["__init_subclass__"]))
            type.__delattr__(kind, "__init_subclass__")
    try:
        yield
    finally:
        for kind, hook in hooks:
            type.__setattr__(kind, "__init_subclass__", hook)


def _make_enum(
    metaclass: Any, name: str, bases: tuple[type, ...], body: dict[str, Any], members: dict[str, Any]
) -> type:
    with _without_hooks(bases, None):
        namespace: Any = enum.EnumMeta.__prepare__(name, bases)
        for key, value in body.items():
            namespace[key] = value
        for key, value in members.items():
            namespace[key] = enum.member(value)  # even where the value is a function
        made: type = enum.EnumMeta.__new__(metaclass, name, bases, namespace)
        return made


def class_state(kind: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what `fill_class` puts into a class: its attributes, and of an enum the attributes of its members."""
    is_enum = issubclass(kind, enum.Enum)
    attributes: dict[str, Any] = (internals._enum_getstate if is_enum else internals._class_getstate)(kind)[0]
    attributes.pop("__slotnames__", None)  # a note that pickle leaves behind: the same class, the same bytes
    if not is_enum:
        return attributes, {}
    members = {}
    for name, member in kind.__members__.items():
        attributes.pop(name, None)
        members[name] = {key: value for key, value in vars(member).items() if key not in ("_name_", "__objclass__")}
    return attributes, members


def enum_members(kind: Any) -> dict[str, Any]:
    """Return what makes each member, aliases included: its value, or that of the type it is mixed with."""
    mixed = kind._member_type_
    own_data = "__getnewargs__" in vars(mixed)
    return {
        name: mixed.__getnewargs__(member)[0] if own_data else member._value_
        for name, member in kind.__members__.items()
    }


def fill_class(kind: Any, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Give a class its attributes; one that is here already gets the driver's present values."""
    attributes, members = state
    internals._class_setstate(kind, (attributes, {}))
    for name, values in members.items():
        member = kind._member_map_[name]
        member.__dict__.update(values)
        try:
            kind._value2member_map_[member._value_] = member
        except TypeError:  # a value that cannot be hashed is not in the map
            pass


def fill_class_once(kind: Any, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Give a class of a worker its attributes when it comes to the driver for the first time."""
    if kind not in _complete:
        _complete.add(kind)
        fill_class(kind, state)


def receive_function(place: tuple[str, str], *arguments: Any) -> types.FunctionType:
    """Return a function as cloudpickle makes it, which the driver will find at ``place`` (module, qualified name)."""
    made: types.FunctionType = internals._make_function(*arguments)
    received_functions[made] = place
    if place[0] == "__main__" and "." not in place[1]:
        # A Pool that a task makes pickles functions by their name in __main__, which is the script's to its author.
        setattr(sys.modules["__main__"], place[1], made)
    return made


def place_of(function: types.FunctionType) -> tuple[str, str] | None:
    """Return where the driver finds a function of its own, module and qualified name, or None."""
    place = (function.__module__ or "", function.__qualname__)
    try:
        return place if function_of_driver(*place) is function else None
    except (AttributeError, KeyError):
        return None


def function_of_driver(module: str, qualname: str) -> Any:
    """Return, in the driver, the function at this place."""
    found = attrgetter(qualname)(sys.modules[module])
    return found.__func__ if isinstance(found, types.MethodType) else found  # a class method's function


def class_of_driver(number: str, module: str, qualname: str) -> Any:
    """Return, in the driver, its class with this number, else the one of that name; raises LookupError."""
    found = internals._DYNAMIC_CLASS_TRACKER_BY_ID.get(number)
    if found is not None:
        return found
    try:
        return attrgetter(qualname)(sys.modules[module])
    except (AttributeError, KeyError):
        raise LookupError(f"the class {module}.{qualname} is not in the driver any more") from None
