"""What a worker and its driver's interchange say to each other of the driver's files.

A message is frames of ZeroMQ: a head, and what there is of bytes. The head begins with `DATA` and the request's number;
the rest of it is JSON. The reply to a request has its number. Both may get lost, come twice or late: what is asked may
be asked again, and is done once.

What a node may do is in its grant: a token of the driver's that names a path, and whether it may be read or written.
It cannot be made or changed without the key that driver and interchange share (`pilotage.engine.granting`).
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from pilotage.errors import UsageError

DATA = b"\x00pilotage data\x00"
"""First bytes of every message."""
NUMBER = 16
"""Bytes of a request's number, which no two requests share."""
PIECE = 256 << 10
"""Bytes that travel in one message, at most: of a file, or of as many small ones as fit.

With four times as many, tasks beside a transfer wait longer; with fewer, moving them takes more of the processors.
"""
FILES = 100
"""Files that travel in one message, at most: with slow disks a reply must not take too long."""
ENTRIES = 1000
"""Entries of a folder that are listed in one message, at most."""

Mode: TypeAlias = Literal["read", "write"]
Buffer: TypeAlias = "bytes | bytearray | memoryview"
_PIECE = struct.Struct("<QQL")


class Message(NamedTuple):
    """A request or reply: its number, what it says, and bytes."""

    number: bytes
    head: dict[str, Any]
    payload: memoryview = memoryview(b"")

    def frames(self) -> list[Buffer]:
        """Return it as frames."""
        head = DATA + self.number + json.dumps(self.head, separators=(",", ":")).encode()
        return [head, self.payload] if self.payload else [head]


def message_of(frames: Sequence[Buffer]) -> Message | None:
    """Return the message that frames are, None where they are none."""
    head = bytes(frames[0]) if frames else b""
    begin = len(DATA) + NUMBER
    if not head.startswith(DATA) or len(head) < begin or len(frames) > 2:
        return None
    try:
        said = json.loads(head[begin:])
    except ValueError:
        return None
    if not isinstance(said, dict):
        return None
    return Message(head[len(DATA) : begin], said, memoryview(frames[1]) if len(frames) == 2 else memoryview(b""))


class Granted(NamedTuple):
    """What a grant allows: whether the file or folder ``path`` may be read or written, and all that is below it."""

    mode: str
    path: str


def granted(grant: str) -> Granted:
    """Return what a grant allows, whoever has made it. Raises UsageError where it is none."""
    try:
        mode, path = json.loads(base64.urlsafe_b64decode(grant.partition(".")[0]))
        return Granted(str(mode), str(path))
    except (ValueError, TypeError) as error:
        raise UsageError("this is no grant of a driver's") from error


def told(mode: Mode, path: str) -> str:
    """Return the part of a grant that says what it allows; its proof is to follow, after a dot."""
    return base64.urlsafe_b64encode(json.dumps([mode, path]).encode()).decode()


def whole_checksum(pieces: Iterable[tuple[int, int, int]]) -> str:
    """Return a checksum of a file from those of its pieces: where each begins, its bytes, and its CRC-32."""
    found = hashlib.blake2b(digest_size=16)
    for piece in sorted(pieces):
        found.update(_PIECE.pack(*piece))
    return found.hexdigest()
