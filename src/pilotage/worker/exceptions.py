"""Pickling exceptions so that they arrive as they were.

Python pickles an exception as its class and ``args``, and calls the class again. A class whose ``__init__`` takes
other arguments than it passes on then fails to arrive, or says its prefix twice. Here the built-in base is called
instead, and attributes, cause, context, notes and tracebacks are set afterwards.
"""

from __future__ import annotations

import copyreg
import types
from collections.abc import Callable, Sequence
from typing import Any

from parsl.app.errors import RemoteExceptionWrapper

from pilotage.worker.classes import is_made
from pilotage.worker.tracebacks import Frame, frames_of, traceback_of

OWN_WAYS = ("__reduce__", "__reduce_ex__", "__getstate__", "__getnewargs__", "__getnewargs_ex__")

# A class may forbid to set attributes, as a frozen dataclass does.
_set = BaseException.__setattr__


def reduce_exception(error: BaseException) -> tuple[Any, ...] | str:
    """Return the reduction of an exception. A class that has its own way to be pickled keeps it."""
    kind = type(error)
    if not is_plain(kind):
        reduced = error.__reduce_ex__(5)
        if isinstance(reduced, str):
            return reduced
        make, arguments, state, items, pairs, fill = (*reduced, None, None, None, None)[:6]
        return make, arguments, (state, fill, _links(error)), items, pairs, _restore_own
    base = static_base(kind)
    return rebuild, (kind, base, arguments_of(error, base)), _state(error, base), None, None, _restore


def reduce_wrapper(wrapper: RemoteExceptionWrapper) -> tuple[Any, ...]:
    """Return the reduction of Parsl's envelope, less the cause and traceback that the exception brings itself."""
    error = wrapper.e_value
    cause = wrapper.cause if error.__cause__ is None else None
    frames = frames_of(wrapper.e_traceback) if error.__traceback__ is None else []
    return wrap, (error, cause, frames)


def wrap(
    error: BaseException, cause: RemoteExceptionWrapper | None = None, frames: Sequence[Frame] = ()
) -> RemoteExceptionWrapper:
    """Return Parsl's envelope around ``error``, whose own cause and traceback stay where none are given."""
    wrapper = RemoteExceptionWrapper.__new__(RemoteExceptionWrapper)  # its __init__ would follow causes in a circle
    wrapper.e_type, wrapper.e_value, wrapper.cause, wrapper.e_traceback = type(error), error, cause, None
    if frames:
        error.__traceback__ = traceback_of(frames)
    return wrapper


def is_plain(kind: type) -> bool:
    """Return whether an exception class leaves its pickling to Python."""
    return not any(name in vars(base) for base in kind.__mro__ if is_made(base) for name in OWN_WAYS)


def static_base(kind: type) -> Any:
    """Return the built-in exception class whose memory layout instances of ``kind`` have."""
    while is_made(kind):
        kind = kind.__base__  # type: ignore[assignment]
    return kind


def arguments_of(error: Any, base: Any) -> tuple[Any, ...]:
    """Return what ``base`` has to be called with to make ``error`` again."""
    if base is BaseExceptionGroup:  # whose args are those of the class that was called
        return error.message, error.exceptions
    # The base knows what it wants back: OSError's file names, for one, are not in args.
    arguments: tuple[Any, ...] = base.__reduce__(error)[1]
    return arguments


def rebuild(kind: Any, base: Any, arguments: tuple[Any, ...]) -> Any:
    """Return a new exception of class ``kind``, whose own ``__init__`` is not called."""
    made = base.__new__(kind, *arguments)
    try:
        base.__init__(made, *arguments)
    except TypeError:  # the class never called its base's, so there is nothing to set
        pass
    return made


def attributes_of(error: BaseException, base: type) -> dict[str, Any]:
    """Return the attributes that are neither in ``args`` nor in ``__dict__``: slots, and ImportError's name and path.

    Not the object of an AttributeError, which may be anything.
    """
    names = list(copyreg._slotnames(type(error)))  # type: ignore[attr-defined]
    for kind in base.__mro__ if base is not BaseExceptionGroup else ():
        names += [name for name, value in vars(kind).items() if isinstance(value, types.MemberDescriptorType)]
    hidden = {"__suppress_context__", "obj" if isinstance(error, AttributeError) else ""}
    found = {name: getattr(error, name, None) for name in names if name not in hidden}
    return {name: value for name, value in found.items() if value is not None}


def _state(error: BaseException, base: type) -> dict[str, Any]:
    own = {"args": error.args, "dict": dict(vars(error)), "attributes": attributes_of(error, base)}
    return {**own, **_links(error)}


def _links(error: BaseException) -> dict[str, Any]:
    """Return what ties an exception to others and to its place."""
    links: dict[str, Any] = {}
    if error.__cause__ is not None:
        links["cause"] = error.__cause__
    if error.__context__ is not None:
        links["context"] = error.__context__
    if error.__suppress_context__:
        links["suppress"] = True
    if error.__traceback__ is not None:
        links["frames"] = frames_of(error.__traceback__)
    if hasattr(error, "__notes__"):
        links["notes"] = error.__notes__
    return links


def _restore(error: BaseException, state: dict[str, Any]) -> None:
    _set(error, "args", state["args"])
    if type(error).__setstate__ is not BaseException.__setstate__:
        error.__setstate__(state["dict"])
    else:
        vars(error).update(state["dict"])
    for name, value in state["attributes"].items():
        if getattr(error, name, None) is not value:
            _set(error, name, value)
    _tie(error, state)


def _restore_own(error: Any, state: tuple[Any, Callable[[Any, Any], None] | None, dict[str, Any]]) -> None:
    own, fill, links = state
    if fill is not None:
        fill(error, own)
    elif own is not None:
        error.__setstate__(own)
    _tie(error, links)


def _tie(error: BaseException, links: dict[str, Any]) -> None:
    _set(error, "__cause__", links.get("cause"))
    _set(error, "__context__", links.get("context"))
    _set(error, "__suppress_context__", links.get("suppress", False))  # last: a cause sets it too
    if "notes" in links:
        vars(error)["__notes__"] = links["notes"]
    error.with_traceback(traceback_of(links.get("frames", ())))
