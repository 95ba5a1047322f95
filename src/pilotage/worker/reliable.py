"""A conversation that outlives its connection: nothing is lost, nothing comes twice, all comes in order.

What was handed to the near end of a tunnel that then breaks is lost, and neither side is told. So messages are
numbered, and kept until the peer acknowledges them; every frame carries an acknowledgement.

Nothing is sent again because time has passed: a slow connection would be given more and more to carry. It is sent
again when the peer has seen that something is missing: frames do not overtake each other, so one that arrives tells
what should have arrived before it. A side that waits for an acknowledgement sends a `Conversation.pulse` now and then,
which says how far it is. Each time that a side begins anew with what is missing is a round; a complaint names the round
of the frame that it is about, and one about a round before this has been answered already.

Long messages travel in pieces: what has arrived of one need not come again, and no other frame waits long behind one.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import NamedTuple

NUMBERED = b"\x00pilotage numbered\x00"
"""First bytes of every frame."""
PIECE = 256 << 10
"""Bytes of a message that travel in one frame, at most."""
OWED = 1 << 20
"""Bytes after which the peer hears at once that they have come; else with what goes there, or when it asks."""
PULSE = 1.0
"""Seconds between two pulses of a side that waits, for those who have a clock."""
SESSION = 8
"""Bytes by which two sides know that they are in the same conversation."""

_DATA, _MORE, _PULSE, _ANSWER = range(4)
_FRESH = 8
"""Added to the kind of a frame by a side to which nothing was ever acknowledged: it still has all from the first on."""
_HEAD = struct.Struct(f"=B{SESSION}sQQLL")


class Frame(NamedTuple):
    """What one frame says.

    ``number``: that of this piece of data; of other kinds, the last that the sender has sent. ``got``: the last that it
    has received. ``round``: times that it has begun anew. ``missing``: in which of the peer's rounds it saw that
    something is missing, 0 for none.
    """

    kind: int
    session: bytes
    number: int
    got: int
    round: int
    missing: int
    data: memoryview

    @property
    def is_fresh(self) -> bool:
        """Whether its sender still has everything that it has ever said."""
        return bool(self.kind & _FRESH)


def read(frame: bytes) -> Frame | None:
    """Return what a frame says; None where it is none."""
    start = len(NUMBERED)
    if not frame.startswith(NUMBERED) or len(frame) < start + _HEAD.size:
        return None
    return Frame._make((*_HEAD.unpack_from(frame, start), memoryview(frame)[start + _HEAD.size :]))


class Conversation:
    """One side of a conversation. It sends nothing itself: frames are returned to be sent, and may get lost.

    Parameters
    ----------
    session: what both sides call it, `SESSION` bytes.
    """

    def __init__(self, session: bytes) -> None:
        self.session = session
        self._kept: deque[tuple[int, bytes]] = deque()  # kind and piece, of the numbers after ``_confirmed``
        self._confirmed = 0
        self._round = 1
        self._got = 0
        self._complained = 0
        self._pieces: list[memoryview] = []
        self._owed = 0

    @property
    def waits(self) -> bool:
        """Whether anything that was said here is not acknowledged."""
        return bool(self._kept)

    @property
    def kept(self) -> int:
        """Bytes that are kept to be sent again."""
        return sum(len(piece) for _, piece in self._kept)

    def say(self, message: bytes) -> list[bytes]:
        """Return the frames that carry a message."""
        frames = []
        for start in range(0, max(len(message), 1), PIECE):
            piece = message[start : start + PIECE]
            kind = _MORE if start + PIECE < len(message) else _DATA
            self._kept.append((kind, piece))
            frames.append(self._frame(kind, self._last, piece))
        return frames

    def pulse(self) -> list[bytes]:
        """Return what asks the peer how far it is, where anything is to be asked."""
        return [self.question()] if self._kept else []

    def question(self) -> bytes:
        """Return a frame that any peer answers which is there."""
        return self._frame(_PULSE, self._last)

    def hear(self, frame: Frame) -> tuple[bytes | None, list[bytes]]:
        """Take a frame of this session in; return the message that it completes, if any, and the frames to send."""
        again = self._take_confirmation(frame)
        kind, message, answer = frame.kind & ~_FRESH, None, None
        if kind in (_DATA, _MORE) and frame.number == self._got + 1:
            message, answer = self._take(kind, frame.data)
        elif kind in (_DATA, _MORE) and frame.number > self._got and self._complained < frame.round:
            self._complained = frame.round  # should the complaint be lost, the next pulse brings another
            answer = self._answer(frame.round)
        elif kind == _PULSE:
            answer = self._answer(frame.round if frame.number > self._got else 0)
        return message, [answer, *again] if answer else again

    @property
    def _last(self) -> int:
        return self._confirmed + len(self._kept)

    def _take_confirmation(self, frame: Frame) -> list[bytes]:
        while self._confirmed < frame.got and self._kept:
            self._kept.popleft()
            self._confirmed += 1
        if frame.missing != self._round or not self._kept:
            return []
        self._round += 1
        numbered = enumerate(self._kept, self._confirmed + 1)
        return [self._frame(kind, number, piece) for number, (kind, piece) in numbered]

    def _take(self, kind: int, data: memoryview) -> tuple[bytes | None, bytes | None]:
        self._got += 1
        self._owed += len(data)
        answer = self._answer(0) if self._owed >= OWED else None
        if kind == _MORE or self._pieces:
            self._pieces.append(data)
        if kind == _MORE:
            return None, answer
        message = b"".join(self._pieces) if self._pieces else bytes(data)
        self._pieces = []
        return message, answer

    def _answer(self, missing: int) -> bytes:
        return self._frame(_ANSWER, self._last, missing=missing)

    def _frame(self, kind: int, number: int, piece: bytes = b"", missing: int = 0) -> bytes:
        self._owed = 0
        kind |= 0 if self._confirmed else _FRESH
        return NUMBERED + _HEAD.pack(kind, self.session, number, self._got, self._round, missing) + piece
