"""Wheels of what is installed: each distribution packed again, from what it says of its own files.

A wheel's bytes depend only on what is in it, so that the same packages have the same digests on any day. Those that
were made are kept: nothing is packed twice.
"""

from __future__ import annotations

import base64
import configparser
import csv
import hashlib
import io
import os
import re
import secrets
import shutil
import stat
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path

from pilotage.environments.alone import alone
from pilotage.environments.editable import files_of, linked_by
from pilotage.environments.installed import LIBRARY, Installed
from pilotage.environments.recipe import file_digest
from pilotage.errors import UsageError
from pilotage.paths import private_folder, state_folder, storage

MADE = "1"
"""Changes with the way in which wheels are made."""
LEFT = {
    "INSTALLER",
    "RECORD",
    "RECORD.jws",
    "RECORD.p7s",
    "REQUESTED",
    "WHEEL",
    "direct_url.json",
    "provenance_url.json",
    "uv_build.json",
    "uv_cache.json",
}
"""Files of the metadata that say how it came to be installed here, and those that are written anew."""
TIME = (1980, 1, 1, 0, 0, 0)
"""The earliest that a zip file knows."""
LEVEL = 1
"""Of compression: the wheels are unpacked at once where they go, and this is the fastest."""
CHUNK = 1 << 20
UNUSED = 60
"""Days after which a wheel that nobody has asked for is removed."""
NOT_THERE = "some of its files are not there any more, {} for one"


@dataclass(frozen=True)
class Wheel:
    """A wheel on this machine.

    Parameters
    ----------
    name, version: of the package.
    path: of the file.
    digest: sha256 of the file, in hex.
    tags: what it is for: ``python-abi-platform``.
    indexed: whether the package came from an index, where others find it too.
    """

    name: str
    version: str
    path: Path
    digest: str
    tags: tuple[str, ...]
    indexed: bool = True


def wheels_folder() -> Path:
    """Return where wheels are kept."""
    return state_folder() / "wheels"


def wheels_of(chosen: Sequence[Installed], say: Callable[[str], object] = lambda _: None) -> list[Wheel]:
    """Return a wheel for each distribution; raises UsageError where one is not whole, StorageError.

    ``say`` is told where any has to be packed.
    """
    _remove_old()
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:  # packing is zlib's work, which lets others go on
        planned = list(pool.map(_planned, chosen))
        new = sum(whole(one.path) is None for one in planned)
        if not new:
            return list(pool.map(_made, planned))
        say(f"packing {new} package{'s' if new > 1 else ''}")
        with alone("packing"):  # of several processes that want the same, one does the work
            return list(pool.map(_made, planned))


def wheel_of(it: Installed) -> Wheel:
    """Return the wheel of a distribution, which is made where there is none."""
    return _made(_planned(it))


@dataclass(frozen=True)
class _Planned:
    """A wheel that is or will be in ``home``: of which files by their paths in it, and what it says of itself."""

    it: Installed
    files: Mapping[str, str]
    about: bytes
    home: Path

    @property
    def tags(self) -> tuple[str, ...]:
        """What it is for."""
        return tuple(HeaderParser().parsestr(self.about.decode()).get_all("Tag") or ())

    @property
    def path(self) -> Path:
        """The file."""
        name, version = re.sub("[-_.]+", "_", self.it.name), self.it.version.replace("-", "_")
        return self.home / f"{name}-{version}-{_compressed(self.tags)}.whl"


def _planned(it: Installed) -> _Planned:
    files = _source(it) if it.editable else _files(it)
    about = _about(it, files)
    return _Planned(it, files, about, wheels_folder() / f"{it.name}-{it.version}-{_key(it, files, about)}")


def _made(planned: _Planned) -> Wheel:
    it, home = planned.it, planned.home
    with storage(home):
        if (digest := whole(planned.path)) is None:
            private_folder(wheels_folder())
            digest = _make(it, planned.files, planned.about, home, planned.path.name)
        os.utime(home)
    return Wheel(it.name, it.version, planned.path, digest, planned.tags, not it.origin)


def whole(path: Path) -> str | None:
    """Return the digest of a wheel that is kept, None where it is not as it was made: gone, or cut off."""
    try:
        digest, size = (path.parent / "sha256").read_text().split()
        return digest if path.stat().st_size == int(size) else None
    except (OSError, ValueError):
        return None


def _make(it: Installed, files: Mapping[str, str], about: bytes, home: Path, name: str) -> str:
    """Pack a wheel into its folder; return its digest."""
    new = home.with_name(f".{home.name}-{secrets.token_hex(4)}")
    new.mkdir(mode=0o700)
    try:
        _pack(new / name, files, _stem(it), about)
        digest = file_digest(new / name)
        (new / "sha256").write_text(f"{digest} {(new / name).stat().st_size}\n")
        if home.exists() and whole(home / name) is None:  # somebody has removed a part of it
            shutil.rmtree(home, ignore_errors=True)
        new.rename(home)
    except OSError:
        if (made := whole(home / name)) is None:
            raise
        return made  # by another, meanwhile
    else:
        return digest
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _pack(target: Path, files: Mapping[str, str], stem: str, about: bytes) -> None:
    """Write a wheel, a piece at a time: a library may be larger than the memory."""
    record = io.StringIO()
    rows = csv.writer(record, lineterminator="\n")
    info = f"{stem}.dist-info"
    with zipfile.ZipFile(target, "w") as archive:
        # The metadata comes last, as the specification advises.
        for path in sorted(files, key=lambda path: (path.startswith(f"{info}/"), path)):
            digest, size = hashlib.sha256(), 0
            with open(files[path], "rb") as source:
                mode = os.fstat(source.fileno()).st_mode
                executable = bool(mode & 0o100) or path.startswith(f"{stem}.data/scripts/")
                with archive.open(_entry(path, executable=executable), "w", force_zip64=True) as out:
                    for piece in _restored(source, path, stem):
                        digest.update(piece)
                        size += len(piece)
                        out.write(piece)
            rows.writerow([path, _hash(digest.digest()), size])
        rows.writerow([f"{info}/WHEEL", _hash(hashlib.sha256(about).digest()), len(about)])
        archive.writestr(_entry(f"{info}/WHEEL"), about)
        rows.writerow([f"{info}/RECORD", "", ""])
        archive.writestr(_entry(f"{info}/RECORD"), record.getvalue())


def _entry(path: str, *, executable: bool = False) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(path, TIME)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry._compresslevel = LEVEL  # type: ignore[attr-defined]  # of the archive's own level its open() knows nothing
    entry.create_system = 3
    entry.external_attr = (stat.S_IFREG | (0o755 if executable else 0o644)) << 16
    return entry


def _hash(digest: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _restored(source: io.BufferedReader, path: str, stem: str) -> Iterator[bytes]:
    """Yield a file's content; a script's first line is what an installer replaces by that of a Python."""
    if path.startswith(f"{stem}.data/scripts/"):
        first = source.readline(4096)
        if (
            first.strip() == b"#!/bin/sh" and source.peek(8)[:8] == b"'''exec'"
        ):  # the path was too long for a first line
            source.readline(), source.readline()
            first = b"#!python\n"
        elif re.match(rb"#!\s*/.*/python[\d.]*\s*$", first) and not first.startswith(b"#!/usr/bin/"):
            first = b"#!python\n"
        yield first
    while piece := source.read(CHUNK):
        yield piece


def _files(it: Installed) -> dict[str, str]:
    """Return a distribution's files by their paths in a wheel."""
    root, stem, info = str(it.info.parent), _stem(it), it.info.name
    made = set(_entry_points(it))
    files: dict[str, str] = {}
    for row in csv.reader((it.metadata.read_text("RECORD") or "").splitlines()):
        if not row or not row[0] or row[0].endswith("/"):
            continue
        file = os.path.normpath(os.path.join(root, row[0]))  # noqa: PTH118  pathlib takes seconds for all of them
        folder, name = os.path.split(file)
        if "/__pycache__" in folder or (name in LEFT and folder == f"{root}/{info}"):
            continue
        if file.startswith(f"{root}/"):
            files[file[len(root) + 1 :]] = file
        elif os.path.basename(folder) != "bin" or name not in made:  # noqa: PTH119
            files[f"{stem}.data/{_elsewhere(it, Path(file))}"] = file
    return files


def _elsewhere(it: Installed, file: Path) -> str:
    """Return the path, in a wheel's folder of data, of a file that is not among the modules."""
    prefix = it.info.parents[3]  # of lib/python3.11/site-packages/its.dist-info
    if not file.is_relative_to(prefix):
        raise _broken(it, f"it has a file outside of its Python: {file}")
    below = file.relative_to(prefix)
    if below.parts[0] == "bin" and len(below.parts) == 2:
        return f"scripts/{below.name}"
    header = re.match(r"include/(?:site/)?python[\d.]+\w*/[^/]+/(.+)", below.as_posix())
    return f"headers/{header[1]}" if header else f"data/{below.as_posix()}"


def _source(it: Installed) -> dict[str, str]:
    """Return the files of an editable install by their paths in a wheel: its source, and what is known of it."""
    paths = list(linked_by(it.metadata))
    try:
        files = {name: str(path) for name, path in files_of(paths).items()}
    except UsageError as error:
        raise UsageError(
            f"{it.label} cannot be taken along: its editable install is too large",
            where=error.where,
            hint=f"leave out more of it ({error.where}/.pilotageignore), or install it without -e",
        ) from error
    tops = {name.partition("/")[0] for name in files}
    for folder in (path for path in paths if path.is_dir()):
        above = folder.parent if (folder / "__init__.py").exists() else folder
        files.update({name: str(path) for name, path in _made_in_place(above, tops)})
    if not files:
        raise _broken(it, "its editable install says not where its source is")
    for path in it.info.rglob("*"):
        if path.is_file() and path.name not in LEFT:
            files[f"{_stem(it)}.dist-info/{path.relative_to(it.info).as_posix()}"] = str(path)
    return files


def _made_in_place(folder: Path, tops: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """Yield modules that git may ignore and Python does not: what was compiled, or written with a version in it."""
    for top in tops:
        for path in (folder / top).rglob("*") if (folder / top).is_dir() else ():
            name = path.relative_to(folder).as_posix()
            if path.suffix in (".py", *LIBRARY) and path.is_file() and "/." not in name:
                yield name, path


def _broken(it: Installed, reason: str) -> UsageError:
    return UsageError(
        f"{it.label} cannot be taken along: {reason}",
        where=str(it.info),
        hint=f"install it again: pip install --force-reinstall --no-deps {it.label}",
    )


def _stem(it: Installed) -> str:
    """Return what the folders of a wheel's metadata and data are called."""
    if it.info.suffix == ".dist-info":
        return it.info.name.removesuffix(".dist-info")
    return f"{re.sub('[-_.]+', '_', it.name)}-{it.version}"


def _entry_points(it: Installed) -> Iterator[str]:
    """Yield the names of the scripts that an installer makes."""
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[method-assign,assignment]
    try:
        parser.read_string(it.metadata.read_text("entry_points.txt") or "")
    except configparser.Error:
        return
    for group in ("console_scripts", "gui_scripts"):
        if parser.has_section(group):
            yield from parser[group]


def _about(it: Installed, files: Mapping[str, str]) -> bytes:
    """Return the file WHEEL: its own, or what its files tell."""
    text = None if it.editable else it.metadata.read_text("WHEEL")
    if text and re.search("^Tag:", text, re.MULTILINE):
        return text.encode()
    pure = not any(path.endswith(LIBRARY) for path in files)
    tag = "py3-none-any" if pure else _own_tag()
    lines = ["Wheel-Version: 1.0", "Generator: pilotage", f"Root-Is-Purelib: {str(pure).lower()}", f"Tag: {tag}"]
    return ("\n".join(lines) + "\n").encode()


def _own_tag() -> str:
    """Return the tag of what was compiled for this Python on this machine."""
    import sysconfig

    from packaging.tags import interpreter_name, interpreter_version

    python = f"{interpreter_name()}{interpreter_version()}"
    return f"{python}-{python}-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"


def _compressed(tags: Iterable[str]) -> str:
    """Return the tags of a wheel as its file is called."""
    parts = zip(*(tag.split("-") for tag in tags), strict=True)
    return "-".join(".".join(sorted(set(part))) for part in parts)


def _key(it: Installed, files: Mapping[str, str], about: bytes) -> str:
    """Return 16 hex digits that change with the distribution: with its files too, which people do edit in place."""
    digest = hashlib.sha256(MADE.encode() + about)
    for line in (it.metadata.read_text("RECORD") or "").splitlines():
        if not line.startswith(".."):  # a script has the path of its Python in it, and another digest in each
            digest.update(f"{line}\n".encode())
    for path in sorted(files):
        try:
            known = os.stat(files[path])  # noqa: PTH116  as above
        except OSError:
            raise _broken(it, NOT_THERE.format(files[path])) from None
        digest.update(f"{path}\0{known.st_size}\0{known.st_mtime_ns}\0{known.st_mode & 0o100}\n".encode())
    return digest.hexdigest()[:16]


def _remove_old() -> None:
    """Remove wheels that nobody has asked for, and what is left of one that was not finished."""
    end = time.time() - UNUSED * 86400
    try:
        for home in os.scandir(wheels_folder()):
            since = home.stat().st_mtime
            if since < end or (home.name.startswith(".") and since < time.time() - 86400):
                shutil.rmtree(home.path, ignore_errors=True)
    except OSError:
        return
