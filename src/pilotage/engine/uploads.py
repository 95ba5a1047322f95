"""What nodes write at the driver: piece by piece beside the target, and given its name once it is whole."""

from __future__ import annotations

import contextlib
import os
import re
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from pilotage.engine import parts
from pilotage.engine.beneath import Folders, Spot, spot
from pilotage.engine.parts import Noted
from pilotage.errors import BrokenTransferError, DeniedError
from pilotage.worker.data.wire import whole_checksum

OPEN = 64
"""Files that are kept open between two pieces: where each is closed, a network file system writes it out."""
REMEMBERED = 10_000
"""Uploads that are known to be over, so that a piece of theirs which comes late makes no new file."""
NEW = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_ID = re.compile(r"[0-9a-f]{8,40}")


class Whole(NamedTuple):
    """What a node says of a file that it has sent: bytes, `wire.whole_checksum`, and whether it may be executed."""

    size: int
    checksum: str
    executable: bool


class Upload:
    """A file that is on its way."""

    def __init__(self, place: Spot, part: str, now: float) -> None:
        self.place = place
        self.part = part
        self.heard = now
        self.pieces: dict[int, tuple[int, int, int]] = {}
        self.descriptor: int | None = None


class Uploads:
    """The files that are on their way.

    Parameters
    ----------
    mark: what the names of this interchange's parts have in common.
    noted: where it is written down in which folders there may be parts.
    clock: seconds, for tests.
    """

    def __init__(self, mark: str, noted: Noted, clock: Callable[[], float] = time.monotonic) -> None:
        self._mark = mark
        self._noted = noted
        self._clock = clock
        self._uploads: dict[str, Upload] = {}
        self._open: OrderedDict[str, Upload] = OrderedDict()
        self._over: OrderedDict[str, bool] = OrderedDict()

    def __len__(self) -> int:
        return len(self._uploads)

    def write(self, granted: str, path: str, upload: str, offset: int, data: memoryview, crc: int) -> None:
        """Write a piece, again where it comes again. Raises OSError, or a DataError."""
        if zlib.crc32(data) != crc:
            raise BrokenTransferError("what has come is not what was sent")
        if offset < 0:
            raise DeniedError("there is nothing before a file's begin")
        if self._over.get(upload):  # it is whole already: this one has been overtaken
            return
        one = self._of(granted, path, upload)
        file = self._opened(upload, one)
        _write(file, data, offset)
        one.pieces[offset] = (offset, len(data), crc)

    def commit(self, granted: str, path: str, upload: str, whole: Whole) -> None:
        """Give a file its name. Raises OSError, or a DataError where it is not what was sent."""
        if self._over.get(upload):
            return
        one = self._of(granted, path, upload)
        if whole.size == 0:
            self._opened(upload, one)
        size = sum(length for _, length, _ in one.pieces.values())
        try:
            if (size, whole_checksum(one.pieces.values())) != (whole.size, whole.checksum):
                raise BrokenTransferError(f"{size:,} bytes have come, and {whole.size:,} were sent or they are others")
            self._close(upload, one)
            with one.place.folder() as folder:
                finish(folder, one, whole)
        except BaseException:
            self.discard(upload)
            raise
        self._forget(upload, is_whole=True)

    def store(self, folders: Folders, path: str, data: memoryview, crc: int, *, executable: bool) -> None:
        """Write a small file at once. Raises OSError, or a DataError."""
        if zlib.crc32(data) != crc:
            raise BrokenTransferError("what has come is not what was sent")
        folder, place = folders.of(path)
        self._noted.note(place.root, below=bool(place.parts))
        part = parts.name_of(place.name, self._mark, os.urandom(6).hex())
        try:
            file = os.open(part, NEW, 0o777 if executable else 0o666, dir_fd=folder)
            try:
                _write(file, data, 0)
            finally:
                os.close(file)
            os.replace(part, place.name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part, dir_fd=folder)
            raise

    def discard(self, upload: str) -> None:
        """Remove what has come of a file, which will not be whole."""
        one = self._uploads.get(upload)
        if one is None:
            return
        try:
            self._close(upload, one)
        except OSError:  # a disk that is full says it once more
            pass
        try:
            with one.place.folder() as folder:
                os.unlink(one.part, dir_fd=folder)
        except FileNotFoundError:
            pass
        finally:
            self._forget(upload, is_whole=False)

    def expire(self, silence: float) -> None:
        """Discard those of which nothing was heard for so many seconds: their worker has died."""
        late = self._clock() - silence
        for upload in [upload for upload, one in self._uploads.items() if one.heard < late]:
            try:
                self.discard(upload)
            except OSError:  # at the end it is tried again
                continue

    def end(self) -> None:
        """Remove whatever is not whole."""
        for upload, one in list(self._uploads.items()):
            try:
                self._close(upload, one)
            except OSError:
                continue
        self._uploads.clear()
        self._noted.end()

    def _of(self, granted: str, path: str, upload: str) -> Upload:
        if upload in self._over:
            raise BrokenTransferError("nothing was heard of it for too long, and it has been given up")
        one, now = self._uploads.get(upload), self._clock()
        if one is None:
            if not _ID.fullmatch(upload):
                raise DeniedError("this names no upload")
            place = spot(granted, path, follow=False)
            if place.name in ("", ".", ".."):
                raise DeniedError("it cannot be a file", where=place.path)
            one = Upload(place, parts.name_of(place.name, self._mark, upload), now)
            self._uploads[upload] = one
        elif one.place != spot(granted, path, follow=False):
            raise DeniedError("it is another file that was begun under this id", where=one.place.path)
        one.heard = now
        return one

    def _opened(self, upload: str, one: Upload) -> int:
        if one.descriptor is not None:
            self._open.move_to_end(upload)
            return one.descriptor
        self._noted.note(one.place.root, below=bool(one.place.parts))
        with one.place.folder(make=True) as folder:
            one.descriptor = os.open(one.part, NEW, 0o666, dir_fd=folder)
        self._open[upload] = one
        if len(self._open) > OPEN:
            oldest, other = next(iter(self._open.items()))
            self._close(oldest, other)
        return one.descriptor

    def _close(self, upload: str, one: Upload) -> None:
        self._open.pop(upload, None)
        descriptor, one.descriptor = one.descriptor, None
        if descriptor is not None:
            os.close(descriptor)  # where a network file system tells that there was no room

    def _forget(self, upload: str, *, is_whole: bool) -> None:
        self._uploads.pop(upload, None)
        self._over[upload] = is_whole
        while len(self._over) > REMEMBERED:
            self._over.popitem(last=False)


def _write(file: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(file, data, offset)
        data, offset = data[written:], offset + written


def finish(folder: int, one: Upload, whole: Whole) -> None:
    """Give a part its mode and its name. Raises OSError, BrokenTransferError where it has another size."""
    known = os.stat(one.part, dir_fd=folder, follow_symlinks=False)
    if known.st_size != whole.size:
        raise BrokenTransferError(f"{known.st_size:,} bytes are there, and {whole.size:,} were sent")
    if whole.executable:
        # Whoever may read it may execute it, as the umask left them.
        os.chmod(one.part, known.st_mode | (known.st_mode & 0o444) >> 2, dir_fd=folder)
    os.replace(one.part, one.place.name, src_dir_fd=folder, dst_dir_fd=folder)
