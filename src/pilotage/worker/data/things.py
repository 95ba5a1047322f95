"""Parsl's File with what it lacks: folders, a choice of the path where the task finds it, and names taken literally."""

from __future__ import annotations

import itertools
import os
from typing import Any

from parsl.data_provider import files

from pilotage.errors import UsageError
from pilotage.worker.data.places import below, place_of, shown

MARK = "pilotage"
"""Attribute of a File that is brought to its task or from it: a dictionary, see `mark`."""
IN, OUT = "in", "out"
_numbers = itertools.count()


class File(files.File):
    """A file, anywhere.

    Parameters
    ----------
    url: a path, or a URL with a scheme: ``driver:data/in.csv``, ``s3://bucket/key``, ``ssh://host/path``,
        ``https://host/path``. All of it is the name, ``#`` and ``%`` too; only a web address is its server's own.
    local: where the task finds it, below its own folder; a name that no other file of the task has when not given.

    Raises UsageError for a URL that points nowhere, and for a ``local`` that would not be below the folder.
    """

    def __init__(self, url: str | os.PathLike[str], local: str | os.PathLike[str] | None = None) -> None:
        super().__init__(url)
        place = place_of(self.url)
        self.scheme = place.scheme
        self.netloc = place.host
        # Parsl cuts off what follows # and ?, and has a slash in front of a bucket's keys.
        self.path = place.path if place.scheme in ("file", "driver", "ssh") else f"/{place.path}"
        self.filename = place.name
        self.local = None if local is None else os.fspath(local)
        if self.local is not None:
            try:
                below("", self.local)
            except ValueError as error:
                raise UsageError(
                    f"local={self.local!r} is not below the task's folder",
                    where=shown(self.url),
                    hint="a relative path such as local='in/data.csv'",
                ) from error

    def cleancopy(self) -> File:
        """Return what it was when it was made, of the same class; Parsl's would be a plain File."""
        return type(self)(self.url, local=self.local)

    @property
    def filepath(self) -> str:
        """Where it is on the side that asks: its local path in a task, and here what has a path here."""
        if self.local_path is None and self.scheme == "driver":
            return os.path.abspath(self.path)
        if self.local_path is None and self.scheme != "file":
            raise UsageError(
                "it has no path here: it was not brought",
                where=shown(self.url),
                hint="give it to the app as an argument or in inputs=, not within another list, dictionary or object",
            )
        return str(super().filepath)


class Directory(File):
    """A folder with all that is in it, anywhere; the parameters are a `File`'s.

    As an input it comes with empty folders, symbolic links and executable bits, as far as they are kept there. As an
    output it is an empty folder for the task to fill; what is there already and has another name stays.
    """


def is_folder(file: files.File) -> bool:
    """Return whether a File stands for a folder."""
    return isinstance(file, Directory)


def mark(file: files.File, role: str, url: str, **more: Any) -> None:
    """Let a File of a task be brought to it or from it.

    Parameters
    ----------
    role: `IN` or `OUT`.
    url: where it comes from or goes to.
    more: ``grant``, by which a node may ask the driver for it.
    """
    vars(file)[MARK] = {"role": role, "url": url, "id": f"{os.getpid()}.{next(_numbers)}", **more}


def mark_of(file: files.File) -> dict[str, Any] | None:
    """Return what a File is marked with, None where it is used where it is."""
    found: dict[str, Any] | None = vars(file).get(MARK)
    return found
