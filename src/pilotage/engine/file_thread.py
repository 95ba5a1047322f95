"""The thread of the interchange that does what nodes ask of the driver's files: tasks do not wait for disks.

It is one more peer of the managers' socket, within this process: what comes for it is passed on to it, what comes from
it to whom it is for, and neither is copied on the way.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import secrets
import threading
import time
from collections.abc import Sequence
from typing import Any

import zmq

from pilotage.engine.file_server import FileServer
from pilotage.worker.data.wire import DATA, PIECE, Message, message_of

logger = logging.getLogger(__name__)

ON_THE_WAY = 64 << 20
"""Bytes that wait to be sent, at most: the disk is faster than the network."""
OF_ONE = 32
"""Requests of one peer that wait; more than it may have under way."""
SHARE = 16 * PIECE
"""Bytes of one peer that wait to be sent, at most: one that is gone must not take the room of all."""
SOON = 5
"""Milliseconds until it is looked again whether there is room."""
LOOK_EVERY = 20.0
LEAST_SILENCE = 300.0
"""Seconds without a word after which an upload is given up, at least; else twice those that a manager is given."""


class FileThread:
    """The thread, and what passes messages to and from it; that is for the thread of the managers' socket only.

    Parameters
    ----------
    server: answers.
    socket: the managers'.
    context: its ZeroMQ context.
    silence: seconds after which a manager is given up.
    """

    def __init__(self, server: FileServer, socket: Any, context: zmq.Context[Any], silence: float) -> None:
        self._server = server
        self._socket = socket
        self._silence = max(LEAST_SILENCE, 2 * silence)
        self._name = b"files-" + secrets.token_bytes(20)  # who took this name at the socket would hear all
        place = f"inproc://{self._name.hex()}"
        socket.bind(place)
        # Of a context of its own, as it were: who destroys the interchange's must not close what this thread waits for.
        self._peer: zmq.Socket[bytes] = zmq.Context.shadow(context.underlying).socket(zmq.DEALER)
        self._peer.setsockopt(zmq.IDENTITY, self._name)
        self._peer.setsockopt(zmq.LINGER, 0)
        self._peer.set_hwm(0)
        self._peer.connect(place)
        self._waiting: collections.OrderedDict[bytes, collections.deque[Message]] = collections.OrderedDict()
        self._sending: dict[bytes, list[tuple[zmq.MessageTracker, int]]] = {}
        self._working = threading.Lock()
        self._ended = False
        threading.Thread(target=self._run, name="Files", daemon=True).start()

    def passes(self, name: bytes, frames: Sequence[zmq.Frame]) -> bool:
        """Pass a message of the managers' socket on; False where it is none of ours.

        Parameters
        ----------
        name: whom it has come from, by the socket.
        frames: all others.
        """
        if name == self._name:
            self._socket.send_multipart(frames, copy=False)
            return True
        if not frames or bytes(frames[0].buffer[: len(DATA)]) != DATA:
            return False
        self._socket.send_multipart([self._name, name, *frames], copy=False)
        return True

    def is_for(self, name: bytes) -> bool:
        """Return whether what comes from ``name`` may be ours: who has not given itself one has none at a manager's."""
        return name == self._name or name.startswith(b"\0")

    def end(self, patience: float = 2.0) -> None:
        """Do no more, and remove what is not whole; from any thread."""
        self._ended = True
        held = self._working.acquire(timeout=patience)
        try:
            self._server.end()
        finally:
            if held:
                self._working.release()

    def _run(self) -> None:
        looked = time.monotonic()
        with contextlib.closing(self._peer), contextlib.suppress(zmq.ContextTerminated):
            while not self._ended:
                if self._peer.poll(SOON if self._waiting else int(1000 * LOOK_EVERY)):
                    self._take_in()
                with self._working:
                    while not self._ended and self._serve_one():
                        if self._peer.poll(0):
                            self._take_in()
                    if time.monotonic() > looked + LOOK_EVERY:
                        looked = time.monotonic()
                        self._server.uploads.expire(self._silence)

    def _take_in(self) -> None:
        with contextlib.suppress(zmq.Again):
            while True:
                name, *frames = self._peer.recv_multipart(zmq.NOBLOCK, copy=False)
                request = message_of([frame.buffer for frame in frames])
                theirs = self._waiting.setdefault(name.bytes, collections.deque())
                if request is not None and len(theirs) < OF_ONE:  # else it asks again, and waits meanwhile
                    theirs.append(request)

    def _serve_one(self) -> bool:
        """Answer one request, of those for whose replies there is room the one that is next; False where none is."""
        on_the_way = self._on_the_way()
        for name in list(self._waiting):
            if not self._waiting[name]:
                del self._waiting[name]
                continue
            mine = on_the_way.get(name, 0)
            if mine >= SHARE or sum(on_the_way.values()) >= ON_THE_WAY:
                continue
            self._waiting.move_to_end(name)  # the others come first next time
            self._reply(name, self._waiting[name].popleft())
            return True
        return False

    def _on_the_way(self) -> dict[bytes, int]:
        """Return by peer the bytes that wait to be sent to it."""
        for name, sending in list(self._sending.items()):
            self._sending[name] = [(tracker, size) for tracker, size in sending if not tracker.done]
            if not self._sending[name]:
                del self._sending[name]
        return {name: sum(size for _, size in sending) for name, sending in self._sending.items()}

    def _reply(self, name: bytes, request: Message) -> None:
        try:
            reply = self._server.answer(request)
        except Exception:
            logger.exception("a request for the driver's files cannot be answered")
            reply = Message(request.number, {"error": "DataError", "words": "the driver's log says what is wrong"})
        tracker = self._peer.send_multipart([name, *reply.frames()], copy=False, track=True)
        if tracker is not None and reply.payload:
            self._sending.setdefault(name, []).append((tracker, len(reply.payload)))
