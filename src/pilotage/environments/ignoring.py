"""What a ``.pilotageignore`` leaves out: a line a pattern, nearly as in a ``.gitignore``.

Known are ``*``, ``?`` and ``[...]``, a slash at the end for folders only, and a slash elsewhere for paths from the
file's own folder. A ``*`` also takes slashes, ``!`` is not known, and only the file in the folder that is sent is read.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from pathlib import Path

from pilotage.errors import UsageError

NAME = ".pilotageignore"


class Ignored:
    """The patterns of one folder.

    Parameters
    ----------
    lines: those of the file. Raises UsageError where one begins with ``!``.
    above: patterns of a folder above, which hold in this one too.
    prefix: the path of this folder below that one, with a slash at its end.
    """

    def __init__(self, lines: Iterable[str] = (), above: Ignored | None = None, prefix: str = "") -> None:
        self._above, self._prefix = above, prefix
        patterns = [line.strip() for line in lines]
        self.patterns = [pattern for pattern in patterns if pattern and not pattern.startswith("#")]
        for pattern in self.patterns:
            if pattern.startswith("!"):
                raise UsageError(f"{pattern!r}: a pattern that takes back another is not known", where=NAME)

    @classmethod
    def of(cls, folder: Path, above: Ignored | None = None, prefix: str = "") -> Ignored:
        """Return those of a folder, none of its own where it has no such file."""
        try:
            lines = (folder / NAME).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            lines = []
        return cls(lines, above, prefix)

    def matches(self, path: str, *, is_folder: bool) -> bool:
        """Return whether a path below the folder is left out; of the folders above it each is asked by itself."""
        if any(_matches(pattern, path, is_folder) for pattern in self.patterns):
            return True
        return self._above is not None and self._above.matches(self._prefix + path, is_folder=is_folder)


def _matches(pattern: str, path: str, is_folder: bool) -> bool:
    if pattern.endswith("/") and not is_folder:
        return False
    pattern = pattern.rstrip("/")
    if "/" in pattern:
        plain = pattern.removeprefix("**/")
        return fnmatch.fnmatchcase(path, pattern.lstrip("/")) or fnmatch.fnmatchcase(path, plain.lstrip("/"))
    return fnmatch.fnmatchcase(path.rpartition("/")[2], pattern)
