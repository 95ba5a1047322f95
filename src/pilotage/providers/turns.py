"""When a ledger may submit: one job after the other, and not again and again what is refused for the same reason."""

from __future__ import annotations

from collections.abc import Callable

from pilotage.schedulers.batch import RefusedError

REFUSALS = 3
"""Refusals in a row for one and the same reason, after which there is a pause."""
PAUSE, LONGEST_PAUSE = 30.0, 600.0
SPACING = 0.1
"""Seconds between two submissions."""


class Turns:
    """The submissions of one ledger.

    Parameters
    ----------
    clock, sleep: time, for tests.
    """

    def __init__(self, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._clock = clock
        self._sleep = sleep
        self._newest: float | None = None
        self._words, self._count = "", 0
        self._not_before = 0.0

    def wait(self) -> None:
        """Return when the next submission may be; raises RefusedError in a pause."""
        now = self._clock()
        if self._count >= REFUSALS and now < self._not_before:
            raise RefusedError(
                f"refused {self._count} times, and not asked again for {self._not_before - now:.0f} s: {self._words}"
            )
        if self._newest is not None and now - self._newest < SPACING:
            self._sleep(SPACING - (now - self._newest))
        self._newest = self._clock()

    def accepted(self) -> None:
        """Take note that what was asked for was not refused."""
        self._words, self._count = "", 0

    def refused(self, words: str) -> None:
        """Take note of a refusal."""
        self._count = self._count + 1 if words == self._words else 1
        self._words = words
        if self._count >= REFUSALS:
            self._not_before = self._clock() + min(PAUSE * 2 ** (self._count - REFUSALS), LONGEST_PAUSE)
