"""What is below a folder of the driver's, page by page; nothing is remembered between two pages."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence

from pilotage.engine.beneath import FOLDER, Spot
from pilotage.errors import DataError
from pilotage.worker.data.base import FOLDER as IS_FOLDER
from pilotage.worker.data.base import LINK, Entry, of_known


def entries(place: Spot, after: str) -> Iterator[Entry]:
    """Yield what is below a folder, in the order of names, folders before what is in them; nothing is followed.

    Parameters
    ----------
    place: the folder.
    after: the path of the entry to go on behind, as it was yielded; "" for all.
    """
    with place.folder() as above:
        here = os.open(place.name, FOLDER | os.O_NOFOLLOW, dir_fd=above)
    try:
        yield from _below(here, "", after.split("/") if after else [], place.path)
    finally:
        os.close(here)


def _below(here: int, prefix: str, after: Sequence[str], whole: str) -> Iterator[Entry]:
    begin, rest = (after[0], after[1:]) if after else ("", ())
    for name in sorted(_names(here)):
        if name < begin or (name == begin and not _goes_on(here, name, after)):
            continue
        known = os.stat(name, dir_fd=here, follow_symlinks=False)
        path = prefix + name
        if stat.S_ISDIR(known.st_mode):
            if name != begin:
                yield Entry(path, IS_FOLDER)
            below = os.open(name, FOLDER | os.O_NOFOLLOW, dir_fd=here)
            try:
                yield from _below(below, f"{path}/", rest if name == begin else (), f"{whole}/{name}")
            finally:
                os.close(below)
        elif stat.S_ISLNK(known.st_mode):
            yield Entry(path, LINK, target=os.readlink(name, dir_fd=here))
        elif stat.S_ISREG(known.st_mode):
            yield of_known(known, path)
        else:
            raise DataError("it is no file, folder or link, and cannot be copied", where=f"{whole}/{name}")


def _goes_on(here: int, name: str, after: Sequence[str]) -> bool:
    """Return whether the entry that was told last is a folder, or in one: what is in it may be to come."""
    return bool(after[1:]) or stat.S_ISDIR(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode)


def _names(folder: int) -> list[str]:
    readable = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    try:
        return os.listdir(readable)  # noqa: PTH208
    finally:
        os.close(readable)
