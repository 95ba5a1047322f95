"""Starts Parsl's interchange so that it neither ends before its driver nor outlives it.

``python -m pilotage.engine.interchange --driver PID``

In a session of its own: a Ctrl-C for the terminal's process group must not reach it, since a driver whose interchange
is gone waits for an answer for ever. And it ends with the driver, however that ends.
"""

from __future__ import annotations

import argparse
import os
import runpy
import sys
from collections.abc import Sequence

from pilotage import system
from pilotage.engine.commands import INTERCHANGE


def main(argv: Sequence[str]) -> None:
    """Run the interchange; it reads its configuration from stdin, as Parsl sends it."""
    parser = argparse.ArgumentParser(prog="pilotage.engine.interchange")
    parser.add_argument("--driver", type=int, required=True, help="process id of the driver, with which to end")
    driver = parser.parse_args(argv).driver
    try:
        os.setsid()
    except PermissionError:  # we lead a session already
        pass
    system.when_process_ends(driver, lambda: os._exit(0))
    if not sys.flags.safe_path:
        sys.path[:1] = []  # -m has put the current folder first, where a file may be called like a module of ours
    sys.argv = [INTERCHANGE]
    runpy.run_module(INTERCHANGE, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
