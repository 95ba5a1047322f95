"""The program as a user starts it, and what it has left behind."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
from click.testing import CliRunner

from pilotage.cli import main

MARK = "PILOTAGE_TEST_MARK"
# The program as it is installed; `python -m` would put the current folder on the import path.
PROGRAM = Path(sys.executable).parent / "pilotage"


class Command:
    """Runs ``pilotage`` and scripts as a user does, and knows what they left behind."""

    def __init__(self, mark):
        self.mark = mark

    def env(self, **more):
        return {**os.environ, MARK: self.mark, "NO_COLOR": "1", **more}

    def __call__(self, *arguments, timeout=120, **options):
        return self.run([PROGRAM, *arguments], timeout=timeout, **options)

    def ask(self, *arguments, env=None):
        """Run a command that starts no run in this process, which takes a tenth of the time."""
        done = CliRunner().invoke(main, list(map(str, arguments)), env={"NO_COLOR": "1", **(env or {})})
        return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)

    def run(self, argv, *, timeout=120, env=None, **options):
        options = {"stdin": subprocess.DEVNULL, **options} if "input" not in options else options
        return subprocess.run(
            list(map(str, argv)),
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self.env(**(env or {})),
            **options,
        )

    def left_behind(self):
        """Return the processes that carry this test's mark and are still there."""
        left = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    left.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied, ProcessLookupError):
                continue
        return left
