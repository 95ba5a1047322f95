"""How far the sessions of a run have come: each is a process with a kernel of its own, and tells by a file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from pilotage.paths import RunFolder
from pilotage.runs.progress import WORDS, Others
from pilotage.runs.record import read_json


class Tally:
    """Counts what all sessions of the run in ``folder`` have done; those that are over are read once."""

    def __init__(self, folder: RunFolder) -> None:
        self._place = folder.path / "perf"
        self._over: dict[Path, dict[str, Any]] = {}

    def __call__(self) -> Others:
        """Return tasks by the view's words, blocks by state (none of sessions that are over), and node-seconds."""
        tasks: Counter[str] = Counter()
        blocks: Counter[str] = Counter()
        seconds = 0.0
        for path in self._place.glob("*/**/progress.json"):
            found = self._over.get(path) or read_json(path)
            if found.get("over"):
                self._over[path] = found
            else:
                blocks.update(state.lower() for state in found.get("blocks", []))
            for state, count in found.get("tasks", {}).items():
                tasks[WORDS.get(state, "launched")] += count
            seconds += found.get("node_seconds", 0.0)
        return Others(tasks, blocks, seconds)
