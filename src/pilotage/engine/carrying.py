"""Calls whose files go with them to workers that do not see this machine's, and come back with what they return.

This is for scripts that were written for a shared folder: ``stdout`` and ``stderr`` of a bash_app, and Parsl's Files in
its arguments, ``inputs`` and ``outputs``, as long as they are small. A path that is not on this machine is left alone:
it means something where the workers are.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from parsl.data_provider.files import File

from pilotage.worker.carried import MOST, NotLanded, Sent, TooLargeError, Wanted, run
from pilotage.worker.data.things import mark_of

STREAMS = ("stdout", "stderr")


def carried(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """Return the call that brings its files along, or the same one where it has none.

    Raises TooLargeError where they are more than 64 MiB, OSError where they cannot be read.
    """
    wanted = list(_wanted(kwargs))
    given = [*args, *(value for name, value in kwargs.items() if name != "outputs")]  # one that is both is changed
    paths = [file.filepath for file in _files(given)]
    sent = [_sent(path) for path in dict.fromkeys(paths) if Path(path).is_file()]
    if not sent and not wanted:
        return function, tuple(args), dict(kwargs)
    size = sum(len(one.content) for one in sent)
    if size > MOST:
        raise TooLargeError(f"the files of this call are {size >> 20} MiB, and at most {MOST >> 20} MiB go with a call")
    call = functools.partial(run, function)
    # By it the rules of its app are found, and what is known of how long it takes.
    call.__wrapped__ = getattr(function, "__wrapped__", function)  # type: ignore[attr-defined]
    return call, (tuple(args), dict(kwargs), sent, wanted), {}


def landing(call: Future[Any]) -> Future[Any]:
    """Return the future of a call that has brought its files along: it fails where what came back was not written."""
    found: Future[Any] = Future()

    def settle(call: Future[Any]) -> None:
        error = call.exception()
        outcome = None if error is not None else call.result()
        if isinstance(outcome, NotLanded):
            error = outcome.error
        if error is not None:
            found.set_exception(error)
        else:
            found.set_result(outcome)

    call.add_done_callback(settle)
    return found


def _sent(path: str) -> Sent:
    return Sent(path, Path(path).read_bytes(), Path(path).stat().st_mode & 0o777)


def _wanted(kwargs: Mapping[str, Any]) -> Iterator[Wanted]:
    for name in STREAMS:
        given = kwargs.get(name)
        if isinstance(given, str):
            yield _wanted_at(given, appended=True)  # as Parsl opens it
        elif isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], str):
            yield _wanted_at(given[0], appended=str(given[1]).startswith("a"))
    outputs = kwargs.get("outputs")
    for file in _files(outputs if isinstance(outputs, list | tuple) else ()):
        if Path(file.filepath).parent.is_dir():
            yield _wanted_at(file.filepath)


def _wanted_at(path: str, *, appended: bool = False) -> Wanted:
    return Wanted(path, appended, os.path.abspath(path))  # noqa: PTH100  pathlib keeps what leads up


def _files(values: Iterable[Any]) -> Iterator[File]:
    """Yield the Files among values and in lists of them, which are files of a machine and not somewhere on the net."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from _files(value)
        elif isinstance(value, File) and value.scheme == "file" and mark_of(value) is None:
            yield value
