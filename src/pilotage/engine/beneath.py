"""Paths below a folder that cannot be left: not by ``..``, not by a link, not by one that is put there meanwhile."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
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


def opened(place: Spot) -> tuple[int, os.stat_result]:
    """Open a file to read it; return its descriptor and what is known of it. Raises OSError."""
    with place.folder() as folder:
        # What is put there meanwhile may be a pipe, at whose other end nobody is.
        descriptor = os.open(place.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    known = os.fstat(descriptor)
    if not stat.S_ISREG(known.st_mode):
        os.close(descriptor)
        raise DeniedError("it is no file", where=place.path)
    return descriptor, known
