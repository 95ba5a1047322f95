"""What a node tells the driver of its tasks: what became of a batch, and how a call was lost."""

from __future__ import annotations

import os
import signal
import struct
from typing import Any, NamedTuple

from parsl.executors.high_throughput.errors import WorkerLost

PARTIAL = b"\x00pilotage partial\x00"
"""First bytes of a message about a batch that goes on; then its number (8 bytes) and a pickled `Report`."""
NUMBER = struct.Struct("=Q")


class Report(NamedTuple):
    """What became of a batch.

    ``records`` are of calls that have ended (see `slots`). The calls from index ``returned`` on have not begun, None
    where that is not told yet. ``lost`` is the index of a call that took its worker along, with the worker's rank,
    host, and how it ended. ``failed`` is the serialized exception that ended the batch; nothing has begun where
    ``returned`` is 0.
    """

    records: bytes
    returned: int | None = None
    lost: tuple[int, int, str, str] | None = None
    failed: bytes | None = None


class CallLost(WorkerLost):
    """The worker that ran a call has died; says which call, where, and how."""

    def __init__(self, worker_id: int, hostname: str, how: str = "has died", call: str = "") -> None:
        super().__init__(worker_id, hostname)
        self.how = how
        self.call = call

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.worker_id, self.hostname, self.how, self.call)

    def __str__(self) -> str:
        what = f"{self.call} was lost: " if self.call else ""
        return f"{what}worker {self.worker_id} on {self.hostname} {self.how}"


def how_ended(status: int) -> str:
    """Return how a process has ended, from its wait status; it goes on a sentence that begins with the process."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed by {name}"
