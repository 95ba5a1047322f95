"""All that is known of one run, put together for ``pilotage show``."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from typing import Any

from pilotage.events import Events
from pilotage.journal import Journal
from pilotage.paths import RunFolder
from pilotage.runs import ending, moves
from pilotage.runs.record import read_json
from pilotage.runs.store import shown, values_of
from pilotage.runs.task_output import LogFile, block_files, driver_files, tail_files, worker_files


def details(folder: RunFolder) -> dict[str, Any]:
    """Return a run with its events, failures, journal and log files; raises StorageError."""
    found = [*driver_files(folder.parsl), *block_files(folder.parsl), *worker_files(folder.parsl)]
    logs = [LogFile("driver", "", "", "", None, folder.output), *found]
    return {
        **shown(values_of(folder)),
        "events": Events(folder.events).read()[0],
        "failures": failures(folder),
        "moves": moves.read(folder),
        "journal": ending.describe(Journal(folder.journal).open_entries()),
        "logs": [{**log._asdict(), "path": str(log.path)} for log in logs if log.path.exists()],
        "versions": read_json(folder.path / "versions.json"),
    }


def failures(folder: RunFolder) -> list[dict[str, Any]]:
    """Return what failed in a run, the most frequent first."""
    found: list[dict[str, Any]] = read_json(folder.path / "failures.json").get("failures", [])
    for kind in found:
        kind.setdefault("tasks", [kind["first_task"]])  # an older version kept that one only
    return found


def tails(folder: RunFolder) -> list[str]:
    """Return the files with what Parsl logged last where something failed."""
    return [str(log.path) for log in tail_files(folder.parsl)]


def versions() -> dict[str, str]:
    """Return the versions of what runs here."""
    found = {"python": sys.version.split()[0], "platform": platform.platform()}
    for package in ("pilotage", "parsl", "dill", "cloudpickle", "pyzmq"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
