"""Many short calls as one task of Parsl's, with the outcome of each for itself.

The rules, in the order in which they are applied:

1. Calls leave in the order in which they came.
2. A call whose function is not known to be short travels alone, and at most two tasks a worker are on their way.
3. A batch takes no more than its share: what waits is divided among the workers that are idle.
4. A batch is sized to `TARGET` seconds of measured work, and when its `BUDGET` is spent, what has not begun comes back
   and goes out again before all that waits.
5. While short work is on its way and what waits is worth less than a round trip, it waits for more, but not long.

What is lost follows one rule: a call that is known not to have begun is sent again, free of charge; one that may have
begun has failed with the loss as its exception, which Parsl's ``retries`` may repeat, unless its app may be rerun.
"""

from __future__ import annotations

import collections
import logging
import pickle
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, NamedTuple

from parsl.app.errors import RemoteExceptionWrapper
from parsl.executors.high_throughput.errors import ManagerLost

from pilotage.engine import collector
from pilotage.engine.future import CallFuture, finish
from pilotage.engine.pace import Known, Pace
from pilotage.worker.batch import PLAIN, RAISED, packed
from pilotage.worker.report import CallLost, Report
from pilotage.worker.serializer import ToDriver
from pilotage.worker.slots import unpacked

BUDGET = 0.05
"""Seconds from a batch's start after which what has not begun comes back."""
TARGET = 0.02
"""Seconds of work that a batch is sized to; what a hand-over costs is a twentieth of that."""
CALLS = 512
BYTES = 256 << 10
"""Bytes of arguments and function after which a batch is full."""
SHORT = 0.005
"""Seconds up to which a call is short on a few workers."""
SHORT_A_WORKER = 0.00025
"""Seconds by which that grows with each worker: the more there are, the less time is there for each task."""
SHORT_AT_MOST = 0.025
ROUND_TRIP = 0.0007
HOLD = 0.002
"""Seconds that calls wait for more, about, until the next look."""
FIRST = 2
"""Tasks on their way before the first worker has connected."""

_NOTHING: Any = (b"", b"", 0, None)
_PLAIN, _RAISED = PLAIN[0], RAISED[0]
_SMALL: dict[bytes, Any] = {
    PLAIN + pickle.dumps(value, pickle.HIGHEST_PROTOCOL): value for value in (None, True, False, *range(-5, 257))
}
"""Outcomes whose value Python has one object of: to look them up takes half of the time."""

logger = logging.getLogger("parsl.pilotage.coalescing")


class Call(CallFuture):
    """One call on its way, which is the future of its outcome.

    Parameters
    ----------
    known: its function.
    task: the kernel's number of the task, None where it is not known.
    function: the function serialized.
    arguments: ``(args, kwargs)`` of plain values, or both pickled.
    size: bytes of the arguments, about.
    keep: what has to live until the outcome is there.
    """

    mark: Any = None
    """What its result is kept by with those of its batch, None where it is not."""
    reruns = 0
    """Times that it has been sent again after a loss."""

    def __init__(
        self,
        known: Known,
        task: int | None,
        function: bytes,
        arguments: bytes | tuple[Any, Any],
        size: int,
        keep: Any,
    ) -> None:
        self.known = known
        self.task = task
        # One attribute for all that is let go of with the outcome: Parsl keeps the future as long as it keeps the task.
        self.content: tuple[bytes, bytes | tuple[Any, Any], int, Any] | None = (function, arguments, size, keep)


class Kept(NamedTuple):
    """Results to be kept, of calls that travelled together; nothing in it is made for one call alone.

    marks: what the result of each call is kept by, None where it is not.
    work: the calls, as `pilotage.worker.batch` has them.
    records: those outcomes that have come, as `pilotage.worker.slots` has them.
    others: results that are more than plain values, by the call's index.
    """

    marks: Sequence[Any]
    work: bytes
    records: bytes
    others: Mapping[int, Any]


class Batch:
    """Calls that travel as one task; those whose outcome is known are None."""

    __slots__ = ("calls", "marks", "short", "work")

    def __init__(self, calls: list[Call], work: bytes) -> None:
        self.calls: list[Call | None] = list(calls)
        self.work = work
        self.marks = [call.mark for call in calls]
        self.short = len(calls) > 1 or calls[0].known.pace.is_short


class Coalescer:
    """The calls of one executor.

    Parameters
    ----------
    send: sends a batch (buffer, number of calls, budget in seconds) and returns the future of its `Report` and its
        number. Called with the lock held.
    """

    def __init__(self, send: Callable[[bytes, int, float], tuple[Future[Any], int]]) -> None:
        self.lock = threading.RLock()
        self.outstanding = 0
        """Calls without an outcome."""
        self._send = send
        self._waiting: collections.deque[Call] = collections.deque()
        self._flying: dict[int, Batch] = {}
        self._short_flying = 0
        self._capacity = 0
        self._window = FIRST
        self._held: float | None = None
        self._answers = ToDriver()
        self.keep: Callable[[Kept], None] | None = None
        """Keeps the results of calls that have a mark, before anybody hears of them."""
        self.batches = 0
        """Batches of more than one call that were sent."""
        self.sent = 0
        """Batches that were sent, of one call too."""

    @property
    def on_the_way(self) -> int:
        """Tasks of Parsl's that are batches."""
        return len(self._flying)

    def add(self, call: Call) -> None:
        """Take a call; its future gets the outcome."""
        with self.lock:
            self.outstanding += 1
            self._waiting.append(call)
            if len(self._flying) >= self._window:
                return
            failed = self._pump()
        if failed:
            _fail(failed)

    def connected(self, capacity: int) -> None:
        """Take in how many tasks the connected managers can hold."""
        with self.lock:
            self._capacity = capacity
            self._window = 2 * capacity if capacity else FIRST
            failed = self._pump()
        _fail(failed)

    def tick(self) -> None:
        """Send what has waited for more for long enough; called a hundred times a second."""
        held = self._held
        if held is None or time.monotonic() - held < HOLD:
            return
        with self.lock:
            failed = self._pump()
        _fail(failed)

    def heard(self, number: int, report: Report) -> None:
        """Take in what became of a batch that is still going on."""
        with self.lock:  # a batch that is just being sent is not in the list yet
            batch = self._flying.get(number)
        if batch is not None:
            self._take_in(number, batch, report, final=False)

    def fail_all(self, error: BaseException) -> None:
        """Let every call that waits fail."""
        with self.lock:
            waiting = list(self._waiting)
            self._waiting.clear()
            self.outstanding -= len(waiting)
        _fail([(call, error) for call in waiting])

    @property
    def _short(self) -> float:
        return min(SHORT_AT_MOST, max(SHORT, SHORT_A_WORKER * self._capacity))

    def _pump(self) -> list[tuple[Call, BaseException]]:
        """Send what is to be sent; returns the calls for which that failed."""
        failed: list[tuple[Call, BaseException]] = []
        while self._waiting and len(self._flying) < self._window:
            calls = self._next_batch()
            if not calls:
                break
            try:
                self._launch(calls)
            except Exception as error:
                self.outstanding -= len(calls)
                failed += [(call, error) for call in calls]
        return failed

    def _next_batch(self) -> list[Call]:
        waiting = self._waiting
        pace = waiting[0].known.pace
        if not pace.is_short:
            return [waiting.popleft()]
        idle = max(self._capacity - len(self._flying), 0)
        seconds = pace.seconds
        little = len(waiting) * seconds < ROUND_TRIP and len(waiting) < CALLS // 4
        if self._short_flying and little and self._may_hold():
            return []
        self._held = None
        share = -(-len(waiting) // (idle or max(self._window - len(self._flying), 1)))
        most = min(share, CALLS, 2 * pace.proofs)
        calls: list[Call] = []
        work, size = 0.0, 0
        while waiting and len(calls) < most:
            call = waiting[0]
            if call.known.pace is not pace:
                pace = call.known.pace
                if not pace.is_short:
                    break
                seconds = pace.seconds
            work += seconds
            size += call.content[2] if call.content is not None else 0
            if calls and (work > TARGET or size > BYTES):
                break
            calls.append(waiting.popleft())
        return calls

    def _may_hold(self) -> bool:
        now = time.monotonic()
        if self._held is None:
            self._held = now
        return now - self._held < HOLD

    def _launch(self, calls: list[Call]) -> None:
        places: dict[bytes, int] = {}
        work = []
        for call in calls:
            function, arguments, _, _ = call.content or _NOTHING
            work.append((places.setdefault(function, len(places)), call.task, arguments))
        batch = Batch(calls, pickle.dumps(work, pickle.HIGHEST_PROTOCOL))
        future, number = self._send(packed(batch.work, list(places)), len(calls), BUDGET if batch.short else 0.0)
        self._flying[number] = batch
        self._short_flying += batch.short
        self.sent += 1
        self.batches += len(calls) > 1
        future.add_done_callback(partial(self._landed, number, batch))

    def _landed(self, number: int, batch: Batch, future: Future[Any]) -> None:
        error = future.exception()
        if error is None:
            report = future.result()
            self._take_in(number, batch, report, final=True)
            return
        with self.lock:
            self._forget(number, batch)
            again: list[Call] = []
            failed: list[tuple[Call, BaseException]] = []
            for call in batch.calls:
                if call is not None and isinstance(error, ManagerLost) and self._may_rerun(call):
                    again.append(call)
                elif call is not None:
                    failed.append((call, error))
            self.outstanding -= len(failed)
            self._waiting.extendleft(reversed(again))
            failed += self._pump()
        _fail(failed)

    def _take_in(self, number: int, batch: Batch, report: Report, *, final: bool) -> None:
        outcomes: list[tuple[int, Call, bytes]] = []
        failed: list[tuple[Call, BaseException]] = []
        with self.lock:
            calls = batch.calls
            times: dict[Pace, list[float]] = {}
            for index, seconds, outcome in unpacked(report.records):
                if (call := calls[index]) is not None:
                    calls[index] = None
                    outcomes.append((index, call, outcome))
                    pace = call.known.pace
                    if pace in times:
                        times[pace].append(seconds)
                    else:
                        times[pace] = [seconds]
            short = self._short
            for pace, taken in times.items():
                pace.add(taken, short)
            if final:
                self._forget(number, batch)
                failed += self._lost(batch, report)
            back = self._take_back(batch, report, final=final)
            self.outstanding -= len(outcomes) + len(failed)
            self._waiting.extendleft(reversed(back))
            failed += self._pump()
        self._settle(batch, report, outcomes)
        _fail(failed)
        collector.reported()

    def _forget(self, number: int, batch: Batch) -> None:
        if self._flying.pop(number, None) is not None:
            self._short_flying -= batch.short

    def _take_back(self, batch: Batch, report: Report, *, final: bool) -> list[Call]:
        """Return the calls that have not begun; the one that runs longer than it was thought to has to prove itself."""
        begun = 0 if final else (report.returned if report.returned is not None else len(batch.calls))
        calls = batch.calls
        if not final and begun and (running := calls[begun - 1]) is not None:
            running.known.pace.refute()
            if batch.short:
                batch.short = False
                self._short_flying -= 1
        back = [call for call in calls[begun:] if call is not None]
        calls[begun:] = [None] * len(calls[begun:])
        return back

    def _lost(self, batch: Batch, report: Report) -> list[tuple[Call, BaseException]]:
        """Return the calls that have failed with their batch, and why."""
        calls = batch.calls
        if report.failed is not None:
            error = _exception(report.failed)
            most = report.returned or len(calls)  # where none has begun, the batch itself is at fault
            left = [call for call in calls[:most] if call is not None]
            calls[:most] = [None] * most
            return [(call, error) for call in left]
        if report.lost is None:
            return []
        last, rank, host, how = report.lost
        failed: list[tuple[Call, BaseException]] = []
        for index, call in enumerate(calls[: last + 1]):  # where the manager is lost too, an outcome may be on its way
            if call is None:
                continue
            call.known.pace.refute()
            if not self._may_rerun(call):  # else it stays, and goes back with those that have not begun
                calls[index] = None
                failed.append((call, CallLost(rank, host, how, call.known.name)))
        return failed

    @staticmethod
    def _may_rerun(call: Call) -> bool:
        call.reruns += 1
        return call.reruns <= call.known.reruns

    def _settle(self, batch: Batch, report: Report, outcomes: Sequence[tuple[int, Call, bytes]]) -> None:
        """Give calls their outcomes, and let what is to be kept be kept before."""
        answers: list[Any] = []
        others: dict[int, Any] = {}
        for index, call, outcome in outcomes:
            if outcome[0] == _PLAIN:
                answer = _SMALL.get(outcome, _NOTHING)
                answers.append(pickle.loads(memoryview(outcome)[1:]) if answer is _NOTHING else answer)
                continue
            answers.append(answer := self._answers.deserialize(memoryview(outcome)[1:]))  # type: ignore[arg-type]
            if call.mark is not None and not isinstance(answer, RemoteExceptionWrapper):
                others[index] = answer
        if self.keep is not None and outcomes and any(batch.marks):
            try:
                self.keep(Kept(batch.marks, batch.work, report.records, others))
            except Exception:  # the calls have their outcomes all the same
                logger.exception("results could not be kept")
        found: list[tuple[Call, Any, BaseException | None]] = []
        for (_, call, outcome), answer in zip(outcomes, answers, strict=True):
            call.content = None  # not before: a class of the answer may live by the call alone
            if outcome[0] == _RAISED:
                found.append((call, None, answer.get_exception()))
            else:
                found.append((call, answer, None))
        finish(found)


def _exception(serialized: bytes) -> BaseException:
    from parsl.serialize import deserialize

    try:
        error: BaseException = deserialize(serialized).get_exception()
    except Exception as unreadable:
        return unreadable
    return error


def _fail(failed: Sequence[tuple[Call, BaseException]]) -> None:
    finish([(call, None, error) for call, error in failed])
