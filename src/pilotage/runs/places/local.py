"""This machine as a place: what any other is held against."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from pilotage.hosts.local import LocalHost
from pilotage.runs.places.base import BY_PYTHON, OnHost


class LocalPlace(OnHost):
    """This machine, with this pilotage."""

    def __init__(self) -> None:
        super().__init__("this machine", LocalHost())

    def connect(self) -> None:
        """Do nothing: we are there."""

    def find_program(self, python: str | None = None) -> None:
        """Take this very pilotage, or that of another Python."""
        self.program = (python or sys.executable, *BY_PYTHON)

    def hand_over(self, arguments: Sequence[str], *, terminal: bool) -> int:
        """Run a command of ours; see `Place.hand_over`."""
        return subprocess.call([*self._command(), *arguments], stdin=None if terminal else subprocess.DEVNULL)
