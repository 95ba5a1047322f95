"""A way from workers to a port of this machine which they cannot reach by themselves."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


@runtime_checkable
class Route(Protocol):
    """A way to a port of this machine. It may break, and is then to be made anew under the same address and port."""

    def open(self, port: int) -> tuple[str, int]:
        """Make the way to ``port`` of this machine's loopback; return the address and port that workers are told.

        It may be that nobody listens there yet. Whatever is raised keeps the executor from starting.
        """

    def close(self) -> None:
        """End the way, and leave nothing of it, also where it could not be opened. It may be opened again then."""
