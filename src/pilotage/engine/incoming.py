"""What comes from the interchange: Parsl's results, and messages of ours among them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

OURS = b"\x00pilotage "
"""First bytes of a message that Parsl does not know."""
BLOCK_ENDED = "PILOTAGE_BLOCK_ENDED"
"""First part of the command by which the interchange learns that the block that follows has ended."""
SILENCE = b"\x00pilotage silence\x00"
"""First bytes of a message that a manager is not heard of; then a pickled `pilotage.engine.silence.Silence`."""
CAPACITY = b"\x00pilotage capacity\x00"
"""First bytes of a message that says how many tasks the connected managers can hold."""
JOINED = b"\x00pilotage joined\x00"
"""First bytes of a message that says of a manager that has connected: its block and its host."""


class Incoming:
    """Parsl's queue of results, from which messages of ours are taken out.

    Parameters
    ----------
    queue: Parsl's.
    heard: called with each message of ours, on the thread that reads results.
    tick: called on that thread after each message, and when none came for Parsl's poll period, 10 ms by default.
    """

    def __init__(self, queue: Any, heard: Callable[[bytes], None], tick: Callable[[], None]) -> None:
        self._queue = queue
        self._heard = heard
        self._tick = tick
        self.port: int = queue.port
        self.zmq_context = queue.zmq_context

    def get(self, timeout_ms: int | None = None) -> bytes | None:
        """Return the next result; None where there is none within ``timeout_ms`` milliseconds, or it was ours."""
        message: bytes | None = self._queue.get(timeout_ms)
        self._tick()
        if message is not None and message.startswith(OURS):
            self._heard(message)
            return None
        return message

    def close(self) -> None:
        """Close the queue."""
        self._queue.close()
