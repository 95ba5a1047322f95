"""What a run says to people, without knowing where it is printed."""

from __future__ import annotations

from typing import Protocol

from pilotage.errors import PilotageError


class Talk(Protocol):
    """Where messages for people go."""

    def say(self, message: str) -> None:
        """Tell a person something."""

    def warn(self, message: str) -> None:
        """Warn a person."""

    def error(self, error: PilotageError) -> None:
        """Report an error."""
