"""What a worker has done of its batch, in memory that outlives it.

One shared mapping for a node, made before any worker is forked, with a slot for each worker. The worker writes the
number of calls that it has begun and the outcome of each when it is known; its manager reads them, also after the
worker was killed. So a death names the call that was running, and takes with it no finished result. The mapping has
no name, so nothing can be left of it.

A slot is a head and the records of finished calls, one after another::

    head:    task (8 bytes), begun (4), limit (4), used (4), calls (4)
    record:  index in the batch (4), seconds that the call took (8), length (4), outcome

``used`` is written after the record it counts, so a record is whole or not there.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator

SIZE = 256 << 10
"""Bytes of a slot; an outcome for which there is no room goes to the manager in a message of its own."""
GIVEN = 32 << 10
"""Bytes for the numbers of tasks that were given to workers: of the latest 4,000."""
NO_LIMIT = 0xFFFFFFFF
_HEAD = struct.Struct("=QIIII")
_RECORD = struct.Struct("=IdI")
_WORD = struct.Struct("=I")
_NUMBER = struct.Struct("=Q")
_BEGUN, _LIMIT, _USED = 8, 12, 16
_ROOM = SIZE - _HEAD.size


Record = tuple[int, float, bytes]
"""A call that has ended: its place in the batch, the seconds that it took, and its outcome as bytes."""


def memory(workers: int) -> mmap.mmap:
    """Return shared memory with `Given` and slots for ``workers`` workers; pages that nobody writes cost nothing."""
    return mmap.mmap(-1, GIVEN + SIZE * max(workers, 1))


def workers_in(shared: mmap.mmap) -> int:
    """Return the number of slots."""
    return (len(shared) - GIVEN) // SIZE


class Given:
    """The numbers of the latest tasks that workers have had, done or not."""

    def __init__(self, shared: mmap.mmap) -> None:
        self._shared = shared

    def note(self, task: int) -> None:
        """Note that a worker gets a task."""
        (count,) = _NUMBER.unpack_from(self._shared, 0)
        place = 1 + count % (GIVEN // _NUMBER.size - 1)
        _NUMBER.pack_into(self._shared, place * _NUMBER.size, task)
        _NUMBER.pack_into(self._shared, 0, count + 1)

    def numbers(self) -> set[int]:
        """Return the numbers."""
        return {number for (number,) in _NUMBER.iter_unpack(self._shared[_NUMBER.size : GIVEN])} - {0}


class Slot:
    """The slot of one worker.

    Parameters
    ----------
    shared: what `memory` returned, or a copy of it after a fork.
    worker: the worker's rank on its node, from 0.
    """

    def __init__(self, shared: mmap.mmap, worker: int) -> None:
        self._shared = shared
        self._start = GIVEN + worker * SIZE

    def prepare(self, task: int, calls: int) -> None:
        """Empty the slot for a task with so many calls, 0 for one that is no batch.

        The manager does it, while the worker is idle; task 0 is none.
        """
        _HEAD.pack_into(self._shared, self._start, task, 0, NO_LIMIT, 0, calls)

    @property
    def task(self) -> int:
        """Number of the task that the slot is about, 0 for none."""
        number: int = _HEAD.unpack_from(self._shared, self._start)[0]
        return number

    @property
    def calls(self) -> int:
        """Calls of the batch, 0 where the task is none."""
        number: int = _HEAD.unpack_from(self._shared, self._start)[4]
        return number

    @property
    def begun(self) -> int:
        """Calls that the worker has begun."""
        number: int = _WORD.unpack_from(self._shared, self._start + _BEGUN)[0]
        return number

    @property
    def used(self) -> int:
        """Bytes of records."""
        number: int = _WORD.unpack_from(self._shared, self._start + _USED)[0]
        return number

    def may_begin(self, index: int) -> bool:
        """Note that the call is begun, and return whether it may be: the manager may have taken it back.

        First written, then asked: whoever sets the limit and looks a moment later sees what was begun before.
        """
        shared, start = self._shared, self._start
        _WORD.pack_into(shared, start + _BEGUN, index + 1)
        limit: int = _WORD.unpack_from(shared, start + _LIMIT)[0]
        if index < limit:
            return True
        _WORD.pack_into(shared, start + _BEGUN, index)
        return False

    @property
    def is_limited(self) -> bool:
        """Whether calls have been taken back."""
        limit: int = _WORD.unpack_from(self._shared, self._start + _LIMIT)[0]
        return limit != NO_LIMIT

    def limit(self, calls: int) -> None:
        """Let the worker begin no call from index ``calls`` on."""
        _WORD.pack_into(self._shared, self._start + _LIMIT, calls)

    def add(self, index: int, seconds: float, outcome: bytes) -> bool:
        """Keep the outcome of a call; returns False where there is no room for it."""
        shared, begin = self._shared, self._start + _HEAD.size
        used: int = _WORD.unpack_from(shared, self._start + _USED)[0]
        end = used + _RECORD.size + len(outcome)
        if end > _ROOM:
            return False
        _RECORD.pack_into(shared, begin + used, index, seconds, len(outcome))
        shared[begin + used + _RECORD.size : begin + end] = outcome
        _WORD.pack_into(shared, self._start + _USED, end)
        return True

    def records(self, since: int, until: int) -> bytes:
        """Return the records between two values of `used`, as `unpacked` reads them."""
        begin = self._start + _HEAD.size
        return self._shared[begin + since : begin + until]


def packed(index: int, seconds: float, outcome: bytes) -> bytes:
    """Return a record as bytes."""
    return _RECORD.pack(index, seconds, len(outcome)) + outcome


def unpacked(records: bytes) -> Iterator[Record]:
    """Yield the records that were packed one after another."""
    start, end, head = 0, len(records), _RECORD.size
    while start < end:
        place, seconds, length = _RECORD.unpack_from(records, start)
        start += head
        yield place, seconds, records[start : start + length]
        start += length
