"""``memory.py PEER TASKS``: what a task that waits costs the driver, in bytes.

Both workers are held by a call that waits for a file; then calls of a function that does nothing are submitted, and
the growth of this process is divided by their number once it has stopped to grow.
"""

import gc
import os
import time
from pathlib import Path

from common import resident, run
from functions import hold, nothing
from sessions import WORKERS


def until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds} s: {condition.__doc__}")
        time.sleep(0.05)


def settled():
    """Return the bytes in memory once they have not grown for half a second (at most 10 s)."""
    seen, since, end = resident(), time.monotonic(), time.monotonic() + 10
    while time.monotonic() - since < 0.5 and time.monotonic() < end:
        time.sleep(0.05)
        if (now := resident()) > seen:
            seen, since = now, time.monotonic()
    return seen


def measure(session, tasks):
    folder = Path.cwd() / "held"
    folder.mkdir()
    session.results(session.submit_many(nothing, 100))
    held = [session.submit(hold, os.fspath(folder), number) for number in range(WORKERS)]

    def both_held():
        """Both workers are held."""
        return len(list(folder.glob("held-*"))) == WORKERS

    until(both_held, 30)
    gc.collect()
    before = settled()
    waiting = session.submit_many(nothing, int(tasks))
    after = settled()
    (folder / "release").touch()
    session.results(held + waiting)
    return {"bytes_per_task": (after - before) / tasks, "tasks": tasks}


if __name__ == "__main__":
    run(measure)
