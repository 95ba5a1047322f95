"""The older form, with decorators: ``@log_app`` above ``@stage_app(host)`` above ``@bash_app``.

A call then names its files in ``inputs_dict`` and ``outputs_dict``. They become Files that Parsl looks for, in
``inputs`` and ``outputs``, which are taken away again before the user's function is called (`worker.data.older`).
"""

from __future__ import annotations

import copy
import functools
import inspect
import os
import string
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from parsl.app.app import AppBase
from parsl.app.bash import BashApp
from parsl.dataflow.futures import AppFuture

from pilotage.errors import UsageError
from pilotage.staging.calls import Call, arguments
from pilotage.worker.data.called import KEY, told
from pilotage.worker.data.older import INPUTS, OUTPUTS, REMOTE, Named, Placed, PlacedDirectory, call
from pilotage.worker.data.places import below, place_of, shown

KINDS: Mapping[str, type[Placed]] = {"file": Placed, "directory": PlacedDirectory}
KEYS = ("type", "global_path", "worker_path")
EXAMPLE = '{"type": "file", "global_path": "pw://{cwd}/data.csv", "worker_path": "/tmp/data.csv"}'


def stage_app(host: str | None = None) -> Callable[[Any], Any]:
    """Return a decorator of an app that brings the files of ``inputs_dict`` and ``outputs_dict``.

    Both map names to ``type`` (``file`` or ``directory``), ``global_path`` (any URL; ``pw://`` is this machine) and
    ``worker_path``: where a call finds an input, which is a copy that it may change, or leaves an output. An absolute
    one is a place on the node, of which files are replaced that are there, and stays; a relative one is below a folder
    of the call's own. ``{cwd}`` is this process's working folder, ``{remote_dir}``, in ``worker_path``, the worker's;
    any argument of the call may be named in the same way. The app gets both dictionaries filled in.

    Parameters
    ----------
    host: of the workers. The executor knows better, so that it is not used.
    """
    del host
    return lambda app: _older(app, "stage_app(host)", staged=True)


def log_app(app: Any) -> Any:
    """Decorate an app so that each of its calls is an event of the run: arguments, executor, host, times, outcome."""
    return _older(app, "log_app", logged=True)


def _older(app: Any, name: str, **what: bool) -> OlderApp:
    if not isinstance(app, AppBase):
        raise UsageError(f"{name} decorates an app, not {app!r}", hint=f"@{name} above @bash_app or @python_app")
    made = copy.copy(app) if isinstance(app, OlderApp) else OlderApp(app)
    vars(made).update(what)
    return made


class OlderApp(AppBase):
    """An app of the older form. It has the attributes of the one that it is made of, by which others know it.

    Parameters
    ----------
    app: of Parsl's.
    """

    staged = False
    logged = False

    def __init__(self, app: AppBase) -> None:
        vars(self).update(vars(app))
        self.app = app
        functools.update_wrapper(self, self.user_function, updated=())

    @property
    def user_function(self) -> Callable[..., Any]:
        """What the user has written."""
        function: Callable[..., Any] = inspect.unwrap(self.func)
        return function

    def __call__(self, *args: Any, **kwargs: Any) -> AppFuture:
        """Call the app; raises UsageError for a dictionary that says nothing, or too much."""
        prepared, ours = self._with_files(args, kwargs) if self.staged else (kwargs, 0)
        app = copy.copy(self.app)
        for name in vars(app).keys() & vars(self).keys():  # what decorators above may have changed
            setattr(app, name, getattr(self, name))
        attribute = "wrapped_remote_function" if isinstance(app, BashApp) else "func"
        function = getattr(app, attribute)
        if self.staged:
            function = _around(call, function)
        if not self.logged:
            setattr(app, attribute, function)
            return _published(_submitted(app, args, prepared), ours)
        setattr(app, attribute, _around(told, function))
        app.ignore_for_cache = [*(app.ignore_for_cache or ()), KEY]
        text = arguments(self.user_function, args, kwargs)
        logged = Call(self.__name__, text, is_bash=isinstance(app, BashApp))
        try:
            future = _published(_submitted(app, args, {**prepared, KEY: logged.number}), ours)
        except BaseException:
            logged.forget()
            raise
        logged.follow(future)
        return future

    def _with_files(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
        """Return the arguments with what Parsl is to look for, and how many of its outputs are ours."""
        names = self._names(args, kwargs)
        prepared, ours = dict(kwargs), 0
        for dictionary, files in ((INPUTS, "inputs"), (OUTPUTS, "outputs")):
            filled, placed = _placed(dictionary, kwargs.get(dictionary), names)
            if placed:
                given = files in kwargs or files in self.kwargs
                others = kwargs.get(files, self.kwargs.get(files)) or ()
                for file in placed:
                    file.of = file.of._replace(beside_others=given)
                prepared.update({dictionary: filled, files: [*others, *placed]})
                ours = len(placed) if dictionary == OUTPUTS else 0
        return prepared, ours

    def _names(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a path may name: the arguments of the call, and the working folder."""
        try:
            bound = inspect.signature(self.user_function).bind_partial(*args, **kwargs)
            bound.apply_defaults()
            given = dict(bound.arguments)
        except (TypeError, ValueError):  # Parsl tells what is wrong with the call
            given = {}
        for name in (INPUTS, OUTPUTS):
            if name not in kwargs and given.pop(name, None):
                raise UsageError(f"{name} is given by its place", where=self.__name__, hint=f"{name}={{...}}")
            given.pop(name, None)
        given.update({name: value for name, value in kwargs.items() if name not in (INPUTS, OUTPUTS)})
        return {"cwd": str(Path.cwd()), "remote_dir": REMOTE, **given}


def _submitted(app: AppBase, args: Sequence[Any], kwargs: dict[str, Any]) -> AppFuture:
    try:
        future: AppFuture = app(*args, **kwargs)
    except ValueError as error:
        if "cannot stage file" not in str(error):  # Parsl's words
            raise
        raise UsageError(
            f"{app.__name__} has files, and its executor is not pilotage's",
            hint="parsl.load() without a Config, under pilotage run, or pilotage.load()",
        ) from error
    return future


@functools.lru_cache(maxsize=1000)  # a function is serialized once, by which object it is
def _around(outer: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``outer`` bound to a function, by whose name and marks others know it."""
    made = functools.partial(outer, function)
    for name in ("__module__", "__name__", "__qualname__", "__doc__"):
        if hasattr(function, name):
            setattr(made, name, getattr(function, name))
    made.__wrapped__ = function  # type: ignore[attr-defined]
    return made


def _placed(dictionary: str, given: Any, names: Mapping[str, Any]) -> tuple[dict[str, Mapping[str, Any]], list[Placed]]:
    """Return a dictionary with its paths filled in, and the Files that it stands for."""
    if given is None:
        return {}, []
    if not isinstance(given, Mapping):
        raise UsageError(f"{dictionary} is {given!r}", hint=f'a dictionary, {dictionary}={{"data": {EXAMPLE}}}')
    filled: dict[str, Mapping[str, Any]] = {}
    files: list[Placed] = []
    urls: dict[str, str] = {}
    paths: dict[str, str] = {}
    for name, entry in given.items():
        where = f"{dictionary}[{name!r}]"
        _check(entry, where)
        url = _filled(entry["global_path"], names, f"{where}: global_path", remote=False)
        path = _filled(entry["worker_path"], names, f"{where}: worker_path", remote=True)
        _check_path(path, where)
        if dictionary == OUTPUTS and urls.setdefault(_same(url), where) != where:
            raise UsageError(f"{shown(url)} is an output twice", where=f"{urls[_same(url)]} and {where}")
        if paths.setdefault(os.path.normpath(path), where) != where:
            raise UsageError(
                f"worker_path {path.replace(REMOTE, '{remote_dir}')!r} is there twice",
                where=f"{paths[os.path.normpath(path)]} and {where}",
            )
        filled[name] = {**entry, "global_path": url, "worker_path": path}
        files.append(KINDS[entry["type"]](url, path, Named(dictionary, name)))
    return filled, files


def _check(entry: Any, where: str) -> None:
    if not isinstance(entry, Mapping):
        raise UsageError(f"it is {entry!r}", where=where, hint=f"a dictionary such as {EXAMPLE}")
    for key in KEYS:
        if key not in entry:
            raise UsageError(f"{key!r} is missing", where=where, hint=f"a dictionary such as {EXAMPLE}")
        if not isinstance(entry[key], str | os.PathLike) or not os.fspath(entry[key]):
            raise UsageError(f"{key} is {entry[key]!r}", where=where, hint=f"a dictionary such as {EXAMPLE}")
    if entry["type"] not in KINDS:
        raise UsageError(f"the type {entry['type']!r} is not known", where=where, hint="'file' or 'directory'")


def _check_path(path: str, where: str) -> None:
    text = path.replace(REMOTE, "/")
    if "\0" in text:
        raise UsageError("worker_path has a NUL in it", where=where)
    if not text.startswith("/"):
        try:
            below("", path)
        except ValueError as error:
            raise UsageError(
                f"worker_path {path!r} is not below the call's folder", where=where, hint="an absolute path, or in/data"
            ) from error


class _Fill(string.Formatter):
    """Fills in plain names, with a format where one is wanted: ``{number:03d}``."""

    def get_field(self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, str]:
        if field_name not in kwargs:
            raise KeyError(field_name)
        value = kwargs[field_name]
        if isinstance(value, Future):
            raise TypeError(f"{{{field_name}}} is a future, whose value is not known when the call is made")
        return value, field_name


def _filled(text: str | os.PathLike[str], names: Mapping[str, Any], where: str, *, remote: bool) -> str:
    """Return a path with its placeholders filled in; raises UsageError for one that is not known."""
    text = os.fspath(text)
    known = {name: value for name, value in names.items() if remote or value != REMOTE}
    try:
        return _Fill().vformat(text, (), known)
    except KeyError as error:
        shown_names = ", ".join(f"{{{name}}}" for name in known)
        raise UsageError(f"{text!r} has a placeholder {{{error.args[0]}}}", where=where, hint=shown_names) from None
    except (TypeError, ValueError) as error:
        raise UsageError(f"{text!r}: {error}", where=where, hint="{{ stands for a brace") from error


def _same(url: str) -> str:
    """Return what is the same for two URLs of one place."""
    place = place_of(url)
    path = os.path.abspath(place.path) if place.scheme in ("file", "driver") else place.path.rstrip("/")
    return f"{'driver' if place.scheme == 'file' else place.scheme} {place.host} {path}"


def _published(future: AppFuture, ours: int) -> AppFuture:
    """Return a future that is done once the outputs of a call are published, by this process too.

    Parameters
    ----------
    ours: how many of its outputs are ours, the last ones: those are not the user's to see.
    """
    if not ours:
        return future
    outputs = list(future.outputs)
    later = [one for one in outputs[len(outputs) - ours :] if one.parent is not future]
    future._outputs = outputs[: len(outputs) - ours]
    if not later:
        return future
    whole = AppFuture(future.task_record)
    whole._outputs = future._outputs
    whole._stdout_future, whole._stderr_future = future._stdout_future, future._stderr_future
    waits: list[Future[Any]] = [future, *later]

    def settle(_: Future[Any]) -> None:
        if not all(one.done() for one in waits) or whole.done():
            return
        error = next((error for one in waits if (error := one.exception()) is not None), None)
        if error is not None:
            whole.set_exception(error)
        else:
            whole.set_result(future.result())

    for one in waits:
        one.add_done_callback(settle)
    return whole
