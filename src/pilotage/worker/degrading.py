"""What is sent of an exception that cannot be pickled as it is: the same class, with parts of it as words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from parsl.app.errors import RemoteExceptionWrapper

from pilotage.worker.exceptions import arguments_of, attributes_of, is_plain, rebuild, static_base, wrap

LONGEST_WORDS = 10_000

CanSend = Callable[[Any], bool]


def sendable(wrapper: RemoteExceptionWrapper, can_send: CanSend) -> RemoteExceptionWrapper:
    """Return an envelope like ``wrapper``, in which what cannot be sent is replaced by its ``repr``."""
    return wrap(_sendable(wrapper.e_value, can_send, {}))


def _sendable(error: BaseException, can_send: CanSend, made: dict[int, BaseException]) -> BaseException:
    if id(error) in made:
        return made[id(error)]
    copy = _same_class(error, can_send) or RuntimeError(f"{type(error).__qualname__}: {_words(error, str)}")
    made[id(error)] = copy
    if error.__cause__ is not None:
        copy.__cause__ = _sendable(error.__cause__, can_send, made)
    if error.__context__ is not None:
        copy.__context__ = _sendable(error.__context__, can_send, made)
    copy.__suppress_context__ = error.__suppress_context__
    return copy.with_traceback(error.__traceback__)


def _same_class(error: BaseException, can_send: CanSend) -> BaseException | None:
    kind = type(error)
    if not is_plain(kind) or not can_send(kind):
        return None

    def send(value: Any) -> Any:
        return value if can_send(value) else _words(value, repr)

    base = static_base(kind)
    try:
        copy: BaseException = rebuild(kind, base, tuple(send(value) for value in arguments_of(error, base)))
        copy.args = tuple(send(value) for value in error.args)
        vars(copy).update({name: send(value) for name, value in vars(error).items()})
        for name, value in attributes_of(error, base).items():
            setattr(copy, name, send(value))
    except Exception:  # some classes take no words for a value
        return None
    return copy if can_send(copy) else None


def _words(value: Any, how: Callable[[Any], str]) -> str:
    try:
        return how(value)[:LONGEST_WORDS]
    except Exception as error:  # an object's own __repr__ may fail, and its task still has to be answered
        return f"<{type(value).__qualname__}, whose {how.__name__}() raised {type(error).__name__}>"
