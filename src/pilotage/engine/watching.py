"""Tells at once what would otherwise be a silent hang: blocks that fail, refuse, stay silent, or near their end.

Looks at what Parsl's own polling has found; asks the interchange only about blocks that run and have not connected.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from parsl.jobs.states import JobState, JobStatus
from parsl.version import VERSION

from pilotage import events

SILENT = 60.0
"""Seconds that a block may run before its managers must have connected."""
ASK_EVERY = 5.0
WORDS = 600
"""Characters of a job's last words that an event quotes."""
BAD = {JobState.FAILED: "has failed", JobState.TIMEOUT: "has run out of its walltime", JobState.MISSING: "has vanished"}


class BlockWatch:
    """The blocks of one executor.

    Parameters
    ----------
    label: the executor's.
    walltime: seconds that a block has, None where there is no limit.
    connected: returns the blocks from which a manager has connected.
    clock: seconds, for tests.
    """

    def __init__(
        self,
        label: str,
        walltime: float | None,
        connected: Callable[[], list[str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._label = label
        self._walltime = walltime
        self._connected = connected
        self._clock = clock
        self._running: dict[str, float] = {}
        self._seen: set[str] = set()
        self._told: set[tuple[str, str]] = set()
        self._next = 0.0

    def look(self, states: Mapping[str, JobStatus], waiting: int) -> None:
        """Tell what is new.

        Parameters
        ----------
        states: of the blocks, by block.
        waiting: tasks that are with the executor.
        """
        now = self._clock()
        for block, status in list(states.items()):
            if status.state in BAD:
                self._tell_once(block, "block-failed", self._failure(block, status), "error", **_files(status))
            elif status.state is JobState.COMPLETED and waiting:
                words = f"block {block} of {self._label} has ended while {waiting} tasks wait"
                self._tell_once(block, "block-ended", words + _last_words(status), "warning", **_files(status))
            elif status.state is JobState.RUNNING:
                self._running.setdefault(block, now)
                self._look_at_walltime(block, now)
        silent = [
            block
            for block, since in self._running.items()
            if block not in self._seen
            and states.get(block, _GONE).state is JobState.RUNNING
            and now - since > SILENT / 2
        ]
        if silent and now >= self._next:
            self._next = now + ASK_EVERY
            self._seen.update(self._connected())
            for block in silent:
                if block not in self._seen and now - self._running[block] >= SILENT:
                    self._tell_silent(block, states[block])

    def failed(self, error: BaseException | None) -> None:
        """Tell that the executor can do no more, and why."""
        kind = type(error).__name__
        if kind == "VersionMismatch":
            words = f"{self._label} refuses its workers: {error}; the driver has Parsl {VERSION}"
            self._tell_once("", "workers-refused", words, "error")
        else:
            self._tell_once("", "executor-failed", f"{self._label} has failed: {error}", "error")

    def _look_at_walltime(self, block: str, now: float) -> None:
        if self._walltime is None:
            return
        left = self._walltime - (now - self._running[block])
        if left <= min(600.0, self._walltime / 10):
            words = f"block {block} of {self._label} reaches its walltime in {max(left, 0) / 60:.0f} minutes"
            self._tell_once(block, "walltime-near", words, "warning")

    def _failure(self, block: str, status: JobStatus) -> str:
        code = f" (exit code {status.exit_code})" if status.exit_code else ""
        return f"block {block} of {self._label} {BAD[status.state]}{code}{_last_words(status)}"

    def _tell_silent(self, block: str, status: JobStatus) -> None:
        words = (
            f"block {block} of {self._label} has run for a minute and no worker of it has connected: either its start "
            f"failed, or it cannot reach this machine's port"
        )
        self._tell_once(block, "nothing-connected", words + _last_words(status), "warning", **_files(status))

    def _tell_once(self, block: str, kind: str, message: str, level: str, **detail: Any) -> None:
        if (block, kind) not in self._told:
            self._told.add((block, kind))
            events.tell(kind, message, level, executor=self._label, **({"block": block} if block else {}), **detail)


_GONE = JobStatus(JobState.UNKNOWN)


def _last_words(status: JobStatus) -> str:
    """Return the scheduler's own words and the end of the job's stderr, as the end of a sentence."""
    said = [status.message or "", (status.stderr_summary or "").strip()[-WORDS:]]
    words = "; ".join(" ".join(part.split()) for part in said if part.strip())
    return f": {words}" if words else ""


def _files(status: JobStatus) -> dict[str, str]:
    return {name: path for name in ("stdout_path", "stderr_path") if (path := getattr(status, name, None))}
