"""Files and folders of this machine, or of a filesystem that it mounts."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pilotage.errors import BrokenTransferError, DataError, DeniedError, NotThereError
from pilotage.worker.data.base import FOLDER, Entry, Meter, local_entries, of_file
from pilotage.worker.data.places import Place

PIECE = 16 << 20
"""Bytes that the kernel copies at once; between two pieces somebody may look at how far it is."""
SMALL = BUFFER = 1 << 20
"""Bytes that are read at once; the kernel is not asked to copy what has no more."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NOT_BY_KERNEL = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM, errno.ETXTBSY}


class Files:
    """The `Store` of paths."""

    keeps_links = True
    keeps_modes = True
    at_once = 4

    def __init__(self, place: Place, options: Mapping[str, Any]) -> None:
        """Nothing of either is needed."""

    def look(self, path: str) -> Entry:
        """See `Store.look`."""
        with told(path):
            known = os.stat(path)
            if stat.S_ISDIR(known.st_mode):
                return Entry("", FOLDER)
            if not stat.S_ISREG(known.st_mode):
                raise DataError("it is no file and no folder", where=path)
            return of_file(path, "", known)

    def walk(self, path: str) -> Iterable[Entry]:
        """See `Store.walk`."""
        with told(path):
            yield from local_entries(path)

    def get(self, path: str, entry: Entry, target: str, meter: Meter) -> None:  # noqa: ARG002
        """See `Store.get`."""
        copy(path, target, meter)

    def put(self, source: str, path: str, entry: Entry, meter: Meter) -> None:
        """See `Store.put`."""
        with told(path):
            new = beside(path)
            try:
                try:
                    copy(source, new, meter, entry.executable)
                except NotThereError:
                    _make_above(path)
                    copy(source, new, meter, entry.executable)
                os.replace(new, path)
            except BaseException:
                _remove_if_there(new)
                raise

    def make_folder(self, path: str) -> None:
        """See `Store.make_folder`."""
        with told(path):
            os.makedirs(path, exist_ok=True)

    def make_link(self, path: str, target: str) -> None:
        """See `Store.make_link`."""
        with told(path):
            _make_above(path)
            new = beside(path)
            os.symlink(target, new)
            try:
                os.replace(new, path)
            except OSError:
                os.unlink(new)
                raise

    def remove(self, path: str) -> None:
        """See `Store.remove`."""
        with told(path):
            remove(path)

    def close(self) -> None:
        """Nothing is held."""


def copy(source: str, target: str, meter: Meter, executable: bool = False) -> None:
    """Copy a file into a new one, with its permissions as far as the umask lets; by the kernel where it can.

    Parameters
    ----------
    executable: whether the new one is, where ``source`` is not.

    Raises a DataError, or OSError.
    """
    with told(source):
        reading = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        try:
            known = os.fstat(reading)
            mode = known.st_mode & 0o777
            if executable and not mode & 0o100:
                mode |= 0o111
            writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            try:
                size = _copy(reading, writing, known.st_size, meter)
            except OSError as error:
                if error.errno in FULL:
                    error.filename = target
                raise
            finally:
                os.close(writing)
        finally:
            os.close(reading)
    if size < known.st_size:
        raise BrokenTransferError(f"it became shorter while it was read: {size:,} bytes", where=source)


def _copy(reading: int, writing: int, size: int, meter: Meter) -> int:
    """Copy from one open file to the other; returns the bytes."""
    done, by_kernel = 0, size > SMALL and hasattr(os, "copy_file_range")
    while True:
        if by_kernel:
            try:
                count = os.copy_file_range(reading, writing, PIECE)
            except OSError as error:
                if error.errno not in NOT_BY_KERNEL:
                    raise
                count = 0
            by_kernel = count > 0  # of some filesystems the kernel copies nothing and says nothing
        else:
            data = os.read(reading, BUFFER)
            count = len(data)
            if not count:
                return done
            written = os.write(writing, data)
            while written < count:
                written += os.write(writing, memoryview(data)[written:])
        if count:
            done += count
            meter.add(count)


def beside(path: str) -> str:
    """Return a name in the same folder that nobody looks for."""
    folder, _, name = path.rstrip("/").rpartition("/")
    return f"{folder}{'/' if folder or path.startswith('/') else ''}.{name[:100]}.{secrets.token_hex(6)}.part"


def remove(path: str) -> None:
    """Remove a file, a link, or a folder with everything in it; raises OSError."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        _remove_if_there(path)


def move_into(source: str, target: str) -> None:
    """Move all that is in one folder into another of the same filesystem, which may be there.

    What has the same name there is replaced, file by file; what has another stays. Raises OSError.
    """
    try:
        os.rename(source, target)
        return
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    with os.scandir(source) as found:
        for one in found:
            to = os.path.join(target, one.name)
            if one.is_dir(follow_symlinks=False):
                move_into(one.path, to)
            else:
                os.replace(one.path, to)


def _remove_if_there(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _make_above(path: str) -> None:
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)


@contextmanager
def told(path: str, url: str = "") -> Iterator[None]:
    """Turn an OSError of what is done within into a DataError that names ``path``, and ``url`` where one is given."""
    try:
        yield
    except OSError as error:
        name = os.fsdecode(error.filename or path)
        where, at = (url, f" at {name}") if url else (name, "")
        if isinstance(error, FileNotFoundError):
            raise NotThereError(f"there is no such file or folder{at}", where=where) from error
        if isinstance(error, PermissionError):
            raise DeniedError(f"it is not allowed{at}: {error.strerror}", where=where) from error
        if error.errno in FULL:
            raise DataError(
                f"cannot be written{at}: {error.strerror}",
                where=where,
                hint='make room there, or let staged data be elsewhere: [site.NAME.staging] cache = "/scratch/..."',
            ) from error
        kind = BrokenTransferError if error.errno in (errno.EIO, errno.ESTALE, errno.ETIMEDOUT) else DataError
        raise kind(f"cannot be copied{at}: {error.strerror or error}", where=where) from error
