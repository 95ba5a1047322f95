"""The manager's connection to the interchange where it goes through a tunnel, which may break and be made anew.

Parsl's manager is given a socket that looks like the one it asks for. What it sends there goes to a thread, which has
the real connection and speaks `pilotage.worker.reliable` over it; so Parsl's loop sees each message once, and none of
those that only acknowledge.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import threading
import time
from typing import Any, cast

import zmq
from parsl import curvezmq

from pilotage.worker.reliable import PULSE, SESSION, Conversation, read

AT_ONCE = 100
"""Messages of one side that are carried before the other has its turn."""
OPTIONS = {
    zmq.RECONNECT_IVL: 100,
    zmq.RECONNECT_IVL_MAX: 1000,
    zmq.CONNECT_TIMEOUT: 5000,
    # A tunnel may take a connection at once, and have no other end: then another must be tried.
    zmq.HANDSHAKE_IVL: 10_000,
    # It may also carry nothing any more without closing. The interchange needs no such look: it gets a new connection.
    zmq.HEARTBEAT_IVL: 2000,
    zmq.HEARTBEAT_TIMEOUT: 8000,
    zmq.HEARTBEAT_TTL: 10_000,
    zmq.TCP_KEEPALIVE: 1,
    zmq.SNDHWM: 0,
    zmq.RCVHWM: 0,
    zmq.LINGER: 0,
}
"""Milliseconds, mostly. What is queued for a connection that is down is bounded by what is not acknowledged."""
_names = itertools.count()


class Context(curvezmq.ClientContext):
    """Parsl's context for clients, whose sockets outlive their connection.

    Parameters
    ----------
    cert_dir: folder of the connection's keys, None where it is not encrypted.
    threshold: seconds without a word of the interchange after which Parsl's manager ends, which is told then.
    """

    def __init__(self, cert_dir: str | os.PathLike[str] | None, threshold: float = float("inf")) -> None:
        super().__init__(cert_dir)
        self._threshold = threshold

    def socket(self, socket_type: int, *args: Any, **kwargs: Any) -> zmq.Socket[bytes]:
        """Return a socket."""
        if socket_type != zmq.DEALER:
            return super().socket(socket_type, *args, **kwargs)
        far = super().socket(zmq.DEALER)
        for option, value in OPTIONS.items():
            far.setsockopt(option, value)
        near = cast("Near", self._ctx.socket(zmq.DEALER, socket_class=Near))
        near.far, near.threshold = far, self._threshold
        near.set_hwm(0)
        return near


class Near(zmq.Socket[bytes]):
    """The end that Parsl has; it can be connected once."""

    far: zmq.Socket[bytes]
    threshold: float
    _carrier: Carrier | None = None

    def connect(self, addr: str) -> Any:
        """Connect to the interchange; see `zmq.Socket.connect`."""
        self.far.setsockopt(zmq.IDENTITY, self.getsockopt(zmq.IDENTITY))
        self.far.connect(addr)
        inner, place = self.context.socket(zmq.DEALER), f"inproc://tunnelled-{next(_names)}"
        inner.set_hwm(0)
        inner.setsockopt(zmq.LINGER, 0)
        inner.bind(place)
        self._carrier = Carrier(inner, self.far, self.threshold)
        self._carrier.start()
        return super().connect(place)

    def close(self, linger: int | None = None) -> None:
        """Close it, and the connection with it: another of the same name may follow, which must not be replaced."""
        carrier, self._carrier = self._carrier, None
        if carrier is not None:
            carrier.stop()
        else:
            self.far.close(0)
        super().close(linger)


class Carrier(threading.Thread):
    """Carries messages between Parsl's end and the interchange.

    Parameters
    ----------
    near: what Parsl's end is connected to.
    far: the connection.
    threshold: seconds of silence after which the end of this is told.
    """

    def __init__(self, near: zmq.Socket[bytes], far: zmq.Socket[bytes], threshold: float) -> None:
        super().__init__(name="Tunnel-Carrier", daemon=True)
        self._near = near
        self._far = far
        self._threshold = threshold
        self._talk = Conversation(os.urandom(SESSION))
        self._ending, self._end = os.pipe()
        self._heard = time.monotonic()

    def stop(self) -> None:
        """Close the connection; what is not acknowledged is lost."""
        os.write(self._end, b"!")
        self.join()
        os.close(self._end)
        os.close(self._ending)

    def run(self) -> None:
        """Carry until the end."""
        with contextlib.suppress(zmq.ContextTerminated):
            self._carry()
        silence = time.monotonic() - self._heard
        if silence >= self._threshold:
            words = f"nothing has been heard of the interchange for {silence:.0f} s: this manager gives the run up"
            sys.stderr.write(f"pilotage: {words}\n")
            sys.stderr.flush()
        self._near.close(0)
        self._far.close(0)

    def _carry(self) -> None:
        poller = zmq.Poller()
        for source in (self._near, self._far, self._ending):
            poller.register(source, zmq.POLLIN)
        asked = time.monotonic()
        while True:
            left = max(asked + PULSE - time.monotonic(), 0)
            ready = dict(poller.poll(int(1000 * left) + 1 if self._talk.waits else None))
            if self._ending in ready:
                return
            if not self._talk.waits:
                asked = time.monotonic()
            if self._near in ready:
                self._take(self._near)
            if self._far in ready:
                self._take(self._far)
            if time.monotonic() >= asked + PULSE:
                asked = time.monotonic()
                self._send(self._talk.pulse())

    def _take(self, source: zmq.Socket[bytes]) -> None:
        with contextlib.suppress(zmq.Again):
            for _ in range(AT_ONCE):
                message = source.recv(zmq.NOBLOCK)
                if source is self._near:
                    self._send(self._talk.say(message))
                else:
                    self._hear(message)

    def _hear(self, message: bytes) -> None:
        self._heard = time.monotonic()
        frame = read(message)
        if frame is None:  # an interchange that is not ours
            self._near.send(message)
        elif frame.session == self._talk.session:
            complete, replies = self._talk.hear(frame)
            if complete is not None:
                self._near.send(complete)
            self._send(replies)

    def _send(self, frames: list[bytes]) -> None:
        with contextlib.suppress(zmq.Again):  # as good as lost on the way
            for frame in frames:
                self._far.send(frame, zmq.NOBLOCK)
