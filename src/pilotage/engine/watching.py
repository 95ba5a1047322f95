"""Tells at once what would otherwise be a silent hang: blocks that wait, fail, refuse, stay silent, or near their end.

Looks at what Parsl's own polling has found; asks the interchange only about blocks that run and have not connected.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Mapping
from typing import Any

from parsl.jobs.states import JobState, JobStatus
from parsl.version import VERSION

from pilotage import events
from pilotage.engine.silence import Silence
from pilotage.engine.verifying import Refusal, WorkersRefusedError, refusal
from pilotage.schedulers.batch import BY_OTHERS, NOT_KNOWN

SILENT = 60.0
"""Seconds that a block may run before its managers must have connected."""
MISSING = 30.0
"""Seconds after the first manager of a block within which those of its other nodes must have connected."""
ASK_EVERY = 5.0
WORDS = 600
"""Characters of a job's last words that an event quotes."""
BAD = {
    JobState.FAILED: "has failed",
    JobState.TIMEOUT: "has run out of its walltime",
    JobState.MISSING: "has come to nothing",  # Parsl's word for whatever ends before a worker has connected
}


class BlockWatch:
    """The blocks of one executor.

    Parameters
    ----------
    label: the executor's.
    walltime: seconds that a block has, None where there is no limit.
    connected: returns the blocks from which a manager has connected.
    drain: seconds after which a block takes no new tasks, None where it always does.
    clock: seconds, for tests.
    nodes: nodes of a block, on each of which a manager is to be.
    """

    def __init__(
        self,
        label: str,
        walltime: float | None,
        connected: Callable[[], list[str]],
        clock: Callable[[], float] = time.monotonic,
        nodes: int = 1,
        *,
        drain: float | None = None,
    ) -> None:
        self._label = label
        self._drain = drain
        self._walltime = walltime
        self._connected = connected
        self._clock = clock
        self._running: dict[str, float] = {}
        self._seen: set[str] = set()
        self._told: set[tuple[str, str]] = set()
        self._refusals: set[Refusal] = set()
        self._next = 0.0
        self._nodes = nodes
        self._hosts: dict[str, collections.Counter[str]] = {}
        self._joined: dict[str, float] = {}

    def joined(self, block: str, host: str) -> None:
        """Note that a manager of a block has connected."""
        self._seen.add(block)
        self._joined.setdefault(block, self._clock())
        self._hosts.setdefault(block, collections.Counter())[host] += 1

    def hosts(self, states: Mapping[str, JobStatus]) -> list[str]:
        """Return the hosts of the managers that have connected, of the blocks that have not ended."""
        there = [block for block, status in list(states.items()) if not status.terminal]
        return sorted({host for block in there for host in list(self._hosts.get(block, ()))})

    def look(self, states: Mapping[str, JobStatus], waiting: int) -> None:
        """Tell what is new.

        Parameters
        ----------
        states: of the blocks, by block.
        waiting: tasks that are with the executor.
        """
        now = self._clock()
        for block, status in list(states.items()):
            message = status.message or ""
            if message.startswith(BY_OTHERS):
                self._tell_once(block, "block-cancelled", f"block {block} of {self._label} was {message}", "warning")
            elif status.state in BAD:
                self._tell_failed(block, status)
            elif status.state is JobState.COMPLETED and waiting:
                self._tell_ended(block, status, waiting, now)
            elif status.state is JobState.PENDING and message:
                self._tell_waiting(block, message, held=getattr(status, "held", False))
            elif status.state is JobState.RUNNING:
                self._running.setdefault(block, now)
                self._look_at_walltime(block, now)
                self._look_for_managers(block, status, now)
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

    def silent(self, one: Silence) -> None:
        """Tell that nothing is heard of a manager, that it is heard again, or that it is given up."""
        place = f"the manager of block {one.block} on {one.host}"
        if one.given_up:
            kind, words = "manager-lost", f"{place} is given up: nothing has been heard of it any more"
        elif one.seconds:
            kind, words = "manager-silent", f"nothing has been heard of {place} for {one.seconds:.0f} s"
        else:
            kind, words = "manager-heard", f"{place} is heard again"
        level = "warning" if one.seconds else "info"
        events.tell(kind, words, level, executor=self._label, block=one.block, host=one.host)

    def failed(self, error: BaseException | None) -> None:
        """Tell that the executor can do no more, and why."""
        if isinstance(error, WorkersRefusedError):  # its block was told of
            return
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

    def _look_for_managers(self, block: str, status: JobStatus, now: float) -> None:
        if block not in self._joined or now - self._joined[block] < MISSING:
            return
        hosts = self._hosts[block].copy()  # managers connect on another thread
        if len(hosts) >= self._nodes:
            return
        where = ", ".join(f"{host} ({count})" if count > 1 else host for host, count in sorted(hosts.items()))
        words = f"block {block} of {self._label} has {self._nodes} nodes, and managers on {len(hosts)}: {where}. "
        if max(hosts.values()) > 1:
            words += "The launcher has put several on one node: Open MPI's mpiexec needs launcher.class = openmpi"
        else:
            words += "The launcher may start them on the first node only (launcher.class none), or some failed to start"
        self._tell_once(block, "managers-missing", words + _last_words(status), "warning", **_files(status))

    def _tell_ended(self, block: str, status: JobStatus, waiting: int, now: float) -> None:
        since = self._running.get(block)
        # Seen late, and counted from another moment: a fifth is allowed for.
        if self._drain is not None and since is not None and now - since >= 0.8 * self._drain:
            words = f"block {block} of {self._label} has taken no new tasks as its walltime nears, and has ended"
            self._tell_once(block, "block-drained", words, "info")
            return
        words = f"block {block} of {self._label} has ended while {waiting} tasks wait"
        self._tell_once(block, "block-ended", words + _last_words(status), "warning", **_files(status))

    def _tell_waiting(self, block: str, words: str, *, held: bool) -> None:
        """Tell what a block waits for, each reason once: queues go from one to the other and back."""
        if (block, words) not in self._told:
            self._told.add((block, words))
            what, level = ("is held", "warning") if held else ("waits", "info")
            text = f"block {block} of {self._label} {what}: {words}"
            events.tell("block-waits", text, level, executor=self._label, block=block)

    def _tell_failed(self, block: str, status: JobStatus) -> None:
        if self._told & {(block, "block-failed"), (block, "workers-refused")}:
            return
        if (said := refusal(status)) is not None:
            self._told.add((block, "workers-refused"))
            if said not in self._refusals:  # blocks that are started together say the same
                self._refusals.add(said)
                words = f"block {block} of {self._label} starts no workers: {said}"
                events.tell("workers-refused", words, "error", executor=self._label, block=block, **_files(status))
            return
        self._tell_once(block, "block-failed", self._failure(block, status), "error", **_files(status))

    def _failure(self, block: str, status: JobStatus) -> str:
        code = f" (exit code {status.exit_code})" if status.exit_code else ""
        how = "has vanished" if NOT_KNOWN in (status.message or "") else BAD[status.state]
        return f"block {block} of {self._label} {how}{code}{_last_words(status)}"

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
