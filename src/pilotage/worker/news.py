"""What a node has to tell the person who waits: events that travel with the results."""

from __future__ import annotations

import pickle
from typing import NamedTuple

NEWS = b"\x00pilotage news\x00"
"""First bytes of such a message."""


class News(NamedTuple):
    """An event: its kind, its words, and how bad it is (``info``, ``warning`` or ``error``)."""

    kind: str
    words: str
    block: str
    host: str
    level: str = "warning"

    def message(self) -> bytes:
        """Return it as a message of the manager's."""
        return NEWS + pickle.dumps(tuple(self))


def news_of(message: bytes) -> News:
    """Return the event in a message that begins with `NEWS`."""
    return News(*pickle.loads(memoryview(message)[len(NEWS) :]))
