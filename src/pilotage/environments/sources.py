"""The files of a folder that workers may import, or that what they import may read beside it.

What is hidden never travels: keys and passwords are. Nor do virtual environments, what Python has compiled, our own
runs, what git ignores, and what ``.pilotageignore`` says.
"""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from pilotage.environments.ignoring import Ignored
from pilotage.errors import UsageError
from pilotage.paths import state_folder

LARGEST = 50 << 20
"""Bytes that are sent of a folder at most."""
MOST = 10_000
"""Files that are sent of a folder at most."""
MODULES = (".py", ".so")
AT_TOP = ("*.py", "*/__init__.py")
"""What a script imports first, where a folder has too many files to look at all."""
NEVER = {"__pycache__", "runinfo"}
"""Folders that hold nothing to import: Python's, and where Parsl has its runs."""
GIT = 30
"""Seconds that git has to list the files of a folder."""


def sources(folder: Path, script: Path | None = None) -> dict[str, Path]:
    """Return the files to send of a folder by their path below it; none where it has no module but the script.

    Raises UsageError where they are too many or too large.
    """
    found, sizes = {}, {}
    for path, file in files_in(folder, Ignored.of(folder)):
        try:
            known = file.stat()
        except OSError:  # gone, or a link to nowhere
            continue
        if stat.S_ISREG(known.st_mode):
            found[path], sizes[path] = file, known.st_size
        if len(found) > 3 * MOST:  # a home folder may have millions, and nothing of it would be sent
            found.update({file.name: file for pattern in AT_TOP for file in folder.glob(pattern)})
            break
    if not any(path.endswith(MODULES) and file != script for path, file in found.items()):
        return {}
    if is_too_large(sizes):
        raise UsageError(
            f"the script's folder is too large to be sent to where its workers are: {extent(sizes)}",
            where=str(folder),
            hint=f"largest is {largest(sizes)}: a line in {folder}/.pilotageignore leaves it out; "
            "or name what is sent: --sync; or send nothing: --no-sync",
        )
    return found


def is_too_large(sizes: Mapping[str, int]) -> bool:
    """Return whether files, by their sizes in bytes, are more than are sent."""
    return len(sizes) > MOST or sum(sizes.values()) > LARGEST


def extent(sizes: Mapping[str, int]) -> str:
    """Return how much files are, and may be, for a message."""
    most = f"at most {LARGEST >> 20} MiB and {MOST:,} files are"
    return f"{sum(sizes.values()) / 1e6:.0f} MB in {len(sizes):,} files, and {most}"


def largest(sizes: Mapping[str, int]) -> str:
    """Return in words what of files, by their paths, is large."""
    tops: dict[str, tuple[int, int]] = {}
    for path, size in sizes.items():
        top, _, below = path.partition("/")
        name = f"{top}/" if below else top
        bytes_, files = tops.get(name, (0, 0))
        tops[name] = bytes_ + size, files + 1
    order = 0 if sum(sizes.values()) > LARGEST else 1
    first = sorted(tops, key=lambda name: tops[name][order], reverse=True)[:3]
    return ", ".join(f"{name} ({tops[name][0] / 1e6:.1f} MB in {tops[name][1]:,} files)" for name in first)


def files_in(folder: Path, ignored: Ignored) -> Iterator[tuple[str, Path]]:
    """Yield paths below a folder, and the files."""
    known = _known_to_git(folder)
    if known is None:
        yield from _walk(folder, "", ignored, set())
        return
    folders: dict[str, bool] = {"": True}
    for path in known:
        if not _is_in(folder, path.rpartition("/")[0], ignored, folders) or is_left_out(path, ignored):
            continue
        file = folder / path
        if file.is_dir():  # a link, or a work tree within this one
            if may_enter(file, path, ignored):
                yield from _walk(file, f"{path}/", ignored, {os.path.realpath(folder)})
        else:
            yield path, file


def _is_in(top: Path, path: str, ignored: Ignored, known: dict[str, bool]) -> bool:
    """Return whether a folder below ``top`` and all between are to be looked into."""
    if path not in known:
        above = path.rpartition("/")[0]
        known[path] = _is_in(top, above, ignored, known) and may_enter(top / path, path, ignored)
    return known[path]


def _walk(folder: Path, prefix: str, ignored: Ignored, above: set[str]) -> Iterator[tuple[str, Path]]:
    real = os.path.realpath(folder)
    if real in above:  # a link to a folder that it is in
        return
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:  # what may not be read here cannot be imported here either
        return
    for entry in entries:
        path = prefix + entry.name
        if entry.is_dir():
            if may_enter(Path(entry.path), path, ignored):
                yield from _walk(Path(entry.path), f"{path}/", ignored, above | {real})
        elif not is_left_out(path, ignored):
            yield path, Path(entry.path)


def is_left_out(path: str, ignored: Ignored) -> bool:
    """Return whether a file in a folder that is sent stays here, by its path below that."""
    return path.rpartition("/")[2].startswith(".") or ignored.matches(path, is_folder=False)


def may_enter(folder: Path, path: str, ignored: Ignored) -> bool:
    """Return whether a folder within one that is sent is sent too, by its path below that."""
    if folder.name.startswith(".") or folder.name in NEVER or ignored.matches(path, is_folder=True):
        return False
    return not (folder / "pyvenv.cfg").exists() and folder != state_folder()


def _known_to_git(folder: Path) -> list[str] | None:
    """Return the paths below a folder that git does not ignore, None where it is in no work tree of git's."""
    if _git(folder, "check-ignore", "-q", ".") is not None:  # the whole folder is ignored, the script with it
        return None
    listed = _git(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    return None if listed is None else sorted({os.fsdecode(path).rstrip("/") for path in listed.split(b"\0") if path})


def _git(folder: Path, *words: str) -> bytes | None:
    """Return what git says, None where it does not succeed."""
    try:
        done = subprocess.run(["git", "-C", folder, *words], capture_output=True, timeout=GIT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
