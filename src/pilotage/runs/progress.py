"""How far a run has come: sampled from Parsl's kernels, written for other processes to read."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from pilotage.paths import RunFolder, write_json
from pilotage.runs.failures import Failures
from pilotage.runs.moves import Moves
from pilotage.worker import logs

if TYPE_CHECKING:
    from parsl.dataflow.dflow import DataFlowKernel

PERIOD = 0.2
RATE_WINDOW = 2.0
COLLECT_EVERY = 5.0
"""Seconds between two copies of what driver and interchange have logged, while something fails."""
BAD = ("failed", "timeout", "missing")
"""States of blocks that have failed."""
SETTLED = 3.0
"""Seconds without a new task after which the total is taken as known."""

# Parsl's task states in the words of the view. "Launched" is Parsl's word for handed to an executor: whether a worker
# has begun is known on the worker only.
WORDS = {
    "unsched": "waiting",
    "pending": "waiting",
    "launched": "launched",
    "running": "launched",
    "running_ended": "launched",
    "joining": "launched",
    "fail_retryable": "waiting",
    "exec_done": "done",
    "memo_done": "done",
    "failed": "failed",
    "dep_fail": "failed",
}


class Others(NamedTuple):
    """What processes of the run that have kernels of their own have come to: tasks by word, blocks by state."""

    tasks: Counter[str]
    blocks: Counter[str]
    node_seconds: float


class Progress:
    """Samples the kernels of a driver about five times a second; costs tasks nothing, it only reads counters.

    Parameters
    ----------
    folder: the run's folder; the newest sample is ``progress.json`` in it.
    clock: seconds, for tests.
    beats: keep the run's heartbeat too, where there is no supervisor to do it.
    """

    changed: Callable[[], int] | None = None
    """Tells how many calls have run again since their app has changed, in a run that is resumed."""

    def __init__(self, folder: RunFolder, clock: Callable[[], float] = time.monotonic, *, beats: bool = False) -> None:
        self._beats = beats
        self._folder = folder
        self._clock = clock
        self._start = clock()
        self._kernels: list[DataFlowKernel] = []
        self._history: deque[tuple[float, int]] = deque()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._own_config = False
        self.failures = Failures(folder)
        self.moves = Moves(folder)
        self._node_seconds = 0.0
        self._others: Callable[[], Others] | None = None
        self._sampled = self._start
        self._bad_blocks = 0
        self._collected = self._start - COLLECT_EVERY
        self._total = 0
        self._total_since = self._start

    def watch(self, kernel: DataFlowKernel, *, own_config: bool = False) -> None:
        """Count the tasks of ``kernel`` from now on; the first call starts the sampling."""
        self._own_config = own_config
        self._kernels.append(kernel)
        self.failures.watch(kernel)
        self.moves.watch(kernel)
        self._begin()

    def include(self, others: Callable[[], Others]) -> None:
        """Count what other processes of the run do as well, from now on; ``others`` returns all of it, each time."""
        self._others = others
        self._begin()

    def _begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._sample_until_stopped, name="pilotage-progress", daemon=True)
            self._thread.start()

    def stop(self) -> dict[str, Any]:
        """Stop sampling; write and return the last sample."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
        last = self.sample()
        self._write(last)
        return last

    def sample(self) -> dict[str, Any]:
        """Return tasks by state, tasks per second, blocks by state, and seconds since the start."""
        tasks: Counter[str] = Counter()
        blocks: Counter[str] = Counter()
        of_executors: dict[str, Counter[str]] = {}
        waits: list[str] = []
        reused = nodes = 0
        for kernel in self._kernels:
            for state, count in dict(kernel.task_state_counts).items():
                tasks[WORDS.get(state.name, "launched")] += count
                reused += count if state.name == "memo_done" else 0
            if not kernel.cleanup_called:
                by_label, running, words = _blocks(kernel)
                for label, states in by_label.items():
                    blocks.update(states)
                    of_executors.setdefault(label, Counter()).update(states)
                nodes += running
                waits += words
        others = self._others() if self._others is not None else None
        if others is not None:
            tasks.update(others.tasks)
            blocks.update(others.blocks)
        self._look_at_blocks(blocks)
        clock = self._clock()
        now = clock - self._start
        self._node_seconds += nodes * (clock - self._sampled)
        self._sampled = clock
        counts = {word: tasks[word] for word in ("waiting", "launched", "done", "failed")}
        counts["total"] = sum(counts.values())
        counts["reused"] = reused
        counts["changed"] = self.changed() if self.changed is not None else 0
        rate = self._rate(now, counts["done"] + counts["failed"])
        return {
            "tasks": counts,
            "rate": rate,
            "eta": self._eta(clock, counts),
            "node_hours": round((self._node_seconds + (others.node_seconds if others else 0.0)) / 3600, 6),
            "blocks": dict(blocks),
            "blocks_of": {label: dict(states) for label, states in of_executors.items()},
            "data": self.moves.sample(),
            "waits_for": "; ".join(dict.fromkeys(waits)),
            "nodes": [node for kernel in self._kernels if not kernel.cleanup_called for node in _nodes(kernel)],
            "elapsed": round(now, 3),
            "kernels": len(self._kernels),
            "own_config": self._own_config,
        }

    def _look_at_blocks(self, blocks: Counter[str]) -> None:
        bad = sum(blocks[state] for state in BAD)
        # The log of an executor that can do no more is wanted even where no block and no task was lost.
        bad += sum(_is_bad(executor) for kernel in self._kernels for executor in list(kernel.executors.values()))
        if bad > self._bad_blocks:
            logs.want()
        self._bad_blocks = max(self._bad_blocks, bad)

    def _collect_logs(self) -> None:
        now = self._clock()
        if now - self._collected >= COLLECT_EVERY and logs.collect():
            self._collected = now

    def _rate(self, now: float, ended: int) -> float:
        self._history.append((now, ended))
        while len(self._history) > 2 and self._history[0][0] < now - RATE_WINDOW:
            self._history.popleft()
        (then, before) = self._history[0]
        return round((ended - before) / (now - then), 1) if now > then else 0.0

    def _eta(self, clock: float, counts: dict[str, int]) -> float | None:
        """Return seconds until the tasks there are will have ended, None while more are being added or none ends."""
        if counts["total"] != self._total:
            self._total, self._total_since = counts["total"], clock
        ended = counts["done"] + counts["failed"] - counts["reused"]
        left = counts["waiting"] + counts["launched"]
        if not left or not ended or clock - self._total_since < SETTLED:
            return None
        return round(left * (clock - self._start) / ended, 1)

    def _sample_until_stopped(self) -> None:
        while not self._stop.wait(PERIOD):
            self._write(self.sample())

    def _beat(self) -> None:
        try:
            os.utime(self._folder.heartbeat)
        except OSError:
            return

    def _write(self, sample: dict[str, Any]) -> None:
        self.failures.write()
        self.moves.write()
        self._collect_logs()
        if self._beats:
            self._beat()
        try:
            write_json(self._folder.progress, sample)
        except OSError:
            # A full disk must not end a run that has work to finish; the reader sees an old sample.
            return


current: Progress | None = None
"""That of the run whose driver this process is; None in a process that is none."""


def _is_bad(executor: Any) -> bool:
    return bool(getattr(executor, "bad_state_is_set", False))


def _nodes(kernel: DataFlowKernel) -> list[dict[str, str]]:
    """Return where managers have connected from, executor by executor; Parsl's own executor does not tell it."""
    found = []
    for executor in list(kernel.executors.values()):
        hosts = getattr(executor, "connected_hosts", None)
        found += [{"executor": executor.label, "node": host} for host in hosts()] if callable(hosts) else []
    return found


def _blocks(kernel: DataFlowKernel) -> tuple[dict[str, Counter[str]], int, list[str]]:
    """Return how many blocks there are by executor and state, the nodes of those that run, and what others wait for."""
    states: dict[str, Counter[str]] = {}
    waits = []
    nodes = 0
    for label, executor in list(kernel.executors.items()):
        facade = getattr(executor, "status_facade", None)
        if isinstance(facade, dict):
            found = states[label] = Counter()
            for status in list(facade.values()):
                word = status.state.name.lower()
                found["held" if word == "pending" and getattr(status, "held", False) else word] += 1
                if word == "pending" and status.message:
                    waits.append((label, status.message))
            provider = getattr(executor, "provider", None)
            nodes += found["running"] * getattr(provider, "nodes_per_block", 1)
    return states, nodes, [f"{label}: {words}" if len(states) > 1 else words for label, words in waits]
