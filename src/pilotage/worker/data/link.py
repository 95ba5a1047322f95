"""A worker's connection to its driver's interchange for files: the port that its manager has, and no other.

It may break at any time, by a tunnel that is made anew, and is then made anew itself; what was asked and not answered
is asked again. Nothing else asks again: what comes slowly is waited for.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from pilotage import errors
from pilotage.errors import BrokenTransferError, DataError
from pilotage.worker.data.wire import Buffer, Message, message_of

WINDOW = 16
"""Requests that wait for their replies at once, at most."""
SLOW, FAST = 2.0, 0.5
"""Seconds to a reply from which on fewer wait at once, and below which more do: what waits somewhere takes memory."""
PATIENCE = 15.0
"""Seconds without any reply after which the connection is given up for a new one; twice as long with each."""
LONGEST = 120.0
IDLE = 10.0
"""Seconds after which a connection that nobody uses is closed: an interchange has few descriptors for many workers."""


class Interchange(NamedTuple):
    """Where the interchange is, for this node.

    ``keys`` are the client's public and secret one and the server's public one, None where nothing is encrypted: a
    folder of keys may be gone when they are needed. ``threshold`` is the seconds of silence after which a manager gives
    its run up.
    """

    addresses: tuple[str, ...]
    port: int
    keys: tuple[bytes, bytes, bytes] | None
    threshold: float


here: Interchange | None = None
"""The interchange of this process, None where there is none, or one that is not ours."""


class Restarted(Exception):  # noqa: N818  no error
    """The connection has been made anew; what was asked or answered may be lost."""


class Transport(Protocol):
    """What carries messages, or loses them."""

    def send(self, frames: Sequence[Buffer]) -> None:
        """Send a message, which may get lost."""

    def receive(self, seconds: float) -> Sequence[Buffer] | None:
        """Return a message, None where there is none in time; raises Restarted."""

    def renew(self) -> None:
        """Make a new connection; what the old one has is dropped."""

    def close(self) -> None:
        """End it."""


class Request(NamedTuple):
    """What is to be asked, and what belongs to it here."""

    head: dict[str, Any]
    payload: Buffer = b""
    about: Any = None


class _Sent:
    def __init__(self, request: Request, number: bytes, now: float) -> None:
        self.request = request
        self.message = Message(number, request.head, memoryview(request.payload))
        self.at = now


class Connection:
    """Asks, and hears the replies. For one thread at a time.

    Parameters
    ----------
    transport: the way there.
    silence: seconds without a reply after which it is given up.
    clock: seconds, for tests.
    """

    def __init__(self, transport: Transport, silence: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._transport = transport
        self.silence = silence
        self._clock = clock
        self._window = 2.0
        self._own = os.urandom(8)
        self._count = itertools.count()
        self.idle_since = 0.0

    def ask(self, head: dict[str, Any], payload: Buffer = b"") -> Message:
        """Return the reply to one request. Raises the DataError that it tells of."""
        return next(reply for _, reply in self.exchange([Request(head, payload)]))

    def exchange(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Message]]:
        """Ask several things, several at once, and yield each with its reply, as they come.

        Raises the first DataError that a reply tells of; what has been asked by then may be done still.
        """
        source, waiting = iter(requests), dict[bytes, _Sent]()
        heard = asked = self._clock()
        patience = PATIENCE
        while True:
            while len(waiting) < int(self._window) and (request := next(source, None)) is not None:
                sent = _Sent(request, self._own + next(self._count).to_bytes(8, "big"), self._clock())
                waiting[sent.message.number] = sent
                self._transport.send(sent.message.frames())
            if not waiting:
                return
            restarted = False
            try:
                frames = self._transport.receive(max(min(asked + patience, heard + self.silence) - self._clock(), 0))
            except Restarted:
                frames, restarted = None, True
            now = self._clock()
            reply = message_of(frames) if frames is not None else None
            if reply is not None:
                one = waiting.pop(reply.number, None)
                if one is None:  # it has come before
                    continue
                heard = asked = now
                patience = PATIENCE
                self._adapt(now - one.at)
                raise_told(reply.head)
                yield one.request, reply
                heard = asked = self._clock()  # what was done with it is nobody's silence
            elif now - heard >= self.silence:
                raise DataError(f"nothing has been heard of the driver for {now - heard:.0f} s")
            elif restarted or now - asked >= patience:
                if not restarted:
                    self._transport.renew()
                    patience = min(2 * patience, LONGEST)
                asked = now
                for one in waiting.values():
                    one.at = now
                    self._transport.send(one.message.frames())

    def close(self) -> None:
        """End it."""
        self._transport.close()

    def _adapt(self, seconds: float) -> None:
        if seconds < FAST:
            self._window = min(self._window + 1, WINDOW)
        elif seconds > SLOW:
            self._window = max(self._window - 1, 1)


def raise_told(head: dict[str, Any]) -> None:
    """Raise the error that a reply tells of, if any."""
    if "error" not in head:
        return
    kind = getattr(errors, str(head["error"]), DataError)
    if not (isinstance(kind, type) and issubclass(kind, DataError)):
        kind = DataError
    where = head.get("where")
    raise kind(str(head.get("words")), where=f"driver:{where}" if where else None, hint=head.get("hint"))


class Connections:
    """The connections of this process: one for each thread that uses one, kept for the next for a while."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: list[Connection] = []
        self._closer: threading.Timer | None = None

    @contextlib.contextmanager
    def one(self, interchange: Interchange, silence: float) -> Iterator[Connection]:
        """Lend a connection; raises BrokenTransferError where there is no way to the interchange."""
        with self._lock:
            connection = self._free.pop() if self._free else None
        connection = connection or self._new(interchange, silence)
        connection.silence = silence
        try:
            yield connection
        except BaseException:  # more may be on its way there and here
            connection.close()
            raise
        connection.idle_since = time.monotonic()
        with self._lock:
            self._free.append(connection)
            if self._closer is None:
                self._close_later()

    def close(self) -> None:
        """Close those that nobody uses."""
        with self._lock:
            free, self._free = self._free, []
        for one in free:
            one.close()

    def forget(self) -> None:
        """Have none: in a child that a task has forked, those are its parent's."""
        vars(self).update(vars(Connections()))

    def _close_later(self) -> None:
        self._closer = threading.Timer(IDLE, self._close_idle)
        self._closer.daemon = True
        self._closer.start()

    def _close_idle(self) -> None:
        with self._lock:
            late = time.monotonic() - IDLE / 2
            for one in [one for one in self._free if one.idle_since < late]:
                self._free.remove(one)
                one.close()
            self._closer = None
            if self._free:
                self._close_later()

    @staticmethod
    def _new(interchange: Interchange, silence: float) -> Connection:
        from pilotage.worker.data.dealer import Dealer

        connections = [Connection(Dealer(one, interchange), silence) for one in interchange.addresses]
        if len(connections) == 1:
            return connections[0]
        for one in connections:  # as Parsl's manager does: of several addresses one leads there
            with contextlib.suppress(DataError):
                one.silence = 5.0
                one.ask({"do": "ping"})
                for other in connections:
                    if other is not one:
                        other.close()
                return one
        for one in connections:
            one.close()
        raise BrokenTransferError(f"none of {', '.join(interchange.addresses)} leads to the driver")


connections = Connections()
os.register_at_fork(after_in_child=connections.forget)
