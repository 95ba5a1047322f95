"""What failed in a run, how often, and the first traceback of each kind; costs calls that succeed nothing."""

from __future__ import annotations

import threading
import traceback
from typing import TYPE_CHECKING, Any

from pilotage.paths import RunFolder, write_json
from pilotage.runs.shapes import TASKS
from pilotage.worker import logs

if TYPE_CHECKING:
    from parsl.dataflow.dflow import DataFlowKernel

KINDS = 50
"""Kinds of failure that are told apart; a message with a number in it would make a million of them."""
LONGEST = 16 << 10


class Failures:
    """The failures of a driver's kernels, by app and type of exception.

    Parameters
    ----------
    folder: the run's folder; the newest state is ``failures.json`` in it.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._path = folder.path / "failures.json"
        self._kinds: dict[tuple[str, str], dict[str, Any]] = {}
        self._first: dict[tuple[str, str], BaseException] = {}
        self._lock = threading.Lock()
        self._changed = False

    def watch(self, kernel: DataFlowKernel) -> None:
        """Note the failures of ``kernel`` from now on."""
        original = kernel._complete_task_exception

        def complete(task_record: Any, new_state: Any, exception: BaseException) -> None:
            self._note(task_record, exception)
            original(task_record, new_state, exception)

        kernel._complete_task_exception = complete  # type: ignore[method-assign]

    def _note(self, task: Any, exception: BaseException) -> None:
        logs.want()
        kind = str(task["func_name"]), type(exception).__qualname__
        with self._lock:
            self._changed = True
            if kind in self._kinds or len(self._kinds) >= KINDS:
                self._kinds.get(kind, next(iter(self._kinds.values())))["count"] += 1
                if kind in self._kinds and len(self._kinds[kind]["tasks"]) < TASKS:
                    self._kinds[kind]["tasks"].append(task["id"])
                return
            words = "".join(traceback.format_exception(exception))
            self._first[kind] = exception
            self._kinds[kind] = {
                "app": kind[0],
                "exception": kind[1],
                "message": str(exception)[:LONGEST],
                "count": 1,
                "first_task": task["id"],
                "tasks": [task["id"]],
                "executor": task["executor"],
                "tries": task["fail_count"] or 1,
                "traceback": words[-LONGEST:],
                "shown": False,
            }

    def was_shown(self, exception: BaseException) -> None:
        """Note that the script has ended with this very exception, whose traceback the user has then seen."""
        with self._lock:
            for kind, first in self._first.items():
                if first is exception:
                    self._kinds[kind]["shown"] = self._changed = True

    def write(self) -> None:
        """Write the failures down where there are new ones; a full disk is no error."""
        with self._lock:
            if not self._changed:
                return
            self._changed = False
            kinds = sorted(self._kinds.values(), key=lambda kind: -kind["count"])
            try:
                write_json(self._path, {"failures": kinds})
            except OSError:
                return
