"""A ZeroMQ connection to the interchange, which says when it has been made anew."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from pilotage.worker.data.link import Interchange, Restarted
from pilotage.worker.data.wire import Buffer
from pilotage.worker.tunnelled import OPTIONS

OURS = {
    # A heartbeat waits behind the pieces that are on their way, which takes long where many share a slow tunnel.
    zmq.HEARTBEAT_IVL: 5000,
    zmq.HEARTBEAT_TIMEOUT: 20_000,
    zmq.HEARTBEAT_TTL: 30_000,
}


class Dealer:
    """The `link.Transport` of ZeroMQ; for one thread at a time.

    It has no name at the interchange: what was for a connection that is gone goes nowhere, and is asked for anew.
    """

    def __init__(self, address: str, interchange: Interchange) -> None:
        self._address = address
        self._interchange = interchange
        self._socket: zmq.Socket[bytes]
        self._monitor: zmq.Socket[bytes]
        self._open()

    def _open(self) -> None:
        socket: Any = zmq.Context.instance().socket(zmq.DEALER)
        for option, value in (OPTIONS | OURS).items():
            socket.setsockopt(option, value)
        if self._interchange.keys is not None:
            public, secret, server = self._interchange.keys
            socket.curve_publickey, socket.curve_secretkey, socket.curve_serverkey = public, secret, server
        socket.setsockopt(zmq.IPV6, 1)
        self._socket, self._connected = socket, False
        self._monitor = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        self._monitor.setsockopt(zmq.LINGER, 0)
        name = f"[{self._address}]" if ":" in self._address else self._address
        socket.connect(f"tcp://{name}:{self._interchange.port}")
        self._poller = zmq.Poller()
        self._poller.register(socket, zmq.POLLIN)
        self._poller.register(self._monitor, zmq.POLLIN)

    def send(self, frames: Sequence[Buffer]) -> None:
        """Send a message; it waits here where there is no connection."""
        self._socket.send_multipart(frames, copy=False)

    def receive(self, seconds: float) -> Sequence[Buffer] | None:
        """Return a message, None where there is none in time; raises Restarted."""
        until = time.monotonic() + seconds
        while True:
            ready = dict(self._poller.poll(int(max(until - time.monotonic(), 0) * 1000) + 1))
            if self._socket in ready:
                return [frame.buffer for frame in self._socket.recv_multipart(copy=False)]
            if self._monitor in ready:
                recv_monitor_message(self._monitor)
                if self._connected:
                    raise Restarted
                self._connected = True
            elif time.monotonic() >= until:
                return None

    def renew(self) -> None:
        """Make a new connection."""
        self.close()
        self._open()

    def close(self) -> None:
        """End it, and drop what it has."""
        self._socket.disable_monitor()
        self._monitor.close(0)
        self._socket.close(0)
