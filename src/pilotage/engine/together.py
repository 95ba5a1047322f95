"""Executors of one config that start at once: Parsl starts one after the other, and a way to a far site takes seconds.

Those of this machine stay one after the other: each is busy with starting Python here, and two at once took a second
more on two cores (measured).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

PATIENCE = 10.0
"""Seconds that whoever interrupts a start waits for those that are under way, so that they can be ended."""


class Start:
    """The start of one executor, on a thread of its own."""

    def __init__(self, start: Callable[[], Any], label: str) -> None:
        self._start = start
        self._error: BaseException | None = None
        self._over = threading.Event()  # Ctrl-C within Thread.join makes Python 3.11 take a thread for ended
        self._thread = threading.Thread(target=self._run, name=f"start-{label}", daemon=True)

    def begin(self) -> None:
        """Begin."""
        self._thread.start()

    def _run(self) -> None:
        try:
            self._start()
        except BaseException as error:  # raised where it is waited for
            self._error = error
        finally:
            self._over.set()

    def wait(self, patience: float | None = None) -> BaseException | None:
        """Wait until it is over, or for so many seconds, and return what it has raised."""
        self._over.wait(patience)
        return self._error


def start_together(executors: Sequence[Any]) -> None:
    """Let executors with a route to their site start beside the others; that of the last returns when all have.

    Parsl has by then given each what it needs. The last one raises what the first that has failed raised.
    """
    if len(executors) < 2:
        return
    starts = {}
    for executor in executors:
        if getattr(executor, "route", None) is not None:
            starts[executor.label] = Start(executor.start, executor.label)
            executor.start = starts[executor.label].begin
    if starts:
        last = executors[-1].start
        executors[-1].start = lambda: _finish(last, list(starts.values()))


def _finish(last: Callable[[], Any], starts: Sequence[Start]) -> None:
    try:
        last()
        errors = [start.wait() for start in starts]
    except BaseException:
        for start in starts:
            start.wait(PATIENCE)
        raise
    for error in errors:
        if error is not None:
            raise error
