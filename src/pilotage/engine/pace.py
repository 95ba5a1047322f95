"""How long the calls of a function take, as far as it was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

PROOFS = 3
"""Short calls in a row after which a function counts as short."""
DECAY = 0.98
"""What is left of the estimate after each shorter call: it rises at once and falls slowly."""
OVERHEAD = 2e-6
"""Seconds that a worker spends on a call beside the function itself."""


class Pace:
    """What is known of one function's run time; times are in seconds."""

    __slots__ = ("_estimate", "alone", "proofs")

    def __init__(self, *, alone: bool = False) -> None:
        self._estimate = 0.0
        self.proofs = 0
        """Short calls in a row."""
        self.alone = alone
        """Whether its calls are never put into a batch with others."""

    def add(self, times: Iterable[float], short: float) -> None:
        """Take in calls that took ``times`` (seconds), one after the other; up to ``short`` seconds are short."""
        proofs, estimate = self.proofs, self._estimate
        for seconds in times:
            if seconds > short:
                proofs, estimate = 0, 0.0
                continue
            proofs += 1
            estimate *= DECAY
            if seconds > estimate:
                estimate = seconds
        self.proofs, self._estimate = proofs, estimate

    def refute(self) -> None:
        """Note that a call is not short, or was lost: the function has to prove itself anew."""
        self.proofs = 0
        self._estimate = 0.0

    @property
    def is_short(self) -> bool:
        """Whether its calls may travel together."""
        return self.proofs >= PROOFS and not self.alone

    @property
    def seconds(self) -> float:
        """What a call is expected to take, and rather less than more."""
        return self._estimate + OVERHEAD


class Known:
    """A function that calls have been made of.

    Parameters
    ----------
    function: returns it, or None where it is gone.
    pace: what is known of its run time.
    reruns: times that a call of it may be sent again when it was lost.
    name: its name, for people.
    """

    __slots__ = ("function", "mark", "name", "pace", "reruns")

    def __init__(self, function: Callable[[], Any], pace: Pace, reruns: int, name: str) -> None:
        self.function = function
        self.pace = pace
        self.reruns = reruns
        self.name = name
        self.mark: Any = None
        """What the `Keeper` keeps its calls by, once it was asked."""
