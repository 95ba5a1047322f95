"""A file of fixed size that holds the newest lines of a log, and outlives its writer however that ends.

The writer maps the file into its memory, so a line costs no system call, and what it has written is the kernel's to
keep when the process is killed. Layout: one page with `MAGIC`, four words (see below), and who writes, as JSON from
byte `ABOUT` on; then ``size`` bytes that are filled round and round.

==========  ==========================================================================================
RESERVED    bytes ever written, once the line that is being written is counted; set before its text is
WRITTEN     bytes ever written; set after the text, so a line is whole or not there
COLLECTED   how many of them somebody has copied
ERRORS      errors that the writer has logged
==========  ==========================================================================================

Standard library only, and little of it: the supervisor and the node guard read with this.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

MAGIC = b"pilotage ring 1\n"
PAGE = 4096
RESERVED, WRITTEN, COLLECTED, ERRORS = 2, 3, 4, 5
"""Places of the words, in words of eight bytes from the file's beginning, in the machine's own order."""
ABOUT = 64
CUT = b" ... "


class Ring:
    """The writer's side; one thread at a time.

    Parameters
    ----------
    path: the file, which must not be there yet; its folder must.
    size: bytes of text that it holds.
    about: what a reader should know of the writer, for `Tail.about`.
    """

    def __init__(self, path: str, size: int, about: Mapping[str, Any]) -> None:
        self.path = path
        self.size = size
        self.about = dict(about)

    def open(self) -> Ring:
        """Make the file, 0600; returns this. Raises OSError, and leaves no file then."""
        import mmap

        head = MAGIC.ljust(ABOUT, b"\0") + json.dumps({**self.about, "size": self.size}).encode()
        if len(head) > PAGE:
            raise OSError(f"{self.path}: too much to say about the writer")
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            # All of it at once: a page for which a full disk has no room would kill whoever writes to it.
            _fill(descriptor, PAGE + self.size)
            os.pwrite(descriptor, head, 0)
            self._map = mmap.mmap(descriptor, PAGE + self.size)
        except BaseException:
            os.unlink(self.path)  # noqa: PTH108  pathlib is not worth its memory in the supervisor
            raise
        finally:
            os.close(descriptor)
        self._words = memoryview(self._map)[:ABOUT].cast("Q")  # assigning to it is one store, which no kill can tear
        return self

    def write(self, line: bytes) -> None:
        """Add a line, its line break included; of one that is longer than a quarter of the ring the middle is lost."""
        most = self.size // 4
        if len(line) > most:
            half = max((most - len(CUT)) // 2, 1)
            line = (line[:half] + CUT + line[-half:])[-self.size :]
        words = self._words
        begin = words[WRITTEN]
        end = begin + len(line)
        words[RESERVED] = end
        at = begin % self.size
        first = line[: self.size - at]
        self._map[PAGE + at : PAGE + at + len(first)] = first
        if len(first) < len(line):
            self._map[PAGE : PAGE + len(line) - len(first)] = line[len(first) :]
        words[WRITTEN] = end

    def count_error(self) -> None:
        """Note that the writer has logged an error: a reader then knows that its end was no ordinary one."""
        self._words[ERRORS] += 1

    def close(self) -> None:
        """Unmap the file, which stays."""
        self._words.release()
        self._map.close()


class Tail(NamedTuple):
    """What a ring held when it was read.

    ``text`` is whole lines, the newest last; ``missed`` is whether older ones were overwritten. ``written`` is the
    place to read on from. ``collected`` and ``errors`` are the words of that name.
    """

    about: dict[str, Any]
    text: bytes
    missed: bool
    written: int
    collected: int
    errors: int


def read(path: str, since: int | None = None) -> Tail | None:
    """Return what is in a ring, whether its writer lives or was killed in the middle of a line; None for no ring.

    Parameters
    ----------
    path: the file.
    since: read on from there, a ``written`` of before; what has been collected is left out when None.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        head = os.pread(descriptor, PAGE, 0)
        about = _about(head)
        if about is None:
            return None
        size = about["size"]
        data = os.pread(descriptor, size, PAGE)
        # What has been begun meanwhile may have spoilt the oldest of what was read.
        reserved = _words(os.pread(descriptor, ABOUT, 0))[RESERVED]
    except OSError:
        return None
    finally:
        os.close(descriptor)
    words = _words(head)
    written, collected, errors = words[WRITTEN], words[COLLECTED], words[ERRORS]
    if len(data) != size:
        return None
    begin = collected if since is None else since
    oldest = max(reserved, written) - size
    missed = oldest > begin
    text = _turned(data, max(oldest, begin), written)
    if missed:
        text = text.partition(b"\n")[2]
    return Tail(about, text, missed, written, collected, errors)


def note_collected(path: str, written: int) -> None:
    """Write down in the ring that what it held up to ``written`` has been copied; a ring that is gone is no error."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.pwrite(descriptor, _native(written), COLLECTED * 8)
    except OSError:
        return
    finally:
        os.close(descriptor)


def _turned(data: bytes, begin: int, end: int) -> bytes:
    """Return the bytes that were the ``begin``-th to ``end``-th ever written."""
    if begin >= end:
        return b""
    size = len(data)
    first, last = begin % size, (end - 1) % size + 1
    return data[first:last] if first < last else data[first:] + data[:last]


def _about(head: bytes) -> dict[str, Any] | None:
    if not head.startswith(MAGIC):
        return None
    try:
        about = json.loads(head[ABOUT:].rstrip(b"\0"))
    except ValueError:
        return None
    size = about.get("size") if isinstance(about, dict) else None
    return about if isinstance(size, int) and size > 0 else None


def _words(head: bytes) -> memoryview:
    return memoryview(head.ljust(ABOUT, b"\0")[:ABOUT]).cast("Q")


def _native(value: int) -> bytes:
    word = memoryview(bytearray(8)).cast("Q")
    word[0] = value
    return word.tobytes()


def _fill(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            import errno

            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
        else:
            return
    if os.write(descriptor, bytes(size)) < size:
        raise OSError("the disk is full")
