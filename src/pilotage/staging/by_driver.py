"""What this process copies itself, since only it has the credentials: to a place that workers can have it from."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from pilotage.errors import PilotageError, StageInError, StageOutError
from pilotage.worker.data import accounts
from pilotage.worker.data.base import Meter
from pilotage.worker.data.cache import Cache, remove_tree_or_file
from pilotage.worker.data.context import SIZE, Context
from pilotage.worker.data.copying import fetch, publish
from pilotage.worker.data.places import Place, shown
from pilotage.worker.data.scratch import scratch, task_folder
from pilotage.worker.data.stores import store_of
from pilotage.worker.data.things import IN, OUT

if TYPE_CHECKING:
    from parsl.data_provider.data_manager import DataManager
    from parsl.data_provider.files import File

    from pilotage.staging.provider import Staging

AT_ONCE = 4
_lock = threading.Lock()
_pool: list[ThreadPoolExecutor] = []


def bring(staging: Staging, dm: DataManager, place: Place, file: File, parent: Future[Any] | None) -> Future[Any]:
    """Return a future that is done once ``file`` is here and marked, after ``parent``."""

    def work() -> None:
        meter, began = Meter(), time.monotonic()
        store = store_of(Context(options=staging.options), place)
        path = _within(task_folder(None), place)
        found = Cache(os.path.join(scratch(None), "cache"), SIZE).get(store, place, path, meter)
        if found is None:
            fetch(store, place, path, meter)
        staging.mark_path(dm, file, IN, path, name=place.name, shown=place.url)
        _tell(place, IN, meter, began, cached=found is not None and found.cached)

    return _after(parent, lambda: _told(work, place, StageInError))


def take(staging: Staging, dm: DataManager, place: Place, file: File, task: Future[Any]) -> Future[Any]:
    """Mark ``file`` so that it comes here; return a future that is done once it is at its place, after ``task``."""
    folder = task_folder(None)
    path = _within(folder, place)
    staging.mark_path(dm, file, OUT, path, name=place.name, shown=place.url)

    def work() -> None:
        if getattr(task, "task_record", {}).get("from_memo"):  # it has not run; its outputs are where they are
            return
        meter, began = Meter(), time.monotonic()
        publish(store_of(Context(options=staging.options), place), path, place, meter)
        _tell(place, OUT, meter, began)

    future = _after(task, lambda: _told(work, place, StageOutError))
    future.add_done_callback(lambda _: remove_tree_or_file(folder))
    return future


def _within(folder: str, place: Place) -> str:
    """Return where a file or folder is in a folder of its own; a whole bucket has no name."""
    return os.path.join(folder, place.name if place.name not in ("", ".", "..") else "data")


def _told(work: Callable[[], None], place: Place, kind: type[StageInError | StageOutError]) -> None:
    try:
        work()
    except PilotageError as error:
        raise kind(error.message, where=shown(place.url), hint=error.hint) from error
    except OSError as error:
        raise kind(f"{error.strerror or error} ({error.filename})", where=shown(place.url)) from error


def _after(first: Future[Any] | None, work: Callable[[], None]) -> Future[Any]:
    """Return the future of ``work``, which is begun when ``first`` is done, and not where that has failed."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            work()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(None)

    def begin(done: Future[Any] | None) -> None:
        error = done.exception() if done is not None else None
        if error is not None:
            future.set_exception(error)
            return
        with _lock:
            if not _pool:
                _pool.append(ThreadPoolExecutor(AT_ONCE, thread_name_prefix="Staging"))
        _pool[0].submit(run)

    if first is None:
        begin(None)
    else:
        first.add_done_callback(begin)
    return future


def _tell(place: Place, role: str, meter: Meter, began: float, *, cached: bool = False) -> None:
    seconds = round(time.monotonic() - began, 3)
    host = socket.gethostname()
    record = {"url": shown(place.url), "direction": role, "bytes": meter.bytes, "files": meter.files}
    accounts.moved({**record, "seconds": seconds, "cached": cached, "host": host, "at": "driver"})
