"""What ends a command in order, whatever asks for it: Ctrl-C, a signal, or a terminal that goes away."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

AGAIN = 2.0
"""Seconds within which one more Ctrl-C is taken as the same one: what it ends is being tidied up."""


@contextmanager
def ends_in_order() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end what is done within as Ctrl-C does, and let no impatient key break off its end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    first: list[float] = []

    def heard(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  a handler's signature
        now = time.monotonic()
        if first and now - first[0] < AGAIN:
            return
        first[:] = [now]
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)

    watched = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {one: signal.signal(one, heard) for one in watched if signal.getsignal(one) is not signal.SIG_IGN}
    try:
        yield
    finally:
        if not first:  # else the process is about to end
            for number, handler in before.items():
                signal.signal(number, handler)
