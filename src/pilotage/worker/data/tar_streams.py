"""A folder as one stream of tar's, to and from a pipe.

What comes may be anybody's: a name that would not be below the folder, a device, or a file that is there twice is
refused, and links are made last, so that nothing is ever written through one. A link may point anywhere.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable
from typing import IO, Any

from pilotage.errors import BrokenTransferError, DataError
from pilotage.worker.data.base import FOLDER, LINK, Entry, Meter, local_entries
from pilotage.worker.data.places import below

PIECE = 1 << 20
BLOCK = 512


def unpack(stream: Any, target: str, meter: Meter, url: str) -> None:
    """Write what a stream, which has ``read``, brings into the empty folder ``target``.

    Modes are kept but for what would let others write, and links as they are. Raises DataError for what is refused,
    BrokenTransferError where the stream breaks off, and OSError where nothing can be written.
    """
    forward = _Forward(stream)
    whole: Any = forward  # what tarfile asks of a file is less than it says
    made = _Made(target, url, forward)
    try:
        with tarfile.open(fileobj=whole, mode="r:", encoding="utf-8", errors="surrogateescape") as archive:
            for member in archive:
                made.add(archive, member, meter)
                archive.members = []  # type: ignore[attr-defined]  # it would keep all that it has seen
        made.finish()
    except (tarfile.TarError, EOFError) as error:
        raise BrokenTransferError(f"what comes is no whole archive: {error}", where=url) from error
    except (FileExistsError, NotADirectoryError) as error:
        raise DataError("its listing is refused: it has two things of one name", where=url) from error


class _Forward:
    """A pipe as a file that is read from its beginning to its end; tarfile's own copies all that it holds each time."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._held, self._at = stream, memoryview(b""), 0

    def tell(self) -> int:
        """Return how much was read."""
        return self._at

    def seek(self, position: int) -> int:
        """Go on to ``position``, which is further on."""
        while self._at < position and self.read(min(position - self._at, PIECE)):
            pass
        return self._at

    def read(self, size: int) -> bytes:
        """Return ``size`` bytes, less at the end."""
        found = bytes(self._held[:size])
        self._held = self._held[size:]
        if len(found) < size:
            parts = [found]
            while (left := size - sum(map(len, parts))) and (piece := self._stream.read(PIECE)):
                parts.append(piece[:left])
                self._held = memoryview(piece)[left:]
            found = b"".join(parts)
        self._at += len(found)
        return found


class _Made:
    """What of an archive has been made in a folder."""

    def __init__(self, folder: str, url: str, stream: _Forward) -> None:
        self._folder, self._url, self._stream = folder, url, stream
        self._folders = {folder}
        self._files: dict[str, str] = {}
        self._modes: list[tuple[str, int]] = []
        self._links: dict[str, str] = {}

    def add(self, archive: tarfile.TarFile, member: tarfile.TarInfo, meter: Meter) -> None:
        name = member.name.removeprefix("./")
        if name == "." and member.isdir():
            return
        path = self._path(name)
        if member.isdir():
            self._make(path)
            self._modes.append((path, member.mode & 0o755 | 0o700))
            return
        self._make(os.path.dirname(path))
        if member.issym():
            self._links[path] = member.linkname
        elif member.islnk():
            self._same(path, self._path(member.linkname.removeprefix("./")), name)
        elif member.isreg():
            with open(path, "xb", buffering=0) as file:
                content = archive.extractfile(member) if member.issparse() else self._stream
                _copy(content, file.write, member.size, meter, f"{self._url}/{name}")
                os.fchmod(file.fileno(), member.mode & 0o755 | 0o600)
            self._files[path] = name
            meter.add(0, 1)
        else:
            raise DataError("it is no file, folder or link, and cannot be copied", where=f"{self._url}/{name}")

    def finish(self) -> None:
        for path, target in self._links.items():
            os.symlink(target, path)
        for path, mode in reversed(self._modes):
            os.chmod(path, mode)

    def _make(self, folder: str) -> None:
        if folder not in self._folders:
            os.makedirs(folder, exist_ok=True)
            self._folders.add(folder)

    def _same(self, path: str, other: str, name: str) -> None:
        """Make what has two names, which was seen by the first."""
        if other in self._links:
            self._links[path] = self._links[other]
        elif other in self._files:
            os.link(other, path)
        else:
            raise DataError("it is the second name of a file that is not in its folder", where=f"{self._url}/{name}")

    def _path(self, name: str) -> str:
        try:
            return below(self._folder, name)
        except ValueError as error:
            raise DataError(f"its listing is refused: {error}", where=self._url) from error


def pack(source: str, top: str, last: str, write: Callable[[bytes | memoryview], object], meter: Meter) -> None:
    """Write the folder ``source`` as an archive of a folder ``top``, and an empty file ``last`` that says it is whole.

    Raises OSError, and BrokenTransferError where a file becomes shorter meanwhile.
    """
    buffer = bytearray()

    def gather(data: bytes | memoryview) -> None:
        nonlocal buffer
        if len(data) < PIECE:
            buffer += data
            if len(buffer) < PIECE:
                return
            data = b""
        if buffer:
            write(bytes(buffer))
            buffer = bytearray()
        if data:
            write(data)

    gather(_header(top, Entry("", FOLDER), os.stat(source).st_mode))
    for entry in local_entries(source):
        path, name = os.path.join(source, entry.path), f"{top}/{entry.path}"
        if entry.kind in (FOLDER, LINK):
            gather(_header(name, entry, os.lstat(path).st_mode))
            continue
        with open(path, "rb", buffering=0) as file:
            known = os.fstat(file.fileno())
            gather(_header(name, entry._replace(size=known.st_size), known.st_mode))
            _copy(file, gather, known.st_size, meter, path)
            gather(bytes(-known.st_size % BLOCK))
        meter.add(0, 1)
    gather(_header(last, Entry("", size=0), 0o600))
    gather(bytes(2 * BLOCK))
    write(bytes(buffer))


def _header(name: str, entry: Entry, mode: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.mode = mode & 0o777
    if entry.kind == FOLDER:
        info.type = tarfile.DIRTYPE
    elif entry.kind == LINK:
        info.type, info.linkname = tarfile.SYMTYPE, entry.target
    else:
        info.size = entry.size
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")  # which every tar reads


def _copy(
    source: IO[bytes] | Any, write: Callable[[bytes | memoryview], object], size: int, meter: Meter, name: str
) -> None:
    left = size
    while left:
        piece = source.read(min(PIECE, left))
        if not piece:
            raise BrokenTransferError(f"it became shorter while it was read: {size - left:,} bytes", where=name)
        write(piece)
        meter.add(len(piece))
        left -= len(piece)
