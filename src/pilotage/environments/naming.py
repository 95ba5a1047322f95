"""The files that a site's ``sync`` names, in place of the folders that a script imports from.

What is named in full goes along whatever it is. A pattern finds what a named folder would have, without hidden files,
virtual environments and what ``.pilotageignore`` says; but git is not asked about files that a pattern finds.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pilotage.environments.ignoring import NAME, Ignored
from pilotage.environments.sources import MOST, extent, files_in, is_left_out, is_too_large, largest, may_enter
from pilotage.errors import UsageError, did_you_mean
from pilotage.paths import expanded

WILD = frozenset("*?[")


@dataclass(frozen=True)
class Named:
    """A file that is named.

    Parameters
    ----------
    file: where it is read.
    place: its path by which the folders that it is in are known: links in the path of what was named are followed.
    own: its path where it is in no folder that is imported from: under the own name of what was named.
    """

    file: Path
    place: str
    own: str


def named(names: Sequence[str], folder: Path, where: str) -> list[Named]:
    """Return the files that names stand for.

    Parameters
    ----------
    names: paths and patterns, from ``folder`` where they are not absolute or below ``~``.
    folder: the script's.
    where: what names them, for messages.

    Raises UsageError where a name stands for nothing, and where they are too many or too large.
    """
    base = Path(os.path.realpath(folder))
    search = _Search(base, where)
    found: dict[str, Named] = {}
    for name in names:
        count = 0
        for one in search.files(name):
            found[one.place] = one
            count += 1
            if len(found) > 3 * MOST:
                break
        if not count:
            raise _nothing(name, base, where)
    sizes = {one.own: one.file.stat().st_size for one in found.values()}
    if is_too_large(sizes):
        raise UsageError(
            f"what is named is too large to be sent to where the script's workers are: {extent(sizes)}",
            where=where,
            hint=f"largest is {largest(sizes)}: name less, or leave it out by a line in {base}/{NAME}",
        )
    return list(found.values())


def arranged(
    found: Sequence[Named], folder: Path, folders: Sequence[str], where: str
) -> tuple[list[dict[str, Path]], dict[str, str]]:
    """Return the trees by which files are sent, and for each folder that has some of them, its place among the trees.

    The first tree is the script's folder, in which those have their own names that are elsewhere, but in no folder that
    is imported from. Raises UsageError where two would have one name.

    Parameters
    ----------
    found: the files.
    folder: the script's.
    folders: those that the script imports from.
    where: what names the files, for messages.
    """
    base = os.path.realpath(folder)
    trees: list[dict[str, Path]] = [{}]
    places: dict[str, str] = {}
    elsewhere: set[str] = set()
    for one in folders:
        real = os.path.realpath(one)
        if real == base:
            places[one] = "0"
        elif _below(real, base) is None:
            tree = {path: it.file for it in found if (path := _below(it.place, real))}
            if tree:
                places[one] = str(len(trees))
                trees.append(tree)
                # One that a folder far above is imported from would have another name there.
                elsewhere.update(it.place for it in found if 0 < len(_below(it.place, real) or "") <= len(it.own))
    archives = {}
    for it in found:
        inside = _below(it.place, base)
        if inside is None and it.place in elsewhere:
            continue
        path = archives[it.place] = inside or it.own
        there = Path(base, path.partition("/")[0])
        if path in trees[0] or (inside is None and os.path.lexists(there)):
            other = trees[0].get(path, there)
            raise UsageError(f"{it.file} and {other} would both be {path} for the workers", where=where)
        trees[0][path] = it.file
    for one in folders:
        real = os.path.realpath(one)
        inside = archives.get(real) or _below(real, base)
        if inside and any(path == inside or path.startswith(f"{inside}/") for path in trees[0]):
            places[one] = f"0/{inside}"
    if "0" not in places.values():
        places[str(folder)] = "0"
    return trees, places


def _below(path: str, folder: str) -> str | None:
    """Return a path from a folder that it is below, empty for the folder itself, None where it is elsewhere."""
    if path == folder:
        return ""
    begin = folder.rstrip("/") + "/"
    return path.removeprefix(begin) if path.startswith(begin) else None


class _Search:
    """What names stand for, from one folder; of a folder that is met again nothing is asked a second time."""

    def __init__(self, base: Path, where: str) -> None:
        self._base = base
        self._where = where
        self._ignored = Ignored.of(base)
        self._real: dict[Path, str] = {}
        self._entered: dict[tuple[Path, Path], bool] = {}

    def files(self, name: str) -> Iterator[Named]:
        """Yield the files that a name stands for; raises UsageError where it is none that could be."""
        path = Path(os.path.normpath(self._base / expanded(name)))
        if os.path.lexists(path):
            self._check(name, path)
            yield from self._taken(path, path.name)
            return
        root = path
        while WILD & set(str(root.relative_to(root.anchor))):
            root = root.parent
        if root == path:
            return
        ignored = self._ignored_in(root)
        try:
            for match in root.glob(str(path.relative_to(root))):  # one after the other: of millions few are asked for
                own = match.relative_to(root)
                is_folder = match.is_dir()
                if (is_folder or not name.endswith("/")) and self._is_sent(root, own, ignored, is_folder=is_folder):
                    yield from self._taken(match, str(own))
        except ValueError as error:  # such as ** within a name
            raise UsageError(f"{name!r} is no pattern: {error}", where=self._where) from error

    def _check(self, name: str, path: Path) -> None:
        """Raise UsageError where what is named in full is nothing that can be sent."""
        if path.is_dir():
            return
        if not path.exists():
            raise UsageError(f"{name!r} is a link to what is not there", where=self._where)
        if not path.is_file() or name.endswith("/"):
            raise UsageError(f"{name!r} is no {'folder' if path.is_file() else 'file'}", where=self._where)
        if not os.access(path, os.R_OK):
            raise UsageError(f"{name!r} cannot be read: Permission denied", where=self._where)

    def _taken(self, path: Path, own: str) -> Iterator[Named]:
        """Yield a file, or the files of a folder."""
        place = self._place(path)
        if path.is_file():
            yield Named(path, place, own)
        elif path.is_dir():
            for below, file in files_in(path, self._ignored_in(path)):
                try:
                    known = file.stat()
                except OSError:  # gone, or a link to nowhere
                    continue
                if stat.S_ISREG(known.st_mode):
                    yield Named(file, f"{place}/{below}", f"{own}/{below}")

    def _place(self, path: Path) -> str:
        """Return a path with links followed, but for its last part, by which what is named is known."""
        if path == self._base:
            return str(path)
        if path.parent not in self._real:
            self._real[path.parent] = os.path.realpath(path.parent)
        return os.path.join(self._real[path.parent], path.name)  # noqa: PTH118  pathlib is slow where there are many

    def _ignored_in(self, folder: Path) -> Ignored:
        """Return what stays here of a folder: by its own file, and by that of the script's folder where it is in it."""
        inside = _below(os.path.realpath(folder), str(self._base))
        return Ignored.of(folder, self._ignored, f"{inside}/") if inside else Ignored.of(folder)

    def _is_sent(self, root: Path, path: Path, ignored: Ignored, *, is_folder: bool) -> bool:
        """Return whether what a pattern finds is none that stays here, nor in such a folder."""
        if not path.parts:
            return True
        if not self._is_entered(root, path if is_folder else path.parent, ignored):
            return False
        return is_folder or not is_left_out(path.as_posix(), ignored)

    def _is_entered(self, root: Path, path: Path, ignored: Ignored) -> bool:
        if not path.parts:
            return True
        if (root, path) not in self._entered:
            above = self._is_entered(root, path.parent, ignored)
            self._entered[root, path] = above and may_enter(root / path, path.as_posix(), ignored)
        return self._entered[root, path]


def _nothing(name: str, base: Path, where: str) -> UsageError:
    """Return the error for a name that stands for no file."""
    path = Path(os.path.normpath(base / expanded(name)))
    if path.is_dir():
        return UsageError(f"{name!r} has no file to be sent", where=where, hint=f"it is {path}")
    if WILD & set(name):
        hint = f"a pattern finds nothing hidden, and nothing that {NAME} leaves out; names are from the script's folder"
        return UsageError(f"nothing in {base} matches {name!r}", where=where, hint=hint)
    try:
        beside = os.listdir(path.parent)  # noqa: PTH208
    except OSError:
        beside = []
    near = did_you_mean(path.name, beside)
    return UsageError(f"there is no {path}", where=where, hint=near or f"names are from the script's folder: {base}")
