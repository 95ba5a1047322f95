"""What a host is: somewhere commands can be run and files can be sent to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

MISSING, LATE = 127, 124
"""Exit codes of a program that is not there, and of one that was ended since its time was over."""


@dataclass(frozen=True)
class Completed:
    """The end of a command: exit code (127: no such program, 124: out of time), and what it wrote."""

    argv: tuple[str, ...]
    exit_code: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        """Whether it exited with 0."""
        return self.exit_code == 0


class Identity(NamedTuple):
    """Who somebody is on a host, and which host that is: its name, and what it is called until it is started anew."""

    user: str
    home: str
    host: str
    boot: str


class Runner(Protocol):
    """Somewhere commands can be run."""

    def run(self, argv: Sequence[str], *, timeout: float = 30) -> Completed:
        """Run ``argv`` for at most ``timeout`` seconds; a program that is missing or late is a Completed too."""

    def has(self, program: str) -> bool:
        """Return whether ``program`` is on PATH there."""


class Host(Runner, Protocol):
    """A machine on which commands can be run, and with which files can be exchanged.

    All of it raises HostError where the machine cannot be reached, and LoginError where only a person can reach it.
    """

    def run(self, argv: Sequence[str], *, timeout: float = 30, stdin: bytes = b"") -> Completed:
        """Run ``argv`` for at most ``timeout`` seconds, with ``stdin`` to read; see `Runner.run`."""

    @property
    def place(self) -> Mapping[str, str]:
        """What of it goes into the journal, by which it is found again; nothing of this machine."""

    def leave(self) -> None:
        """End a connection that was made for this."""

    def identity(self) -> Identity:
        """Return who we are there."""

    def send(self, source: Path, target: str, *, timeout: float = 600) -> None:
        """Copy a file or a folder to the absolute path ``target``, whose folder is made where it is not there.

        What was there is replaced, only once all has arrived. Modes are kept. Raises HostError where it cannot be
        written.
        """

    def fetch(self, source: str, target: Path, *, timeout: float = 600) -> None:
        """Copy a file or a folder from there to ``target``, in the same way."""
