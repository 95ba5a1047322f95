"""Files on their way to the driver: beside where they will be, under a name that nobody looks for.

``.NAME.MARK-ID.part``: the mark is this interchange's, so that whoever comes after it knows what it has left.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from pilotage.journal import Journal
from pilotage.worker import processes

SUFFIX = ".part"
NAMED = 100
"""Bytes of a file's name that are in its part's."""


def name_of(name: str, mark: str, upload: str) -> str:
    """Return the name of the part of a file."""
    short = os.fsdecode(os.fsencode(name)[:NAMED])
    return f".{short}.{mark}-{upload}{SUFFIX}"


def left(folder: str, mark: str, *, below: bool) -> Iterator[str]:
    """Yield the paths of parts with a mark in a folder, and in those below it where ``below`` is set; links are left.

    What cannot be looked at is passed over.
    """
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        with contextlib.suppress(OSError), os.scandir(here) as found:
            for one in found:
                if below and one.is_dir(follow_symlinks=False):
                    waiting.append(one.path)
                elif one.name.endswith(SUFFIX) and f".{mark}-" in one.name and not one.is_dir(follow_symlinks=False):
                    yield one.path


def remove_left(folder: str, mark: str, *, below: bool) -> str | None:
    """Remove the parts with a mark; return why some are left, None where none is."""
    problem = None
    for path in left(folder, mark, below=below):
        try:
            os.unlink(path)  # noqa: PTH108  pathlib is not worth its memory in the supervisor
        except FileNotFoundError:
            continue
        except OSError as error:
            problem = f"{path}: {error.strerror}"
    return problem


class Noted:
    """The folders in which there may be parts, each written into the run's journal before the first is made.

    Parameters
    ----------
    journal: the run's; None where there is none.
    mark: that of the parts.
    """

    def __init__(self, journal: Journal | None, mark: str) -> None:
        self._journal = journal
        self._mark = mark
        self._folders: dict[tuple[str, bool], str] = {}

    def note(self, folder: str, *, below: bool) -> None:
        """Write down that there may be parts; raises OSError, and then there may not."""
        if (folder, below) in self._folders:
            return
        key = ""
        if self._journal is not None:
            key = self._journal.intend("part_files", path=folder, mark=self._mark, below=below, host=processes.host())
        self._folders[folder, below] = key

    def end(self) -> None:
        """Remove what is left in them, and write that down."""
        for (folder, below), key in self._folders.items():
            if remove_left(folder, self._mark, below=below) is None and self._journal is not None:
                with contextlib.suppress(OSError):
                    self._journal.ended(key, "removed")
        self._folders.clear()
