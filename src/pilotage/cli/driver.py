"""The driver process's entrance: gives it a place to talk to."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from pilotage.output import Output
from pilotage.paths import RunFolder
from pilotage.runs.driver import drive, take_control
from pilotage.runs.view import die_as


def main() -> None:
    """Run the script of the run whose folder is the only argument; exits with the script's code."""
    take_control()
    try:
        drive(RunFolder(Path(sys.argv[1])), lambda quiet: Output(quiet=quiet))
    except KeyboardInterrupt:  # before the script has begun, or after its end
        die_as(-signal.SIGINT)
