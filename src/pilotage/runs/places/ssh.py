"""A login host as a place, over the connection that all commands share."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from pilotage import __version__
from pilotage.errors import LoginError, UsageError
from pilotage.hosts.openssh import A_DAYS_WORK, A_MOMENT, WHILE_CONNECTED, OpenSSHHost
from pilotage.runs.places.base import BY_PYTHON, OnHost

FIND = (
    'if [ -n "$1" ]; then echo "python $1"; elif found=$(command -v pilotage); then echo "program $found"; '
    'elif [ -x "$2" ]; then echo "python $2"; fi'
)
"""For ``sh -c``: say which pilotage there is, where the first argument names no Python; the second is a guess."""


class SSHPlace(OnHost):
    """A login host.

    Parameters
    ----------
    destination: as ssh is given it.
    program: the pilotage there, where that is known.
    ask: whether a person may be asked for what the host wants, on the terminal.
    """

    def __init__(self, destination: str, program: Sequence[str] = (), *, ask: bool = False) -> None:
        # Whoever makes it ends it; one of a command that is killed ends by itself.
        self.host = OpenSSHHost(destination, stays=A_MOMENT)
        self._asks = ask
        super().__init__(destination, self.host, program)

    def connect(self) -> None:
        """Make the connection; where a person has been asked for it, it stays for the day."""
        try:
            self.host.connect()
        except LoginError:
            if not self._asks:
                raise
            OpenSSHHost(self.name, stays=A_DAYS_WORK).connect(ask=True)

    def find_program(self, python: str | None = None) -> None:
        """Find the pilotage there; see `Place.find_program`."""
        done = self.host.run(["sh", "-c", FIND, "sh", python or "", sys.executable])
        kind, _, path = done.stdout.strip().partition(" ")
        if not path:
            hint = "install it there, or say where: --remote-python PATH"
            raise UsageError("there is no pilotage", where=self.name, hint=hint)
        program = [path] if kind == "program" else [path, *BY_PYTHON]
        said = self.host.run([*program, "--version"])
        version = said.stdout.split()[-1:] if said.ok else []
        if version != [__version__]:
            what = f"is version {version[0]}" if version else f"does not start: {said.stderr.strip()[-300:]}"
            hint = f"both must be {__version__}: install it there, or --remote-python PATH"
            raise UsageError(f"the pilotage there ({path}) {what}", where=self.name, hint=hint)
        self.program = tuple(program)

    def session(self, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a command of the pilotage there that is ended when its input ends, which is a pipe."""
        return self.host.session(["sh", "-c", WHILE_CONNECTED, "sh", *self._command(), *arguments])

    def hand_over(self, arguments: Sequence[str], *, terminal: bool) -> int:
        """Run a command there with our streams; see `Place.hand_over`."""
        return self.host.attended([*self._command(), *arguments], terminal=terminal)
