"""A relay on a login node: brings connections from compute nodes to one port of its own loopback, and nothing else.

``python relay.py ADDRESS PORT TARGET``

It listens at exactly one address, at ``PORT`` (0: any), and says ``listening PORT`` once it does. It ends when its
input does, which is the connection of whoever has started it. What passes is encrypted end to end by ZeroMQ; here
nothing of it is read. Where an earlier one of the same file still listens, since the end of its connection was not
noticed yet, that is ended first.

Standard library only, and one file: it is sent to where there need be nothing else of us.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import sys
import time

CHUNK = 1 << 16
PATIENCE = 5.0
"""Seconds to wait for a port that an earlier relay had."""
LOOPBACK = "127.0.0.1"


class Pipe:
    """One direction of a connection: what was read from one side and is not yet written to the other."""

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self.source = source
        self.target = target
        self.waiting = b""
        self.ended = False

    def pump(self) -> None:
        """Read and write what can be without waiting; raises OSError where a side is gone."""
        if not self.waiting and not self.ended:
            with contextlib.suppress(BlockingIOError):
                self.waiting = self.source.recv(CHUNK)
                self.ended = not self.waiting
        if self.waiting:
            with contextlib.suppress(BlockingIOError):
                self.waiting = self.waiting[self.target.send(self.waiting) :]


class Relay:
    """Relays connections; see the module.

    Parameters
    ----------
    listener: where they come from.
    target: the port that they go to.
    lifetime: a descriptor at whose end it ends.
    address: the host that they go to.
    """

    def __init__(self, listener: socket.socket, target: int, lifetime: int, address: str = LOOPBACK) -> None:
        self._listener = listener
        self._target = address, target
        self._lifetime = lifetime
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        self._selector.register(lifetime, selectors.EVENT_READ)
        self._pipes: dict[socket.socket, tuple[Pipe, Pipe]] = {}

    def run(self) -> None:
        """Relay until the input ends."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj == self._lifetime:
                    if not os.read(self._lifetime, 4096):
                        return
                elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._pipes:
                    self._move(key.fileobj)

    def _accept(self) -> None:
        try:
            near, _ = self._listener.accept()
        except OSError:  # it has given up meanwhile, or there are no descriptors left
            time.sleep(0.01)
            return
        try:
            far = socket.create_connection(self._target, timeout=5)
        except OSError:  # the tunnel is being made anew: a refusal, as if nobody listened
            near.close()
            return
        pipes = Pipe(near, far), Pipe(far, near)
        for one in (near, far):
            one.setblocking(False)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self._pipes[one] = pipes
            self._selector.register(one, selectors.EVENT_READ)

    def _move(self, one: socket.socket) -> None:
        pipes = self._pipes[one]
        try:
            for pipe in pipes:
                pipe.pump()
        except OSError:
            self._close(pipes)
            return
        if any(pipe.ended and not pipe.waiting for pipe in pipes):  # ZeroMQ closes both directions at once
            self._close(pipes)
            return
        for pipe in pipes:
            # Read where there is room, write where something waits: else it would turn without end.
            reads = selectors.EVENT_READ if not pipe.waiting else 0
            other = next(p for p in pipes if p.target is pipe.source)
            writes = selectors.EVENT_WRITE if other.waiting else 0
            self._watch(pipe.source, reads | writes)

    def _watch(self, one: socket.socket, events: int) -> None:
        known = self._selector.get_map().get(one)
        if not events:
            if known is not None:
                self._selector.unregister(one)
        elif known is None:
            self._selector.register(one, events)
        elif known.events != events:
            self._selector.modify(one, events)

    def _close(self, pipes: tuple[Pipe, Pipe]) -> None:
        for pipe in pipes:
            self._watch(pipe.source, 0)
            self._pipes.pop(pipe.source, None)
            pipe.source.close()


def listen(address: str, port: int) -> socket.socket:
    """Return a socket that listens at one address; raises OSError where the port stays taken."""
    until = time.monotonic() + PATIENCE
    while True:
        tried = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((address, port))
            tried.listen(1024)
        except OSError:
            tried.close()
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return tried


def end_earlier(note: str) -> None:
    """End the relay that ``note`` names, where it is one of this very file."""
    with contextlib.suppress(OSError, ValueError):
        with open(note, encoding="ascii") as file:
            pid = int(file.read())
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
        if os.fsencode(os.path.abspath(__file__)) in words:  # noqa: PTH100  one file, small
            os.kill(pid, signal.SIGKILL)


def main(argv: list[str]) -> None:
    """Run a relay; ``argv`` is the command line without the program."""
    address, port, target = argv[0], int(argv[1]), int(argv[2])
    note = os.path.abspath(__file__) + ".pid"  # noqa: PTH100
    end_earlier(note)
    listener = listen(address, port)
    with open(note, "w", encoding="ascii") as file:
        file.write(str(os.getpid()))
    sys.stdout.write(f"listening {listener.getsockname()[1]}\n")
    sys.stdout.flush()
    Relay(listener, target, sys.stdin.fileno()).run()


if __name__ == "__main__":
    main(sys.argv[1:])
