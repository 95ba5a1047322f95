"""What a place is: somewhere runs are started and asked about by the pilotage that is there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from pilotage.errors import HostError, PilotageError
from pilotage.hosts.base import LATE, Completed, Host
from pilotage.hosts.far import MAKE, REMOVE
from pilotage.runs.places.kept import HERE

BY_PYTHON = ("-c", "import sys; del sys.path[0]; from pilotage.cli import main; main(prog_name='pilotage')")
"""For a Python: be the program; with ``-m`` a file of the current folder might be taken for a module."""
IN_FOLDER = 'cd -- "$1" && shift && exec "$@"'
"""For ``sh -c``: run a command in a folder."""


class Place(Protocol):
    """A place. All of it raises HostError where it cannot be reached."""

    name: str
    """What a user calls it."""
    program: Sequence[str]
    """The pilotage there; empty until `find_program` has found it, or it is known from before."""

    def connect(self) -> None:
        """Make a connection where one is needed, so that what cannot be reached is told."""

    def find_program(self, python: str | None = None) -> None:
        """Find the pilotage there; raises UsageError where there is none of our version.

        ``python`` is the path of a Python there that has it; by default what is on PATH there, else a Python of the
        path that ours has here.
        """

    def make_folder(self, path: str) -> str:
        """Make a folder that only we may read; return where it really is. ``~`` is the home folder there."""

    def send(self, source: Path, target: str) -> None:
        """Copy a file or folder to a path there."""

    def remove(self, path: str) -> None:
        """Remove a folder; nothing happens where there is none."""

    def ask(self, arguments: Sequence[str], *, folder: str = "/", timeout: float = 60) -> dict[str, Any]:
        """Run a command of the pilotage there, which is given ``--json``; return what it tells.

        Raises PilotageError as that pilotage has.
        """

    def hand_over(self, arguments: Sequence[str], *, terminal: bool) -> int:
        """Run a command of the pilotage there with our streams; return its exit code.

        Parameters
        ----------
        arguments: without the program.
        terminal: whether it is to have our terminal.
        """

    def leave(self) -> None:
        """End a connection that was made for this."""


class OnHost:
    """What all places have in common: commands of a host.

    Parameters
    ----------
    name: what a user calls it.
    host: on which commands are run.
    program: the pilotage there, where that is known.
    """

    def __init__(self, name: str, host: Host, program: Sequence[str] = ()) -> None:
        self.name = name
        self.program: Sequence[str] = tuple(program)
        self._host = host

    def make_folder(self, path: str) -> str:
        """Make a folder; see `Place.make_folder`."""
        base, _, name = self._whole(path).rpartition("/")
        done = self._host.run(["sh", "-c", MAKE, "sh", base, name])
        if not done.ok:
            raise HostError(f"the folder cannot be made: {last(done.stderr)}", where=f"{self.name}:{path}")
        return done.stdout.strip()

    def send(self, source: Path, target: str) -> None:
        """Copy a file or folder there."""
        self._host.send(source, target)

    def remove(self, path: str) -> None:
        """Remove a folder."""
        done = self._host.run(["sh", "-c", REMOVE, "sh", self._whole(path)], timeout=60)
        if not done.ok:
            raise HostError(f"cannot be removed: {last(done.stderr)}", where=f"{self.name}:{path}")

    def ask(self, arguments: Sequence[str], *, folder: str = "/", timeout: float = 60) -> dict[str, Any]:
        """Run a command of the pilotage there; see `Place.ask`."""
        command, *rest = arguments
        argv = ["sh", "-c", IN_FOLDER, "sh", folder, *self._command(), command, "--json", *rest]
        return answer(self.name, self._host.run(argv, timeout=timeout))

    def leave(self) -> None:
        """End a connection that was made for this."""
        self._host.leave()

    def _command(self) -> list[str]:
        return ["env", f"{HERE}=1", *self.program]

    def _whole(self, path: str) -> str:
        return self._host.identity().home + path[1:] if path == "~" or path.startswith("~/") else path


def answer(name: str, done: Completed) -> dict[str, Any]:
    """Return what a command of another pilotage has told, which is one JSON object; raises the error that it had."""
    try:
        found = json.loads(done.stdout)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        words = last(done.stderr) or f"exit code {done.exit_code}"
        kind = HostError if done.exit_code == LATE else PilotageError  # one that is late may have done it
        raise kind(f"its pilotage gives no answer: {words}", where=name)
    if "error" in found and "message" in found and "id" not in found:
        error = PilotageError(str(found["message"]), where=found.get("where") or name, hint=found.get("hint"))
        error.exit_code = int(found.get("exit_code", 1))
        raise error
    return found


def last(words: str) -> str:
    """Return the last line that says something."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    return lines[-1] if lines else ""
