"""The Python that an environment is made from: one that the host has, else the driver's own, taken along."""

from __future__ import annotations

import gzip
import hashlib
import os
import secrets
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pilotage.environments.fitting import here, version_of
from pilotage.environments.installed import Python
from pilotage.environments.recipe import Facts, file_digest
from pilotage.environments.wheels import wheels_folder
from pilotage.errors import UnsupportedError
from pilotage.paths import private_folder, storage

SYSTEM = {"/usr", "/usr/local", "/"}
"""Where a Python is part of a system, in which its libraries are."""
LEFT = {"__pycache__", "ensurepip", "idlelib", "lib2to3", "pkgconfig", "site-packages", "test", "turtledemo"}
"""Folders of a Python's tree that workers need nothing of."""


@dataclass(frozen=True)
class Interpreter:
    """A Python for the host: its path there, or an archive of this machine and its digest, with the version."""

    version: str
    path: str = ""
    archive: Path | None = None
    digest: str = ""


def interpreter(wanted: str | None, facts: Facts, python: Python) -> Interpreter:
    """Return the Python to make an environment from.

    Parameters
    ----------
    wanted: path or name there of the one that the site names.
    facts: of the host.
    python: the one whose minor version it is to have, and whose own tree may be taken along.

    Raises UnsupportedError where there is none, and the driver's cannot be taken along.
    """
    if wanted is not None:
        path = facts.home + wanted[1:] if wanted.startswith("~/") else wanted
        return Interpreter(python.version, facts.programs.get(path, path))
    if found := facts.programs.get(f"python{python.version}"):
        return Interpreter(python.version, found)
    if reason := _stays(facts, python):
        raise UnsupportedError(
            f"there is no python{python.version}, which the driver has, and the driver's own stays here: {reason}",
            hint=f'name one that is there: python = "/opt/python{python.version}/bin/python{python.version}"; or have '
            'conda bring one: kind = "conda"',
        )
    archive, digest = _archive(python)
    return Interpreter(python.version, archive=archive, digest=digest)


def _stays(facts: Facts, python: Python) -> str | None:
    """Return why a Python cannot be taken along, None where it can."""
    base, own = Path(python.base), here()
    if facts.platform != own.platform:
        return f"it is for {own.platform}, and the other side is {facts.platform}"
    there, libc = version_of(facts.libc), version_of(own.libc)
    if there is None or libc is None:
        return "one of both sides has no glibc"
    if python.base in SYSTEM:
        return f"it is part of this machine's system, in {base}"
    if (base / "conda-meta").is_dir():
        return f"it is conda's, in {base}"
    if not (base / "bin" / f"python{python.version}").is_file() or not _library(python).is_dir():
        return f"{base} has it not as one tree"
    return None


def _library(python: Python) -> Path:
    return Path(python.base) / "lib" / f"python{python.version}"


def _archive(python: Python) -> tuple[Path, str]:
    """Return a Python's own tree as an archive, and its digest; one that was made is taken again."""
    files = sorted(_files(python))
    key = hashlib.sha256()
    for name, path in files:
        known = path.stat()
        key.update(f"{name}\0{known.st_size}\0{known.st_mtime_ns}\n".encode())
    home = private_folder(wheels_folder()) / f"python-{python.version}-{key.hexdigest()[:16]}"
    archive = home / f"python-{python.version}.tar.gz"
    if not archive.exists():
        with storage(home):
            home.mkdir(mode=0o700, exist_ok=True)
            new = home / f".{secrets.token_hex(4)}"
            _pack(files, new)
            new.replace(archive)
    os.utime(home)
    return archive, file_digest(archive)


def _pack(files: list[tuple[str, Path]], target: Path) -> None:
    with (
        open(target, "wb") as out,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=out, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT, dereference=True) as archive,
    ):
        for name, path in files:
            entry = archive.gettarinfo(path, name)
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            if not entry.isreg():
                archive.addfile(entry)
                continue
            with open(path, "rb") as content:
                archive.addfile(entry, content)


def _files(python: Python) -> Iterator[tuple[str, Path]]:
    base, name = Path(python.base), f"python{python.version}"
    yield f"bin/{name}", base / "bin" / name
    for library in base.glob("lib/libpython*.so*"):
        yield f"lib/{library.name}", library
    for top in (_library(python), base / "include" / name):
        for folder, folders, files in os.walk(top):
            folders[:] = [one for one in folders if one not in LEFT and not one.startswith("config-")]
            for file in files:
                path = Path(folder, file)
                if path.suffix not in (".a", ".pyc") and path.exists():
                    yield path.relative_to(base).as_posix(), path
