"""A tunnel for tests: a way to a port that can break, lose what it carries, and be made anew."""

import contextlib
import select
import socket
import struct
import threading
import time

RESET = struct.pack("ii", 1, 0)


class Tunnel:
    """A `pilotage.hosts.route.Route` within this process.

    While it swallows, it takes bytes and loses them, and whoever sent them is not told, as when the far half of a real
    tunnel is gone. Such a connection is not of use again: it ends when the tunnel carries anew.
    """

    def __init__(self):
        self.opened, self.closed = [], 0
        self.refused = False
        self._place = None
        self._listener = None
        self._target = None
        self._swallows = False
        self._pairs = set()
        self._lock = threading.Lock()
        self.carried = 0
        self.rate = float("inf")  # bytes a second

    def open(self, port):
        self.opened.append(port)
        if self.refused:
            raise OSError("no way")
        self._target = port
        self._listen(("127.0.0.1", 0))
        self._place = self._listener.getsockname()
        return self._place

    def close(self):
        self.closed += 1
        self._end()

    def cut(self, seconds, losing=0.3):
        """Lose for a moment all that is sent, then break, and be made anew after ``seconds``."""
        self._swallows = True
        time.sleep(losing)
        self._end()
        time.sleep(seconds - losing)
        self._swallows = False
        self._listen(self._place)

    def swallow(self, seconds):
        """Carry nothing, without a sign: connections stay, and new ones are taken."""
        self._swallows = True
        time.sleep(seconds)
        self._swallows = False
        self._reset()

    def vanish(self):
        """Break for good."""
        self._swallows = True
        self._end()

    def _listen(self, place):
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(place)
        self._listener.listen(20)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _end(self):
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        self._reset()

    def _reset(self):
        with self._lock:
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            for one in pair:
                with contextlib.suppress(OSError):
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    one.shutdown(socket.SHUT_RDWR)
                one.close()

    def _accept(self, listener):
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.socket()
                try:
                    far.connect(("127.0.0.1", self._target))
                except OSError:
                    near.close()
                    continue
                with self._lock:
                    self._pairs.add((near, far))
                threading.Thread(target=self._carry, args=(near, far), daemon=True).start()

    def _carry(self, near, far):
        other = {near: far, far: near}
        with contextlib.suppress(OSError, ValueError):
            while True:
                for one in select.select(list(other), [], [], 1)[0]:
                    data = one.recv(1 << 16)
                    if self._swallows:
                        if not data:
                            return
                        continue
                    if not data:
                        near.close()
                        far.close()
                        return
                    other[one].sendall(data)
                    self.carried += len(data)
                    time.sleep(len(data) / self.rate)
