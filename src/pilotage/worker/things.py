"""How things that scripts keep in globals are pickled, where pickle and cloudpickle refuse or break them.

On threads every task sees the same lock, file or cached function. In another process it gets its own: a lock is a new
one and free, a file is opened again, a cache starts empty. What would only look alive over there, a thread or a future
that is not done, is refused with the reason.
"""

from __future__ import annotations

import contextvars
import dataclasses
import functools
import io
import os
import queue
import subprocess
import sys
import tempfile
import threading
import types
import typing
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pickle import PicklingError
from typing import Any

from cloudpickle import cloudpickle as internals
from parsl.dataflow.dflow import DataFlowKernel

from pilotage.worker.importable import is_importable

Reduced = str | tuple[Any, ...]


def _name(obj: Any) -> str | None:
    """Return the name by which another process finds ``obj`` in its module, or None."""
    module, name = getattr(obj, "__module__", None), getattr(obj, "__qualname__", getattr(obj, "__name__", None))
    if not module or not name or not is_importable(module):
        return None
    found: Any = sys.modules[module]
    for part in name.split("."):
        found = getattr(found, part, None)
    return name if found is obj else None


def _new(make: Callable[[], Any]) -> Callable[[Any], Reduced]:
    return lambda _: (make, ())


def _cached_function(function: Any) -> Reduced:
    return _name(function) or (_cached, (function.__wrapped__, function.cache_parameters()))


def _cached(function: Any, parameters: dict[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(function)


def _bounded_semaphore(semaphore: Any) -> Reduced:
    return threading.BoundedSemaphore, (semaphore._initial_value,)  # permits are held by threads of this process


def _context_variable(variable: contextvars.ContextVar[Any]) -> Reduced:
    try:  # a new thread's context holds defaults only
        return _context_variable_with, (variable.name, contextvars.Context().run(variable.get))
    except LookupError:
        return contextvars.ContextVar, (variable.name,)


def _context_variable_with(name: str, default: Any) -> contextvars.ContextVar[Any]:
    return contextvars.ContextVar(name, default=default)


def _thread_pool(pool: Any) -> Reduced:
    return ThreadPoolExecutor, (pool._max_workers, pool._thread_name_prefix, pool._initializer, pool._initargs)


def _weak_dictionary(mapping: Any) -> Reduced:
    return type(mapping), (dict(mapping),)


def _environ(environ: Any) -> Reduced:
    return (getattr, (os, "environ")) if environ is os.environ else (dict, (dict(environ),))


def _text_file(file: Any) -> Reduced:
    """Files open for writing are opened again to append; those open for reading arrive as their text, at the place."""
    if file.closed or not isinstance(file.buffer, io.BufferedWriter) or file in (sys.stdout, sys.stderr):
        reduced: Reduced = internals._file_reduce(file)
        return reduced
    file.flush()
    return _opened, (_path(file), "a", file.encoding, file.errors, file.line_buffering)


def _opened(path: str, mode: str, encoding: str, errors: str, line_buffering: bool) -> Any:
    return open(path, mode, 1 if line_buffering else -1, encoding, errors)


def _binary_file(file: Any) -> Reduced:
    return _opened_at, (_path(file), file.tell())


def _opened_at(path: str, position: int) -> Any:
    file = open(path, "rb")  # noqa: SIM115  the script closes it, if anybody
    file.seek(position)
    return file


def _path(file: Any) -> str:
    if not isinstance(getattr(file, "name", None), str):
        raise PicklingError(f"cannot pickle {file!r}: it has no path to open it again by")
    path: str = os.path.abspath(file.name)  # noqa: PTH100  as it was opened: links stay links
    return path


def _temporary_file(wrapper: Any) -> Reduced:
    # Not the wrapper: the copy would delete the file at its end.
    raise PicklingError(f"cannot pickle the temporary file {wrapper.name!r}: pass its name")


def _new_type(kind: Any) -> Reduced:
    return _name(kind) or (typing.NewType, (kind.__name__, kind.__supertype__))


def _parameter(parameter: Any) -> Reduced:
    return _name(parameter) or (type(parameter), (parameter.__name__,))


def _alias(alias: Any) -> Reduced:
    return _name(alias) or (_alias_of, (alias.__name__, alias.__value__, alias.__type_params__))


def _alias_of(name: str, value: Any, parameters: tuple[Any, ...]) -> Any:
    return typing.TypeAliasType(name, value, type_params=parameters)  # type: ignore[attr-defined, unused-ignore]


def _sentinel(name: str) -> Callable[[Any], Reduced]:
    # Code of dataclasses compares with "is".
    return lambda _: (getattr, (dataclasses, name))


REDUCERS: dict[type, Callable[[Any], Reduced]] = {
    type(threading.Lock()): _new(threading.Lock),
    type(threading.RLock()): _new(threading.RLock),
    threading.local: _new(threading.local),
    threading.BoundedSemaphore: _bounded_semaphore,
    queue.SimpleQueue: _new(queue.SimpleQueue),
    ThreadPoolExecutor: _thread_pool,
    contextvars.ContextVar: _context_variable,
    functools._lru_cache_wrapper: _cached_function,
    weakref.WeakKeyDictionary: _weak_dictionary,
    weakref.WeakValueDictionary: _weak_dictionary,
    type(os.environ): _environ,
    io.TextIOWrapper: _text_file,
    io.BufferedReader: _binary_file,
    tempfile._TemporaryFileWrapper: _temporary_file,
    typing.NewType: _new_type,
    typing.ParamSpec: _parameter,
    typing.TypeVarTuple: _parameter,
    # An app that a function mentions brings its kernel, where it was given one. There is none on a worker.
    DataFlowKernel: _new(type(None)),
} | {
    type(getattr(dataclasses, name)): _sentinel(name)
    for name in ("MISSING", "KW_ONLY", "_HAS_DEFAULT_FACTORY")
    if hasattr(dataclasses, name)
}
"""By exact type; the values are what ``copyreg`` calls reduction functions."""

if hasattr(typing, "TypeAliasType"):  # Python 3.12
    REDUCERS[typing.TypeAliasType] = _alias


def reduce_module(module: types.ModuleType) -> Reduced:
    """Return the reduction of a module that cannot be imported: by value, with all that is in it."""
    left = ("__builtins__", "__loader__", "__spec__", "__cached__")
    return types.ModuleType, (module.__name__,), {key: value for key, value in vars(module).items() if key not in left}


def reduce_future(future: Future[Any]) -> Reduced:
    """Return the reduction of a future, whose class may be any; raises PicklingError for one that is not done."""
    if not future.done() or future.cancelled():
        raise PicklingError(
            f"cannot pickle {future!r}: it is not done. Pass it as an argument of its own, or in inputs=[...], and"
            " Parsl waits for it"
        )
    error = future.exception()
    return _done, (None if error else future.result(), error)


def _done(result: Any, error: BaseException | None) -> Future[Any]:
    future: Future[Any] = Future()
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
    return future


ALIVE = (threading.Thread, subprocess.Popen)


def refuse(obj: Any) -> typing.NoReturn:
    """Raise PicklingError: a copy of a running thread or process would only look like one."""
    raise PicklingError(f"cannot pickle {obj!r}: it belongs to the process that started it")
