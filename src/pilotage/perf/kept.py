"""A process that ends, with all that came from it, when whoever started it ends, by whatever signal.

Between the two stands the node guard (`pilotage.worker.guard`), in a session of its own, so that Ctrl-C in the terminal
reaches the starter alone. Run as ``python -m pilotage.perf.kept STARTER ARGV...``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import IO

from pilotage.worker import guard, processes


def start(argv: Sequence[str], *, env: Mapping[str, str], cwd: str, output: IO[str] | int) -> subprocess.Popen[str]:
    """Start ``argv``; what is returned is its guard, whose exit code is that of ``argv``; SIGTERM ends both.

    Parameters
    ----------
    argv: a program by its path, and its arguments.
    env: its environment.
    cwd: its folder.
    output: where its stdout and stderr go.
    """
    starter = processes.as_text(processes.identity(os.getpid()))
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "pilotage.perf.kept", starter, *argv],
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def main() -> None:
    """Run a program under a guard."""
    starter, *argv = sys.argv[1:]
    guard.guarded(lambda: os.execv(argv[0], argv), processes.from_text(starter))  # noqa: S606  its code is ours


if __name__ == "__main__":
    main()
