"""Running a batch: many short calls that came as one task, each with its own outcome.

Parsl's worker calls `execute` as the ``task_executor`` of the batch's context. What it did is in its slot (see
`pilotage.worker.slots`), from which the manager composes what the driver is told; so nothing is returned here.

A batch is two pickles after the length of the first (8 bytes): the calls and the functions, which are serialized once.
Of each call there is ``(function, task, arguments)`` with the function's place in the list, the kernel's number of the
task or None, and the arguments as ``(args, kwargs)`` where they are plain values, else as bytes.
"""

from __future__ import annotations

import pickle
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from parsl.app.errors import RemoteExceptionWrapper

from pilotage.worker import channel, slots
from pilotage.worker.channel import LENGTH
from pilotage.worker.serializer import FunctionToWorker, ToDriver, ToWorker, answer_with_our_plugin
from pilotage.worker.task import output_of_this_worker

RETURNED, RAISED, PLAIN = b"r", b"e", b"p"
"""First byte of an outcome: a result in our serializer's pickle, an exception, a result of plain values."""
PLAIN_TYPES = frozenset({int, float, bool, str, bytes, complex, type(None)})

_functions, _arguments, _answers = FunctionToWorker(), ToWorker(), ToDriver()


def packed(work: bytes, functions: Sequence[bytes]) -> bytes:
    """Return a batch of calls, which are pickled already."""
    return b"".join((LENGTH.pack(len(work)), work, pickle.dumps(functions, pickle.HIGHEST_PROTOCOL)))


def unpacked(buffer: bytes) -> tuple[list[tuple[int, int | None, Any]], list[bytes]]:
    """Return a batch's calls and functions."""
    begin = LENGTH.size + LENGTH.unpack_from(buffer)[0]
    view = memoryview(buffer)
    return pickle.loads(view[LENGTH.size : begin]), pickle.loads(view[begin:])


def execute(buffer: bytes, calls: int, budget: float) -> None:  # noqa: ARG001  both are for the manager
    """Run a batch.

    Parameters
    ----------
    buffer: the batch.
    calls: number of calls in it.
    budget: seconds after which the manager takes back what has not begun; 0 for never.
    """
    here = channel.this
    if here is None:
        raise RuntimeError("a batch has come to a process that is no worker of pilotage's pool")
    work, functions = unpacked(buffer)
    answer_with_our_plugin()
    slot, output, clock = here.slot, output_of_this_worker(), time.perf_counter
    try:
        for index, (number, task, arguments) in enumerate(work):
            if not slot.may_begin(index):
                break
            begun = clock()
            if output is not None:
                output.end() if task is None else output.turn(task)
            outcome = _outcome(functions[number], arguments)
            seconds = clock() - begun
            here.end_if_forked()
            if not slot.add(index, seconds, outcome):
                here.say(channel.SPILLED, slots.packed(index, seconds, outcome))
    finally:
        if output is not None:
            output.end()


def _outcome(function: bytes, arguments: bytes | tuple[Any, Any]) -> bytes:
    try:
        result = _call(function, arguments)
        if type(result) in PLAIN_TYPES:
            return PLAIN + pickle.dumps(result, pickle.HIGHEST_PROTOCOL)
        return RETURNED + _answers.serialize(result)
    except Exception:
        return RAISED + _answers.serialize(_wrapped(*sys.exc_info()))


def _call(function: bytes, arguments: bytes | tuple[Any, Any]) -> Any:
    run: Callable[..., Any] = _functions.deserialize(function)
    args, kwargs = arguments if type(arguments) is tuple else _arguments.deserialize(arguments)  # type: ignore[arg-type]
    return run(*args, **kwargs)


def _wrapped(kind: Any, error: Any, trace: Any) -> RemoteExceptionWrapper:
    return RemoteExceptionWrapper(kind, error, trace)
