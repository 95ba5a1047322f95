"""What a worker calls for each task: keeps what the task prints, and notes which part of it is the task's.

Parsl's worker calls `execute` as the ``task_executor`` of a call's context. Two files beside the worker's log:

- ``worker_<rank>.out``: all that came through descriptors 1 and 2 of the worker and its children;
- ``worker_<rank>.index``: a head of HEAD bytes for the task that is running, ``{}`` where none is, then a line
  ``{"task": N, "begin": BYTE, "end": BYTE, "time": SECONDS}`` for each task that has printed, each after its newline.

What threads print between two tasks is no task's. A command that opens ``/dev/stdout`` anew empties the file, as it
does any file that output goes to.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from parsl.executors.execute_task import execute_task

LOGS = "PILOTAGE_WORKER_LOGS"
"""Names the folder of the pool's logs; set by `pilotage.worker.pool`, and gone before a task can see it."""
HEAD = 96
FIRST_DESCRIPTOR = 10
"""Those below may be counted on by programs that a task starts."""
IDLE = b"{}".ljust(HEAD)


class Output:
    """The files of one worker; nothing it meets there reaches a task.

    Parameters
    ----------
    text: descriptor of the output file.
    index: descriptor of the index file.
    """

    def __init__(self, text: int, index: int) -> None:
        self._text = text
        self._index = index
        self._process = os.getpid()
        self._flush_c = _flush_of_c()
        self._task = 0
        self._begin: int | None = None
        self._time = 0.0
        self._end_of_index = HEAD

    def take_over(self) -> None:
        """Close what a worker of the same rank has left that ended within a task; raises OSError."""
        self._end_of_index = max(os.fstat(self._index).st_size, HEAD)
        try:
            left = json.loads(os.pread(self._index, HEAD, 0))
            self._note(left["task"], left["begin"], os.lseek(self._text, 0, os.SEEK_END), left["time"])
        except (ValueError, LookupError, TypeError):  # a new file, or nothing was running
            pass
        os.pwrite(self._index, IDLE, 0)

    def begin(self, task: int) -> None:
        """Note that what comes from now on is the task's."""
        self._flush()
        try:
            self._begin_at(os.lseek(self._text, 0, os.SEEK_END), task)
        except OSError:
            self._begin = None

    def turn(self, task: int) -> None:
        """End the task that has begun, where there is one, and begin another: half of the work of doing both."""
        if self._begin is None or os.getpid() != self._process:
            self.begin(task)
            return
        self._flush()
        try:
            self._begin_at(self._ended(), task)
        except OSError:
            self._begin = None

    def end(self) -> None:
        """Note how far the task that has begun went; nothing where there is none."""
        if self._begin is None or os.getpid() != self._process:  # a child that the task has forked
            return
        self._flush()
        try:
            self._ended()
            os.pwrite(self._index, IDLE, 0)
        except OSError:  # the disk is full
            pass
        self._begin = None

    def _begin_at(self, begin: int, task: int) -> None:
        self._begin, self._task, self._time = begin, task, time.time()
        head = f'{{"task": {task}, "begin": {begin}, "time": {self._time:.6f}}}'
        os.pwrite(self._index, head.encode().ljust(HEAD), 0)

    def _ended(self) -> int:
        """Note what the task has printed, and return where the file ends."""
        end, begin = os.lseek(self._text, 0, os.SEEK_END), self._begin
        if begin is not None and end != begin:
            self._note(self._task, begin if begin < end else 0, end, self._time)
        return end

    def _note(self, task: int, begin: int, end: int, at: float) -> None:
        line = f'\n{{"task": {task}, "begin": {begin}, "end": {end}, "time": {at:.6f}}}'.encode()
        # Of a line that a full disk has cut, the next one takes the place.
        if end > begin and os.pwrite(self._index, line, self._end_of_index) == len(line):
            self._end_of_index += len(line)

    def _flush(self) -> None:
        _flush_streams()
        self._flush_c()


def execute(buffer: bytes, task: int) -> Any:
    """Do what Parsl's ``execute_task`` does with the call in ``buffer``, and raise what that raises.

    Parameters
    ----------
    buffer: a function and its arguments, serialized.
    task: the kernel's number of the task.
    """
    output = output_of_this_worker()
    if output is None:
        return execute_task(buffer)
    output.begin(task)
    try:
        return execute_task(buffer)
    finally:
        output.end()


_opened: list[Output | None] = []


def output_of_this_worker() -> Output | None:
    """Return where this worker's output goes, None where this is no worker of our pool."""
    if not _opened:
        try:
            _opened.append(_redirect(os.environ.pop(LOGS, None)))
        except OSError as error:
            _opened.append(None)
            with contextlib.suppress(Exception):
                sys.stderr.write(f"pilotage: what tasks print is not kept apart: {error}\n")
    return _opened[0]


def _redirect(logs: str | None) -> Output | None:
    """Point descriptors 1 and 2 at this worker's file; None where this is no worker of our pool. Raises OSError."""
    block, pool, rank = (os.environ.get(f"PARSL_WORKER_{name}") for name in ("BLOCK_ID", "POOL_ID", "RANK"))
    if logs is None or block is None or pool is None or rank is None:
        return None
    folder = f"{logs}/block-{block}/{pool}"  # as Parsl composes it
    os.makedirs(folder, mode=0o700, exist_ok=True)  # noqa: PTH103  where logs are switched off, Parsl makes none
    with contextlib.ExitStack() as failed:
        text = _open(f"{folder}/worker_{rank}.out", os.O_WRONLY | os.O_APPEND)
        failed.callback(os.close, text)
        index = _open(f"{folder}/worker_{rank}.index", os.O_RDWR)
        failed.callback(os.close, index)
        output = Output(text, index)
        output.take_over()
        failed.pop_all()
    _flush_streams()
    os.dup2(text, 1)
    os.dup2(text, 2)
    with contextlib.suppress(Exception):
        # A worker that is killed takes along what it has not written, and the order with children's output is kept.
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    return output


def _open(path: str, flags: int) -> int:
    descriptor = os.open(path, flags | os.O_CREAT, 0o600)
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, FIRST_DESCRIPTOR)
    finally:
        os.close(descriptor)


def _flush_streams() -> None:
    done = None
    for name in ("stdout", "__stdout__", "stderr", "__stderr__"):
        try:
            stream = getattr(sys, name)
            if stream is not done:
                stream.flush()
                done = stream
        except Exception:  # noqa: S110  closed, None, or of the task's making
            pass


def _flush_of_c() -> Callable[[], object]:
    """Return a call that flushes C's ``stdout``, and nothing else: another file may be locked by who reads it."""
    try:
        library = ctypes.CDLL(None)
        stream = ctypes.c_void_p.in_dll(library, "__stdoutp" if sys.platform == "darwin" else "stdout")
        flush, value = library.fflush, ctypes.c_void_p(stream.value)
    except (OSError, ValueError, AttributeError):
        return lambda: None
    return lambda: flush(value)
