"""This machine as a host."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence

from pilotage.hosts.base import Completed

MISSING, LATE = 127, 124


class LocalHost:
    """Commands of this machine, each in a process group of its own so that it can be ended whole."""

    def run(self, argv: Sequence[str], *, timeout: float = 30) -> Completed:
        """Run ``argv`` for at most ``timeout`` seconds; see `Host.run`."""
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            return Completed(tuple(argv), MISSING, "", str(error))
        with process:
            try:
                out, err = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                out, err = process.communicate()
                return Completed(tuple(argv), LATE, out, f"{err}\nno answer within {timeout:g} s".lstrip())
        return Completed(tuple(argv), process.returncode, out, err)

    def has(self, program: str) -> bool:
        """Return whether ``program`` is on PATH."""
        return shutil.which(program) is not None
