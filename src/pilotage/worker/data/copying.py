"""The one way in which bytes move: under a name that nobody looks for, checked, then given its own name.

A file appears under its name whole or not at all. So does a folder on this machine that was not there; into one that is
there, file after file is put, and what has another name stays. What a folder that was not there is elsewhere is its
store's affair: in a bucket, and on a driver whose files are not seen here, its files come one after the other.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar, cast

from pilotage.errors import BrokenTransferError, DataError
from pilotage.worker.data import checksums
from pilotage.worker.data.base import (
    FILE,
    FOLDER,
    LINK,
    Cancelled,
    Entry,
    Meter,
    Store,
    WholeFolders,
    local_entries,
    of_file,
    whole,
)
from pilotage.worker.data.files import Files, beside, move_into, remove, told
from pilotage.worker.data.places import Place, below, shown

TRIES = 5
PAUSE = 0.5
"""Seconds before the second try; twice as long before each further one, and up to half as much again by chance."""
LONGEST_PAUSE = 60
"""Seconds that are waited at most where the other side asks for a pause."""
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
    meter = Meter(meter)
    found = known or patiently(lambda: store.look(place.path))
    new = beside(target)
    try:
        with told(target, str(place)):
            os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
            if found.kind == FOLDER:
                os.mkdir(new)
                _fetch_folder(store, place, new, meter)
            else:
                meter.expect([found])
                fetch_file(store, place.path, found, new, place.url, meter)
            os.rename(new, target)
    except BaseException:
        _try_to_remove(new)
        raise
    return found


def publish(store: Store, source: str, place: Place, meter: Meter | None = None) -> None:
    """Bring a file or folder of this machine to a place. Raises a DataError that names the URL."""
    meter = Meter(meter)
    with told(source):
        if not os.path.isdir(source):
            entry = of_file(source)
            meter.expect([entry])
            put_file(store, source, place.path, entry, meter)
            return
        entries = list(local_entries(source))
    meter.expect(entries)
    if hasattr(store, "put_folder"):
        bulk = cast("WholeFolders", store)
        patiently(lambda: _counted(meter, lambda part: bulk.put_folder(source, place.path, part)))
        return
    root = place.path.rstrip("/")
    if not isinstance(store, Files) or os.path.lexists(root):
        _put_all(store, source, root, entries, meter)
        return
    new = beside(root)
    try:
        _put_all(store, source, new, entries, meter)
        with told(root):
            move_into(new, root)  # by now another may have made it
    finally:
        _try_to_remove(new)


def _put_all(store: Store, source: str, root: str, entries: Sequence[Entry], meter: Meter) -> None:
    full = {entry.path.rpartition("/")[0] for entry in entries}
    if not entries:
        patiently(lambda: store.make_folder(root))
    for path in [_join(root, entry.path) for entry in entries if entry.kind == FOLDER and entry.path not in full]:
        patiently(lambda path=path: store.make_folder(path))  # type: ignore[misc]

    def put(entry: Entry) -> None:
        path = _join(root, entry.path)
        if entry.kind == LINK and store.keeps_links:
            patiently(lambda: store.make_link(path, entry.target))
            return
        local = below(source, entry.path)
        if entry.kind == LINK:
            entry = _followed(local, source)
        put_file(store, local, path, entry, meter)

    at_once(store.at_once, put, [entry for entry in entries if entry.kind != FOLDER], meter)


def once_more(work: Callable[[], _T]) -> _T:
    """Return what ``work`` returns, which is tried once more where it raises BrokenTransferError."""
    try:
        return work()
    except BrokenTransferError:
        return work()


def patiently(work: Callable[[], _T]) -> _T:
    """Return what ``work`` returns, which is tried again, ever later, where it raises BrokenTransferError."""
    for number in range(TRIES):
        try:
            return work()
        except BrokenTransferError as error:
            if number == TRIES - 1:
                raise
            pause = PAUSE * 2**number * random.uniform(1, 1.5)  # noqa: S311  not for secrets
            time.sleep(max(pause, min(error.after, LONGEST_PAUSE)))
    raise AssertionError


def fetch_file(store: Store, path: str, entry: Entry, target: str, url: str, meter: Meter) -> None:
    """Bring one file into the new file ``target``, with its mode, and check it.

    Tried again where it breaks off, with what is there then. Raises a DataError; ``target`` is not there then.
    """
    known: list[Entry] = [entry]

    def get(part: Meter) -> None:
        now = known.pop() if known else store.look(path)
        try:
            store.get(path, now, target, part)
            mode = os.stat(target)
            whole(now, mode.st_size, url)
            checksums.check(target, now, url)
            if entry.executable and not mode.st_mode & 0o100:
                os.chmod(target, mode.st_mode | 0o100)
        except BaseException:
            _try_to_remove(target)
            raise

    patiently(lambda: _counted(meter, get))
    meter.add(0, 1)


def put_file(store: Store, source: str, path: str, entry: Entry, meter: Meter) -> None:
    """Publish the file ``source`` of this machine at ``path``; tried again where it breaks off."""
    patiently(lambda: _counted(meter, lambda part: store.put(source, path, entry, part)))
    meter.add(0, 1)


def _counted(meter: Meter, work: Callable[[Meter], None]) -> None:
    """Do ``work`` with a meter of its own, and take back what it has counted where it raises."""
    part = Meter(meter)
    try:
        work(part)
    except BaseException:
        part.take_back()
        raise


def _fetch_folder(store: Store, place: Place, target: str, meter: Meter) -> None:
    if hasattr(store, "get_folder"):
        bulk = cast("WholeFolders", store)

        def get_all(part: Meter) -> None:
            try:
                bulk.get_folder(place.path, target, part)
            except BaseException:
                remove(target)
                os.mkdir(target)
                raise

        patiently(lambda: _counted(meter, get_all))
        return
    try:
        entries = patiently(lambda: list(store.walk(place.path)))
        paths = {entry.path: below(target, entry.path) for entry in entries}
    except ValueError as error:
        raise DataError(f"its listing is refused: {error}", where=shown(place.url)) from error
    meter.expect(entries)
    folders = {entry.path if entry.kind == FOLDER else entry.path.rpartition("/")[0] for entry in entries}
    for path in sorted(folders):
        os.makedirs(os.path.join(target, path), exist_ok=True)
    root = place.path.rstrip("/")
    at_once(
        store.at_once,
        lambda one: fetch_file(
            store, _join(root, one.path), one, paths[one.path], f"{place.url.rstrip('/')}/{one.path}", meter
        ),
        [entry for entry in entries if entry.kind == FILE],
        meter,
    )
    for entry in entries:  # last: nothing is written through a link
        if entry.kind == LINK:
            os.symlink(entry.target, paths[entry.path])


def _join(root: str, path: str) -> str:
    return f"{root}/{path}" if root else path


def _followed(path: str, folder: str) -> Entry:
    """Return the file that a link within ``folder`` stands for, where links cannot be kept."""
    real = os.path.realpath(path)
    if not os.path.isfile(real):
        kind = "nothing" if not os.path.exists(real) else "a folder"
        raise DataError(f"it is a link to {kind}, and no links can be kept there", where=path)
    if os.path.commonpath([real, os.path.realpath(folder)]) != os.path.realpath(folder):
        raise DataError(
            "it is a link out of its folder, and no links can be kept there",
            where=path,
            hint="put a copy of what it stands for in its place (cp -L), or leave it out",
        )
    return of_file(real)


def at_once(count: int, work: Callable[[_T], object], things: Iterable[_T], meter: Meter) -> None:
    """Do ``work`` for each thing, ``count`` at once; of several errors the first is raised, and no more are begun.

    What is under way then, or at Ctrl-C, ends at its next byte: ``meter``, with which all of it counts, is cancelled.
    """
    left = deque(things)
    errors: list[BaseException] = []

    def some() -> None:
        while not meter.cancelled:
            try:
                thing = left.popleft()
            except IndexError:
                return
            try:
                work(thing)
            except Cancelled:
                meter.cancelled = True
            except BaseException as error:
                errors.append(error)
                meter.cancelled = True

    threads = [threading.Thread(target=some, name=f"Data-{number}") for number in range(min(count, len(left)))]
    if len(threads) < 2:
        some()
    else:
        begun: list[threading.Thread] = []
        try:
            for thread in threads:
                thread.start()
                begun.append(thread)
            for thread in threads:
                thread.join()
        except BaseException:
            meter.cancelled = True
            raise
        finally:
            for thread in begun:
                thread.join()
    if errors:
        raise errors[0]
    if meter.cancelled:  # by whoever counts above
        raise Cancelled


def _try_to_remove(path: str) -> None:
    try:
        remove(path)
    except OSError:
        pass
