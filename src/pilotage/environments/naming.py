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
    found: dict[str, Named] = {}
    for name in names:
        count = 0
        for one in _files(name, base, where):
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


def _files(name: str, base: Path, where: str) -> Iterator[Named]:
    path = Path(os.path.normpath(base / expanded(name)))
    if os.path.lexists(path):
        yield from _in_full(name, path, base, where)
        return
    root = path
    while WILD & set(str(root.relative_to(root.anchor))):
        root = root.parent
    if root == path:
        return
    above, prefix = _above(root, base)
    ignored = Ignored.of(root, above, prefix)
    try:
        matches = sorted(root.glob(str(path.relative_to(root))))
    except ValueError as error:  # such as ** within a name
        raise UsageError(f"{name!r} is no pattern: {error}", where=where) from error
    for match in matches:
        own = str(match.relative_to(root))
        if _is_sent(match, root, own, ignored) and (match.is_dir() or not name.endswith("/")):
            yield from _taken(match, base, own)


def _in_full(name: str, path: Path, base: Path, where: str) -> Iterator[Named]:
    """Yield the files of what is named in full, whatever it is called."""
    if not path.is_dir():
        if not path.exists():
            raise UsageError(f"{name!r} is a link to what is not there", where=where)
        if not path.is_file() or name.endswith("/"):
            raise UsageError(f"{name!r} is no {'folder' if path.is_file() else 'file'}", where=where)
        if not os.access(path, os.R_OK):
            raise UsageError(f"{name!r} cannot be read: Permission denied", where=where)
    yield from _taken(path, base, path.name)


def _taken(path: Path, base: Path, own: str) -> Iterator[Named]:
    """Yield a file, or the files of a folder."""
    place = os.path.realpath(path) if path == base else os.path.join(os.path.realpath(path.parent), path.name)  # noqa: PTH118
    if not path.is_dir():
        if path.is_file():
            yield Named(path, place, own)
        return
    above, prefix = _above(path, base)
    for below, file in files_in(path, Ignored.of(path, above, prefix)):
        try:
            known = file.stat()
        except OSError:  # gone, or a link to nowhere
            continue
        if stat.S_ISREG(known.st_mode):
            yield Named(file, f"{place}/{below}", f"{own}/{below}")


def _above(folder: Path, base: Path) -> tuple[Ignored | None, str]:
    """Return what the script's folder leaves out of one below it, and the path to that."""
    inside = _below(os.path.realpath(folder), str(base))
    return (Ignored.of(base), f"{inside}/") if inside else (None, "")


def _is_sent(match: Path, root: Path, path: str, ignored: Ignored) -> bool:
    """Return whether what a pattern finds is none that stays here, nor in such a folder."""
    if any(part.startswith(".") for part in Path(path).parts):
        return False
    between = [Path(path), *Path(path).parents][:-1]
    folders = between if match.is_dir() else between[1:]
    if not all(may_enter(root / one, str(one), ignored) for one in folders):
        return False
    return match.is_dir() or not is_left_out(path, ignored)


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
