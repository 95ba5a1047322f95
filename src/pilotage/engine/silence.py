"""Managers that are not heard of: told long before they are given up, since a scheduler may take minutes to notice."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

PERIODS = 2.2
"""Heartbeats that a manager may miss before that is told, give or take the time one takes."""
LEAST = 5.0
"""Seconds of silence that are never told: a busy node."""
LOOK_EVERY = 1.0


class Silence(NamedTuple):
    """What is known of a manager: nothing has been heard of it for ``seconds``; none where it is heard again.

    ``given_up``: it is known no more, and its tasks are lost.
    """

    block: str
    host: str
    seconds: float
    given_up: bool = False


class Silences:
    """The managers of one interchange.

    Parameters
    ----------
    period: seconds between two of a manager's heartbeats.
    """

    def __init__(self, period: float) -> None:
        self._after = max(PERIODS * period, LEAST)
        self._silent: dict[bytes, Silence] = {}
        self._next = 0.0

    def look(self, managers: Mapping[bytes, Mapping[str, Any]]) -> list[Silence]:
        """Return what is new, given Parsl's table of managers."""
        now, gone = time.time(), self._silent.keys() - managers.keys()
        if now < self._next and not gone:  # that one is given up is told at once: it may be the run's end
            return []
        self._next = now + LOOK_EVERY
        new = []
        for name, manager in managers.items():
            seconds = now - manager["last_heartbeat"]
            if (seconds > self._after) == (name in self._silent):
                continue
            one = Silence(str(manager["block_id"]), str(manager["hostname"]), seconds if seconds > self._after else 0.0)
            new.append(one)
            if one.seconds:
                self._silent[name] = one
            else:
                del self._silent[name]
        return [*new, *(self._silent.pop(name)._replace(given_up=True) for name in gone)]
