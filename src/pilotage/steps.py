"""What a run is doing now, site by site, while a person waits: connecting, sending, building.

A step is there while it goes on and leaves nothing; what has happened is for `pilotage.events`. Others read the file in
the run's folder, which is replaced with each step, and at most about five times a second by what one says meanwhile::

    with steps.doing("lab", "connecting with login1"):
        ...
    with steps.doing("lab", "building the environment") as step:
        for number, package in enumerate(packages):
            step.now(f"building the environment: {package} ({number} of {len(packages)})")
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pilotage.paths import write_json

PERIOD = 0.2
"""Seconds between two things that a step says."""
LONGEST = 300
"""Characters of a step's words that are kept."""


class Steps:
    """The steps of one run; any thread may begin one.

    Parameters
    ----------
    path: the file.
    told: called with label and words when a step begins, where nobody reads the file yet.
    """

    def __init__(self, path: str | os.PathLike[str], told: Callable[[str, str], None] | None = None) -> None:
        self._path = Path(path)
        self._told = told
        self._lock = threading.Lock()
        self._going: dict[Step, dict[str, Any]] = {}
        self._written = 0.0
        self._later: threading.Timer | None = None

    def begin(self, label: str, words: str) -> Step:
        """Begin a step; see `doing`."""
        step = Step(self)
        with self._lock:
            self._going[step] = {"label": label, "words": words[:LONGEST], "since": round(time.time(), 3)}
            self._write()
        if self._told is not None:
            self._told(label, words)
        return step

    def say(self, step: Step, words: str) -> None:
        """Replace a step's words; those of a step that has ended are dropped."""
        with self._lock:
            if step not in self._going:
                return
            self._going[step]["words"] = words[:LONGEST]
            wait = self._written + PERIOD - time.monotonic()
            if wait <= 0:
                self._write()
            elif self._later is None:  # the last words before a long silence must be seen too
                self._later = threading.Timer(wait, self._write_late)
                self._later.daemon = True
                self._later.start()

    def end(self, step: Step) -> None:
        """End a step."""
        with self._lock:
            if self._going.pop(step, None) is not None:
                self._write()

    def _write_late(self) -> None:
        with self._lock:
            if self._later is not None:
                self._write()

    def _write(self) -> None:
        self._written, later, self._later = time.monotonic(), self._later, None
        if later is not None:
            later.cancel()
        try:
            write_json(self._path, {"steps": list(self._going.values())})
        except OSError:  # a full disk, or a folder that is gone: what is done is more important than its telling
            return


class Step:
    """One step, while it goes on."""

    def __init__(self, steps: Steps | None) -> None:
        self._steps = steps

    def now(self, words: str) -> None:
        """Say how far it has come."""
        if self._steps is not None:
            self._steps.say(self, words)

    def end(self) -> None:
        """End it, where no ``with`` does."""
        if self._steps is not None:
            self._steps.end(self)


current: Steps | None = None
"""The steps of the run that this process belongs to; None in a process that belongs to none."""


@contextmanager
def doing(label: str, words: str) -> Iterator[Step]:
    """Show, while the block is carried out, what is done for a site; nothing happens in a process without a run.

    Parameters
    ----------
    label: the executor's; the name of what else it is done for.
    words: for people, as the end of the sentence "I am ...": ``connecting with login1``.

    Steps of one label may lie within each other: the one that has begun last is shown.
    """
    step = current.begin(label, words) if current is not None else Step(None)
    try:
        yield step
    finally:
        step.end()


def read(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Return what is being done, the newest step of each label, in the order of labels.

    Each is ``label``, ``words`` and ``since`` (seconds since 1970). Empty where nothing is, or nothing can be read.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))["steps"]
        newest = {str(one["label"]): {key: one[key] for key in ("label", "words", "since")} for one in found}
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [newest[label] for label in sorted(newest)]
