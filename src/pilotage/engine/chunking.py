"""How many items the next chunk of a map has: a pure plan from what has been measured.

A chunk is to take `TARGET` seconds of a worker's time, so that what a task costs is a hundredth of it. It is smaller

- at first, when nothing is known: single items, then at most `GROWTH` times the largest chunk that was measured;
- where costs are uneven: the estimate is the mean and two deviations;
- where its items or results are large, and where the iterable is slow to give them;
- towards the end of an iterable of known length, so that the workers finish together.
"""

from __future__ import annotations

import math

TARGET = 0.15
"""Seconds of work that a chunk is sized to."""
LEAST = 0.002
"""Seconds of work below which the end of the iterable is not cut smaller: a hand-over costs a tenth of that."""
GROWTH = 8
ITEMS = 8192
"""Items that a chunk has at most: what a task costs is then some 50 nanoseconds an item."""
BYTES = 1 << 20
"""Bytes that the items and results of a chunk have together at most, as far as samples tell."""
AHEAD = 2
"""Chunks a worker that are on their way at least, so that it finds the next one when it has done one."""
PIPELINE = 0.005
"""Seconds of work a worker that are on their way: a hand-over takes a part of it."""
DEEPEST = 16
"""Chunks a worker that are on their way at most."""
WEIGHT = 0.25
"""Weight of a new measurement."""


class Estimate:
    """A mean and a mean deviation, with more weight on what came last."""

    def __init__(self) -> None:
        self.mean: float | None = None
        self._deviation = 0.0

    def add(self, value: float) -> None:
        """Take in a measurement."""
        if self.mean is None:
            self.mean = value
            return
        self._deviation += WEIGHT * (abs(value - self.mean) - self._deviation)
        self.mean += WEIGHT * (value - self.mean)

    @property
    def high(self) -> float:
        """What few measurements exceed; 0 when there was none."""
        return 0.0 if self.mean is None else self.mean + 2 * self._deviation


class Planner:
    """Sizes the chunks of one map.

    Parameters
    ----------
    fixed: items of every chunk; by measurement when None.
    window: items that are drawn and not yet handed on, at most; by the number of workers when None.
    total: length of the iterable; None where it is not known.
    """

    def __init__(self, *, fixed: int | None = None, window: int | None = None, total: int | None = None) -> None:
        self._fixed = fixed
        self._window = window
        self._left = total
        self._seconds = Estimate()
        self._bytes = Estimate()
        self._drawing = Estimate()
        self._chunk_seconds = Estimate()
        self._largest = 0

    def drew(self, items: int, seconds: float) -> None:
        """Note that the iterable took ``seconds`` to give ``items``."""
        if self._left is not None:
            self._left = max(self._left - items, 0)
        if items:
            self._drawing.add(seconds / items)

    def ran(self, items: int, seconds: float, size: float) -> None:
        """Note that a worker took ``seconds`` for ``items``, which have about ``size`` bytes with their results."""
        if items:
            self._seconds.add(seconds / items)
            self._bytes.add(size / items)
            self._chunk_seconds.add(seconds)
            self._largest = max(self._largest, items)

    def next_size(self, workers: int, unfinished: int, outstanding: int) -> int:
        """Return the size of the chunk to send now, 0 where none is to be sent before something has ended.

        Parameters
        ----------
        workers: how many there are to work on the chunks.
        unfinished: chunks on their way.
        outstanding: items that were drawn and are not handed on yet.
        """
        workers = max(workers, 1)
        ahead = workers * self._depth()
        if unfinished >= ahead:
            return 0
        size = self._fixed or self._measured(workers)
        # Finished chunks that nobody takes count too: twice what is on its way.
        room = (self._window if self._window is not None else 2 * ahead * size) - outstanding
        if room < size and outstanding:
            return 0
        return size

    def _depth(self) -> int:
        """Return the number of chunks a worker that are on their way."""
        seconds = self._chunk_seconds.mean
        if seconds is None:
            return AHEAD
        return min(max(AHEAD, math.ceil(PIPELINE / max(seconds, 1e-9))), DEEPEST)

    def _measured(self, workers: int) -> int:
        if not self._largest:
            return 1
        size = min(ITEMS, self._largest * GROWTH, _times(self._seconds.high, TARGET), _times(self._bytes.high, BYTES))
        size = min(size, _times(self._drawing.high, TARGET))
        if self._window is not None:
            size = min(size, self._window // (AHEAD * workers))
        if self._left is not None:
            size = min(size, max(math.ceil(self._left / (AHEAD * workers)), _times(self._seconds.high, LEAST)))
        return max(size, 1)


def _times(part: float, whole: float) -> int:
    """Return how often ``part`` goes into ``whole``, ITEMS at most."""
    return ITEMS if part * ITEMS <= whole else int(whole / part)
