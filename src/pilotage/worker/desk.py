"""The manager's side of its workers: who does what, what came of it, and what a dead one has left.

Parsl's manager is given a `Desk` in the place of multiprocessing's queues: `put` hands a task to a worker that is idle,
`get` returns the next message for the driver. Everything that a worker has finished is told, whatever becomes of it:

- When a batch's budget is spent, its finished results and the calls that have not begun go back at once, while the
  call that is running goes on (``PARTIAL`` messages).
- When a worker dies, the call that was running is lost, by its index; its finished results are told, and what it had
  not begun goes back. A new worker takes its place at once.
"""

from __future__ import annotations

import collections
import contextlib
import os
import pickle
import queue
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, MutableMapping
from typing import Any

from parsl.app.errors import RemoteExceptionWrapper
from parsl.serialize import serialize

from pilotage.worker.channel import DATAGRAM, EXECUTE, HEAD, HELLO, LENGTH, MOVED, RESULT, SPILLED
from pilotage.worker.data import accounts
from pilotage.worker.report import NUMBER, PARTIAL, CallLost, Report, how_ended
from pilotage.worker.slots import Given, Slot

SETTLE = 0.001
"""Seconds after which a limit that one process has written is surely seen by another."""
STATUS_WAIT = 2.0
STUCK = 1.0
"""Seconds that a worker has to begin what was sent to it; then it is given to others."""
DELIVERIES = 3
"""Workers that may die while they receive a task; one more would die of it too."""
FAILED_STARTS = 5
"""Starts of workers in a row, for each, that may fail before the manager gives up."""
BIG = 128 << 10
"""Bytes from which a task is sent by a thread of its own: its worker may be slow to read."""


class Seat:
    """One worker."""

    def __init__(self, rank: int, connection: socket.socket, slot: Slot) -> None:
        self.rank = rank
        self.connection = connection
        self.slot = slot
        self.process: int | None = None
        self.task: dict[str, Any] | None = None
        self.calls = 0
        self.told = 0
        self.spilled: list[bytes] = []
        self.budget = 0.0
        self.deadline: float | None = None
        self.limited = False
        self.sent: float | None = None
        self.received = bytearray()
        self.ended = False


class Desk:
    """The workers of one manager.

    Parameters
    ----------
    restart: called with a worker's rank when it has died, to start another.
    ended: waits up to a number of seconds for the end of processes, and returns wait statuses by process id.
    given: where the numbers of tasks that workers have had are noted.
    """

    def __init__(
        self, restart: Callable[[int], None], ended: Callable[[float], MutableMapping[int, int]], given: Given
    ) -> None:
        self._restart = restart
        self._ended = ended
        self._lock = threading.Lock()
        self._waiting: collections.deque[dict[str, Any]] = collections.deque()
        self._idle: list[Seat] = []
        self._seats: dict[int, Seat] = {}
        self._messages: collections.deque[bytes | None] = collections.deque()
        self._poll = select.poll()
        self._wake, self._woken = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._woken, False)
        self._poll.register(self._wake, select.POLLIN)
        self._closed = False
        self._control = -1
        self._failed_starts = 0
        self._given = given
        self._deliveries: dict[int, int] = {}

    def process_of(self, rank: int) -> int | None:
        """Return the process id of a worker, None where it has not said so yet."""
        return next((seat.process for seat in list(self._seats.values()) if seat.rank == rank), None)

    def watch(self, descriptor: int) -> None:
        """Call ``ended`` when there is something to read at ``descriptor``."""
        self._control = descriptor
        self._poll.register(descriptor, select.POLLIN)

    def seat(self, rank: int, slot: Slot) -> socket.socket:
        """Make a place for a worker and return the worker's end of its connection, to be closed here."""
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * BIG)  # what is sent at once must find room
        with self._lock:
            self._seats[ours.fileno()] = Seat(rank, ours, slot)
            self._poll.register(ours, select.POLLIN)
        self._notify()
        return theirs

    def close(self) -> None:
        """Start no more workers."""
        self._closed = True

    def qsize(self) -> int:
        """Return the number of tasks that no worker has."""
        return len(self._waiting)

    def put(self, task: dict[str, Any]) -> None:
        """Give a task to a worker, now or when one is free."""
        with self._lock:
            self._waiting.append(task)
            self._dispatch()

    def put_message(self, message: bytes | None) -> None:
        """Let `get` return a message."""
        self._messages.append(message)
        self._notify()

    def get(self, block: bool = True, timeout: float | None = None) -> bytes | None:
        """Return the next message for the driver; raises queue.Empty where there is none in time."""
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            if self._messages:
                return self._messages.popleft()
            now = time.monotonic()
            wait = self._look_at_budgets(now)
            if self._messages:
                continue
            if not block:
                wait = 0.0
            elif until is not None:
                wait = until - now if wait is None else min(wait, until - now)
            ready = self._poll.poll(None if wait is None else max(wait, 0) * 1000)
            for descriptor, _ in ready:
                self._read(descriptor)
            if not ready and not self._messages and (not block or (until is not None and time.monotonic() >= until)):
                raise queue.Empty

    def _notify(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._woken, b"!")

    def _dispatch(self) -> None:
        while self._idle and self._waiting:
            seat, task = self._idle.pop(), self._waiting.popleft()
            seat.task, seat.told, seat.spilled, seat.deadline, seat.limited = task, 0, [], None, False
            seat.calls, seat.budget = batch_of(task)
            self._given.note(task["task_id"])
            seat.slot.prepare(task["task_id"], seat.calls)
            seat.sent = None
            if seat.budget:
                seat.deadline = time.monotonic() + seat.budget
                self._notify()
            data = pickle.dumps(task, pickle.HIGHEST_PROTOCOL)
            if len(data) < BIG:
                _send(seat, data)
            else:
                threading.Thread(target=_send, args=(seat, data), daemon=True).start()

    def _look_at_budgets(self, now: float) -> float | None:
        """Take back what has not begun where a budget is spent; return the seconds until the next is."""
        nearest = None
        with self._lock:
            for seat in self._seats.values():
                if seat.deadline is None:
                    continue
                if now >= seat.deadline:
                    on_its_way = seat.sent is None or now - seat.sent < STUCK
                    if seat.slot.begun == 0 and on_its_way and not seat.limited:
                        seat.deadline = now + seat.budget
                    elif not seat.limited:
                        seat.limited = True
                        seat.slot.limit(seat.slot.begun)
                        seat.deadline = now + SETTLE
                    else:
                        seat.deadline = None
                        self._tell_so_far(seat)
                        continue
                nearest = seat.deadline if nearest is None else min(nearest, seat.deadline)
        return None if nearest is None else nearest - now

    def _tell_so_far(self, seat: Seat) -> None:
        if seat.task is None:
            return
        report = Report(self._news(seat), returned=min(seat.slot.begun, seat.calls))
        self._messages.append(PARTIAL + NUMBER.pack(seat.task["task_id"]) + pickle.dumps(report))

    def _news(self, seat: Seat) -> bytes:
        used = seat.slot.used
        records = seat.slot.records(seat.told, used) + b"".join(seat.spilled)
        seat.told, seat.spilled = used, []
        return records

    def _read(self, descriptor: int) -> None:
        if descriptor == self._wake:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake, 4096)
        elif descriptor == self._control:
            self._bury(self._ended(0))
        elif (seat := self._seats.get(descriptor)) is not None and not self._receive(seat):
            self._lost_touch(seat)

    def _receive(self, seat: Seat) -> bool:
        """Take what a worker has sent; returns False at the end of it."""
        try:
            data = seat.connection.recv(1 << 20, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        if not data:
            return False
        seat.received += data
        while len(seat.received) >= HEAD.size:
            kind, length = HEAD.unpack_from(seat.received)
            end = HEAD.size + length
            if len(seat.received) < end:
                break
            frame = bytes(memoryview(seat.received)[HEAD.size : end])
            del seat.received[:end]
            self._take(seat, kind, frame)
        return True

    def _take(self, seat: Seat, kind: bytes, frame: bytes) -> None:
        if kind == SPILLED:
            seat.spilled.append(frame)
            return
        if kind == MOVED:
            self._messages.append(accounts.MOVED + frame)
            return
        with self._lock:
            if kind == HELLO:
                seat.process = int.from_bytes(frame, "little")
                self._failed_starts = 0
            elif kind == RESULT and seat.task is not None:
                self._messages.append(self._composed(seat, frame) if seat.calls else frame)
                self._deliveries.pop(seat.task["task_id"], None)
                seat.task, seat.deadline = None, None
                seat.slot.prepare(0, 0)
            if not seat.ended:
                self._idle.append(seat)
                self._dispatch()

    def _composed(self, seat: Seat, message: bytes) -> bytes:
        """Return Parsl's message about a batch that has ended, with a `Report` as its result."""
        failed = pickle.loads(message).get("exception")
        return self._result(seat, Report(self._news(seat), min(seat.slot.begun, seat.calls), failed=failed))

    def _result(self, seat: Seat, report: Report) -> bytes:
        number = seat.task["task_id"] if seat.task is not None else 0
        return pickle.dumps({"type": "result", "task_id": number, "result": serialize(report)})

    def _lost_touch(self, seat: Seat) -> None:
        """A worker has closed its connection: it has ended, or is of no use any more."""
        with self._lock:
            self._poll.unregister(seat.connection)
        if seat.process is None:  # it never got as far as to say who it is
            self._leave(seat, "did not start")
            return
        deadline = time.monotonic() + STATUS_WAIT
        while seat.process not in (ended := self._ended(0.1)) and time.monotonic() < deadline:
            with contextlib.suppress(ProcessLookupError):
                if time.monotonic() > deadline - STATUS_WAIT / 2:
                    os.kill(seat.process, signal.SIGKILL)
        if seat.process in ended:
            self._bury(ended)
        else:
            self._leave(seat, "has vanished")

    def _bury(self, ended: MutableMapping[int, int]) -> None:
        for seat in [seat for seat in list(self._seats.values()) if seat.process in ended]:
            seat.ended = True
            while self._has_more(seat) and self._receive(seat):  # what it said last
                pass
            self._leave(seat, how_ended(ended.pop(seat.process or 0)))
        # Of those that never said who they are, the connection's end tells.

    @staticmethod
    def _has_more(seat: Seat) -> bool:
        look = select.poll()
        look.register(seat.connection, select.POLLIN)
        return bool(look.poll(0))

    def _leave(self, seat: Seat, how: str) -> None:
        with self._lock:
            descriptor = seat.connection.fileno()
            self._seats.pop(descriptor, None)
            with contextlib.suppress(KeyError):
                self._poll.unregister(descriptor)
            if seat in self._idle:
                self._idle.remove(seat)
            if seat.task is not None:
                if seat.slot.begun == 0 and not seat.limited and self._may_deliver_again(seat.task["task_id"]):
                    self._waiting.appendleft(seat.task)  # so it can be done by another, as if nothing had been
                    self._dispatch()
                else:
                    self._messages.append(self._result(seat, self._left(seat, how)) if seat.calls else _lost(seat, how))
            seat.connection.close()
        if not self._closed:
            self._replace(seat)

    def _may_deliver_again(self, task: int) -> bool:
        self._deliveries[task] = self._deliveries.get(task, 0) + 1
        return self._deliveries[task] < DELIVERIES

    def _replace(self, seat: Seat) -> None:
        if seat.process is not None:
            self._restart(seat.rank)
            return
        self._failed_starts += 1  # whatever keeps workers from starting will do so again
        if self._failed_starts > FAILED_STARTS * (len(self._seats) + 1):
            sys.stderr.write(f"pilotage: worker {seat.rank} does not start; its own words are above or in its log\n")
            sys.stderr.flush()
            os._exit(1)
        delay = threading.Timer(min(0.1 * 2**self._failed_starts, 30), self._restart, (seat.rank,))
        delay.daemon = True
        delay.start()

    def _left(self, seat: Seat, how: str) -> Report:
        records, begun, host = self._news(seat), min(seat.slot.begun, seat.calls), os.uname().nodename
        if begun == 0 and not seat.limited:  # nobody can tell which call it is that cannot be received
            return Report(records, 1, lost=(0, seat.rank, host, f"{how} while the call was received"))
        return Report(records, begun, lost=(begun - 1, seat.rank, host, how) if begun else None)


def batch_of(task: dict[str, Any]) -> tuple[int, float]:
    """Return the number of calls of a task and its budget in seconds, 0 for none; 0 calls where it is no batch."""
    executor = task["context"].get("task_executor") or {}
    return executor["a"] if executor.get("f") == EXECUTE else (0, 0.0)


def _send(seat: Seat, data: bytes) -> None:
    connection = seat.connection
    # Where the worker is gone, the end of its connection tells.
    with contextlib.suppress(OSError):
        if len(data) < DATAGRAM:
            connection.sendall(LENGTH.pack(len(data)) + data)
        else:
            connection.sendall(LENGTH.pack(len(data)))
            connection.sendall(data)
        seat.sent = time.monotonic()


def _lost(seat: Seat, how: str) -> bytes:
    """Return Parsl's message about a task, not a batch, that took its worker along."""
    try:
        raise CallLost(seat.rank, os.uname().nodename, how)
    except CallLost as error:
        wrapped = serialize(RemoteExceptionWrapper(type(error), error, error.__traceback__))
    number = seat.task["task_id"] if seat.task is not None else 0
    return pickle.dumps({"type": "result", "task_id": number, "exception": wrapped})
