"""What Parsl's manager is given in the place of multiprocessing: forked workers, and connections without shared locks.

Parsl's worker pool takes its queues, its counters and its processes from one context object. With this one, its manager
and its worker run unchanged, no process has to start only to hold a dictionary, and a worker's death is known at once.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import mmap
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

from pilotage.worker import channel
from pilotage.worker.desk import Desk
from pilotage.worker.forking import ForkServer
from pilotage.worker.slots import Given, Slot

POOL = "parsl.executors.high_throughput.process_worker_pool"
PRELOADED = ("pilotage.worker.batch", "pilotage.worker.pickling", "parsl.monitoring.radios.base")


class Context:
    """Stands for ``multiprocessing.get_context("spawn")`` in Parsl's worker pool.

    Parameters
    ----------
    slots: shared memory with a slot for each worker (`pilotage.worker.slots.memory`).
    pins: variables of each worker that say which accelerators it has; None leaves that to Parsl.
    """

    def __init__(self, slots: mmap.mmap, pins: Sequence[Mapping[str, str]] | None = None) -> None:
        self._slots = slots
        self._pins = pins
        self._queues = 0
        self._monitoring, self._monitored = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._server = ForkServer(self._work)
        self._workers: dict[int, Worker] = {}
        self.desk = Desk(self._restart, self._ended, Given(slots))

    def load(self) -> None:
        """Import what manager and workers need, once for all of them."""
        for module in (POOL, *PRELOADED):
            importlib.import_module(module)

    def start(self) -> None:
        """Start the fork server; to be called while this process has one thread."""
        self._server.start()
        self.desk.watch(self._server.control.fileno())

    def cpu_count(self) -> int:
        """Return the machine's cores."""
        return multiprocessing.cpu_count()

    def Value(self, kind: str, value: int) -> channel.Nothing:  # noqa: N802,ARG002  multiprocessing's name
        """Return a counter that nobody reads."""
        return channel.Nothing()

    def Manager(self) -> Context:  # noqa: N802
        """Return what makes the dictionary of running tasks and the monitoring queue."""
        return self

    def Queue(self) -> Tasks | Results | Monitoring:  # noqa: N802
        """Return the next of the manager's queues, in the order in which Parsl makes them."""
        self._queues += 1
        kinds: list[Callable[[], Tasks | Results | Monitoring]] = [
            lambda: Monitoring(self._monitoring, self._monitored),
            lambda: Tasks(self.desk),
            lambda: Results(self.desk),
        ]
        return kinds[self._queues - 1]()

    def Process(self, *, target: object, args: tuple[Any, ...], name: str) -> Worker:  # noqa: N802,ARG002
        """Return a worker that is started anew whenever it dies."""
        rank: int = args[0]
        self._workers[rank] = Worker(self, rank, args, name)
        return self._workers[rank]

    def dict(self) -> channel.Nothing:
        """Return a dictionary of which nothing is asked: the desk knows."""
        return channel.Nothing()

    def fork(self, worker: Worker) -> None:
        """Start a worker's process."""
        theirs = self.desk.seat(worker.rank, Slot(self._slots, worker.rank))
        with theirs:
            self._server.fork(theirs, (worker.rank, worker.name, worker.arguments))

    def _restart(self, rank: int) -> None:
        with contextlib.suppress(OSError):  # the fork server has ended, and the manager will
            self.fork(self._workers[rank])

    def _ended(self, timeout: float) -> MutableMapping[int, int]:
        try:
            while self._server.hear(timeout):
                timeout = 0
        except OSError as error:  # no worker could be replaced any more; the guard ends the rest and says so
            sys.stderr.write(f"pilotage: {error}\n")
            sys.stderr.flush()
            os._exit(1)
        return self._server.ended

    def wait(self, process: int, timeout: float | None) -> int | None:
        """Return the wait status of a process once it has ended, None where it has not within ``timeout`` seconds."""
        until = None if timeout is None else time.monotonic() + timeout
        while process not in self._server.ended:
            left = 60.0 if until is None else until - time.monotonic()
            if left <= 0:
                return None
            self._ended(left)
        return self._server.ended[process]

    def _work(self, connection: socket.socket, rank: int, name: str, arguments: tuple[Any, ...]) -> None:
        """In a forked process: be a worker."""
        multiprocessing.current_process().name = name
        channel.this = channel.Channel(connection, self._monitored, Slot(self._slots, rank))
        worker = importlib.import_module(POOL).worker
        given = inspect.signature(worker).bind(*arguments)
        if self._pins is not None:  # Parsl would count the node's devices, and set variables of other makers' too
            os.environ.update(self._pins[rank])
            given.arguments["accelerator"] = None
        worker(*given.args)


class Worker:
    """A worker in the eyes of Parsl's manager, which keeps it for as long as it lives itself."""

    def __init__(self, context: Context, rank: int, arguments: tuple[Any, ...], name: str) -> None:
        self.rank = rank
        self.arguments = arguments
        self.name = name
        self._context = context
        self._status: int | None = None

    @property
    def pid(self) -> int | None:
        """Its present process id, None while it starts."""
        return self._context.desk.process_of(self.rank)

    @property
    def exitcode(self) -> int | None:
        """Its exit code, None while it lives."""
        return None if self._status is None else os.waitstatus_to_exitcode(self._status)

    def start(self) -> None:
        """Start it."""
        self._context.fork(self)

    def is_alive(self) -> bool:
        """Return True: the desk replaces a process that has died, at once."""
        return True

    def terminate(self) -> None:
        """Ask it to end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self._signal(signal.SIGKILL)

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end."""
        if self.pid is not None:
            self._status = self._context.wait(self.pid, timeout)

    def close(self) -> None:
        """Forget it."""

    def _signal(self, number: int) -> None:
        self._context.desk.close()
        if self.pid is not None and self._status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Tasks(channel.Tasks):
    """The manager's end of the tasks."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def __reduce__(self) -> tuple[Any, ...]:
        return channel.Tasks, ()

    def put(self, task: dict[str, Any]) -> None:
        """Give a task to a worker."""
        self._desk.put(task)

    def qsize(self) -> int:
        """Return the number of tasks that no worker has."""
        return self._desk.qsize()


class Results(channel.Results):
    """The manager's end of the results."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def __reduce__(self) -> tuple[Any, ...]:
        return channel.Results, ()

    def put(self, message: bytes | None) -> None:
        """Let the manager's own `get` return a message."""
        self._desk.put_message(message)

    def get(self, block: bool = True, timeout: float | None = None) -> bytes | None:
        """Return the next message for the driver; raises queue.Empty where there is none in time."""
        return self._desk.get(block, timeout)


class Monitoring(channel.Monitoring):
    """The manager's end of what monitoring says."""

    def __init__(self, ours: socket.socket, theirs: socket.socket) -> None:
        self._ours = ours
        self._theirs = theirs

    def __reduce__(self) -> tuple[Any, ...]:
        return channel.Monitoring, ()

    def put(self, message: bytes | None) -> None:
        """Let `get` return a message; None ends Parsl's thread that waits there."""
        self._theirs.send(message or b"")

    def get(self, block: bool = True) -> bytes | None:  # noqa: ARG002
        """Return the next message, None for the end."""
        return self._ours.recv(channel.DATAGRAM << 4) or None
