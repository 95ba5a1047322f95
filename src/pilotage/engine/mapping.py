"""``pilotage.map`` and ``pilotage.submit_all``: endless iterables through a site, with what is under way bounded.

All that happens in the driver happens in ``next()``, in the thread of whoever takes the results. So a slow consumer
stops the submission, a closed generator has nothing left to stop, and the iterables are never asked from another
thread. What ends in between is noted by the futures' callbacks.
"""

from __future__ import annotations

import builtins
import operator
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence, Sized
from concurrent.futures import Future
from functools import partial
from itertools import chain, islice, repeat
from pickle import PicklingError
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Literal

from parsl.serialize.errors import SerializationError

from pilotage.engine.chunking import AHEAD, TARGET, Planner
from pilotage.engine.targets import Executors, Target
from pilotage.errors import UsageError
from pilotage.worker.chunks import DONE, Report
from pilotage.worker.serializer import ToWorker

if TYPE_CHECKING:
    from parsl.dataflow.futures import AppFuture

WINDOW = 1000
"""Calls of `submit_all` that are outstanding at most, where not more than that are needed for the workers."""
UNSENDABLE = (SerializationError, PicklingError)


def map(
    function: Callable[..., Any],
    /,
    *iterables: Iterable[Any],
    chunksize: int | Literal["auto"] = "auto",
    ordered: bool = True,
    window: int | None = None,
    executors: Executors = None,
) -> Generator[Any, None, None]:
    """Yield ``function(item)`` for the items of an iterable, as the builtin ``map`` does, computed by the workers.

    Items travel in chunks, one task of Parsl's a chunk. Nothing is drawn from the iterables before the first result is
    asked for, and then only as results are taken, so that endless iterables are fine.

    >>> import parsl, pilotage
    >>> with parsl.load():
    ...     list(pilotage.map(pow, [2, 3, 10], [5, 2, 3]))
    [32, 9, 1000]

    Parameters
    ----------
    function: a plain function, or an app. A ``python_app`` keeps its executors, its walltime (of each call) and its
        cache setting. The items of a ``bash_app``, a ``join_app``, or an app with defaults for inputs, outputs, stdout
        or stderr are calls of their own, and so is an item that is a Future or a File: Parsl waits for it or stages it.
    iterables: as many as the function has arguments; the shortest ends the map.
    chunksize: items of a chunk. ``"auto"`` begins with single items and goes by their measured run time: a chunk takes
        about 0.15 seconds, less where run times are uneven, where items are large and towards the end, and has 8,192
        items at most. An app with ``cache=True`` gets single items then, so that each is recognised.
    ordered: yield the results in the order of the items; else as they come.
    window: items that were drawn and whose results are not yet taken, at most. By default enough for the workers: two
        chunks each on their way, and as many that wait to be taken.
    executors: labels of the executors, or ``"all"``; the app's own where it has some.

    When the function raises, the results of the items before are yielded (``ordered``), and then its exception is
    raised, with a note and with ``pilotage_items``, the ``range`` of the items' numbers that it stands for: one item,
    or a whole chunk where that was lost with its worker. Then the generator is at its end, as it is after ``close()``
    or Ctrl-C: nothing more is submitted. What is on its way runs on, and its results are dropped.

    Raises UsageError for arguments that cannot be used, or when no DataFlowKernel is loaded.
    """
    target = Target(function, executors, "pilotage.map")
    sources = _iterators(iterables, target.caller)
    size = None if chunksize == "auto" else _positive("chunksize", chunksize, target.caller)
    window = None if window is None else _positive("window", window, target.caller)
    if size is not None and window is not None and size > window:
        raise UsageError(
            f"chunksize={size} is more than window={window}", hint="a window holds a chunk at least, better two a worker"
        )
    if target.only_single or (target.cache and size is None):
        size = 1
    total = min((len(iterable) for iterable in iterables if isinstance(iterable, Sized)), default=None)
    if not all(isinstance(iterable, Sized) for iterable in iterables):
        total = None
    planner = Planner(fixed=size, window=window, total=total)
    items = iterables[0] if type(iterables[0]) is range and len(iterables) == 1 and not target.cache else None
    source: Source = RangeSource(items) if items is not None else Source(sources)
    return _results(Job(target, source, planner), ordered)


def submit_all(
    app: Callable[..., Any],
    /,
    *iterables: Iterable[Any],
    window: int | None = None,
    executors: Executors = None,
) -> Generator[AppFuture, None, None]:
    """Yield the futures of ``app(item)`` for the items of an iterable, in their order, with a bound on how many.

    Like ``map``, it takes as many iterables as the app has arguments. Each call is a task of its own. They are submitted
    ahead: at most ``window`` of them are unfinished, or finished and not yet yielded. A future is yielded as soon as
    there is one; ``next()`` waits only where ``window`` futures that were yielded are still unfinished.

    >>> import parsl, pilotage
    >>> with parsl.load():
    ...     sum(future.result() for future in pilotage.submit_all(pow, range(4), [2] * 4))
    14

    Parameters
    ----------
    app: an app; of a plain function one is made.
    iterables: as many as the app has arguments; the shortest ends it.
    window: tasks outstanding at most; 1,000 or 4 a worker by default.
    executors: labels of the executors, or ``"all"``; the app's own where it has some.

    An exception stays in its future. Raises UsageError for arguments that cannot be used, or when no DataFlowKernel is
    loaded. Nothing is submitted before the first ``next()``, nor after ``close()``.
    """
    target = Target(app, executors, "pilotage.submit_all")
    sources = _iterators(iterables, target.caller)
    window = None if window is None else _positive("window", window, target.caller)
    return _futures(target, zip(*sources, strict=False), window)


def _iterators(iterables: Sequence[Iterable[Any]], caller: str) -> list[Iterator[Any]]:
    if not iterables:
        raise UsageError(f"{caller} needs something to iterate over", hint=f"{caller}(function, items)")
    found = []
    for number, iterable in enumerate(iterables, start=1):
        # Parsl's futures have items, each of which would be a task, without an end.
        if isinstance(iterable, Future):
            raise UsageError(f"iterable {number} of {caller} is a future", hint="give its result: future.result()")
        try:
            found.append(iter(iterable))
        except TypeError as error:
            raise UsageError(f"iterable {number} of {caller} is not iterable: {iterable!r}") from error
    return found


def _positive(name: str, value: Any, caller: str) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if number < 1 or isinstance(value, bool):
        auto = " or 'auto'" if name == "chunksize" else ""
        raise UsageError(f"{name} of {caller} is {value!r}, and has to be a number of items from 1 on{auto}")
    return number


def _futures(target: Target, items: Iterator[Any], window: int | None) -> Generator[AppFuture, None, None]:
    ended: SimpleQueue[int] = SimpleQueue()
    waiting: deque[AppFuture] = deque()
    early: set[int] = set()  # futures that were done before they were yielded
    submitted = yielded = outstanding = 0
    error: Exception | None = None
    exhausted = False

    def note(number: int) -> int:
        if number >= yielded:
            early.add(number)
            return 0
        return 1

    while True:
        begun = time.perf_counter()
        while not exhausted and outstanding < (window or max(WINDOW, 2 * AHEAD * target.workers())):
            try:
                arguments = next(items)
            except StopIteration:
                exhausted = True
            except Exception as raised:
                error, exhausted = raised, True
            else:
                waiting.append(target.call(arguments))
                waiting[-1].add_done_callback(partial(_tell, ended, submitted))
                submitted += 1
                outstanding += 1
                if time.perf_counter() - begun > TARGET:  # the iterable is slow, and somebody waits
                    break
        while not ended.empty():
            outstanding -= note(ended.get())
        if waiting:
            outstanding -= yielded in early
            early.discard(yielded)
            yielded += 1
            yield waiting.popleft()
        elif error is not None:
            raise error
        elif exhausted:
            return
        else:
            outstanding -= note(ended.get())


def _tell(queue: SimpleQueue[int], number: int, _future: Future[Any]) -> None:
    queue.put(number)


def _results(job: Job, ordered: bool) -> Generator[Any, None, None]:
    while (chunk := job.next_done(ordered)) is not None:
        results, error = chunk.outcome(job.target.caller)
        # Each is gone from here when it is taken.
        yield from builtins.map(deque.popleft, repeat(results, len(results)))
        if error is not None:
            try:
                raise error
            finally:
                del error, chunk  # the error's traceback holds this frame
        job.taken(chunk)
        del chunk


class Chunk:
    """Some items on their way.

    Parameters
    ----------
    start: number of the first item.
    items: what they are, until they are done.
    future: of the task; None where there is none, since ``error`` has kept it from being sent.
    single: whether it is a call of the app's own.
    """

    __slots__ = ("_results", "count", "done", "error", "future", "items", "single", "start")

    def __init__(
        self,
        start: int,
        items: Sequence[Any],
        future: Future[Any] | None = None,
        *,
        single: bool = False,
        error: BaseException | None = None,
    ) -> None:
        self.start = start
        self.count = len(items)
        self.items = items
        self.future = future
        self.single = single
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
            results, self._results = deque(self._results), ()
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
            self._note(self._ended.get())

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
        return None if found is None else lambda item: any(builtins.map(found, item))

    def _submit_chunk(self, start: int, items: Sequence[Any]) -> None:
        if items:
            self._follow(Chunk(start, items, self._send(items)))

    def _submit_single(self, start: int, item: Any) -> None:
        future = self.target.call(item if self._source.star else (item,))
        self._follow(Chunk(start, (item,), future, single=True))

    def _follow(self, chunk: Chunk) -> None:
        self._chunks[chunk.start] = chunk
        self._unfinished += 1
        if chunk.future is None:
            self._ended.put(chunk.start)
        else:
            chunk.future.add_done_callback(partial(_tell, self._ended, chunk.start))

    def _note(self, number: int) -> None:
        """Take in that a chunk has ended."""
        chunk = self._chunks[number]
        self._unfinished -= 1
        report = chunk.arrive()
        if report is not None:
            self._planner.ran(len(report.results), report.seconds, report.size)
        elif isinstance(chunk.error, UNSENDABLE) and chunk.count > 1:
            self._part(chunk)
        if self._chunks.get(number) is chunk:
            chunk.items = ()
            self._ready.append(number)

    def _part(self, chunk: Chunk) -> None:
        """Of a chunk that one item has kept from being sent, send those before it; the rest is never sent."""
        bad = next((number for number, item in enumerate(chunk.items) if not _can_be_sent(item)), None)
        if bad is None:  # it is the function
            return
        del self._chunks[chunk.start]
        self._submit_chunk(chunk.start, chunk.items[:bad])
        self._follow(Chunk(chunk.start + bad, chunk.items[bad : bad + 1], error=chunk.error))


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
            items.extend(islice(self._items, count))  # what was appended stays when it raises
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
