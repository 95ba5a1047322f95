"""Copies what the driver writes on a pipe into the run's log and on to where the user wanted it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

LOST_TOGETHER = 0.5
"""Seconds in which the view follows a reader that went with the same terminal; the run then goes on without both."""


class Copier:
    """One stream of the driver that is not a terminal, on a thread: its reader may be as slow as it likes.

    Parameters
    ----------
    target: descriptor of the user's own stream, None where there is none.
    keep: takes each piece for the log.
    has_view: whether the user's command is still there.
    """

    def __init__(self, target: int | None, keep: Callable[[bytes], None], has_view: Callable[[], bool]) -> None:
        self._target = target
        self._keep = keep
        self._has_view = has_view
        self._read_end, self.write_end = os.pipe()
        self._thread = threading.Thread(target=self._copy, daemon=True)

    def start(self) -> None:
        """Begin to copy."""
        self._thread.start()

    def join(self, limit: float | None) -> None:
        """Wait, at most ``limit`` seconds, until the last writer has ended and the user's reader has it all."""
        if self._thread.ident is not None:  # it was started
            self._thread.join(limit)

    def _copy(self) -> None:
        while piece := os.read(self._read_end, 1 << 16):
            self._keep(piece)
            if self._target is not None and not _write_all(self._target, piece):
                self._target = None
                time.sleep(LOST_TOGETHER)
                if self._has_view():
                    break  # "| head": the script notices, as it would, that nobody reads it any more
        os.close(self._read_end)


def _write_all(descriptor: int, data: bytes) -> bool:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except OSError:
            return False
    return True
