"""Inputs that a node has already: each is fetched once, however many tasks want it at once.

An entry is known by URL and content (an ETag, or size and time), so a changed object is another. It is made under a
lock that a crash does not keep, and tasks get hard links to it: an entry may go while they run.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from pilotage.errors import BrokenTransferError, DataError
from pilotage.worker.data.base import FOLDER, LINK, Entry, Meter, Store, local_entries
from pilotage.worker.data.copying import fetch, patiently
from pilotage.worker.data.files import copy, remove, told
from pilotage.worker.data.places import Place
from pilotage.worker.data.scratch import remove_tree

FOLDER_BYTES = 4096
"""What a file or folder is counted for besides its content."""
_ENTRY = re.compile(r"\.?([0-9a-f]{32})(?:\.[0-9a-f]+\.part)?")
"""The name of an entry, or of a part of one."""


SHARERS = 256
"""Processes that may fill a cache at once: each has this part of the free bytes before it reads all notes again."""
_shares: dict[tuple[str, int], int] = {}
"""Bytes that this process may still put into a folder with a limit before it has to look what is there."""
_lock = threading.Lock()


class Found(NamedTuple):
    """By what something is known that is in the cache, and whether it was there before."""

    known: str
    cached: bool


class Cache:
    """A folder of what was fetched; several processes may use it at once.

    Parameters
    ----------
    folder: it is made where it is not there.
    limit: bytes that are kept at most; what was not asked for the longest goes first.
    """

    def __init__(self, folder: str, limit: int) -> None:
        self._folder = folder
        self._limit = limit

    def get(self, store: Store, place: Place, target: str, meter: Meter) -> Found | None:
        """Put what is at a place at the path ``target``, where nothing is; fetched where it is not here yet.

        None, and nothing done, where it cannot be kept: it says nothing of its content, or is larger than the whole
        cache. Raises a DataError that names the URL, or OSError.
        """
        entry = patiently(lambda: store.look(place.path))
        known, size = known_by(store, place, entry)
        if known is None or size > self._limit:
            return None
        name = hashlib.blake2b(
            f"{place.scheme}\0{place.host}\0{place.path}\0{known}".encode(), digest_size=16
        ).hexdigest()
        path = os.path.join(self._folder, name)
        began = time.time()
        with held(path) as note:
            if note is None:
                return None
            if os.path.lexists(path) and note.read().get("is") == _state(path):
                note.write({**note.read(), "used": time.time()})
                link(path, target)  # while it is held: nobody makes room here then
                return Found(known, cached=True)
            failed = note.read().get("failed")
            if failed and failed["at"] > began:  # while this waited for it
                raise BrokenTransferError(failed["words"], where=str(place))
            _remove(self._folder, name)
            self._make_room(size)
            try:
                fetch(store, place, path, meter, entry)
            except DataError as error:
                note.write({"failed": {"at": time.time(), "words": error.message}})
                raise
            _protect(path)
            note.write({"bytes": _size(path), "used": time.time(), "is": _state(path), "url": str(place)})
            link(path, target)
        return Found(known, cached=False)

    def _make_room(self, size: int) -> None:
        """Remove what is too much besides ``size`` bytes; all notes are read only where that may be so."""
        key = self._folder, self._limit
        with _lock:
            left = _shares.get(key, 0) - size
            if left >= 0:
                _shares[key] = left
                return
        free = self._room_after(size)
        with _lock:
            _shares[key] = free // SHARERS

    def _room_after(self, size: int) -> int:
        """Make room for ``size`` bytes and return how many are free besides."""
        notes: list[tuple[float, int, str]] = []
        for one in os.listdir(self._folder):
            if one.endswith(".json"):
                with contextlib.suppress(OSError, ValueError, AttributeError):
                    with open(os.path.join(self._folder, one), "rb") as file:
                        note = json.loads(file.read() or b"{}")
                    if "bytes" in note:
                        notes.append((note["used"], note["bytes"], one.removesuffix(".json")))
        total = sum(bytes_ for _, bytes_, _ in notes)
        for _, bytes_, name in sorted(notes):
            if total + size <= self._limit:
                break
            path = os.path.join(self._folder, name)
            with contextlib.suppress(OSError), open(f"{path}.json", "rb+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # one that somebody looks at stays
                remove_tree_or_file(path)
                file.truncate(0)
                total -= bytes_
        return max(self._limit - total - size, 0)


def remove_unfinished(folder: str) -> None:
    """Remove what processes have left in a cache's folder that were killed while they fetched."""
    with contextlib.suppress(OSError):
        names = set(os.listdir(folder))
        found = [one for one in map(_ENTRY.fullmatch, names) if one and f"{one[1]}.json" in names]
        parts = {one[1] for one in found if one[0] != one[1]}
        for name in {one[1] for one in found}:
            with contextlib.suppress(OSError), open(os.path.join(folder, f"{name}.json"), "rb+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                is_whole = "bytes" in Note(file.fileno()).read()
                if name in parts or not is_whole:
                    _remove(folder, name, but_whole=is_whole)


def _remove(folder: str, name: str, *, but_whole: bool = False) -> None:
    """Remove what is left of an entry whose lock is held: nobody else makes it."""
    for one in os.listdir(folder):
        if (one == name and not but_whole) or (one.startswith(f".{name}.") and one.endswith(".part")):
            remove_tree_or_file(os.path.join(folder, one))


@contextlib.contextmanager
def held(path: str) -> Iterator[Note | None]:
    """Hold the lock of what is to be at ``path``, and have the note on it; None where the filesystem has no locks.

    Both are in the file ``path.json``, whose folder is made. Raises a DataError.
    """
    with told(path):
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        descriptor = os.open(f"{path}.json", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:
            yield None
        else:
            yield Note(descriptor)
    finally:
        os.close(descriptor)


class Note:
    """What an entry's lock file says of it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self) -> dict[str, Any]:
        """Return the note, empty where there is none."""
        try:
            size = os.fstat(self._descriptor).st_size
            found = json.loads(os.pread(self._descriptor, size, 0) or b"{}")
        except ValueError:  # a full disk has cut it
            return {}
        return found if isinstance(found, dict) else {}

    def write(self, note: dict[str, Any]) -> None:
        """Write the note, as far as the disk has room."""
        with contextlib.suppress(OSError):
            data = json.dumps(note).encode()
            os.pwrite(self._descriptor, data, 0)
            os.ftruncate(self._descriptor, len(data))


def known_by(store: Store, place: Place, entry: Entry) -> tuple[str | None, int]:
    """Return by what a file's or folder's content is known, and its size in bytes."""
    if entry.kind != FOLDER:
        return (f"{entry.size} {entry.tag}" if entry.tag else None), max(entry.size, 0)
    digest, size = hashlib.blake2b(digest_size=16), 0
    for one in sorted(patiently(lambda: list(store.walk(place.path)))):
        if one.kind not in (FOLDER, LINK) and not one.tag:
            return None, 0
        digest.update(f"{one!r}\0".encode())
        size += max(one.size, 0) + FOLDER_BYTES
    return digest.hexdigest(), size


def _state(path: str) -> list[Any]:
    """Return what would be another if a task had changed the entry, which root can."""
    if not os.path.isdir(path):
        known = os.stat(path)
        return [known.st_size, known.st_mtime_ns]
    digest = hashlib.blake2b(digest_size=16)
    for entry in local_entries(path):
        digest.update(f"{entry!r}\0".encode())
    return [digest.hexdigest()]


def _size(path: str) -> int:
    if not os.path.isdir(path):
        return os.stat(path).st_size
    return sum(max(entry.size, 0) + FOLDER_BYTES for entry in local_entries(path))


def _protect(path: str) -> None:
    """Let no task change what others read: files become read-only."""
    if not os.path.isdir(path):
        os.chmod(path, os.stat(path).st_mode & ~0o222)
        return
    for entry in local_entries(path):
        if entry.kind not in (FOLDER, LINK):
            file = os.path.join(path, entry.path)
            os.chmod(file, os.stat(file).st_mode & ~0o222)


def remove_tree_or_file(path: str) -> None:
    """Remove whatever is at ``path``."""
    if os.path.isdir(path) and not os.path.islink(path):
        remove_tree(path)
    else:
        remove(path)


def link(path: str, target: str) -> None:
    """Put what is in a cache at ``target``: files by hard links, folders made anew. Raises OSError."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if not os.path.isdir(path):
        _link_file(path, target)
        return
    os.mkdir(target)
    for entry in local_entries(path):
        there = os.path.join(target, entry.path)
        if entry.kind == FOLDER:
            os.mkdir(there)
        elif entry.kind == LINK:
            os.symlink(entry.target, there)
        else:
            _link_file(os.path.join(path, entry.path), there)


def _link_file(path: str, target: str) -> None:
    try:
        os.link(path, target)
    except OSError:  # another filesystem, too many links, or one that has none; the entry may go while it is in use
        copy(path, target, Meter())
