"""What is at a place now, so that a result made of what was there before is not mistaken for one of this."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from parsl.data_provider.files import File
from parsl.dataflow.memoization import id_for_memo

from pilotage.errors import PilotageError
from pilotage.worker.data import arrived
from pilotage.worker.data.cache import known_by
from pilotage.worker.data.context import Context
from pilotage.worker.data.copying import once_more
from pilotage.worker.data.places import place_of, shown
from pilotage.worker.data.stores import store_of
from pilotage.worker.data.things import IN, mark_of

if TYPE_CHECKING:
    from parsl.dataflow.taskrecord import TaskRecord


def state_of(url: str, options: Mapping[str, Mapping[str, Any]] | None = None) -> str | None:
    """Return what changes with the content at a URL, as this process sees it; None where it sees nothing there.

    Parameters
    ----------
    options: of each scheme's store.
    """
    place = place_of(url)
    try:
        store = store_of(Context(options=options or {}), place)
        return known_by(store, place, once_more(lambda: store.look(place.path)))[0]
    except (PilotageError, OSError):  # without credentials here, nothing is known, and the task has to look itself
        return None


def read_by(task: TaskRecord) -> dict[str, str]:
    """Return what a call that has run has read, by names of its URLs without secrets, and what it was known by."""
    found: dict[str, str] = {}
    for file in _inputs(task):
        mark = mark_of(file)
        state = arrived.taken(mark["id"]) if mark is not None and mark["role"] == IN else state_of(_here(file))
        if state is not None:
            found[_name(file.url if mark is not None else _here(file))] = state
    return found


def has_changed(read: Mapping[str, str], task: TaskRecord) -> bool:
    """Return whether something that a call has read, as `read_by` tells it, is another now."""
    if not read:
        return False
    options = options_for(task)
    urls = {_name(url): url for file in _inputs(task) for url in (file.url, _here(file))}
    return any(state_of(urls.get(name, name), options) != state for name, state in read.items())


def is_there(file: File, task: TaskRecord) -> bool:
    """Return whether an output of a call that is on no machine's filesystem is at its place."""
    return state_of(file.url, options_for(task)) is not None


def options_for(task: TaskRecord) -> Mapping[str, Mapping[str, Any]]:
    """Return what is set for the schemes on the site of a task."""
    executor = task["dfk"].executors.get(task["executor"])
    for provider in getattr(executor, "storage_access", None) or ():
        if hasattr(provider, "options"):
            options: Mapping[str, Mapping[str, Any]] = provider.options
            return options
    return {}


def _inputs(task: TaskRecord) -> Iterator[File]:
    """Yield the Files that a call is given to read, as Parsl looks for them."""
    kwargs = task["kwargs"]
    named = [value for name, value in kwargs.items() if name not in ("inputs", "outputs", "stdout", "stderr")]
    for value in (*task["args"], *named, *(kwargs.get("inputs") or ())):
        if isinstance(value, File):
            yield value


def _name(url: str) -> str:
    """Return by what a URL is known in a run's folder: itself, but for what it may have of secrets."""
    if shown(url) == url:
        return url
    return f"{shown(url)} {hashlib.sha256(url.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def _here(file: File) -> str:
    """Return a path as a URL that means the same wherever it is asked."""
    place = place_of(file.url)
    return f"{place.scheme}:{os.path.abspath(place.path)}" if place.scheme in ("file", "driver") else file.url


@id_for_memo.register(File)
def _file_for_memo(file: File, output_ref: bool = False) -> bytes:
    """Return what Parsl's ``cache=True`` knows a File by: an output by its name, an input by what is there now."""
    name = f"{type(file).__name__}\0{_here(file)}\0{getattr(file, 'local', None)}"
    if output_ref:
        return name.encode("utf-8", "surrogatepass")
    state = state_of(file.url)
    if state is None:
        raise ValueError(f"what is at {shown(file.url)} cannot be seen from here")
    return f"{name}\0{state}".encode("utf-8", "surrogatepass")
