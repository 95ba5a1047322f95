"""Python's garbage collector while a workflow runs.

With hundreds of thousands of tasks alive, the collector goes through all of them again and again within ``submit``:
measured, half to two thirds of the time. So it is asked to look only after millions of new objects, and what was there
at the start is left out. Parsl's tasks and futures refer to each other, so that only the collector frees them and their
results: it is called when this process has grown by `_growth`, and by more each time that it finds little to free. (The
tasks of parsl-perf, alive or not, are forty objects each: a look at five millions took two of its ten seconds.)
"""

from __future__ import annotations

import gc
import threading

from pilotage import system

THRESHOLDS = (20_000_000, 20, 100)
GROWTH = 2 << 30
"""Bytes by which the process may grow before it is looked for what can be freed, where there is memory enough."""
SHARE = 8
"""It may grow by one part of so many of the memory that it may use."""
LOOK_EVERY = 50
"""Reports of batches between two looks at the process's size."""

_lock = threading.Lock()
_users = 0
_before: tuple[int, int, int] | None = None
_reports = 0
_limit = 0


def relax() -> None:
    """Let the collector look seldom, until `restore` was called as often; one that is off stays off."""
    global _users, _before, _limit
    with _lock:
        _users += 1
        if _users == 1 and gc.isenabled():
            _before = gc.get_threshold()
            gc.freeze()  # what is garbage already is found afterwards: to look for it here would keep the start waiting
            gc.set_threshold(*THRESHOLDS)
            _limit = (system.resident() or 0) + _growth()


def restore() -> None:
    """Let the collector look as often as before; a threshold that the script has set meanwhile stays."""
    global _users, _before
    with _lock:
        if _users == 0:
            return
        _users -= 1
        if _users == 0 and _before is not None:
            # All that is new counts as old from here on: else the next object made would have all of it looked at.
            gc.freeze()
            gc.unfreeze()
            if gc.get_threshold() == THRESHOLDS:
                gc.set_threshold(*_before)
            _before = None


def reported() -> None:
    """Note that the results of a batch have come, and collect where the process has grown too much."""
    global _reports, _limit
    if _before is None:
        return
    _reports += 1
    if _reports % LOOK_EVERY:
        return
    size = system.resident()
    if size is None or size < _limit:
        return
    gc.collect()
    left = system.resident() or size
    freed = size - left
    growth = _growth()
    _limit = left + (growth if freed > growth // 4 else max(growth, left))


def _growth() -> int:
    """Return the bytes by which this process may grow."""
    return min(GROWTH, system.usable_memory() // SHARE)
