"""Records as files: how they are named, written, and read from any folder of many people's.

::

    results/<site>/<date>_<site>_<scheduler>_<executor>_<nodes>n<workers>w_<id>.json
    configs/<site>_<scheduler>_<executor>_<nodes>n<workers>w.py

Nodes and workers are those that ran. ``<id>`` is the record's id without its date.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pilotage.errors import StorageError
from pilotage.paths import storage, write_atomically
from pilotage.perf.record import SCHEMA_VERSION, Record

LARGEST = 64 << 20
"""Bytes of a file that may be a record."""


def shape(record: Record) -> str:
    """Return ``<nodes>n<workers>w`` of what ran."""
    ran = record.ran
    return f"{len(ran.nodes)}n{ran.workers}w"


def stem(record: Record) -> str:
    """Return ``<site>_<scheduler>_<executor>_<nodes>n<workers>w``."""
    parts = (record.site, record.scheduler, record.executor, shape(record))
    return "_".join(re.sub(r"[^A-Za-z0-9.+-]+", "-", part).lstrip(".") or "-" for part in parts)


def result_path(record: Record) -> Path:
    """Return the record's place below a root folder."""
    date = record.time.date().isoformat()
    own = re.sub(r"^\d{8}-", "", record.id)  # a run's id begins with its date
    site = stem(record).split("_")[0]
    return Path("results", site, f"{date}_{stem(record)}_{own}.json")


def config_path(record: Record) -> Path:
    """Return the place of its exported config below a root folder."""
    return Path("configs", f"{stem(record)}.py")


def config_beside(file: Path, record: Record) -> Path:
    """Return where the config of a record is whose file is in ``results/SITE/``; it may not be there."""
    return Path(*file.absolute().parts[:-3]) / config_path(record)


def write(record: Record, root: Path, config: str | None = None) -> Path:
    """Write a record, and its config where there is one, below ``root``; return the record's file.

    A file of the same record under another name (more workers have come since) is replaced. Raises StorageError.
    """
    path = root / result_path(record)
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, record.to_json(), 0o644)
        for old in path.parent.glob(f"*_{path.stem.rpartition('_')[2]}.json"):
            if old != path and _id_of(old) == record.id:
                old.unlink(missing_ok=True)
        if config is not None:
            target = root / config_path(record)
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(target, config, 0o644)
    return path


def _id_of(path: Path) -> str | None:
    try:
        return read(path).id
    except StorageError:
        return None


@dataclass
class Found:
    """What a folder of records holds: the records by file, and a sentence about each file that is none to be used."""

    records: dict[Path, Record] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def read(path: Path) -> Record:
    """Return the record in a file; raises StorageError where there is none that this version can read."""
    try:
        if path.stat().st_size > LARGEST:
            raise StorageError("too large to be a record", where=str(path))
        return parse(path.read_bytes(), str(path))
    except OSError as error:
        raise StorageError(f"cannot be read: {error.strerror}", where=str(path)) from error


def parse(text: bytes | str, where: str) -> Record:
    """Return the record in a file's text; raises StorageError, which names ``where``."""
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StorageError(f"is no JSON: {error}", where=where) from error
    if not isinstance(value, dict) or "schema_version" not in value or "sessions" not in value:
        raise StorageError("is no record of a benchmark", where=where)
    version = value["schema_version"]
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise StorageError(
            f"was written by a newer pilotage (schema {version}, known is {SCHEMA_VERSION})",
            where=where,
            hint="a newer pilotage reads it",
        )
    try:
        return Record.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        said = ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))
        raise StorageError(f"is a broken record: {said}", where=where) from error


def read_all(paths: Iterable[Path]) -> Found:
    """Read records from files and folders, with all that is in them; each record once, in the order of its creation.

    In a folder that is every ``.json`` file. What is broken, newer or twice there is told, not used; of several forms
    of a record, the one with the most sessions is used.
    """
    found = Found()
    seen: dict[str, Path] = {}
    for given in paths:
        if not given.exists():
            raise StorageError("there is no such file or folder", where=str(given))
        for path in _in_folder(given) if given.is_dir() else [given]:
            try:
                record = read(path)
            except StorageError as error:
                found.problems.append(f"{error.where}: {error.message}")
                continue
            if (first := seen.setdefault(record.id, path)) == path:
                found.records[path] = record
            elif path.resolve() != first.resolve():
                seen[record.id] = _fuller(found, first, path, record)
    found.records = in_order(found.records)
    return found


def _fuller(found: Found, first: Path, path: Path, record: Record) -> Path:
    """Keep the form of a record that has more sessions, the first of equals; tell of the other; return its file."""
    if found.records[first] == record:
        found.problems.append(f"{path}: the same record is in {first}")
        return first
    kept, left = first, path
    if len(record.finished) > len(found.records[first].finished):
        kept, left = path, first
        del found.records[first]
        found.records[path] = record
    found.problems.append(f"{left}: another form of this record, which is used, is in {kept}")
    return kept


def _in_folder(place: Path) -> list[Path]:
    # Reading what is no file (a pipe) may never end.
    return sorted(path for path in place.rglob("*.json") if path.is_file())


def in_order(records: dict[Path, Record]) -> dict[Path, Record]:
    """Return records in the order of their creation, whatever zones their times are told in."""
    return dict(sorted(records.items(), key=lambda item: (item[1].time, item[1].id)))
