"""The commands that start Parsl's processes, by absolute path: no activated environment is needed."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence

from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD

# All are started with -P: a file in the current folder that is called like a module must not be taken for it.
POOL = "parsl.executors.high_throughput.process_worker_pool"
INTERCHANGE = "parsl.executors.high_throughput.interchange"
OUR_POOL = "pilotage.worker.pool"
OUR_INTERCHANGE = "pilotage.engine.interchange"
USUAL_LIMIT = 1000
"""Python's recursion limit unless the script sets another."""


def worker_command(python: str) -> str:
    """Return Parsl's launch command with the worker pool started by ``python`` as a module."""
    # Parsl fills its template in twice, so a brace of the path must survive two rounds.
    path = shlex.quote(python).replace("{", "{{{{").replace("}", "}}}}")
    start = "process_worker_pool.py"
    if not DEFAULT_LAUNCH_CMD.startswith(start):
        raise RuntimeError(f"Parsl's launch command has changed: {DEFAULT_LAUNCH_CMD!r}")
    return f"{path} -P -m {POOL}{DEFAULT_LAUNCH_CMD[len(start) :]}"


def interchange_command(python: str) -> list[str]:
    """Return the command that starts Parsl's interchange by ``python`` as a module."""
    return [python, "-P", "-m", INTERCHANGE]


def with_our_pool(command: str, cwd: str, path: Sequence[str], driver: str = "", options: Sequence[str] = ()) -> str:
    """Return a launch command with our start of the pool in the place of Parsl's; another command as it is.

    ``driver`` is the driver's identity as text, which the node guard watches; ``options`` are more of our pool's.
    """
    given = ["--cwd", cwd, *(part for folder in path for part in ("--path", folder))]
    given += ["--recursion-limit", str(sys.getrecursionlimit())] if sys.getrecursionlimit() != USUAL_LIMIT else []
    given += ["--driver", driver] if driver else []
    ours = shlex.join(["-m", OUR_POOL, *given, *options, "--"])
    return command.replace(f"-m {POOL}", ours, 1)


def is_usual_interchange(command: Sequence[str]) -> bool:
    """Return whether an interchange command is one of `interchange_command`, which `with_our_interchange` changes."""
    return list(command)[1:] == ["-P", "-m", INTERCHANGE]


def with_our_interchange(
    command: Sequence[str],
    heartbeat_period: float,
    port: int | None = None,
    *,
    one_way: bool = False,
    options: Sequence[str] = (),
) -> list[str]:
    """Return an interchange command with our start of it in the place of Parsl's; another command as it is.

    Ours is told which process it belongs to: its parent may be gone before it can ask. ``port`` is the one that is
    reserved for its workers; ``one_way`` is whether all managers come by the same way; ``options`` are more of its own.
    """
    parts = list(command)
    if not is_usual_interchange(parts):
        return parts
    told = ["--driver", str(os.getpid()), "--heartbeat-period", f"{heartbeat_period:g}"]
    if port is not None:
        told += ["--worker-port", str(port)]
    told += ["--one-way"] if one_way else []
    return [*parts[:1], "-P", "-m", OUR_INTERCHANGE, *told, *options]
