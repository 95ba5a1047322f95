"""Asks a run's owner to stop it, wherever that is."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

from pilotage.errors import StorageError
from pilotage.paths import RunFolder, storage, write_json
from pilotage.runs import sweep
from pilotage.runs.record import FINAL, RunRecord, owner_is
from pilotage.runs.store import values_of
from pilotage.worker import processes

BEYOND_GRACE = 15.0
"""Seconds after the grace period that ending everything may take."""
LOOK = 0.05
HEARD = 2.0
"""Seconds that a supervisor may take to hear a signal."""


def cancel(folder: RunFolder, *, at_once: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Stop a run in order, or at once; return what came of it: ``id``, ``outcome`` and ``state``.

    The outcome is ``ended``, ``asked`` (its owner is on another host and will obey), ``was over``, or ``not ended``.

    Parameters
    ----------
    folder: the run's.
    at_once: leave the script no time.
    say: told what is being waited for.

    Raises StorageError where another host cannot be asked, and where the run's record cannot be read.
    """
    values = values_of(folder)
    owner = values["owner"]
    if values["state"] in FINAL:
        return _told(folder, "was over")
    where = owner_is(owner)
    if where == "dead":
        sweep.sweep_one(folder)
        return _told(folder, "ended")
    if where == "elsewhere":
        with storage(folder.request):
            write_json(folder.request, {"why": f"cancelled from {processes.host()}", "at": time.time()})
        say(f"run {folder.id} is on {owner.get('host')}; it has been asked to stop")
        return _told(folder, "asked")
    _tell(owner)
    if at_once:
        _wait_for(lambda: _state(folder) in ("stopping", *FINAL), HEARD)  # two signals at once would be heard as one
        _tell(owner)
    say(f"stopping run {folder.id}")
    return _told(folder, "ended" if _wait(folder, owner) else "not ended")


def _tell(owner: dict[str, Any]) -> None:
    if processes.is_alive(owner):
        os.kill(int(owner["pid"]), signal.SIGTERM)
        os.kill(int(owner["pid"]), signal.SIGCONT)


def _wait_for(condition: Callable[[], bool], limit: float) -> None:
    end = time.monotonic() + limit
    while not condition() and time.monotonic() < end:
        time.sleep(LOOK)


def _state(folder: RunFolder) -> str | None:
    return RunRecord(folder.path).values.get("state")


def _wait(folder: RunFolder, owner: dict[str, Any]) -> bool:
    grace = grace_of(folder)
    end = time.monotonic() + grace + BEYOND_GRACE
    while time.monotonic() < end:
        if RunRecord(folder.path).values.get("state") in FINAL:
            return True
        if not processes.is_alive(owner):
            record = RunRecord(folder.path)
            if record.values.get("state") not in FINAL:  # a Python process of the user's, which ended by our signal
                with storage(folder.record):
                    record.finish("cancelled", -signal.SIGTERM, "it was cancelled")
            sweep.sweep_one(folder)
            return True
        time.sleep(LOOK)
    return False


def grace_of(folder: RunFolder) -> float:
    """Return the seconds that a run has to stop in order."""
    from pilotage.runs.record import read_json

    return float(read_json(folder.path / "supervisor.json").get("grace", 8.0))


def _told(folder: RunFolder, outcome: str) -> dict[str, Any]:
    state = RunRecord(folder.path).values.get("state")
    if state is None:
        raise StorageError("the run's record cannot be read", where=str(folder.record))
    return {"id": folder.id, "outcome": outcome, "state": state}
