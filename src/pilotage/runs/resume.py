"""Starts a run anew, with the results that an earlier one has finished."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from pilotage.errors import ScriptError, StorageError, UsageError
from pilotage.paths import RunFolder
from pilotage.runs import sweep
from pilotage.runs.order import Order
from pilotage.runs.record import RunRecord, owner_is
from pilotage.runs.store import is_live


def order_again(folder: RunFolder, values: dict[str, Any], *, ignore_changes: bool) -> Order:
    """Return the order of an ended run for another run of it, and go to the folder it was started in.

    Parameters
    ----------
    folder: the run's.
    values: its record.
    ignore_changes: reuse the results of apps whose source has changed too.

    Raises UsageError where the run goes on or was no script, ScriptError where the script is gone.
    """
    if values.get("kind") != "run":
        raise UsageError(f"run {folder.id} was no script", hint="only what pilotage run started can be resumed")
    if owner_is(values.get("owner")) == "dead":
        sweep.sweep_one(folder)
        values = RunRecord(folder.path).values
    if is_live(values):
        raise UsageError(f"run {folder.id} is not over", hint=f"pilotage attach {folder.id} shows it")
    try:
        order = Order.read(folder)
    except (OSError, ValueError, KeyError) as error:
        raise StorageError(f"the run's order cannot be read: {error}", where=str(folder.order)) from error
    if not order.script.is_file():
        raise ScriptError("the script is not there any more", where=str(order.script))
    try:
        os.chdir(values["cwd"])
    except OSError as error:
        raise UsageError(
            f"the folder that the run was started in cannot be entered: {error.strerror}", where=str(values["cwd"])
        ) from error
    return replace(order, resumes=folder.id, ignore_changes=ignore_changes)
