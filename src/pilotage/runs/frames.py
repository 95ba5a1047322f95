"""What a view and the supervisor say to each other: frames of a kind, a length and a content.

From the view: ``INPUT`` (bytes typed), ``SIZE`` (of its terminal, a struct winsize), ``SIGNAL`` (one byte, its
number), ``SUSPEND`` and ``CONTINUE`` (Ctrl-Z and its end). From the supervisor: ``OUTPUT`` (bytes for the terminal) and
``EXIT`` (a JSON object with the exit code, the state and the reason), after which it says nothing more.
"""

from __future__ import annotations

INPUT, SIZE, SIGNAL, SUSPEND, CONTINUE, OUTPUT, EXIT = b"I", b"W", b"K", b"S", b"C", b"O", b"X"
HEADER = 5
LONGEST = 1 << 20


def frame(kind: bytes, content: bytes = b"") -> bytes:
    """Return a frame."""
    return kind + len(content).to_bytes(4, "big") + content


class Reader:
    """Takes frames apart, however the bytes arrive."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """Return the frames that are complete with ``data``, as (kind, content); raises ValueError for nonsense."""
        self._data += data
        found = []
        while len(self._data) >= HEADER:
            length = int.from_bytes(self._data[1:HEADER], "big")
            if length > LONGEST:
                raise ValueError("this is no frame")
            if len(self._data) < HEADER + length:
                break
            found.append((bytes(self._data[:1]), bytes(self._data[HEADER : HEADER + length])))
            del self._data[: HEADER + length]
        return found
