"""What a node says last: that its manager is gone, and what its workers had done of their tasks.

Without it the interchange waits for heartbeats, two minutes by default, gives the dead manager more tasks meanwhile,
and then can tell of none of them whether it had begun. The node guard says it, once nothing of the manager's is left.
"""

from __future__ import annotations

import mmap
import os
import pickle
import signal
import socket
import time
from collections.abc import Sequence
from typing import NamedTuple

from pilotage.worker.slots import Given, Slot, workers_in
from pilotage.worker.sparing import sparing

FAREWELL = b"\x00pilotage farewell\x00"
"""First bytes of the message; then a pickled `LastWords`."""
ANSWER = 6000
"""Milliseconds that the interchange has to answer."""
PATIENT_ANSWER = 15_000
"""The same where a tunnel may just be made anew."""
SAY_AGAIN = 1000
"""Milliseconds without an answer after which it is said again: a tunnel that broke may have lost it."""
MORE = 4
"""Seconds beyond that after which the process that says it ends itself."""


class Left(NamedTuple):
    """What a worker had done of the task that it had; see `pilotage.worker.slots`.

    ``limited``: whether calls of it were taken back before, and are others' by now.
    """

    rank: int
    calls: int
    begun: int
    records: bytes
    limited: bool


class LastWords(NamedTuple):
    """A manager's name at the interchange, its host, how it ended, and by task what its workers left.

    ``given`` are the numbers of the latest tasks that any worker has had.
    """

    manager: bytes
    host: str
    how: str
    left: dict[int, Left]
    given: set[int]


class Farewell:
    """Says farewell to an interchange.

    Parameters
    ----------
    slots: the node's shared memory.
    interchange: addresses and ports at which it may listen.
    manager: the manager's name there.
    certificates: folder of the connection's keys, None where it is not encrypted.
    """

    def __init__(
        self, slots: mmap.mmap, interchange: Sequence[tuple[str, int]], manager: str, certificates: str | None
    ) -> None:
        self._slots = slots
        self._interchange = tuple(interchange)
        self._manager = manager
        self._certificates = certificates

    def left(self) -> dict[int, Left]:
        """Return what the workers have left."""
        found = {}
        for rank in range(workers_in(self._slots)):
            slot = Slot(self._slots, rank)
            if slot.task:
                found[slot.task] = Left(rank, slot.calls, slot.begun, slot.records(0, slot.used), slot.is_limited)
        return found

    def say(self, how: str, *, through_a_break: bool = False) -> None:
        """Say it. Returns when it is heard, or in vain.

        Parameters
        ----------
        how: goes on a sentence that begins with the manager.
        through_a_break: whether to try for longer, also where nobody listens: a tunnel may just be made anew.
        """
        if not self._manager or (not through_a_break and self._nobody_listens()):
            return
        words = LastWords(self._manager.encode(), os.uname().nodename, how, self.left(), Given(self._slots).numbers())
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            return
        try:  # ZeroMQ has threads, and may wait: both are for a process that is of no use for anything else
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm((PATIENT_ANSWER if through_a_break else ANSWER) // 1000 + MORE)
            self._send(FAREWELL + pickle.dumps(words), through_a_break)
        finally:
            os._exit(0)

    def _nobody_listens(self) -> bool:
        return all(map(_refuses, self._interchange))

    def _send(self, message: bytes, through_a_break: bool) -> None:
        import zmq

        with sparing():  # it is only as good as it is quick, and the node may be busy
            from parsl import curvezmq
            from parsl.addresses import tcp_url

        context, poller = curvezmq.ClientContext(self._certificates), zmq.Poller()
        peers = [context.socket(zmq.DEALER) for _ in self._interchange]
        for peer, (address, port) in zip(peers, self._interchange, strict=True):
            peer.setsockopt(zmq.LINGER, 0)
            peer.setsockopt(zmq.HANDSHAKE_IVL, ANSWER)
            peer.connect(tcp_url(address, port))
            poller.register(peer, zmq.POLLIN)
        end = time.monotonic() + (PATIENT_ANSWER if through_a_break else ANSWER) / 1000
        while time.monotonic() < end:
            for peer in peers:
                peer.send(message)
            if poller.poll(SAY_AGAIN) or (not through_a_break and self._nobody_listens()):
                return


def _refuses(place: tuple[str, int]) -> bool:
    """Return whether nobody listens there any more: as a rule, the run has ended and this node with it."""
    try:
        with socket.create_connection(place, timeout=1) as tried:
            # ZeroMQ greets whoever connects. A tunnel whose other end leads nowhere takes the connection and closes it.
            return not tried.recv(1)
    except (ConnectionRefusedError, ConnectionResetError):
        return True
    except OSError:  # silence, or no way there, is no answer
        return False
