"""A future that costs little while nobody waits for it.

Parsl's kernel waits for no call: it asks to be called back. Python's future makes a condition variable for each, a
twentieth of all that a task costs in the driver; this one makes it when somebody does wait.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from concurrent.futures._base import FINISHED, PENDING
from typing import Any

_lock = threading.Lock()
"""Of all such futures: it is held for the time of a few assignments."""
logger = logging.getLogger("parsl.pilotage.future")


class CallFuture(Future[Any]):
    """The outcome of one call; it cannot be cancelled, since Parsl never cancels."""

    # Of the class until they are set: what is equal for a hundred thousand calls takes no time and no memory.
    _made: threading.Condition | None = None
    _state = PENDING
    _result: Any = None
    _exception: BaseException | None = None
    _done_callbacks: Sequence[Callable[[Future[Any]], object]] = ()
    _waiters: Sequence[Any] = ()  # type: ignore[assignment]

    def __init__(self) -> None:
        """Make one; Python's own would make what is above anew."""

    @property
    def _condition(self) -> threading.Condition:  # type: ignore[override]
        with _lock:
            if self._made is None:
                self._waiters = []
                self._made = threading.Condition()
            return self._made

    def done(self) -> bool:
        """Return whether the outcome is there."""
        return self._state is FINISHED

    def cancel(self) -> bool:
        """Return False."""
        return False

    def result(self, timeout: float | None = None) -> Any:
        """Return the result, or raise the exception; see Python's."""
        return self._result if self._state is FINISHED else super().result(timeout)

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        """Call ``fn`` with this future when the outcome is there; at once where it is."""
        with _lock:
            if self._state is not FINISHED:
                self._done_callbacks = (*self._done_callbacks, fn)
                return
        self._call(fn)

    def set_result(self, result: Any) -> None:
        """Set the result; raises InvalidStateError where there is an outcome already."""
        with _lock:
            callbacks = self._finish(result, None)
        self._tell(callbacks)

    def set_exception(self, exception: BaseException | None) -> None:
        """Set the exception; raises InvalidStateError where there is an outcome already."""
        with _lock:
            callbacks = self._finish(None, exception)
        self._tell(callbacks)

    def _finish(self, result: Any, exception: BaseException | None) -> Sequence[Callable[[Future[Any]], object]]:
        """Set the outcome, with the lock held; returns whom to tell."""
        if self._state is FINISHED:
            raise InvalidStateError("the call has an outcome already")
        self._result, self._state = result, FINISHED
        if exception is not None:
            self._exception = exception
            self.__class__ = FailedCall
        callbacks, self._done_callbacks = self._done_callbacks, ()
        return callbacks

    def _tell(self, callbacks: Sequence[Callable[[Future[Any]], object]]) -> None:
        if (made := self._made) is not None:
            with made:
                for waiter in self._waiters:
                    waiter.add_result(self) if self._exception is None else waiter.add_exception(self)
                made.notify_all()
        for callback in callbacks:
            self._call(callback)

    def _call(self, callback: Callable[[Future[Any]], object]) -> None:
        try:
            callback(self)
        except Exception:
            logger.exception("exception calling callback for %r", self)


class FailedCall(CallFuture):
    """A call that has failed: Python's own method raises its exception, so that no frame of ours is in a traceback."""

    result = Future.result


def finish(outcomes: Sequence[tuple[CallFuture, Any, BaseException | None]]) -> None:
    """Give futures their outcomes (result, exception), all of them before anybody is told of one.

    One that has an outcome already keeps it. What a callback raises is in the log and ends nothing.
    """
    told = []
    with _lock:
        for future, result, exception in outcomes:
            if future._state is not FINISHED:
                told.append((future, future._finish(result, exception)))
    for future, callbacks in told:
        try:
            future._tell(callbacks)
        except BaseException:
            # A callback of the script's may raise anything; this is the thread that all other calls wait for.
            logger.exception("a callback of a future has failed")
