"""What a store can do, and what goes wrong there."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from pilotage.errors import BrokenTransferError, MissingExtraError, UsageError
from pilotage.worker.data.places import Place, shown

FILE, FOLDER, LINK = "file", "folder", "link"
STORES = {
    "file": "pilotage.worker.data.files:Files",
    "http": "pilotage.worker.data.web:Web",
    "https": "pilotage.worker.data.web:Web",
    "ssh": "pilotage.worker.data.over_ssh:OverSSH",
    "s3": "pilotage.worker.data.buckets:Bucket",
    "gs": "pilotage.worker.data.gcs:Bucket",
    "driver": "pilotage.worker.data.from_driver:from_driver",
}
"""The store of each scheme, as module and what makes it; every other scheme is looked for in fsspec."""
OTHERS = "pilotage.worker.data.through_fsspec:ThroughFsspec"


class Entry(NamedTuple):
    """What is at a place.

    ``path`` is below the folder that was listed, ``""`` for what was asked for itself. ``size`` is in bytes, -1 where
    the store does not tell. ``tag`` changes with the content (an ETag, a version, size and time), empty where there is
    none. ``md5`` and ``crc32c`` are hexadecimal checksums of the content, empty where the store has none. ``target``
    is a link's.
    """

    path: str
    kind: str = FILE
    size: int = -1
    tag: str = ""
    executable: bool = False
    target: str = ""
    md5: str = ""
    crc32c: str = ""


class Cancelled(BaseException):
    """What a transfer meets that is no longer wanted: another of its folder has failed, or Ctrl-C was pressed."""


class Meter:
    """Counts what has moved; any thread may add, and negative numbers take back what is to be sent again.

    Parameters
    ----------
    above: counts along.
    """

    def __init__(self, above: Meter | None = None) -> None:
        self.bytes = 0
        self.files = 0
        self.cancelled = False
        """Whether to raise `Cancelled` to whoever adds bytes from now on."""
        self.expected: tuple[int, int] | None = None
        """Bytes and files that there are, as soon as that is known."""
        self._above = above
        self._lock = threading.Lock()

    def add(self, count: int, files: int = 0) -> None:
        """Add bytes, and files that are whole; raises `Cancelled`."""
        if self.cancelled and count > 0:
            raise Cancelled
        if self._above is not None:
            self._above.add(count, files)
        with self._lock:
            self.bytes += count
            self.files += files

    def take_back(self) -> None:
        """Take back all that was added, also above."""
        self.add(-self.bytes, -self.files)

    def expect(self, entries: Iterable[Entry]) -> None:
        """Say what is to come: files among ``entries``, as far as their sizes are known."""
        sizes = [entry.size for entry in entries if entry.kind == FILE]
        self.expected = sum(size for size in sizes if size > 0), len(sizes)
        if self._above is not None:
            self._above.expected = self.expected


class Store(Protocol):
    """One host or bucket of one scheme. Several threads may use one at once.

    Everything raises a DataError: NotThereError, DeniedError (neither is tried again), or BrokenTransferError, which
    is. Every wait for the other side ends after ``silence`` seconds without a byte.
    """

    keeps_links: bool
    keeps_modes: bool
    """Whether a file's executable bit is kept."""
    at_once: int
    """Files that are moved at once."""

    def __init__(self, place: Place, options: Mapping[str, Any]) -> None:
        """Open the host or bucket of ``place``; nothing is asked of it yet."""

    def look(self, path: str) -> Entry:
        """Return what is at ``path`` of this host or bucket; a folder of objects is where names begin with it."""

    def walk(self, path: str) -> Iterable[Entry]:
        """Return everything below the folder ``path``, folders before what is in them; nothing is followed."""

    def get(self, path: str, entry: Entry, target: str, meter: Meter) -> None:
        """Write the content of the file at ``path`` into the new file ``target`` of this machine."""

    def put(self, source: str, path: str, entry: Entry, meter: Meter) -> None:
        """Publish the file ``source`` of this machine at ``path``: whole, or not at all.

        Folders above are made. ``entry`` tells size, mode, and the content's checksums as far as they are known.
        """

    def make_folder(self, path: str) -> None:
        """Make an empty folder, where the store has such, and those above."""

    def make_link(self, path: str, target: str) -> None:
        """Make a symbolic link; only where `keeps_links`."""

    def remove(self, path: str) -> None:
        """Remove a file, a link or a folder with everything in it; no error where there is none."""

    def close(self) -> None:
        """Let go of connections."""


class WholeFolders(Protocol):
    """What a store has besides, which moves a whole folder faster than file by file."""

    def get_folder(self, path: str, target: str, meter: Meter) -> None:
        """Write all that is in the folder ``path`` into the empty folder ``target`` of this machine."""

    def put_folder(self, source: str, path: str, meter: Meter) -> None:
        """Publish the folder ``source`` at ``path``: what is there and has another name stays."""


def open_store(place: Place, options: Mapping[str, Any] | None = None) -> Store:
    """Return the store that ``place`` is in.

    Parameters
    ----------
    options: what is set for its scheme, such as ``endpoint_url``; ``silence`` (seconds, 60) for any.

    Raises UsageError for a scheme that nothing here knows, MissingExtraError where its library is not installed.
    """
    module, _, name = STORES.get(place.scheme, OTHERS).partition(":")
    try:
        store: Callable[[Place, Mapping[str, Any]], Store] = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise MissingExtraError(
            f"{place.scheme}: needs {error.name}, which is not installed",
            where=shown(place.url),
            hint=f"pip install 'pilotage[{EXTRAS.get(place.scheme, 'data')}]', where the workers are too",
        ) from error
    return store(place, options or {})


EXTRAS = {"s3": "s3", "gs": "gcs"}


def whole(entry: Entry, size: int, url: str) -> None:
    """Raise BrokenTransferError where ``size`` bytes have come of what has another size."""
    if 0 <= entry.size != size:
        raise BrokenTransferError(f"{size:,} bytes have come, and it has {entry.size:,}", where=shown(url))


def local_entries(folder: str) -> Iterator[Entry]:
    """Yield everything below a folder of this machine, folders before what is in them; no link is followed."""
    waiting = [("", folder)]
    while waiting:
        prefix, path = waiting.pop()
        with os.scandir(path) as found:
            entries = sorted(found, key=lambda one: one.name)
        for one in entries:
            name = prefix + one.name
            if one.is_symlink():
                yield Entry(name, LINK, target=os.readlink(one.path))
            elif one.is_dir():
                yield Entry(name, FOLDER)
                waiting.append((f"{name}/", one.path))
            elif one.is_file():
                yield of_file(one.path, name, one.stat())
            else:
                raise UsageError("it is no file, folder or link, and cannot be copied", where=one.path)


def of_file(path: str, name: str = "", known: os.stat_result | None = None) -> Entry:
    """Return the entry of a file of this machine; raises OSError."""
    return of_known(known or os.stat(path), name)


def of_known(known: os.stat_result, name: str = "") -> Entry:
    """Return the entry of a file of which that is known."""
    tag = f"{known.st_size}-{known.st_mtime_ns}"
    return Entry(name, FILE, known.st_size, tag, executable=bool(known.st_mode & 0o100))
