"""A run's small record, ``run.json``: what it is, who owns it, and how it ended.

Its owner (the supervisor, or the process that called `pilotage.load`) replaces it atomically; everybody may read it.
This file is part of the supervisor, so it imports little.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pilotage.paths import write_json
from pilotage.worker import processes

SCHEMA_VERSION = 1
FINAL = ("finished", "failed", "cancelled", "lost")
STATES = ("starting", "running", "stopping", *FINAL)
TYPES = {"id": str, "folder": str, "state": str, "script": str, "sites": dict, "owner": dict}
"""What makes a JSON object a run's record; another program's file of that name is none."""


class RunRecord:
    """The record of the run in a folder.

    Parameters
    ----------
    folder: the run's folder; the newest record in it is read. ``values`` is empty where there is none to be read.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        values = read_json(self.folder / "run.json")
        self.values = values if all(isinstance(values.get(key), kind) for key, kind in TYPES.items()) else {}

    @property
    def live_mark(self) -> Path:
        """A file that is there as long as the run may have left something, so that a sweep looks at few runs."""
        return self.folder.parent.parent / "live" / self.folder.name

    def update(self, **changes: Any) -> bool:
        """Change values and write them down; return False where the disk refuses."""
        self.values.update(changes)
        try:
            write_json(self.folder / "run.json", self.values)
        except OSError:
            return False
        return True

    def finish(self, state: str, code: int, reason: str = "") -> None:
        """Write down how the run ended; raises OSError.

        Parameters
        ----------
        state: one of `FINAL`.
        code: the driver's exit code, negative for the signal that ended it.
        reason: in words; empty for a run that finished.
        """
        progress = read_json(self.folder / "progress.json")
        now = time.time()
        self.values.update(
            state=state,
            code=code,
            exit_code=code if code >= 0 else 128 - code,
            reason=reason,
            ended=iso(now),
            elapsed=round(now - self.values.get("started_at", now), 3),
            error=read_json(self.folder / "error.json") or None,
            **{
                **counts(progress),
                "blocks": {},
                "blocks_of": {},
                "waits_for": "",
            },  # none runs any more, whatever the last sample saw
        )
        write_json(self.folder / "run.json", self.values)

    def mark_live(self) -> None:
        """Let sweeps look at this run."""
        try:
            self.live_mark.parent.mkdir(mode=0o700, exist_ok=True)
            self.live_mark.touch(mode=0o600)
        except OSError:
            return

    def unmark_live(self) -> None:
        """Let sweeps pass this run over: nothing of it is left."""
        try:
            self.live_mark.unlink(missing_ok=True)
        except OSError:
            return


def counts(progress: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a record tells of a run's progress."""
    return {
        "tasks": progress.get("tasks", {}),
        "blocks": progress.get("blocks", {}),
        "blocks_of": progress.get("blocks_of", {}),
        "waits_for": progress.get("waits_for", ""),
        "node_hours": progress.get("node_hours", 0.0),
        "own_config": progress.get("own_config", False),
    }


def owner_is(owner: Mapping[str, Any] | None) -> str:
    """Return whether a run's owner is ``alive``, ``dead``, or not for this host to judge (``elsewhere``)."""
    if not owner:
        return "dead"
    if owner.get("host") != processes.host():
        return "elsewhere"
    if not processes.is_here(owner):
        same_boot = str(owner.get("boot")).partition("/")[0] == processes.boot().partition("/")[0]
        return "elsewhere" if same_boot else "dead"  # a container beside us, or this host before it was started anew
    return "alive" if processes.is_alive(owner) else "dead"


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file, empty where there is none to be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def iso(stamp: float) -> str:
    """Return seconds since the epoch as an ISO 8601 time, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(stamp))
