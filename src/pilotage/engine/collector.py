"""Python's garbage collector while a workflow runs.

With hundreds of thousands of tasks alive, the collector goes through all of them again and again within ``submit``:
measured, half to two thirds of the time. So it is asked to look a hundred times less often, and what was there at the
start is left out. Parsl's tasks and futures refer to each other, so that only the collector frees their results: it
is called when many bytes of results have come.
"""

from __future__ import annotations

import gc
import threading

THRESHOLDS = (200_000, 20, 100)
RESULTS = 128 << 20
"""Bytes of results after which they may be freed."""

_lock = threading.Lock()
_users = 0
_before: tuple[int, int, int] | None = None
_passed = 0


def relax() -> None:
    """Let the collector look seldom, until `restore` was called as often; one that is off stays off."""
    global _users, _before
    with _lock:
        _users += 1
        if _users == 1 and gc.isenabled():
            _before = gc.get_threshold()
            gc.collect()
            gc.freeze()
            gc.set_threshold(*THRESHOLDS)


def restore() -> None:
    """Let the collector look as often as before; a threshold that the script has set meanwhile stays."""
    global _users, _before
    with _lock:
        if _users == 0:
            return
        _users -= 1
        if _users == 0 and _before is not None:
            if gc.get_threshold() == THRESHOLDS:
                gc.set_threshold(*_before)
            gc.unfreeze()
            _before = None


def passed(size: int) -> None:
    """Note that ``size`` bytes of results have come."""
    global _passed
    if _before is None:
        return
    _passed += size
    if _passed > RESULTS:
        _passed = 0
        gc.collect()
