"""Pickling exceptions so that they arrive as they were.

Python pickles an exception as its class and ``args``, and calls the class again. A class whose ``__init__`` takes
other arguments than it passes on then fails to arrive, or says its prefix twice. Here the built-in base is called
instead, and attributes, cause, context, notes and inner tracebacks are set afterwards.
"""

from __future__ import annotations

import copyreg
from collections.abc import Callable
from typing import Any

from parsl.app.errors import RemoteExceptionWrapper
from tblib import Traceback

MADE_BY_CLASS_STATEMENT = 1 << 9  # Py_TPFLAGS_HEAPTYPE
OWN_WAYS = ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__getnewargs__", "__getnewargs_ex__")

Dump = Callable[[Any], bytes]


def is_plain(kind: type) -> bool:
    """Return whether an exception class leaves its pickling to Python."""
    return not any(name in vars(base) for base in kind.__mro__ if _is_made(base) for name in OWN_WAYS)


def reduce_exception(error: BaseException) -> tuple[Any, ...]:
    """Return the reduction of an exception whose class `is_plain`."""
    base = _base(type(error))
    # The base knows what it wants back: OSError's file names, for one, are not in args.
    arguments = base.__reduce__(error)[1]
    return _rebuild, (type(error), base, arguments), _state(error), None, None, _restore


def make_sendable(wrapper: RemoteExceptionWrapper, dump: Dump) -> RemoteExceptionWrapper:
    """Return a wrapper like ``wrapper`` with what ``dump`` cannot pickle replaced by its ``repr``."""
    error = wrapper.e_value
    sendable = _sendable(error, dump)
    made = RemoteExceptionWrapper(type(sendable), sendable, None)
    made.e_traceback = wrapper.e_traceback
    made.cause = make_sendable(wrapper.cause, dump) if wrapper.cause is not None else None
    return made


def _sendable(error: BaseException, dump: Dump) -> BaseException:
    kind: Any = type(error)
    if not _can(dump, kind) or not is_plain(kind):
        return RuntimeError(f"{kind.__qualname__}: {error}")
    base = _base(kind)
    arguments = tuple(_or_repr(value, dump) for value in base.__reduce__(error)[1])
    made: BaseException = _rebuild(kind, base, arguments)
    made.__dict__.update({key: _or_repr(value, dump) for key, value in vars(error).items()})
    # A class whose exceptions cannot be made from words any more still has to be told.
    return made if _can(dump, made) else RuntimeError(f"{kind.__qualname__}: {error}")


def _can(dump: Dump, value: Any) -> bool:
    try:
        dump(value)
    except Exception:  # whatever pickling raised, the answer is no
        return False
    return True


def _or_repr(value: Any, dump: Dump) -> Any:
    return value if _can(dump, value) else repr(value)


def _is_made(kind: type) -> bool:
    return bool(kind.__flags__ & MADE_BY_CLASS_STATEMENT)


def _base(kind: type) -> Any:
    return next(base for base in kind.__mro__ if not _is_made(base))


def _rebuild(kind: Any, base: Any, arguments: tuple[Any, ...]) -> Any:
    made = base.__new__(kind, *arguments)
    base.__init__(made, *arguments)
    return made


def _state(error: BaseException) -> dict[str, Any]:
    slots = {name: getattr(error, name) for name in _slots(type(error)) if hasattr(error, name)}
    state: dict[str, Any] = {"args": error.args, "dict": dict(vars(error)), "slots": slots}
    if error.__cause__ is not None:
        state["cause"] = error.__cause__
    if error.__context__ is not None:
        state["context"] = error.__context__
    if error.__suppress_context__:
        state["suppress"] = True
    if error.__traceback__ is not None:
        state["traceback"] = Traceback(error.__traceback__)
    return state


def _slots(kind: type) -> list[str]:
    return list(copyreg._slotnames(kind))  # type: ignore[attr-defined]


def _restore(error: BaseException, state: dict[str, Any]) -> None:
    error.args = state["args"]
    vars(error).update(state["dict"])
    for name, value in state["slots"].items():
        setattr(error, name, value)
    error.__cause__ = state.get("cause")
    error.__context__ = state.get("context")
    error.__suppress_context__ = state.get("suppress", False)
    if "traceback" in state:
        error.__traceback__ = state["traceback"].as_traceback()
