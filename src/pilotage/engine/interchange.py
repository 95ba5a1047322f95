"""Starts Parsl's interchange so that it neither ends before its driver nor outlives it.

In a session of its own: a Ctrl-C for the terminal's process group must not reach it, since a driver whose interchange
is gone waits for an answer for ever. And it ends with the driver, however that ends.
"""

from __future__ import annotations

import os
import runpy
import sys

from pilotage import system
from pilotage.engine.commands import INTERCHANGE


def main() -> None:
    """Run the interchange; it reads its configuration from stdin, as Parsl sends it."""
    try:
        os.setsid()
    except PermissionError:  # we lead a session already
        pass
    system.when_parent_ends(lambda: os._exit(0))
    sys.path[:1] = []  # -m has put the current folder first, where a file may be called like a module of ours
    sys.argv = [INTERCHANGE]
    runpy.run_module(INTERCHANGE, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
