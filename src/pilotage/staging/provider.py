"""Parsl's staging provider of our executors: says what is brought where; workers, or this process, then bring it."""

from __future__ import annotations

import os
import threading
import warnings
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Literal

from parsl.app.futures import DataFuture
from parsl.data_provider.staging import Staging as ParslStaging
from parsl.utils import RepresentationMixin

from pilotage.errors import UsageError
from pilotage.worker.data.older import Placed
from pilotage.worker.data.places import Place, place_of, shown
from pilotage.worker.data.staged import once_staged, options_of
from pilotage.worker.data.things import IN, OUT, File, is_folder, mark

if TYPE_CHECKING:
    from parsl.data_provider.data_manager import DataManager
    from parsl.data_provider.files import File as ParslFile

THEIRS = frozenset({"zip", "globus"})
"""Schemes that are left to Parsl's providers."""
BY_DRIVER = frozenset({"file", "driver"})
SMALL = 32 << 10
"""Bytes of a file that goes with its call, where workers do not see it; larger ones are fetched once a node."""
_Key = tuple[str, str, str]
_claims: weakref.WeakKeyDictionary[DataManager, dict[_Key, weakref.ref[Future[Any]]]] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


class Staging(ParslStaging, RepresentationMixin):
    """Brings Files and Directories of any scheme.

    Parameters
    ----------
    shared: whether workers see this machine's filesystem.
    copy: who copies, by scheme, where it is not the workers: ``driver``.
    options: of the schemes that this process copies.
    """

    def __init__(
        self,
        shared: bool = True,
        copy: Mapping[str, str] | None = None,
        options: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.shared = shared
        self.copy = dict(copy or {})
        self.options = dict(options or {})
        self._made: set[str] = set()

    def can_stage_in(self, file: ParslFile) -> bool:
        """Return whether this sees to a file; one that is the workers' own, or goes with its call, is left alone."""
        if file.scheme in THEIRS:
            return False
        place = place_of(file.url)
        if place.scheme != "file":
            return True
        _warn_of_name(file, place)
        if self.shared:
            return True
        path = os.path.abspath(place.path)
        if path in self._made or is_folder(file):
            return path in self._made or os.path.isdir(path)
        if isinstance(file, Placed):
            return True
        return os.path.isfile(path) and (os.stat(path).st_size > SMALL or getattr(file, "local", None) is not None)

    def can_stage_out(self, file: ParslFile) -> bool:
        """Return whether a file is taken to its place by this."""
        if file.scheme in THEIRS:
            return False
        place = place_of(file.url)
        if place.scheme != "file":
            return True
        _warn_of_name(file, place)
        if self.shared:
            return is_folder(file) or isinstance(file, Placed)
        # A folder that is not here is one of the machine where the workers are.
        return os.path.isdir(os.path.dirname(os.path.abspath(place.path)))

    def stage_in(
        self, dm: DataManager, executor: str, file: ParslFile, parent_fut: Future[Any] | None
    ) -> DataFuture | None:
        """Mark a file for its worker; return a future where this process copies it first."""
        place = place_of(file.url)
        if self._is_used_where_it_is(file):
            return None
        if place.scheme in BY_DRIVER:
            self._mark_here(dm, file, IN, place)
            return None
        if self.copy.get(place.scheme) == "driver":
            from pilotage.staging.by_driver import bring

            brought = bring(self, dm, place, file, parent_fut)
            return DataFuture(brought, file, tid=getattr(parent_fut, "tid", -1))
        mark(file, IN, file.url)
        return None

    def stage_out(self, dm: DataManager, executor: str, file: ParslFile, app_fu: Future[Any]) -> Future[Any] | None:
        """Mark a file for its worker; return a future where this process copies it in the end.

        Raises UsageError where another task has the same output.
        """
        place = place_of(file.url)
        if not (place.scheme == "file" and self.shared) or isinstance(file, Placed):
            _claim(dm, place, app_fu)
        if place.scheme in BY_DRIVER:
            if place.scheme == "file" and not self.shared:
                self._made.add(os.path.abspath(place.path))
            self._mark_here(dm, file, OUT, place)
            return None
        if self.copy.get(place.scheme) == "driver":
            from pilotage.staging.by_driver import take

            return take(self, dm, place, file, app_fu)
        mark(file, OUT, file.url)
        return None

    def replace_task(
        self, dm: DataManager, executor: str, file: ParslFile, func: Callable[..., Any]
    ) -> Callable[..., Any]:
        """Let the task bring what is marked; a copy of what it may change, though it sees the file itself."""
        if self._is_used_where_it_is(file):
            if not options_of(func).get("writable"):
                return func
            self._mark_here(dm, file, IN, place_of(file.url))
        return once_staged(func)

    def replace_task_stage_out(
        self, dm: DataManager, executor: str, file: ParslFile, func: Callable[..., Any]
    ) -> Callable[..., Any]:
        """Let the task bring what is marked."""
        return once_staged(func)

    def _is_used_where_it_is(self, file: ParslFile) -> bool:
        """Return whether workers see an input, and its task asks for no other path."""
        if not self.shared or place_of(file.url).scheme != "file":
            return False
        return not isinstance(file, Placed) and getattr(file, "local", None) is None

    def mark_path(self, dm: DataManager, file: ParslFile, role: str, path: str, **more: Any) -> None:
        """Mark a file that is a path of this machine: nodes that do not see it may ask for it."""
        mark(file, role, f"driver:{path}", grant=_granted(dm, path, "read" if role == IN else "write"), **more)

    def _mark_here(self, dm: DataManager, file: ParslFile, role: str, place: Place) -> None:
        path = os.path.abspath(place.path)
        if place.scheme == "file" and self.shared:
            mark(file, role, f"file:{path}")
        else:
            self.mark_path(dm, file, role, path, shown=file.url)


def _warn_of_name(file: ParslFile, place: Place) -> None:
    """Warn of a File of Parsl's whose name is cut off, so that several may be one."""
    if not isinstance(file, File | Placed) and ("#" in place.path or "?" in place.path):
        warnings.warn(
            f"Parsl's File({file.url!r}) is {file.path!r}, cut off at # or ?; pilotage.File takes the whole name",
            stacklevel=2,
        )


def _granted(dm: DataManager, path: str, mode: Literal["read", "write"]) -> list[str]:
    """Return what lets nodes of any executor have a path that does not see it: a retry may be another's."""
    found = []
    for executor in dm.dfk.executors.values():
        grants = getattr(executor, "grants", None)
        ours = [one for one in getattr(executor, "storage_access", None) or () if isinstance(one, Staging)]
        if grants is not None and any(not one.shared for one in ours):
            found.append(grants.grant(path, mode))
    return found


def _claim(dm: DataManager, place: Place, task: Future[Any]) -> None:
    """Take a URL for the output of one task, unless that fails; raises UsageError where it is another's."""
    path = os.path.abspath(place.path) if place.scheme in BY_DRIVER else place.path.rstrip("/")
    key = ("driver" if place.scheme == "file" else place.scheme, place.host, path)
    with _lock:
        claims = _claims.setdefault(dm, {})
        if key in claims and not _has_failed(claims[key]()):
            for taken in [one for one, by in claims.items() if by() is task]:
                del claims[taken]  # it is not called
            raise UsageError(
                f"{shown(place.url)} is an output of two tasks, of which one would replace the other's",
                hint="give each a name of its own, such as one with a number",
            )
        claims[key] = own = weakref.ref(task)

    def settle(done: Future[Any]) -> None:
        if _has_failed(done):
            with _lock:
                if claims.get(key) is own:
                    del claims[key]

    task.add_done_callback(settle)


def _has_failed(task: Future[Any] | None) -> bool:
    return task is not None and task.done() and task.exception() is not None
