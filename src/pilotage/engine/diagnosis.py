"""What of a call cannot be sent, in words."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType
from typing import Any

from cloudpickle import cloudpickle as internals

CanSend = Callable[[Any], bool]


def culprit(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], can_send: CanSend) -> str | None:
    """Return which part of a call cannot be sent, or None where no single part can be named.

    Parameters
    ----------
    function, args, kwargs: the call.
    can_send: whether a value can be pickled.
    """
    named = [(f"argument {number}", value) for number, value in enumerate(args, 1)]
    named += [(f"argument {name!r}", value) for name, value in kwargs.items()]
    for name, value in named:
        if not can_send(value):
            return f"{name}, a {type(value).__qualname__}"
    return _in_function(function, can_send, set())


def _in_function(function: Any, can_send: CanSend, seen: set[int]) -> str | None:
    seen.add(id(function))
    for name, value in _used_by(function):
        if id(value) in seen or can_send(value):
            continue
        if isinstance(value, (FunctionType, functools.partial)):
            return _in_function(value, can_send, seen)
        return f"{name!r}, which {getattr(function, '__qualname__', 'the function')} uses, a {type(value).__qualname__}"
    return None


def _used_by(function: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(function, functools.partial):
        yield "the function of a partial", function.func
        yield from ((f"argument {number} of a partial", value) for number, value in enumerate(function.args, 1))
        yield from function.keywords.items()
    if not isinstance(function, FunctionType):
        return
    code, defaults = function.__code__, function.__defaults__ or ()
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        yield name, internals._get_cell_contents(cell)
    for name in internals._extract_code_globals(code):
        if name in function.__globals__:
            yield name, function.__globals__[name]
    yield from zip(code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount], defaults, strict=True)
    yield from (function.__kwdefaults__ or {}).items()
