"""What a container's definition takes from this machine: the files that it names, for the host that builds it."""

from __future__ import annotations

import shlex
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pilotage.environments.recipe import file_digest
from pilotage.errors import BuildError
from pilotage.paths import private_folder, state_folder, storage

IGNORED = {".git", ".hg", ".svn", "__pycache__", ".venv"}
"""Names of folders that are left out where a definition names one that they are in."""

UNUSED = 60
"""Days after which an archive that nobody has asked for is removed."""


def named(text: str, *, apptainer: bool) -> list[str]:
    """Return the sources that a definition names: of COPY and ADD in a Containerfile, of ``%files`` in Apptainer's."""
    found = _of_apptainer(text) if apptainer else _of_containerfile(text)
    return [source for source in dict.fromkeys(found) if "://" not in source and not source.startswith(("$", "git@"))]


def _of_containerfile(text: str) -> Iterator[str]:
    for line in text.replace("\\\n", " ").splitlines():
        word, _, rest = line.strip().partition(" ")
        if word.upper() not in ("COPY", "ADD"):
            continue
        words = _words(rest.strip("[] ").replace(",", " ") if rest.strip().startswith("[") else rest)
        options = [one for one in words if one.startswith("--")]
        if not any(one.startswith("--from=") for one in options):
            yield from (one for one in words[:-1] if one not in options)


def _of_apptainer(text: str) -> Iterator[str]:
    section: list[str] = []
    for line in text.splitlines():
        if line.startswith("%"):
            section = line.split()
        elif section[:1] == ["%files"] and len(section) == 1 and (words := _words(line)):
            yield words[0]


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:  # the runtime will say what is wrong with it
        return []


def files(definition: Path, *, apptainer: bool) -> dict[str, Path]:
    """Return what a definition takes from its own folder: files by their paths in it.

    Raises BuildError where a source is not there, or is outside of the folder.
    """
    found: dict[str, Path] = {}
    folder = definition.parent.resolve()
    for source in named(definition.read_text(errors="replace"), apptainer=apptainer):
        if source.split("/")[0] == "pilotage" or (apptainer and source.startswith("/")):
            continue  # what is put beside it; what the other host has
        pattern = source.lstrip("/").rstrip("/") or "."
        paths = [folder] if pattern == "." else sorted(folder.glob(pattern))
        if not paths:
            raise BuildError(f"there is no {source}", where=str(definition), hint="paths are from the file's folder")
        for path in paths:
            if not path.resolve().is_relative_to(folder):
                raise BuildError(f"{source} is outside of the file's folder", where=str(definition))
            for one in [path] if path.is_file() else sorted(path.rglob("*")):
                inside = one.relative_to(folder)
                if one.is_file() and not IGNORED & set(inside.parts):
                    found[str(inside)] = one
    return found


def packed(found: dict[str, Path]) -> tuple[Path, str]:
    """Return an archive of files by their paths, which is kept, and its sha256; the same files make the same bytes."""
    folder = private_folder(state_folder() / "contexts")
    for old in folder.glob("*.tar"):
        if old.stat().st_mtime < time.time() - UNUSED * 86400:
            old.unlink(missing_ok=True)
    with storage(folder), tempfile.NamedTemporaryFile(dir=folder, prefix=".", delete=False) as new:
        try:
            with tarfile.open(fileobj=new, mode="w") as archive:
                for name, path in sorted(found.items()):
                    entry = archive.gettarinfo(path, name)
                    entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = 0, 0, 0, "", ""
                    with open(path, "rb") as file:
                        archive.addfile(entry, file)
            new.flush()
            digest = file_digest(Path(new.name))
            target = folder / f"{digest}.tar"
            Path(new.name).replace(target)
        except BaseException:
            Path(new.name).unlink(missing_ok=True)
            raise
    return target, digest
