"""A scheduler's commands, run for a ledger: a scheduler that does not answer is told in time, and asked less often."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from pilotage import events
from pilotage.errors import HostError
from pilotage.hosts.base import LATE, Completed, Host

SLOW = 5.0
"""Seconds without an answer to one command after which that is told."""
SILENT = 3
"""Commands in a row without an answer that can be used, after which that is told."""
LONGEST = 60.0
"""Seconds between two questions, at most, while there is no answer."""


class Commands:
    """Runs commands of one scheduler.

    Parameters
    ----------
    name: the scheduler's.
    host: where they run.
    timeout: seconds for a command.
    clock: seconds, for tests.
    """

    def __init__(self, name: str, host: Host, timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._host = host
        self._timeout = timeout
        self._clock = clock
        self._slow = SLOW
        self._failures = 0
        self._told = False

    def run(self, argv: Sequence[str]) -> Completed:
        """Run a command; that it is slow is told while it goes on."""
        words = f"{argv[0]} has had no answer for {self._slow:g} s"
        timer = threading.Timer(self._slow, self._tell, [words])
        timer.daemon = True
        begun = self._clock()
        timer.start()
        try:
            answer = self._host.run(argv, timeout=self._timeout)
        except HostError as error:  # a connection that broke: what it began may have been done, or not
            answer = Completed(tuple(argv), LATE, "", str(error).splitlines()[0])
        finally:
            timer.cancel()
        if answer.ok:  # one that is always slow is told of once
            self._slow = max(self._slow, 2 * (self._clock() - begun))
        return answer

    def had_no_answer(self, words: str) -> float:
        """Take note of an answer that says nothing; return the seconds until it is worth asking again."""
        self._failures += 1
        if self._failures >= SILENT:
            self._tell(words)
        return min(2.0 ** (self._failures - 1), LONGEST)

    def had_answer(self) -> bool:
        """Take note of an answer; return whether it is the first after others that said nothing."""
        was_silent = self._told or self._failures > 0
        self._failures = 0
        if self._told:
            self._told = False
            events.tell("scheduler-answers", f"{self._name} answers again")
        return was_silent

    def _tell(self, words: str) -> None:
        if not self._told:
            self._told = True
            text = f"{self._name} does not answer, and what blocks do is not known: {words}"
            events.tell("scheduler-silent", text, "warning")
