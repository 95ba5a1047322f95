"""The driver's part in looking at a block: waits for it, sends its tasks, and writes down what came of it.

Runs in the driver of a run (`script/visit.py`), and tells whoever waits by two files in the check's folder.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pilotage import journal
from pilotage.hosts.far import FarFolder
from pilotage.paths import write_json
from pilotage.worker import processes

if TYPE_CHECKING:
    from parsl.dataflow.dflow import DataFlowKernel

LOOK = 0.05
CONNECT = 90.0
"""Seconds in which the managers of a block that runs have connected."""
OTHERS = 20.0
"""Seconds that the other nodes have when the first has connected."""
HOLD = 1.0
"""Seconds that each worker keeps its task, so that all workers get one."""
TASKS = 120.0
"""Seconds in which the tasks are back."""
ROUNDS = 20
BYTES = 8 << 20
STAGE, RESULT, NONCE, BEGAN = "stage.json", "visit.json", "nonce", "began"
"""Files in the check's folder: what is being waited for, what came of it, a word of the driver, when the job began."""


class Gone(SystemExit):
    """The check that this run is part of is not there any more."""


class Visiting:
    """One look at one block.

    Parameters
    ----------
    kernel: Parsl's, with the site's executor.
    folder: the check's.
    owner: identity of the check's process, as text; when that ends, so does this.
    wait: seconds that the block may wait in the queue.
    """

    def __init__(self, kernel: DataFlowKernel, folder: str, owner: str, wait: float) -> None:
        executors: dict[str, Any] = dict(kernel.executors)
        self._executor = next(one for label, one in executors.items() if label != "_parsl_internal")
        self._folder = Path(folder)
        self._owner = processes.from_text(owner)
        self._wait = wait
        self._asked = 0.0
        self._told = ""
        self._shared = ""
        self._known: list[dict[str, Any]] = []
        self.found: dict[str, Any] = {"wanted": self._executor.provider.nodes_per_block, "nodes": {}, "error": ""}

    def visit(self, look: Callable[..., Future[Any]], echo: Callable[..., Future[Any]]) -> None:
        """Wait for the block, look at each of its nodes, and measure the way there and back."""
        try:
            self._stage("waiting for the block to be submitted")
            managers = self._managers()
            if managers:
                self._stage("waiting for the first result")
                self._time(lambda: echo(b""))
                self.found["first"] = time.time()
                self._look(look, sum(int(manager["worker_count"]) for manager in managers))
                self._measure(echo)
        except Gone:
            raise
        except Exception as error:  # whatever a block does to a task is what the check is there to tell
            self.found["error"] = f"{type(error).__name__}: {error}"
        finally:
            self.found["block"] = self._block()
            write_json(self._folder / RESULT, self.found)

    def _stage(self, words: str) -> None:
        if words != self._told:
            self._told = words
            write_json(self._folder / STAGE, {"words": words})

    def _turn(self) -> None:
        if not processes.is_alive(self._owner):
            raise Gone("the check has ended")
        time.sleep(LOOK)

    # The block

    def _managers(self) -> list[dict[str, Any]]:
        """Return the connected managers, all of them or what came in time; none where the block came to nothing."""
        begun, running, first = time.monotonic(), None, None
        while True:
            now = time.monotonic()
            status = self._status()
            if "submitted" not in self.found and self._executor.blocks_to_job_id:
                self.found["submitted"] = _submitted()
            if running is None and status is not None and status.state.name == "RUNNING":
                running, self.found["running"] = now, time.time()
            managers = self._connected()
            if managers and first is None:
                first, self.found["connected"] = now, time.time()
            if len(managers) >= self.found["wanted"] or (first is not None and now - first > OTHERS):
                self.found["all_connected"], self.found["managers"] = time.time(), len(managers)
                return managers
            if self._is_over(status) or (running is not None and first is None and now - running > CONNECT):
                return []
            if running is None and first is None and now - begun > self._wait:
                self.found["waited"] = round(now - begun, 1)
                return []
            self._stage(self._words(status, len(managers)))
            self._turn()

    def _connected(self) -> list[dict[str, Any]]:
        now = time.monotonic()
        if now - self._asked > 2 * LOOK:
            self._known = self._executor.connected_managers()
            self._asked = now
        return self._known

    def _status(self) -> Any:
        """Return Parsl's status of the newest block, None where there is none."""
        known = dict(self._executor.status_facade)
        return known[max(known, key=int)] if known else None

    def _is_over(self, status: Any) -> bool:
        return bool(self._executor.bad_state_is_set) or (status is not None and status.terminal)

    def _words(self, status: Any, managers: int) -> str:
        if status is None:
            return "waiting for the block to be submitted"
        if status.state.name == "RUNNING":
            return f"the block runs; {managers} of {self.found['wanted']} nodes have connected"
        return f"the block waits: {status.message or status.state.name}"

    def _block(self) -> dict[str, Any]:
        from pilotage.engine.verifying import refusal  # it imports Parsl, which who waits for this has no use for

        status = self._status()
        error = self._executor.executor_exception if self._executor.bad_state_is_set else None
        told: dict[str, Any] = {"state": "", "words": "", "exit_code": None, "stderr": "", "error": str(error or "")}
        told["kind"] = type(error).__name__ if error else ""
        if status is not None:
            told |= {"state": status.state.name, "words": status.message or "", "exit_code": status.exit_code}
            told["stderr"] = (status.stderr_summary or "").strip()[-2000:]
            if (said := refusal(status)) is not None:
                told["refused"] = [said.words, said.fix]
        return told

    # Its nodes

    def _look(self, look: Callable[..., Future[Any]], workers: int) -> None:
        self._stage(f"looking at {self.found['managers']} nodes with {workers} workers")
        nonce = os.urandom(16).hex()
        folder = self._shared = self._share(nonce)
        sent = time.time()
        futures = [look(folder, nonce, *self._place(), HOLD) for _ in range(workers)]
        received: dict[int, float] = {}
        for number, future in enumerate(futures):
            future.add_done_callback(lambda _, number=number: received.setdefault(number, time.time()))  # type: ignore[misc]
        reports = self._results(futures)
        for number, report in reports:
            self._note(report, sent, received.get(number, time.time()), nonce)

    def _share(self, nonce: str) -> str:
        """Put our word where nodes are to see it; return the folder as they know it, empty where each has its own."""
        route = getattr(self._executor, "route", None)
        if route is None:
            (self._folder / NONCE).write_text(nonce)
            return str(self._folder)
        if not isinstance(route.folder, FarFolder):
            return ""
        here = route.folder.here / NONCE
        here.write_text(nonce)
        route.folder.send(here)
        return route.folder.there

    def _place(self) -> tuple[list[str], int]:
        """Return where workers reach the interchange: addresses and port, none where each host has its own."""
        route = getattr(self._executor, "route", None)
        if route is None or getattr(route, "reach", "") == "direct":
            return sorted(self._executor.all_addresses), self._executor.worker_port
        place = getattr(route, "place", None)
        return ([place[0]], place[1]) if place is not None else ([], 0)

    def _word(self, name: str) -> str:
        """Return what a node has written, as it is seen from here."""
        route = getattr(self._executor, "route", None)
        if route is None:
            return _text(self._folder / name)
        return str(route.folder.host.run(["cat", f"{route.folder.there}/{name}"]).stdout)

    def _results(self, futures: list[Future[Any]]) -> Iterable[tuple[int, dict[str, Any]]]:
        end = time.monotonic() + TASKS
        while any(not future.done() for future in futures) and time.monotonic() < end:
            if self._executor.bad_state_is_set:
                break
            self._turn()
        for future in futures:
            if future.done() and (error := future.exception()) is not None:
                self.found["error"] = self.found["error"] or f"{type(error).__name__}: {error}"
        missing = sum(not future.done() for future in futures)
        if missing:
            self.found["error"] = self.found["error"] or f"{missing} of {len(futures)} tasks are not back"
        return [
            (number, future.result())
            for number, future in enumerate(futures)
            if future.done() and future.exception() is None
        ]

    def _note(self, report: dict[str, Any], sent: float, received: float, nonce: str) -> None:
        """Add what one worker tells to what is known of its node."""
        node = self.found["nodes"].setdefault(report["host"], {**report, "workers": 0, "clock": None})
        node["workers"] += 1
        node["cores"] = min(node["cores"], report["cores"])
        if (at := report["pool_started"]) is not None:
            node["pool_started"] = min(node["pool_started"] or at, at)
        if self._shared and not report["folder"] and self._word(f"{report['host']}.{report['process']}") != nonce:
            node["folder"] = "what the node has written there is not seen here"
        # Its clock is ahead by something between these two: a task does not begin before it is sent.
        least, most = report["ended"] - received, report["begun"] - sent
        clock = node["clock"] or (least, most)
        node["clock"] = (max(clock[0], least), min(clock[1], most))

    # The way there and back

    def _measure(self, echo: Callable[..., Future[Any]]) -> None:
        self._stage("measuring round trips")
        rounds = [self._time(lambda: echo(b"")) for _ in range(ROUNDS + 2)][
            2:
        ]  # the first two bring the function there
        trip = statistics.median(rounds)
        data = os.urandom(BYTES)
        there = self._time(lambda: echo(data))
        back = self._time(lambda: echo(b"", BYTES))
        self.found["round_trip"] = {"median": trip, "least": min(rounds), "most": max(rounds), "count": ROUNDS}
        self.found["bandwidth"] = {
            "there": BYTES / max(there - trip, 1e-6),
            "back": BYTES / max(back - trip, 1e-6),
            "bytes": BYTES,
        }

    def _time(self, send: Callable[[], Future[Any]]) -> float:
        before = time.perf_counter()
        future = send()
        wait_for([future], timeout=TASKS)
        future.result(timeout=0)
        return time.perf_counter() - before


def _submitted() -> float:
    """Return when the block was submitted: as the journal has it, else now."""
    entries = journal.current.open_entries() if journal.current is not None else []
    blocks = [one.at for one in entries if one.kind == "batch_job" or one.what.get("role") == "block"]
    return min(blocks, default=time.time())


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
