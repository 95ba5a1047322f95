"""The chunks of one map: drawn, sent, awaited, in order or not. For one thread at a time; see `mapping`."""

from __future__ import annotations

import sys
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import chain, islice
from pickle import PicklingError
from queue import SimpleQueue
from typing import Any

from parsl.serialize.errors import SerializationError

from pilotage.engine.chunking import TARGET, Planner
from pilotage.engine.targets import Target
from pilotage.worker.chunks import DONE, Report
from pilotage.worker.serializer import ToWorker

UNSENDABLE = (SerializationError, PicklingError)


def tell(queue: SimpleQueue[int], number: int, _future: Future[Any]) -> None:
    """Put ``number`` into ``queue``; for a future's callback."""
    queue.put(number)


class Chunk:
    """Some items on their way.

    Parameters
    ----------
    start: number of the first item.
    items: what they are, until they are done.
    future: of the task; None where there is none, since ``error`` has kept it from being sent.
    single: whether it is a call of the app's own.
    lasting: whether somebody else needs the results, as Parsl's memoization does.
    """

    __slots__ = ("_results", "count", "done", "error", "future", "items", "lasting", "single", "start")

    def __init__(
        self,
        start: int,
        items: Sequence[Any],
        future: Future[Any] | None = None,
        *,
        single: bool = False,
        lasting: bool = False,
        error: BaseException | None = None,
    ) -> None:
        self.start = start
        self.count = len(items)
        self.items = items
        self.future = future
        self.single = single
        self.lasting = lasting
        self.error = error
        self.done = False
        self._results: Sequence[Any] = ()

    def arrive(self) -> Report | None:
        """Note that the task has ended; returns what was measured, if anything was."""
        self.done = True
        if self.future is None:
            return None
        # A future holds the arguments of its task, and these their memory.
        future, self.future = self.future, None
        self.error = future.exception()
        if self.error is not None:
            report: Report | None = vars(self.error).get(DONE)
            return report
        if self.single:
            self._results = [future.result()]
            return None
        report = future.result()
        self._results = report.results
        return report._replace(results=range(len(report.results)))

    def outcome(self, caller: str) -> tuple[deque[Any], BaseException | None]:
        """Return the results, and the exception that ended them; the chunk forgets them."""
        if self.error is None:
            results = deque(self._results)
            if self.lasting:
                self._results = ()
            else:
                empty(self._results)
            return results, None
        known = vars(self.error)
        report = known.pop(DONE, None)
        results = deque(report.results if report is not None else ())
        first = self.start + len(results)
        numbers = range(first, first + 1 if report is not None else self.start + self.count)
        # Into the dictionary: a class of exceptions may refuse attributes.
        known.update(pilotage_index=first, pilotage_items=numbers)
        which = f"item {first}" if len(numbers) == 1 else f"items {first} to {numbers[-1]}, which travelled together,"
        known["__notes__"] = [*known.get("__notes__", ()), f"{which} of {caller}"]
        return results, self.error


class Job:
    """One map under way.

    Parameters
    ----------
    target: what is called.
    source: what it is called with.
    planner: how many at a time.
    """

    def __init__(self, target: Target, source: Source, planner: Planner) -> None:
        self.target = target
        self._source = source
        self._planner = planner
        self._send = target.chunk(source.star)
        self._ended: SimpleQueue[int] = SimpleQueue()
        self._chunks: dict[int, Chunk] = {}  # by the number of the first item
        self._ready: deque[int] = deque()
        self._drawn = self._position = 0
        self._unfinished = self._outstanding = 0

    def next_done(self, ordered: bool) -> Chunk | None:
        """Return the next chunk that is done, None after the last; waits for it, and sends others meanwhile."""
        while True:
            while not self._ended.empty():
                self._note(self._ended.get())
            self._refill()
            number = self._first_ready(ordered)
            if number is not None:
                return self._chunks.pop(number)
            if not self._chunks:
                if self._source.error is not None:
                    raise self._source.error
                return None
            self._note(self.target.wait(self._ended))

    def taken(self, chunk: Chunk) -> None:
        """Note that a chunk's results were handed on."""
        self._outstanding -= chunk.count
        self._position = chunk.start + chunk.count

    def _first_ready(self, ordered: bool) -> int | None:
        if ordered:
            head = self._chunks.get(self._position)
            return head.start if head is not None and head.done else None
        return self._ready.popleft() if self._ready else None

    def _refill(self) -> None:
        begun = time.perf_counter()
        while not self._source.exhausted:
            size = self._planner.next_size(self.target.workers(), self._unfinished, self._outstanding)
            if not size:
                return
            before = time.perf_counter()
            items = self._source.draw(size)
            now = time.perf_counter()
            self._planner.drew(len(items), now - before)
            self._submit(items)
            if now - begun > TARGET:  # the iterable is slow, and what is there should not wait for it
                return

    def _submit(self, items: Sequence[Any]) -> None:
        start = self._drawn
        self._drawn += len(items)
        self._outstanding += len(items)
        if self.target.only_single:
            for item in items:
                self._submit_single(start, item)
            return
        special = None if type(items) is range else self._special(items)
        if special is None:
            self._submit_chunk(start, items)
            return
        first = 0
        for number, item in enumerate(items):
            if special(item):
                self._submit_chunk(start + first, items[first:number])
                self._submit_single(start + number, item)
                first = number + 1
        self._submit_chunk(start + first, items[first:])

    def _special(self, items: Sequence[Any]) -> Callable[[Any], bool] | None:
        if not self._source.star:
            return self.target.special(items)
        found = self.target.special(chain.from_iterable(items))
        return None if found is None else lambda item: any(map(found, item))

    def _submit_chunk(self, start: int, items: Sequence[Any]) -> None:
        if items:
            self._follow(Chunk(start, items, self._send(items), lasting=self.target.cache))

    def _submit_single(self, start: int, item: Any) -> None:
        future = self.target.call(item if self._source.star else (item,))
        self._follow(Chunk(start, (item,), future, single=True))

    def _follow(self, chunk: Chunk) -> None:
        self._chunks[chunk.start] = chunk
        self._unfinished += 1
        if chunk.future is None:
            self._ended.put(chunk.start)
        else:
            chunk.future.add_done_callback(partial(tell, self._ended, chunk.start))

    def _note(self, number: int) -> None:
        """Take in that a chunk has ended."""
        chunk = self._chunks[number]
        self._unfinished -= 1
        report = chunk.arrive()
        if report is not None:
            self._planner.ran(len(report.results), report.seconds, report.size)
        elif isinstance(chunk.error, UNSENDABLE) and chunk.count > 1:
            self._part(chunk)
        empty(chunk.items)
        if self._chunks.get(number) is chunk:
            self._ready.append(number)

    def _part(self, chunk: Chunk) -> None:
        """Of a chunk that one item has kept from being sent, send those before it; the rest is never sent."""
        bad = next((number for number, item in enumerate(chunk.items) if not _can_be_sent(item)), None)
        if bad is None:  # it is the function
            return
        del self._chunks[chunk.start]
        self._submit_chunk(chunk.start, chunk.items[:bad])
        self._follow(Chunk(chunk.start + bad, chunk.items[bad : bad + 1], error=chunk.error))


def empty(values: Sequence[Any]) -> None:
    """Empty what a chunk has carried, if it can be emptied.

    A task of Parsl's refers to itself, so that Python's collector has to find it, which is late where there are few
    tasks with many items each.
    """
    if isinstance(values, (list, array)):
        del values[:]


def _can_be_sent(item: Any) -> bool:
    try:
        ToWorker().serialize(item)
    except Exception:  # whatever pickling raised, the answer is no
        return False
    return True


class Source:
    """The items of a map, a chunk at a time.

    Parameters
    ----------
    iterators: one for each argument of the function.
    """

    def __init__(self, iterators: Sequence[Iterator[Any]]) -> None:
        self.star = len(iterators) > 1
        self._items: Iterator[Any] = zip(*iterators, strict=False) if self.star else iterators[0]
        self.exhausted = False
        self.error: Exception | None = None
        """What the iterables have raised; to be raised where the item would have been."""

    def draw(self, count: int) -> Sequence[Any]:
        """Return the next items, ``count`` of them where there are so many."""
        items: list[Any] = []
        try:
            items.extend(islice(self._items, min(count, sys.maxsize)))  # what was appended stays when it raises
        except Exception as error:
            self.error = error
        self.exhausted = len(items) < count
        return items


class RangeSource(Source):
    """The same for a range, a chunk of which is a range: it has some 30 bytes, whatever its length."""

    def __init__(self, items: range) -> None:
        super().__init__([iter(())])
        self._range = items

    def draw(self, count: int) -> Sequence[Any]:
        """Return the next items."""
        drawn, self._range = self._range[:count], self._range[count:]
        self.exhausted = not self._range
        return drawn
