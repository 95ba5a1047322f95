"""From one remote place to another through this machine: file after file, on a disk with room for those under way."""

from __future__ import annotations

import os
import posixpath
import secrets
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from pilotage.errors import DataError
from pilotage.worker.data.base import FILE, FOLDER, LINK, Entry, Meter, Store, of_file
from pilotage.worker.data.copying import at_once, fetch_file, patiently, put_file
from pilotage.worker.data.files import told
from pilotage.worker.data.places import Place, below

SPARE = 64 << 20
"""Bytes that are left free on the disk."""
LINKS = 40
"""Links that are followed one after the other."""


def relay(source: Store, place: Place, entry: Entry, target: Store, to: Place, meter: Meter) -> None:
    """Bring a file or folder from ``place`` of one store to ``to`` of another. Raises a DataError.

    A byte counts when it has gone on; half of it when it has come.
    """
    if entry.kind == FILE:
        with _Disk([entry]) as disk:
            _file(disk, source, place.path, entry, str(place), target, to.path, meter)
        return
    entries = patiently(lambda: list(source.walk(place.path)))
    known = {one.path: one for one in entries}
    try:
        for path in known:
            below("", path)
    except ValueError as error:
        raise DataError(f"its listing is refused: {error}", where=str(place)) from error
    files = [one for one in entries if one.kind == FILE]
    links = [one for one in entries if one.kind == LINK]
    if not target.keeps_links:
        files += [_followed(one, known, place) for one in links]
    meter.expect(files)
    folders = [to.path] if to.path else []
    full = {one.path.rpartition("/")[0] for one in entries}
    folders += [_join(to.path, one.path) for one in entries if one.kind == FOLDER and one.path not in full]
    for path in folders:
        patiently(lambda path=path: target.make_folder(path))  # type: ignore[misc]
    with _Disk(files) as disk:
        at_once(
            min(source.at_once, target.at_once),
            lambda one: _file(
                disk,
                source,
                _join(place.path, one.path),
                one,
                str(place._replace(url=f"{place.url.rstrip('/')}/{one.path}")),
                target,
                _join(to.path, one.path),
                meter,
            ),
            files,
            meter,
        )
    for one in links if target.keeps_links else ():  # last: nothing is written through a link
        patiently(lambda one=one: target.make_link(_join(to.path, one.path), one.target))  # type: ignore[misc]


def _file(disk: _Disk, source: Store, path: str, entry: Entry, url: str, target: Store, to: str, meter: Meter) -> None:
    with disk.room(entry, url) as between:
        fetch_file(source, path, entry, between, url, _Half(meter, 0))
        found = of_file(between)._replace(md5=entry.md5, crc32c=entry.crc32c)  # some tell of the mode only with it
        put_file(target, between, to, found, _Half(meter, 1))


def _join(root: str, path: str) -> str:
    root = root.rstrip("/")
    return f"{root}/{path}" if root else path


def _followed(link: Entry, known: Mapping[str, Entry], place: Place) -> Entry:
    """Return the file within the same folder that a link stands for, under the link's name."""
    one = link
    for _ in range(LINKS):
        inside = posixpath.normpath(posixpath.join(posixpath.dirname(one.path), one.target))
        found = known.get(inside)
        if found is None or found.kind == FOLDER:
            break
        if found.kind == FILE:
            return found._replace(path=link.path)
        one = found
    raise DataError(
        f"{link.path} is a link to no file within the folder ({link.target}), and no links can be kept there",
        where=str(place),
    )


class _Half(Meter):
    """Passes half of what it counts to the meter above: ``up`` of the two halves of an odd byte, and files, or not."""

    def __init__(self, above: Meter, up: int) -> None:
        super().__init__()
        self._whole, self._up = above, up
        self._order = threading.Lock()

    def add(self, count: int, files: int = 0) -> None:
        with self._order:
            before = (self.bytes + self._up) // 2
            super().add(count, files)
            now = (self.bytes + self._up) // 2
        self._whole.add(now - before, files * self._up)


class _Disk:
    """A temporary folder; files wait until there is room for them."""

    def __init__(self, files: Sequence[Entry]) -> None:
        self._largest = max((one.size for one in files), default=0)
        self._wanted = 0
        self._changed = threading.Condition()

    def __enter__(self) -> _Disk:
        self._folder = _roomy(self._largest + SPARE)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    @contextmanager
    def room(self, entry: Entry, url: str) -> Iterator[str]:
        """Give a path for a file of that size, once there is room for it; what is there afterwards is removed."""
        size = max(entry.size, 0)
        path = os.path.join(self._folder, secrets.token_hex(8))
        with self._changed:
            # With nothing else under way it has to be tried: others' files come and go too.
            while self._wanted and shutil.disk_usage(self._folder).free < size + self._wanted + SPARE:
                self._changed.wait(1)
            free = shutil.disk_usage(self._folder).free
            if free < size:
                raise DataError(
                    f"its {size:,} bytes have no room in {os.path.dirname(self._folder)}, which has {free:,}",
                    where=url,
                    hint="TMPDIR=/scratch/... pilotage cp ... takes another disk",
                )
            self._wanted += size
        try:
            with told(path):
                yield path
        finally:
            with told(path):
                if os.path.lexists(path):
                    os.unlink(path)
            with self._changed:
                self._wanted -= size
                self._changed.notify_all()


def _roomy(size: int) -> str:
    """Return a new folder on a disk with so much room: where temporary files are, else where there is most."""
    candidates = [tempfile.gettempdir(), "/var/tmp", os.getcwd()]  # noqa: S108  a folder of our own in it
    usable = [one for one in candidates if os.path.isdir(one) and os.access(one, os.W_OK)]
    free = {one: shutil.disk_usage(one).free for one in usable}
    chosen = next((one for one in usable if free[one] >= size), max(usable, key=free.__getitem__, default=None))
    return tempfile.mkdtemp(prefix="pilotage-cp-", dir=chosen)
