"""Managers behind a shared way that are gone: they answer nothing while others behind the same way do.

A way to a far site may be broken for minutes and is made anew, so silence alone is not the end of a manager there. But
while the way is seen to carry, by answers of others every few seconds, a manager that is there connects within about
ten seconds and answers. One that does not has been killed with its node's guard, or its node is off or cut off.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pilotage.engine.silence import LEAST, PERIODS

SILENT = 120.0
"""Seconds of silence after which a manager may be given up: as many as without a way in between, by Parsl's default."""
CARRIES = 60.0
"""Seconds in which others must have answered without a break until then."""
BREAK = 5.0
"""Seconds without an answer of anybody, or without a look of ours, that are a break."""
WITNESSES = 8
"""Managers that are asked whether the way carries."""


class Look(NamedTuple):
    """What comes of a look: managers to be asked for an answer now, and those that are given up."""

    ask: list[bytes]
    gone: list[bytes]


class Absences:
    """The managers of one interchange that share their way to it.

    Parameters
    ----------
    period: seconds between two of a manager's heartbeats.
    """

    def __init__(self, period: float) -> None:
        self._asked_after = max(PERIODS * period, LEAST)
        self._gone_after = max(SILENT, 2 * self._asked_after)
        self._looked = float("-inf")
        self._carries_since: float | None = None

    def look(self, heard: Mapping[bytes, float], now: float) -> Look:
        """Return whom to ask, and who is gone; to be called every second or so.

        Parameters
        ----------
        heard: when something was last heard of each manager.
        now: by the same clock.
        """
        late, self._looked = now - self._looked > BREAK, now
        silent = [name for name, at in heard.items() if now - at > self._asked_after]
        if not silent:
            self._carries_since = None
            return Look([], [])
        others = sorted(heard.keys() - set(silent), key=lambda name: heard[name], reverse=True)
        newest = heard[others[0]] if others else float("-inf")
        if late or self._carries_since is None or now - newest > BREAK:
            self._carries_since = now
        carries = now - self._carries_since
        gone = [name for name in silent if carries >= CARRIES and now - heard[name] >= self._gone_after]
        return Look([*silent, *others[:WITNESSES]], gone)
