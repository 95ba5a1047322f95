"""The worker's end of what ties it to its manager: one connection for each worker, and no lock that it could die with.

Parsl's worker is given these in the place of multiprocessing's queues. A queue of multiprocessing is shared by all
workers of a node, and one that is killed while it holds the queue's lock stops all others for good.

Frames from a worker are a kind (1 byte), a length (8 bytes), and as many bytes; frames to it have no kind.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import select
import socket
import struct
import sys
import threading
from typing import Any

from pilotage.worker.slots import Slot

EXECUTE = "pilotage.worker.batch.execute"
"""The ``task_executor`` that makes a task of Parsl's a batch."""
HELLO, RESULT, SPILLED, MOVED = b"H", b"R", b"S", b"M"
"""A worker is ready; a task has ended (Parsl's message); the record of a call that found no room in the slot; what a
task has moved (`pilotage.worker.data.accounts`)."""
HEAD = struct.Struct("=cQ")
LENGTH = struct.Struct("=Q")
DATAGRAM = 64 << 10


class Channel:
    """A worker's connection, and its slot."""

    def __init__(self, connection: socket.socket, monitoring: socket.socket, slot: Slot) -> None:
        self.slot = slot
        self._connection = connection
        self._monitoring = monitoring
        self._process = os.getpid()
        self._greeted = False
        self._saying = threading.Lock()  # threads of a task may tell of what they move

    def end_if_forked(self) -> None:
        """End this process where it is a child that a task forked and that has come back from the task.

        It would go on with its parent's work, beside its parent.
        """
        if os.getpid() != self._process:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):
                    stream.flush()
            os._exit(1)

    def say(self, kind: bytes, data: bytes) -> None:
        """Send a frame; raises SystemExit where the manager is gone."""
        if os.getpid() != self._process:  # a child that a task forked: two would talk at once
            return
        try:
            with self._saying:
                if len(data) < DATAGRAM:
                    self._connection.sendall(HEAD.pack(kind, len(data)) + data)
                else:
                    self._connection.sendall(HEAD.pack(kind, len(data)))
                    self._connection.sendall(data)
        except OSError:
            sys.exit(0)

    def hear(self, timeout: float | None) -> bytes:
        """Return the next frame.

        Raises queue.Empty after ``timeout`` seconds without one, SystemExit where the manager is gone.
        """
        self.end_if_forked()
        if not self._greeted:  # only now: until here, whatever fails will fail again in the next worker
            self._greeted = True
            self.say(HELLO, self._process.to_bytes(8, "little"))
        ready = select.poll()
        ready.register(self._connection, select.POLLIN)
        if not ready.poll(None if timeout is None else timeout * 1000):
            raise queue.Empty
        return self._exactly(LENGTH.unpack(self._exactly(LENGTH.size))[0])

    def tell_monitoring(self, message: bytes) -> None:
        """Send a message of Parsl's monitoring; children of the worker do so too."""
        self._monitoring.send(message)

    def _exactly(self, size: int) -> bytes:
        data = bytearray(size)
        view, got = memoryview(data), 0
        while got < size:
            try:
                more = self._connection.recv_into(view[got:])
            except OSError:
                more = 0
            if not more:  # the manager is gone
                sys.exit(0)
            got += more
        return bytes(data)


this: Channel | None = None
"""The channel of this process, None where it is no worker of our pool."""


class _OfThisWorker:
    """A queue of the manager's, on the worker: pickled, it arrives as the channel's."""

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()

    @property
    def channel(self) -> Channel:
        if this is None:
            raise RuntimeError("this process is no worker")
        return this


class Tasks(_OfThisWorker):
    """What a worker takes its tasks from."""

    def get(self, timeout: float | None = None) -> Any:
        """Return the next task, as Parsl has it; raises queue.Empty after ``timeout`` seconds."""
        task = pickle.loads(self.channel.hear(timeout))
        if (task["context"].get("task_executor") or {}).get("f") != EXECUTE:
            self.channel.slot.may_begin(0)  # a batch says itself what it has begun
        return task


class Results(_OfThisWorker):
    """What a worker puts its results into."""

    def put(self, message: bytes) -> None:
        """Send Parsl's message about a task that has ended."""
        self.channel.say(RESULT, message)


class Monitoring(_OfThisWorker):
    """What a task's monitoring puts its messages into."""

    def put(self, message: bytes) -> None:
        """Send a message."""
        self.channel.tell_monitoring(message)


class Nothing:
    """Counters of Parsl's that nobody reads: the manager knows itself which worker does what."""

    value = 0

    def get_lock(self) -> Nothing:
        """Return a lock that is none."""
        return self

    def __enter__(self) -> Nothing:
        return self

    def __exit__(self, *error: object) -> None:
        return

    def __setitem__(self, worker: int, task: object) -> None:
        return

    def pop(self, worker: int) -> None:
        """Forget what a worker does."""
