"""What a host is: somewhere a command can be run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


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


class Host(Protocol):
    """A machine on which commands can be run."""

    def run(self, argv: Sequence[str], *, timeout: float = 30) -> Completed:
        """Run ``argv`` for at most ``timeout`` seconds; a program that is missing or late is a Completed too."""

    def has(self, program: str) -> bool:
        """Return whether ``program`` is on PATH there."""
