"""Reads MLflow stores of any form into records: what others' scripts have kept, and what this program has sent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pilotage.errors import StorageError, UsageError
from pilotage.perf import file_store, folder, mlflow_child
from pilotage.perf.from_mlflow import record_of
from pilotage.perf.logged import RECORD_FILE, RECORD_TAG, LoggedRun
from pilotage.perf.record import Record

SECONDS = 600
"""For the runs of one store."""
SQLITE = b"SQLite format 3\0"


@dataclass
class Imported:
    """What came of an import: files by what happened, marks by file, and a sentence about each run left out."""

    new: list[Path] = field(default_factory=list)
    updated: list[Path] = field(default_factory=list)
    unchanged: list[Path] = field(default_factory=list)
    marked: dict[Path, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def import_store(store: str, root: Path, site: str | None = None) -> Imported:
    """Write a record below ``root`` for each run of a store; runs that are there already stay as they are.

    Parameters
    ----------
    store: a folder of files, a SQLite file, or an address.
    root: what ``results/`` is in.
    site: name of the site of all of them.

    Raises StorageError, UsageError, MissingExtraError, TrackingError.
    """
    result = Imported()
    for run, text in _runs(store, result.problems):
        try:
            record = _own(run, text) or record_of(run, site)
        except ValueError as error:
            result.problems.append(f"{run.experiment}/{run.run_id}: {error}")
            continue
        path, outcome = _write(record, root)
        getattr(result, outcome).append(path)
        reasons = [session.reason for session in record.sessions if session.reason]
        if reasons:
            result.marked[path] = "; ".join(reasons)
    return result


def _runs(store: str, problems: list[str]) -> Iterator[tuple[LoggedRun, str | None]]:
    """Yield each run, with the text of the record that it was made of where there is one."""
    path = Path(store.removeprefix("file://"))
    if "://" not in store or store.startswith("file://"):
        if path.is_file():
            yield from _by_mlflow(_database(path), problems)
            return
        found = file_store.read(path)
        problems += found.problems
        yield from ((run, _beside(path, run)) for run in found.runs)
        return
    if store.startswith("sqlite:"):
        store = _database(Path(store.removeprefix("sqlite:///")))
    yield from _by_mlflow(store, problems)


def _database(path: Path) -> str:
    try:
        with path.open("rb") as file:
            known = file.read(len(SQLITE)) == SQLITE
    except OSError as error:
        raise StorageError(f"cannot be read: {error.strerror}", where=str(path)) from error
    if not known:
        raise UsageError("is no SQLite database", where=str(path), hint="a folder of files is named by its folder")
    return f"sqlite:///{path.resolve()}"


def _by_mlflow(uri: str, problems: list[str]) -> Iterator[tuple[LoggedRun, str | None]]:
    mlflow_child.require(uri)
    for answer in mlflow_child.ask("mlflow_reader", {"uri": uri}, SECONDS):
        if "problem" in answer:
            problems.append(answer["problem"])
        else:
            yield LoggedRun.model_validate(answer["run"]), answer["record"]


def _beside(store: Path, run: LoggedRun) -> str | None:
    if RECORD_TAG not in run.tags or not run.run_id.isalnum():
        return None
    for path in store.rglob(f"{run.run_id}/artifacts/{RECORD_FILE}"):
        return path.read_text(encoding="utf-8")
    return None


def _own(run: LoggedRun, text: str | None) -> Record | None:
    """Return the record that a run of ours was made of; None for others', and where the store has not kept it."""
    if text is None:
        return None
    try:
        return folder.parse(text, f"{run.experiment}/{run.run_id}/{RECORD_FILE}")
    except StorageError as error:
        raise ValueError(str(error)) from error


def _write(record: Record, root: Path) -> tuple[Path, str]:
    path = root / folder.result_path(record)
    there = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None
    if there == record.to_json() or (there is not None and record.origin == "measured"):
        return path, "unchanged"  # a measurement that is there is nearer to its source than what MLflow says of it
    written = folder.write(record, root)
    return written, "new" if there is None else "updated"
