"""Starts Parsl's worker pool in the folder and with the import path of the script.

``python -m pilotage.worker.pool --cwd DIR --path DIR ... -- ARGUMENTS OF PARSL'S POOL``

The path goes into ``sys.path`` only, which Parsl's workers inherit; commands that a bash_app runs must not find a
PYTHONPATH that the user did not set.
"""

from __future__ import annotations

import argparse
import os
import runpy
import sys
from collections.abc import Sequence

POOL = "parsl.executors.high_throughput.process_worker_pool"


def main(argv: Sequence[str]) -> None:
    """Run the worker pool; ``argv`` is the command line without the program."""
    parser = argparse.ArgumentParser(prog="pilotage.worker.pool")
    parser.add_argument("--cwd", help="folder to work in")
    parser.add_argument("--path", action="append", default=[], help="folder to import from; repeatable")
    parser.add_argument("pool", nargs=argparse.REMAINDER, help="-- and the arguments of Parsl's pool")
    arguments = parser.parse_args(argv)
    if not sys.flags.safe_path:
        sys.path[:1] = []  # -m has put the current folder first; it stays only where the driver has it too
    sys.path[:0] = [folder for folder in dict.fromkeys(arguments.path) if folder not in sys.path]
    if arguments.cwd:
        _work_in(arguments.cwd)
    pool = arguments.pool
    sys.argv = [POOL, *(pool[1:] if pool[:1] == ["--"] else pool)]
    runpy.run_module(POOL, run_name="__main__", alter_sys=True)


def _work_in(folder: str) -> None:
    try:
        os.chdir(folder)
    except OSError as error:  # another machine need not have it
        sys.stderr.write(f"pilotage: cannot work in {folder}: {error.strerror}; staying in {os.getcwd()}\n")  # noqa: PTH109


if __name__ == "__main__":
    main(sys.argv[1:])
