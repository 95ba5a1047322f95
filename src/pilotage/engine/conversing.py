"""The interchange's side of conversations with managers that are reached through a tunnel.

Which managers those are is seen from their messages; with the others nothing changes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container
from typing import Any

from pilotage.engine.absence import Absences
from pilotage.worker.reliable import PULSE, Conversation, Frame, read

LOOK_EVERY = PULSE


class Conversations:
    """The conversations of one interchange, by the managers' names; where there are any, it sends for the socket.

    Parameters
    ----------
    socket: the managers' socket.
    threshold: seconds of silence after which a manager that is not registered is forgotten.
    end: what makes a manager end; one hears it that comes back when it has been forgotten.
    clock: seconds, for tests.
    absences: finds managers that are gone, where all share one way; None where each has its own.
    """

    def __init__(
        self,
        socket: Any,
        threshold: float,
        end: bytes,
        clock: Callable[[], float] = time.monotonic,
        absences: Absences | None = None,
    ) -> None:
        self._socket = socket
        self._threshold = threshold
        self._end = end
        self._clock = clock
        self._absences = absences
        self._talks: dict[bytes, Conversation] = {}
        self._heard: dict[bytes, float] = {}
        self._next = 0.0

    def __len__(self) -> int:
        return len(self._talks)

    def hear(self, name: bytes, message: bytes) -> bytes | None:
        """Return what a numbered message of a manager completes, None where that is nothing; answers are sent."""
        frame = read(message)
        talk = self._talks.get(name)
        if frame is None:
            return None
        if talk is None or talk.session != frame.session:
            talk = self._begin(name, frame)
        if talk is None:
            return None
        self._heard[name] = self._clock()
        complete, replies = talk.hear(frame)
        for reply in replies:
            self._socket.send_multipart([name, reply])
        return complete

    def _begin(self, name: bytes, frame: Frame) -> Conversation | None:
        """Return a new conversation with a manager; None where this frame does not begin one."""
        # What was on its way when a manager came over a new connection has another name afterwards, by ZeroMQ.
        if any(one.session == frame.session for one in self._talks.values()):
            return None
        if not frame.is_fresh:
            if name not in self._talks:  # it has been given up, with all its tasks
                self._socket.send_multipart([name, self._end])
            return None
        self._talks[name] = Conversation(frame.session)
        return self._talks[name]

    def forget(self, name: bytes) -> None:
        """Forget a manager which has said something without a number: another one of that name has begun."""
        self._talks.pop(name, None)
        self._heard.pop(name, None)

    def send_multipart(self, parts: list[bytes]) -> None:
        """Send a message to a manager: its name, and what it is to hear."""
        talk = self._talks.get(parts[0])
        if talk is None:
            self._socket.send_multipart(parts)
            return
        for frame in talk.say(parts[1]):
            self._socket.send_multipart([parts[0], frame])

    def look(self, registered: Container[bytes]) -> list[bytes]:
        """Ask those who have not acknowledged all how far they are, and forget those who are gone; now and then.

        Returns those of the registered that answer nothing while others do: they are gone.
        """
        now = self._clock()
        if now < self._next:
            return []
        self._next = now + LOOK_EVERY
        for name, talk in list(self._talks.items()):
            if name not in registered and now - self._heard[name] > self._threshold:
                self.forget(name)
                continue
            for frame in talk.pulse():
                self._socket.send_multipart([name, frame])
        if self._absences is None:
            return []
        found = self._absences.look({name: at for name, at in self._heard.items() if name in registered}, now)
        for name in found.ask:
            self._socket.send_multipart([name, self._talks[name].question()])
        return found.gone
