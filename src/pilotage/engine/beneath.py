"""Paths below a folder that cannot be left: not by ``..``, not by a link, not by one that is put there meanwhile."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from pilotage.errors import DeniedError

FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC


class Spot(NamedTuple):
    """A place below a folder: the folder's real path, the names of those below it, and its own name."""

    root: str
    parts: tuple[str, ...]
    name: str

    @property
    def path(self) -> str:
        """Its path."""
        return os.path.join(self.root, *self.parts, self.name)  # noqa: PTH118  no Path is needed

    @contextmanager
    def folder(self, *, make: bool = False) -> Iterator[int]:
        """Open the folder that it is in, name by name, and no link; made with those above where ``make`` is set."""
        if make:
            os.makedirs(self.root, exist_ok=True)  # noqa: PTH103
        here = os.open(self.root, FOLDER)
        try:
            for part in self.parts:
                if make:
                    try:
                        os.mkdir(part, dir_fd=here)
                    except FileExistsError:
                        pass
                below = os.open(part, FOLDER | os.O_NOFOLLOW, dir_fd=here)
                os.close(here)
                here = below
            yield here
        finally:
            os.close(here)


def spot(granted: str, path: str, *, follow: bool) -> Spot:
    """Return the place ``path`` below what is granted, "" for that itself.

    Links are followed within the granted folder only; those above it, and what is granted itself, are the driver's own
    choice. Raises DeniedError for a path that leads out of it.

    Parameters
    ----------
    granted: an absolute path.
    path: names of folders and its own, with slashes in between.
    follow: whether to follow it where it is a link itself.
    """
    if not path:
        above, name = os.path.split(granted)
        real = os.path.realpath(granted) if follow else f"{os.path.realpath(above).rstrip('/')}/{name}"
        above, name = os.path.split(real)
        return Spot(above, (), name or ".")
    names = path.split("/")
    whole = f"{granted}/{path}"
    if "\0" in path or any(name in ("", ".", "..") for name in names):
        raise DeniedError("it leads out of what is granted", where=whole)
    root = os.path.realpath(granted)
    real = os.path.realpath(f"{root}/{path}" if follow else f"{root}/{'/'.join(names[:-1])}")
    if not follow:
        real = os.path.join(real, names[-1])  # noqa: PTH118
    if not real.startswith(root.rstrip("/") + "/"):
        raise DeniedError("a link leads out of what is granted", where=whole)
    *parts, name = real[len(root.rstrip("/")) + 1 :].split("/")
    return Spot(root, tuple(parts), name)


class Folders:
    """Opens folders below what is granted, and keeps the last one open: files come folder by folder.

    Parameters
    ----------
    granted: see `spot`.
    make: whether to make those that are not there.
    """

    def __init__(self, granted: str, *, make: bool = False) -> None:
        self._granted = granted
        self._make = make
        self._kept = ExitStack()
        self._last: tuple[str | None, Spot, int] | None = None

    def of(self, path: str) -> tuple[int, Spot]:
        """Open the folder that a path is in; return its descriptor, and the place. Raises OSError, DeniedError."""
        above, _, name = path.rpartition("/")
        key = above if path else None
        if self._last is None or self._last[0] != key:
            self.close()
            place = spot(self._granted, path, follow=False)
            self._last = key, place, self._kept.enter_context(place.folder(make=self._make))
        elif name in ("", ".", "..") or "\0" in name:
            raise DeniedError("it leads out of what is granted", where=f"{self._granted}/{path}")
        _, place, folder = self._last
        return folder, place._replace(name=name) if path else place

    def close(self) -> None:
        """Close the one that is open."""
        self._last = None
        self._kept.close()


def opened_in(folders: Folders, granted: str, path: str) -> tuple[int, os.stat_result]:
    """Open a file below what is granted; see `opened`."""
    folder, place = folders.of(path)
    try:
        return _opened(folder, place)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return opened(spot(granted, path, follow=True))  # a link, which may stay within


def opened(place: Spot) -> tuple[int, os.stat_result]:
    """Open a file to read it; return its descriptor and what is known of it. Raises OSError."""
    with place.folder() as folder:
        return _opened(folder, place)


def _opened(folder: int, place: Spot) -> tuple[int, os.stat_result]:
    # What is put there meanwhile may be a pipe, at whose other end nobody is.
    descriptor = os.open(place.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    known = os.fstat(descriptor)
    if not stat.S_ISREG(known.st_mode):
        os.close(descriptor)
        raise DeniedError("it is no file", where=place.path)
    return descriptor, known
