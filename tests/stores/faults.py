"""Proxies that do harm: between a store and a real server, they answer in its place, stop, cut and slow what passes.

`HttpProxy` knows requests, for web servers, S3 and Google's storage; `TcpProxy` knows bytes, for ssh and the rest. Both
let everything through until they are given a `Fault`. ``Fault.met`` tells how often it happened: a test that passes
though its fault was never met shows nothing. ``Fault.passed`` are the bytes that it has let through.
"""

import contextlib
import socket
import struct
import threading
import time
from dataclasses import dataclass, field

PIECE = 1 << 14
RESET, TRUNCATE, HANG = "reset", "truncate", "hang"


@dataclass
class Fault:
    """What goes wrong.

    Parameters
    ----------
    answer: the status of an answer in the server's place; HTTP only.
    headers: of that answer.
    cut: what happens to a body, or to a connection's bytes, after the first ``after``: `RESET` breaks the connection,
        `TRUNCATE` closes it as if all were well, `HANG` lets nothing more through and goes on.
    up: count what the client sends, in place of what comes to it.
    rate: bytes a second that pass.
    first: requests (of ``methods``, where given; of HTTP alone) or connections that are let through before.
    times: how often it happens, None for always.
    body: of that answer.
    says: what the head of a request has where it is to meet this; HTTP only.
    """

    answer: int | None = None
    headers: dict = field(default_factory=dict)
    cut: str | None = None
    after: int = 0
    up: bool = False
    rate: float | None = None
    first: int = 0
    times: int | None = 1
    methods: tuple = ()
    body: bytes = b""
    says: bytes = b""
    met: int = 0
    passed: int = 0


class _Over(Exception):
    """The connection was cut."""


class _Proxy:
    """Parameters: the server's address. ``port`` is the proxy's own, on the loopback."""

    def __init__(self, port, host="127.0.0.1"):
        self.to = (host, port)
        self.faults = []
        self.seen = 0
        """Requests, or connections, so far."""
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._sockets, self._threads, self._lock = set(), [], threading.Lock()
        self._stopped = threading.Event()

    def __enter__(self):
        self._start(self._accept)
        return self

    def __exit__(self, *_):
        self._stopped.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop()
        for thread in self._threads:
            thread.join(10)

    def add(self, **known):
        """Let something go wrong from now on; returns the `Fault`."""
        fault = Fault(**known)
        with self._lock:
            self.faults.append(fault)
        return fault

    def drop(self):
        """End every connection, as a network that is gone does."""
        with self._lock:
            sockets = list(self._sockets)
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _start(self, work, *args):
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._start(self._serve, client)

    def _serve(self, client):
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.suppress(OSError, _Over, ValueError))
            self._keep(stack, client)
            server = socket.create_connection(self.to)
            self._keep(stack, server)
            self._relay(client, server)

    def _keep(self, stack, one):
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._sockets.add(one)

        def close():
            with self._lock:
                self._sockets.discard(one)
            one.close()

        stack.callback(close)

    def _next(self, method="", head=b""):
        """Return the fault that a request or connection meets, None where it goes through."""
        with self._lock:
            self.seen += 1
            for fault in self.faults:
                kept_out = method and fault.methods and method not in fault.methods
                if kept_out or fault.says not in head:
                    continue
                if fault.first > 0:
                    fault.first -= 1
                elif fault.times is None or fault.times > 0:
                    if fault.cut is None:
                        fault.times = fault.times and fault.times - 1
                    if fault.answer is not None:
                        fault.met += 1
                    return fault
        return None

    def _meets(self, fault):
        """Return whether a cut happens now: a small body has left it to a larger one, and two at once share it."""
        with self._lock:
            if fault.times == 0:
                return False
            fault.times = fault.times and fault.times - 1
            fault.met += 1
            return True

    def _pass(self, data, to, fault, done, client):
        """Send ``data``, of which ``done`` bytes have gone before, as far as a fault lets it; return the new count."""
        over = fault is not None and fault.cut is not None and done <= fault.after < done + len(data)
        if over and self._meets(fault):
            to.sendall(data[: fault.after - done])
            self._cut(fault.cut, client)
        if fault is not None and fault.rate is not None:
            fault.met += 1
            time.sleep(len(data) / fault.rate)
        to.sendall(data)
        if fault is not None:
            fault.passed += len(data)
        return done + len(data)

    def _cut(self, how, client):
        if how == HANG:
            self._stopped.wait()
        elif how == RESET:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise _Over


class TcpProxy(_Proxy):
    """Bytes, of whatever protocol."""

    def _relay(self, client, server):
        fault = self._next()
        self._start(self._one_way, client, server, fault if fault is not None and fault.up else None, client)
        self._one_way(server, client, fault if fault is not None and not fault.up else None, client)

    def _one_way(self, source, to, fault, client):
        done = 0
        try:
            while data := source.recv(PIECE):
                done = self._pass(data, to, fault, done, client)
            to.shutdown(socket.SHUT_WR)
        except (OSError, _Over):
            for one in (client, source, to):
                if fault is not None and fault.cut == RESET:
                    with contextlib.suppress(OSError):
                        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)


class HttpProxy(_Proxy):
    """Requests and answers of HTTP/1.1; ``requests`` are the (method, path, status) that passed, 0 for one cut off."""

    def __init__(self, port, host="127.0.0.1"):
        super().__init__(port, host)
        self.requests = []

    def _relay(self, client, server):
        asks, answers = client.makefile("rb"), server.makefile("rb")
        with asks, answers:
            while head := _head(asks):
                self._one(head, asks, answers, client, server)

    def _one(self, head, asks, answers, client, server):
        method, path, _ = head[0].decode("latin-1").split(" ", 2)
        known = _headers(head)
        fault = self._next(method, b"".join(head))
        record = [method, path, 0]
        self.requests.append(record)
        if known.get("expect", "").lower() == "100-continue":
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            head = [line for line in head if not line.lower().startswith(b"expect:")]
        if fault is not None and fault.answer is not None:
            for _ in _body(asks, known, method):
                pass
            record[2] = fault.answer
            lines = [f"HTTP/1.1 {fault.answer} a fault", f"Content-Length: {len(fault.body)}"]
            lines += [f"{name}: {value}" for name, value in fault.headers.items()]
            client.sendall("\r\n".join([*lines, "", ""]).encode() + (b"" if method == "HEAD" else fault.body))
            return
        server.sendall(b"".join(head) + b"\r\n")
        up, down = (fault, None) if fault is not None and fault.up else (None, fault)
        done = 0
        for piece in _body(asks, known, method):
            done = self._pass(piece, server, up, done, client)
        while True:
            head = _head(answers)
            if not head:
                raise _Over
            status = int(head[0].split()[1])
            client.sendall(b"".join(head) + b"\r\n")
            if status >= 200:
                break
        record[2] = status
        known = _headers(head)
        if method == "HEAD" or status in (204, 304):
            return
        done = 0
        for piece in _body(answers, known, None):
            done = self._pass(piece, client, down, done, client)
        if known.get("connection", "").lower() == "close":
            raise _Over


def _head(stream):
    """Return the lines of a head, without the empty one that ends it."""
    lines = []
    while (line := stream.readline()) not in (b"\r\n", b""):
        lines.append(line)
    return lines


def _headers(head):
    pairs = (line.decode("latin-1").partition(":") for line in head[1:])
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _body(stream, known, method):
    """Yield the bytes of a body as they are on the wire. ``method``: None for an answer, which may end with all."""
    if "chunked" in known.get("transfer-encoding", ""):
        while True:
            line = stream.readline()
            size = int(line.split(b";")[0], 16)
            yield line
            if size == 0:
                while (line := stream.readline()) not in (b"\r\n", b""):
                    yield line
                yield line
                return
            yield from _exactly(stream, size + 2)
    elif "content-length" in known:
        yield from _exactly(stream, int(known["content-length"]))
    elif method is None:
        while data := stream.read1(PIECE):
            yield data


def _exactly(stream, left):
    while left:
        data = stream.read1(min(left, PIECE))
        if not data:
            raise _Over
        yield data
        left -= len(data)
