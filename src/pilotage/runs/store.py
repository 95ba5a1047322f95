"""The store: all runs of a user, one folder each. No database: several hosts share a home folder."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pilotage import steps
from pilotage.errors import PilotageError, StorageError, UsageError, did_you_mean
from pilotage.journal import Journal
from pilotage.paths import RunFolder, state_folder
from pilotage.runs.record import FINAL, SCHEMA_VERSION, RunRecord, counts, owner_is, read_json

SILENT = 120.0
"""Seconds without a heartbeat after which a run of another host is told of as silent."""
KEYS = (
    "id",
    "name",
    "kind",
    "script",
    "arguments",
    "sites",
    "cwd",
    "reason",
    "started",
    "ended",
    "elapsed",
    "exit_code",
    "resumes",
    "max_node_hours",
    "error",
)


def folders() -> list[RunFolder]:
    """Return the folders of all runs, oldest first."""
    runs = state_folder() / "runs"
    try:
        names = sorted(os.listdir(runs))  # noqa: PTH208  names are what is wanted
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(f"cannot read: {error.strerror}", where=str(runs)) from error
    # A folder without a record is Parsl's run folder of a config that plain Python has made.
    return [RunFolder(runs / name) for name in names if name[0] != "." and (runs / name / "run.json").exists()]


def shown(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run for ``--json``, from its record and its newest progress: the shape that ``ps`` and ``show`` share.

    The state is what is true now: a run whose owner has died is ``lost`` even where nobody has written that down, and
    one of another host that has been silent for long is ``silent``.
    """
    folder = RunFolder(Path(str(values["folder"])))
    ended = values.get("state") in FINAL
    progress = {} if ended else read_json(folder.progress)
    owner = values.get("owner") or {}
    beat = _beat(folder)
    now = time.time()
    elapsed = values.get("elapsed") if ended else round(now - values.get("started_at", now), 3)
    told: dict[str, Any] = {key: values.get(key) for key in KEYS}
    told.update(counts(progress) if progress else {k: values.get(k, d) for k, d in counts({}).items()})
    told.update(
        schema_version=SCHEMA_VERSION,
        folder=str(folder.path),
        state=_state(values, beat),
        elapsed=elapsed,
        host=owner.get("host"),
        heartbeat=None if beat is None or ended else round(max(0.0, now - beat), 1),
        rate=progress.get("rate", 0.0) if not ended else _mean_rate(told["tasks"], elapsed),
        eta=progress.get("eta"),
        doing=[] if ended else steps.read(folder.steps),
    )
    return told


def _state(values: Mapping[str, Any], beat: float | None) -> str:
    state = str(values.get("state", "lost"))
    if state in FINAL:
        return state
    owner = owner_is(values.get("owner"))
    if owner == "dead":
        return "lost"
    if owner == "elsewhere" and (beat is None or time.time() - beat > SILENT):
        return "silent"
    return state


def _mean_rate(tasks: Mapping[str, int], elapsed: float | None) -> float:
    return round((tasks.get("done", 0) + tasks.get("failed", 0)) / elapsed, 1) if elapsed else 0.0


def _beat(folder: RunFolder) -> float | None:
    try:
        return folder.heartbeat.stat().st_mtime
    except OSError:
        return None


def runs() -> list[dict[str, Any]]:
    """Return all runs as `shown`: those that run first, then the newest first."""
    found = [shown(record.values) for folder in folders() if (record := RunRecord(folder.path)).values.get("folder")]
    found.reverse()
    return sorted(found, key=lambda run: run["state"] in (*FINAL, "silent"))


def find(text: str) -> RunFolder:
    """Return the run that an id, the beginning of one, a name, or ``@last`` means; raises UsageError.

    Of several runs of one name, the newest is meant.
    """
    known = folders()
    if text in ("@last", "@-1"):
        if not known:
            raise UsageError("there is no run yet", hint="pilotage run SCRIPT starts one")
        return known[-1]
    if text.startswith("@"):
        raise UsageError(f"no run is called {text!r}", hint="@last is the newest")
    exact = [folder for folder in known if folder.id == text]
    if exact:
        return exact[0]
    records = {folder: read_json(folder.record) for folder in known}
    named = [folder for folder in known if records[folder].get("name") == text]
    if named:
        return named[-1]
    beginning = [folder for folder in known if text and folder.id.startswith(text)]
    if len(beginning) == 1:
        return beginning[0]
    if beginning:
        raise UsageError(
            f"{len(beginning)} runs begin with {text!r}", hint=f"{', '.join(f.id for f in beginning[-5:])}"
        )
    names = [folder.id for folder in known] + [str(r["name"]) for r in records.values() if r.get("name")]
    raise UsageError(f"there is no run {text!r}", hint=did_you_mean(text, names) or "pilotage ps lists the runs")


def checked_name(name: str | None) -> str | None:
    """Return the user's name for a run; raises UsageError where it could not be told from an id or a path."""
    if name is None or (name and not name[0].isdigit() and name[0] not in "@-." and _is_plain(name)):
        return name
    raise UsageError(
        f"{name!r} cannot be a run's name", hint="a letter first, then letters, digits, '.', '_' and '-', 64 at most"
    )


def _is_plain(name: str) -> bool:
    return len(name) <= 64 and all(c.isalnum() or c in "._-" for c in name)


def values_of(folder: RunFolder) -> dict[str, Any]:
    """Return a run's record; raises StorageError where it cannot be read."""
    values = RunRecord(folder.path).values
    if not values:
        raise StorageError("the run's record cannot be read", where=str(folder.record), hint="pilotage rm removes it")
    if values.get("schema_version", 0) > SCHEMA_VERSION:
        raise StorageError("the run's record was written by a newer pilotage", where=str(folder.record))
    return values


def is_live(values: Mapping[str, Any]) -> bool:
    """Return whether a run may be going on, here or elsewhere."""
    return values.get("state") not in FINAL and owner_is(values.get("owner")) != "dead"


def remove(chosen: Sequence[RunFolder], *, force: bool = False) -> None:
    """Remove runs that have ended, with all that is in their folders.

    Raises UsageError for one that goes on, and, unless ``force`` says so, for one that may go on elsewhere and for one
    whose journal is the only trace of a batch job.
    """
    for folder in chosen:
        values = RunRecord(folder.path).values
        beat = None if values else _beat(folder)  # where there is no record to tell, what beats is alive
        silent = values and _state(values, _beat(folder)) == "silent"
        if silent and not force:
            hint = "--force removes it where that host is gone for good"
            raise UsageError(f"run {folder.id} may go on, on a host that has been silent for long", hint=hint)
        if not silent and (is_live(values) or (beat is not None and time.time() - beat < SILENT)):
            raise UsageError(f"run {folder.id} is not over", hint=f"pilotage cancel {folder.id}")
        jobs = [entry for entry in Journal(folder.journal).open_entries() if entry.kind != "process"]
        if jobs and not force:
            hint = "pilotage clean ends it; --force removes the run, and with it the only trace"
            raise UsageError(f"run {folder.id} has left a {jobs[0].kind.replace('_', ' ')}", hint=hint)
    for folder in chosen:
        RunRecord(folder.path).unmark_live()
        # Renamed first: a removal that is broken off leaves no half of a run.
        doomed = folder.path.with_name(f".removed-{folder.id}")
        try:
            folder.path.rename(doomed)
            shutil.rmtree(doomed)
        except OSError as error:
            raise StorageError(f"cannot remove: {error.strerror}", where=str(error.filename or folder.path)) from error


def size_of(folder: RunFolder) -> int:
    """Return the bytes that a run's folder takes."""
    total = 0
    for parent, _, names in os.walk(folder.path):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size  # noqa: PTH118  os.walk gives strings
            except OSError:
                continue
    return total


def expire(keep: float | None, largest: int | None, *, dry_run: bool = False) -> list[str]:
    """Remove runs that ended more than ``keep`` seconds ago, and the oldest beyond ``largest`` bytes; return their ids.

    A run that another run's resume has used is as good as any: results are linked, not shared by name.
    """
    if keep is None and largest is None:
        return []
    ended = [f for f in folders() if (v := RunRecord(f.path).values).get("state") in FINAL and _may_go(f, v)]
    doomed = [f for f in ended if keep is not None and time.time() - _ended_at(f) > keep]
    if largest is not None:
        sizes = {folder: size_of(folder) for folder in folders()}
        total = sum(sizes.values()) - sum(sizes.get(folder, 0) for folder in doomed)
        for folder in ended:
            if total <= largest:
                break
            if folder not in doomed:
                doomed.append(folder)
                total -= sizes.get(folder, 0)
    if dry_run:
        return [folder.id for folder in doomed]
    removed = []
    for folder in doomed:
        try:
            remove([folder])
        except PilotageError:  # another command is at it too
            continue
        removed.append(folder.id)
    return removed


def _may_go(folder: RunFolder, values: Mapping[str, Any]) -> bool:
    return not RunRecord(folder.path).live_mark.exists() and bool(values)


def _ended_at(folder: RunFolder) -> float:
    try:
        return folder.record.stat().st_mtime
    except OSError:
        return time.time()
