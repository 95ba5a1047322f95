"""The one way in which bytes move: under a name that nobody looks for, checked, then given its own name.

A file appears under its name whole or not at all. So does a folder that was not there; into one that is there, file
after file is put, and what has another name stays.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar, cast

from pilotage.errors import BrokenTransferError, DataError
from pilotage.worker.data import checksums
from pilotage.worker.data.base import (
    FILE,
    FOLDER,
    LINK,
    Entry,
    Meter,
    Store,
    WholeFolders,
    local_entries,
    of_file,
    whole,
)
from pilotage.worker.data.files import beside, remove, told
from pilotage.worker.data.places import Place, below

TRIES = 5
PAUSE = 0.5
"""Seconds before the second try; twice as long before each further one, and up to half as much again by chance."""
_T = TypeVar("_T")


def fetch(store: Store, place: Place, target: str, meter: Meter | None = None, known: Entry | None = None) -> Entry:
    """Bring a file or folder to the path ``target`` of this machine, where nothing is; return what was there.

    Parameters
    ----------
    store: the place's.
    meter: counts on the way.
    known: what `Store.look` has said of it.

    Raises a DataError that names the URL; nothing is left at ``target`` then, nor beside it.
    """
    meter = meter or Meter()
    found = known or patiently(lambda: store.look(place.path))
    new = beside(target)
    try:
        with told(target):
            os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
            if found.kind == FOLDER:
                os.mkdir(new)
                _fetch_folder(store, place, new, meter)
            else:
                _fetch_file(store, place.path, found, new, place.url, meter)
            os.rename(new, target)
    except BaseException:
        _try_to_remove(new)
        raise
    return found


def publish(store: Store, source: str, place: Place, meter: Meter | None = None) -> None:
    """Bring a file or folder of this machine to a place. Raises a DataError that names the URL."""
    meter = meter or Meter()
    with told(source):
        if not os.path.isdir(source):
            entry = of_file(source)
            patiently(lambda: _put(store, source, place.path, entry, meter))
            return
        entries = list(local_entries(source))
    if hasattr(store, "put_folder"):
        bulk = cast("WholeFolders", store)
        patiently(lambda: _again(meter, lambda: bulk.put_folder(source, place.path, meter)))
        return
    root = place.path.rstrip("/")
    patiently(lambda: store.make_folder(root))
    full = {entry.path.rpartition("/")[0] for entry in entries}
    for entry in entries:
        if entry.kind == FOLDER and entry.path not in full:
            patiently(lambda path=f"{root}/{entry.path}": store.make_folder(path))  # type: ignore[misc]

    def put(entry: Entry) -> None:
        path = f"{root}/{entry.path}"
        if entry.kind == LINK and store.keeps_links:
            patiently(lambda: store.make_link(path, entry.target))
            return
        local = below(source, entry.path)
        if entry.kind == LINK:
            entry = _followed(local, source)
        patiently(lambda: _put(store, local, path, entry, meter))

    _at_once(store.at_once, put, [entry for entry in entries if entry.kind != FOLDER])


def patiently(work: Callable[[], _T]) -> _T:
    """Return what ``work`` returns, which is tried again, ever later, where it raises BrokenTransferError."""
    for number in range(TRIES):
        try:
            return work()
        except BrokenTransferError:
            if number == TRIES - 1:
                raise
            time.sleep(PAUSE * 2**number * random.uniform(1, 1.5))  # noqa: S311  not for secrets
    raise AssertionError


def _fetch_file(store: Store, path: str, entry: Entry, target: str, url: str, meter: Meter) -> None:
    """Bring one file, with its mode, and check it; tried again where it breaks off, with what is there now."""
    known: list[Entry] = [entry]

    def get() -> None:
        now = known.pop() if known else store.look(path)
        count = Meter()
        try:
            store.get(path, now, target, _Both(meter, count))
            whole(now, os.path.getsize(target), url)
            checksums.check(target, now, url)
        except BaseException:
            meter.add(-count.bytes)
            _try_to_remove(target)
            raise

    patiently(get)
    if entry.executable:
        os.chmod(target, os.stat(target).st_mode | 0o100)
    meter.add(0, 1)


class _Both(Meter):
    """Adds to two meters."""

    def __init__(self, first: Meter, second: Meter) -> None:
        super().__init__()
        self._meters = (first, second)

    def add(self, count: int, files: int = 0) -> None:
        for meter in self._meters:
            meter.add(count, files)


def _again(meter: Meter, work: Callable[[], None]) -> None:
    """Do ``work``, and take back what it has counted where it raises."""
    bytes_, files = meter.bytes, meter.files
    try:
        work()
    except BaseException:
        meter.add(bytes_ - meter.bytes, files - meter.files)
        raise


def _fetch_folder(store: Store, place: Place, target: str, meter: Meter) -> None:
    if hasattr(store, "get_folder"):
        bulk = cast("WholeFolders", store)

        def get_all() -> None:
            try:
                _again(meter, lambda: bulk.get_folder(place.path, target, meter))
            except BaseException:
                remove(target)
                os.mkdir(target)
                raise

        patiently(get_all)
        return
    try:
        entries = patiently(lambda: list(store.walk(place.path)))
        paths = {entry.path: below(target, entry.path) for entry in entries}
    except ValueError as error:
        raise DataError(f"its listing is refused: {error}", where=place.url) from error
    for entry in entries:
        folder = paths[entry.path] if entry.kind == FOLDER else os.path.dirname(paths[entry.path])
        os.makedirs(folder, exist_ok=True)
    root = place.path.rstrip("/")
    _at_once(
        store.at_once,
        lambda one: _fetch_file(
            store, _join(root, one.path), one, paths[one.path], f"{place.url.rstrip('/')}/{one.path}", meter
        ),
        [entry for entry in entries if entry.kind == FILE],
    )
    for entry in entries:  # last: nothing is written through a link
        if entry.kind == LINK:
            os.symlink(entry.target, paths[entry.path])


def _join(root: str, path: str) -> str:
    return f"{root}/{path}" if root else path


def _put(store: Store, source: str, path: str, entry: Entry, meter: Meter) -> None:
    count = Meter()
    try:
        store.put(source, path, entry, _Both(meter, count))
    except BaseException:
        meter.add(-count.bytes, -count.files)
        raise
    meter.add(0, 1)


def _followed(path: str, folder: str) -> Entry:
    """Return the file that a link within ``folder`` stands for, where links cannot be kept."""
    real = os.path.realpath(path)
    if not os.path.isfile(real):
        kind = "nothing" if not os.path.exists(real) else "a folder"
        raise DataError(f"it is a link to {kind}, and no links can be kept there", where=path)
    if os.path.commonpath([real, os.path.realpath(folder)]) != os.path.realpath(folder):
        raise DataError("it is a link out of its folder, and no links can be kept there", where=path)
    return of_file(real)


def _at_once(count: int, work: Callable[[Entry], object], entries: Iterable[Entry]) -> None:
    """Do ``work`` for each entry, ``count`` at once; of several errors the first is raised, and no more are begun."""
    failed = threading.Event()

    def one(entry: Entry) -> None:
        if failed.is_set():
            return
        try:
            work(entry)
        except BaseException:
            failed.set()
            raise

    entries = list(entries)
    if count < 2 or len(entries) < 2:
        for entry in entries:
            one(entry)
        return
    with ThreadPoolExecutor(min(count, len(entries)), thread_name_prefix="Data") as pool:
        futures = [pool.submit(one, entry) for entry in entries]
        wait(futures, return_when=FIRST_EXCEPTION)
        failed_ones = [future.exception() for future in futures if future.done() and future.exception() is not None]
        if failed_ones:
            raise cast("BaseException", failed_ones[0])


def _try_to_remove(path: str) -> None:
    try:
        remove(path)
    except OSError:
        pass
