"""``pilotage.load()`` in plain Python or a notebook: a run too, in the store, journalled and swept.

There is no supervisor: the process is the user's own. The interchange ends with it, the node guards with either, and
the next pilotage command ends what is left even so.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pilotage import events, journal, steps
from pilotage.assembly import configs
from pilotage.errors import PilotageError
from pilotage.paths import RunFolder, write_json

if TYPE_CHECKING:
    from parsl.dataflow.dflow import DataFlowKernel


def load(site: configs.SiteChoice = None, /, **overrides: Any) -> DataFlowKernel:
    """Load a site's config into Parsl, where ``parsl.load(config)`` stood; see `config` for the arguments.

    The DataFlowKernel that it returns is a context manager: leaving the block waits for the tasks, and ends the
    workers. Outside of ``pilotage run`` the load is a run of its own, which ``pilotage ps`` shows.
    """
    if configs.run_config is not None:  # a driver's: the run is there already
        return configs.load(site, **overrides)
    from pilotage.runs import ending, sweep
    from pilotage.runs.details import versions
    from pilotage.runs.order import Order
    from pilotage.runs.start import Options, new_record

    for found in sweep.sweep():
        for problem in found.problems:
            sys.stderr.write(f"pilotage: run {found.folder.id}: {problem}\n")
    chosen = configs.targets(site, **overrides)
    folder = RunFolder.create()
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    order = Order(script=Path(script or "interactive Python"), arguments=sys.argv[1:], targets=chosen)
    record = new_record(folder, order, str(order.script), Options(), time.time(), kind="load")
    before = journal.current, events.current
    journal.current, events.current = journal.Journal(folder.journal), events.Events(folder.events)
    steps.current = steps.Steps(folder.steps)
    try:
        write_json(folder.path / "versions.json", versions())
        kernel = configs.load_config(configs.config_of(chosen, str(folder.parsl)))
    except BaseException as error:
        problems = ending.end_all(journal.current)
        journal.current, events.current = before
        steps.current = None
        record.finish("failed", 1, error.message if isinstance(error, PilotageError) else f"{type(error).__name__}")
        if not problems:
            record.unmark_live()
        raise
    record.update(state="running")
    _Watched(kernel, folder, record, before)
    return kernel


class _Watched:
    """Follows one load to its end."""

    def __init__(self, kernel: DataFlowKernel, folder: RunFolder, record: Any, before: tuple[Any, Any]) -> None:
        from pilotage.engine.current import tell_tasks
        from pilotage.runs.progress import Progress

        self._record = record
        self._before = before
        self._original = kernel.cleanup
        self._progress = Progress(folder, beats=True)
        self._process = os.getpid()
        self._progress.watch(kernel)
        self._over = False
        tell_tasks(kernel)
        kernel.cleanup = self._cleanup  # type: ignore[method-assign]
        atexit.register(self._left_open)

    def _cleanup(self) -> None:
        error = sys.exc_info()[1]  # within "with": what the block was left by
        try:
            self._original()
        finally:
            if error is None:
                self._end("finished", 0, "")
            else:
                self._end("failed", 1, f"{type(error).__name__}: {error}")

    def _left_open(self) -> None:
        # Exit handlers run newest first, so Parsl's own clean-up (registered by load) comes after this one.
        if not self._over and os.getpid() == self._process:  # a forked child has nothing to end
            self._original()
            self._end("finished", 0, "")

    def _end(self, state: str, code: int, reason: str) -> None:
        from pilotage.runs import ending

        if self._over:
            return
        self._over = True
        self._progress.stop()
        if journal.current is not None:
            problems = ending.end_all(journal.current)
            for entry, words in problems:
                level, what = ("warning", "") if ending.may_come(entry) else ("error", " cannot be ended")
                events.tell("left", f"{ending.describe([entry])[0]}{what}: {words}", level)
            if not problems:
                self._record.unmark_live()
        journal.current, events.current = self._before
        steps.current = None
        try:
            self._record.finish(state, code, reason)
        except OSError as error:
            sys.stderr.write(f"pilotage: the run's record cannot be written: {error}\n")
