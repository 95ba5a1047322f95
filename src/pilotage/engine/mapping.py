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
from itertools import repeat
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Literal

from pilotage.engine.chunking import AHEAD, TARGET, Planner
from pilotage.engine.chunks import Job, RangeSource, Source, tell
from pilotage.engine.targets import Executors, Target
from pilotage.errors import UsageError

if TYPE_CHECKING:
    from parsl.dataflow.futures import AppFuture

WINDOW = 1000
"""Calls of `submit_all` that are outstanding at most, where not more than that are needed for the workers."""


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
        raise UsageError(f"chunksize={size} is more than window={window}", hint="a window holds one chunk at least")
    if target.only_single or (target.cache and size is None):
        size = 1
    planner = Planner(fixed=size, window=window, total=_length(iterables))
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

    Like ``map``, it takes as many iterables as the app has arguments. Each call is a task of its own. They are
    submitted ahead: at most ``window`` of them are unfinished, or finished and not yet yielded. A future is yielded as
    soon as there is one; ``next()`` waits only where ``window`` futures that were yielded are still unfinished.

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


def _length(iterables: Sequence[Iterable[Any]]) -> int | None:
    """Return how many items there are, None where an iterable does not say."""
    known = [iterable for iterable in iterables if isinstance(iterable, Sized)]
    try:
        return min(len(iterable) for iterable in known) if len(known) == len(iterables) else None
    except Exception:  # its own method may raise anything, and a range may be longer than len() can say
        return None


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
        while not ended.empty():
            outstanding -= note(ended.get())
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
                waiting[-1].add_done_callback(partial(tell, ended, submitted))
                submitted += 1
                outstanding += 1
                if time.perf_counter() - begun > TARGET:  # the iterable is slow, and somebody waits
                    break
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
            outstanding -= note(target.wait(ended))


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
