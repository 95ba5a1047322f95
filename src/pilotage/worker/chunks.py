"""Running a function over a chunk of a map's items, as one task.

The task fails as the function did, so that retries, and who watches them, meet the function's own exception. What was
done before comes along with it, in the driver only: see `Failure`.
"""

from __future__ import annotations

import copy
import os
import pickle
import sys
import time
from array import array
from collections.abc import Callable, Sequence, Set
from itertools import starmap
from typing import Any, NamedTuple

from parsl.app.errors import RemoteExceptionWrapper
from parsl.serialize import deserialize, serialize

from pilotage.worker.degrading import sendable

PLAIN: frozenset[type] = frozenset({int, float, bool, str, bytes, complex, type(None)})
"""Types of which every value can be sent."""
DONE = "_pilotage_done"
"""Attribute of an exception in the driver: the `Report` of what was done before it."""
_CODES = {int: "q", float: "d"}
_UNLIMITED = sys.maxsize  # Parsl's serializer warns of what is longer


class Report(NamedTuple):
    """What came of a chunk.

    ``seconds`` is what the calls took together, ``size`` about the bytes of items and results together.
    """

    results: Sequence[Any]
    seconds: float
    size: float


class Failure(RemoteExceptionWrapper):
    """An exception on its way to the driver with the results of the items before; Parsl raises it as the task's.

    Parameters
    ----------
    wrapper: the exception, or bytes that Parsl's serializer has made of it.
    done: the report of the items before the one that failed.
    """

    def __init__(self, wrapper: RemoteExceptionWrapper | bytes, done: Report) -> None:
        self.wrapper = wrapper
        self.done = done

    def get_exception(self) -> BaseException:
        """Return the exception, with what was done as its attribute `DONE`."""
        wrapper = deserialize(self.wrapper) if isinstance(self.wrapper, bytes) else self.wrapper
        error: BaseException = wrapper.get_exception()
        # Into the dictionary, whatever its class says about attributes. On threads, chunks may raise one and the same.
        if vars(error).setdefault(DONE, self.done) is not self.done:
            error = _copy(error)
            vars(error)[DONE] = self.done
        return error

    def reraise(self) -> None:
        """Raise the exception."""
        raise self.get_exception()


def chunked(function: Callable[..., Any], star: bool) -> Callable[[str, Sequence[Any]], Report | Failure]:
    """Return the function of a task that calls ``function`` for each item of a chunk, or with each as ``*item``.

    Its first argument says which function it is, for Parsl's memoization, which knows functions by name.
    """

    def run(_which: str, items: Sequence[Any], **_resources: Any) -> Report | Failure:
        return run_chunk(function, star, items)

    return run


def one(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a Python function that calls ``function``, which may be any callable."""

    def run(*arguments: Any) -> Any:
        return function(*arguments)

    return run


def run_chunk(function: Callable[..., Any], star: bool, items: Sequence[Any]) -> Report | Failure:
    """Call ``function`` for each of ``items`` up to the first that fails."""
    results: list[Any] = []
    failed: RemoteExceptionWrapper | None = None
    begun = time.perf_counter()
    try:
        # What was appended stays when the iterator raises.
        results.extend(starmap(function, items) if star else map(function, items))
        if len(results) < len(items):
            raise RuntimeError(f"{getattr(function, '__name__', function)} raised StopIteration")
    except Exception:
        failed = _wrapped(*sys.exc_info())
    except BaseException as error:  # a worker would end for it, and a thread's task never
        try:
            raise RuntimeError(
                f"the call ended with {type(error).__name__}({', '.join(map(repr, error.args))})"
            ) from error
        except RuntimeError:
            failed = _wrapped(*sys.exc_info())
    return _outcome(items, results, time.perf_counter() - begun, failed)


def _copy(error: BaseException) -> BaseException:
    try:
        other = copy.copy(error)
    except Exception:  # its class may not want to
        return error
    if type(other) is not type(error) or other is error:
        return error
    other.__dict__ = dict(vars(error))  # with tblib's support for pickling, a copy shares it
    other.__cause__, other.__context__ = error.__cause__, error.__context__
    other.__suppress_context__ = error.__suppress_context__
    return other.with_traceback(error.__traceback__)


def _wrapped(kind: Any, error: Any, trace: Any) -> RemoteExceptionWrapper:
    return RemoteExceptionWrapper(kind, error, trace)


def _outcome(
    items: Sequence[Any], results: list[Any], seconds: float, failed: RemoteExceptionWrapper | None
) -> Report | Failure:
    sent = "PARSL_WORKER_RANK" in os.environ  # else this is a thread of the driver, and nothing is pickled
    size = 0.0
    kinds = set(map(type, results)) if sent else PLAIN
    if not PLAIN.issuperset(kinds):
        try:
            size = len(serialize(results, buffer_threshold=_UNLIMITED))
        except Exception:
            number, failed = _first_unsendable(results, failed)
            del results[number:]
    if items and results:
        size = len(results) * (weight(items[0]) + weight(results[0])) if not size else size + weight(items[0])
    report = Report(dense(results, kinds), seconds, size)
    if failed is None:
        return report
    return Failure(_packed(failed) if sent else failed, report)


def dense(values: list[Any], kinds: Set[type]) -> Sequence[Any]:
    """Return ``values``, all of types ``kinds``, as an array where they are numbers and come out of it as they were.

    An array is written and read in a fifth of the time.
    """
    code = _CODES.get(next(iter(kinds))) if len(kinds) == 1 else None
    if code is None:
        return values
    try:
        return array(code, values)
    except OverflowError:  # an integer of more than 64 bits
        return values


def _first_unsendable(
    results: Sequence[Any], failed: RemoteExceptionWrapper | None
) -> tuple[int, RemoteExceptionWrapper | None]:
    for number, result in enumerate(results):
        try:
            serialize(result, buffer_threshold=_UNLIMITED)
        except Exception as error:
            error.add_note(f"The call has succeeded, but its result, a {type(result).__name__}, cannot be sent.")
            return number, _wrapped(*sys.exc_info())
    return len(results), failed


def _packed(wrapper: RemoteExceptionWrapper) -> bytes:
    try:
        return serialize(wrapper, buffer_threshold=_UNLIMITED)
    except Exception:
        return serialize(sendable(wrapper, _can_send), buffer_threshold=_UNLIMITED)


def _can_send(value: Any) -> bool:
    try:
        serialize(value, buffer_threshold=_UNLIMITED)
    except Exception:  # whatever pickling raised, the answer is no
        return False
    return True


def weight(value: Any) -> int:
    """Return about how many bytes ``value`` has."""
    if type(value) in PLAIN:
        return sys.getsizeof(value)
    buffers: list[pickle.PickleBuffer] = []
    try:
        body = len(pickle.dumps(value, 5, buffer_callback=buffers.append))
        return body + sum(buffer.raw().nbytes for buffer in buffers)
    except Exception:  # its own methods are asked; another pickler may know better
        return sys.getsizeof(value, 0)
