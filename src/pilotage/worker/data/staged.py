"""Runs a call whose inputs are brought to it and whose outputs are taken from it, in the task's own slot.

Each such call has a folder of its own on the node, in which its files are: no names collide, and nothing of it is left.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from parsl.app.errors import RemoteExceptionWrapper
from parsl.data_provider.files import File

from pilotage.errors import PilotageError, StageInError, StageOutError, UnsupportedError, UsageError
from pilotage.worker import channel
from pilotage.worker.data import accounts, context, older, stores
from pilotage.worker.data.arguments import STREAMS, marked, outside
from pilotage.worker.data.arrived import Arrived, remember
from pilotage.worker.data.base import Meter
from pilotage.worker.data.cache import Cache, known_by
from pilotage.worker.data.copying import fetch, publish
from pilotage.worker.data.naming import Names
from pilotage.worker.data.places import PATHS, Place, below, place_of, shown
from pilotage.worker.data.scratch import remove_tree, scratch, task_folder
from pilotage.worker.data.things import IN, OUT, is_folder, mark_of

AT_ONCE = 4
"""Inputs or outputs of one call that are moved at once; each may be a folder, of which more files are."""
OPTIONS = "__pilotage_stage__"
"""Attribute of a function that `stage` has marked."""
AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])


def staged(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that runs ``function`` with its files there; what is one already, as it is."""
    if is_staged(function):
        return function
    made = functools.partial(run, function)
    for name in ("__module__", "__name__", "__qualname__", "__doc__"):
        with contextlib.suppress(AttributeError):
            setattr(made, name, getattr(function, name))
    made.__wrapped__ = function  # type: ignore[attr-defined]
    return made


def is_staged(function: Callable[..., Any]) -> bool:
    """Return whether a function is one of `staged`."""
    return isinstance(function, functools.partial) and function.func is run


def stage(
    *, sandbox: bool = False, keep: str = "never", writable: bool = False
) -> Callable[[AnyFunction], AnyFunction]:
    """Return a decorator that says how the files of an app are brought, for its function or above the app.

    Parameters
    ----------
    sandbox: whether each call works in a new folder of its own, in which its files are, and which goes with it. Needs
        worker processes: threads have one working folder together.
    keep: ``failed`` keeps the folder of a call that fails, and says where; ``never`` keeps none.
    writable: whether the call may change its inputs, which it then has copies of; else they are read-only.

    Raises UsageError for another ``keep``.
    """
    if keep not in ("never", "failed"):
        raise UsageError(f"keep={keep!r} is not known", hint="'failed' or 'never'")
    given = {"sandbox": sandbox, "keep": keep, "writable": writable}

    def decorate(app: AnyFunction) -> AnyFunction:
        function = vars(app).get("func", app)
        setattr(function, OPTIONS, given)
        return app

    return decorate


def options_of(function: Callable[..., Any]) -> Mapping[str, Any]:
    """Return what `stage` says of an app's function, under all that Parsl has wrapped it in."""
    layer: Any = function
    while layer is not None:
        inside = layer.args[:1] if isinstance(layer, functools.partial) else ()
        for one in (layer, *inside):
            if found := getattr(one, OPTIONS, None):
                return dict(found)
        layer = getattr(layer, "__wrapped__", None)
    return {}


def once_staged(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `staged`, and of a function the same each time, since it is serialized once."""
    try:
        return _once_staged(function)
    except TypeError:  # it has no hash
        return staged(function)


def in_sandbox(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return what runs a function in a folder of its own where `stage` says so, though it may have no files."""
    try:
        wanted = _wants_sandbox(function)
    except TypeError:  # it has no hash
        wanted = options_of(function).get("sandbox", False)
    return once_staged(function) if wanted else function


_once_staged = functools.lru_cache(maxsize=1000)(staged)


@functools.lru_cache(maxsize=1000)
def _wants_sandbox(function: Callable[..., Any]) -> bool:
    return bool(options_of(function).get("sandbox"))


def run(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Bring a call's inputs, run it, and publish its outputs; see the module.

    Raises StageInError before the call has begun, StageOutError when it has ended; both name the URL.
    """
    files = list(marked(args, kwargs))
    options = options_of(function)
    if options.get("sandbox"):
        kwargs = outside(args, kwargs)
    call = Call(files, options)
    with call.folder():
        call.bring_in()
        streams = [file for file in files if any(file is kwargs.get(name) for name in STREAMS)]
        try:
            result = function(*args, **kwargs)
        except BaseException:
            call.send_what_it_said(streams)
            raise
        if isinstance(result, RemoteExceptionWrapper):  # Parsl has caught what the app has raised
            call.send_what_it_said(streams)
            call.failed = result.e_value
            return result
        call.send_out(files)
        return delivered(result, call.inputs)


def delivered(result: Any, inputs: dict[str, str]) -> Any:
    """Return what tells the driver what a call's inputs were, beside its result."""
    if not inputs:
        return result
    return Arrived(result, inputs) if channel.this is not None else remember(result, inputs)


class Call:
    """The files of one call.

    Parameters
    ----------
    files: those that are marked.
    options: what `stage` says.
    """

    def __init__(self, files: Sequence[File], options: Mapping[str, Any]) -> None:
        self._files = files
        self._options = options
        self._context = context.here()
        self._folder = ""
        self._names = Names()
        self.failed: BaseException | None = None
        self.inputs: dict[str, str] = {}
        """By what the inputs were known when they were brought, by their marks."""

    @contextlib.contextmanager
    def folder(self) -> Iterator[None]:
        """Have a folder while this lasts, and work in it where that is wanted."""
        sandbox, before = self._options.get("sandbox", False), os.getcwd()
        if sandbox and threading.current_thread() is not threading.main_thread():
            raise UnsupportedError(
                "stage(sandbox=True) needs worker processes: threads have one working folder together",
                hint="a site whose kind is not threads",
            )
        try:
            self._folder = task_folder(self._context.cache)
        except OSError as error:
            raise StageInError(f"no folder for the task: {error.strerror}", where=error.filename) from error
        try:
            if sandbox:
                os.chdir(self._folder)
            yield
        except BaseException as error:
            self.failed = error
            raise
        finally:
            if sandbox:
                os.chdir(before)
            if self.failed is not None and self._options.get("keep") == "failed":
                self._keep(self.failed)
            remove_tree(self._folder)

    def _keep(self, error: BaseException) -> None:
        """Move the folder of a failed call to where it stays, and let the error say where."""
        above = self._context.keep or os.path.expanduser("~/.pilotage/kept")
        kept = os.path.join(above, f"{time.strftime('%Y%m%d-%H%M%S')}-{os.path.basename(self._folder)}")
        try:
            os.makedirs(above, mode=0o700, exist_ok=True)
            shutil.move(self._folder, kept)
        except (OSError, shutil.Error) as problem:
            error.add_note(f"the task's folder could not be kept at {kept}: {problem}")
        else:
            error.add_note(f"the task's folder is kept: {socket.gethostname()}:{kept}")

    def bring_in(self) -> None:
        """Give each file its path here, and bring the inputs."""
        for file in sorted(self._files, key=_chooses_later):
            file.local_path = self._path_of(file)
        inputs = [file for file in self._files if _role(file) == IN]
        within = [file for file in inputs if isinstance(file, older.Placed) and _is_within(file, inputs)]
        self._at_once(self._bring, [file for file in inputs if file not in within], StageInError)
        for file in sorted(within, key=lambda file: str(file.local_path)):
            self._at_once(self._bring, [file], StageInError)
        for file in self._files:
            if _role(file) == OUT and file.local_path is not None:
                # In the older form an app makes its folders itself: cp -r means another thing where there is one.
                made_here = is_folder(file) and not isinstance(file, older.Placed)
                above = file.local_path if made_here else os.path.dirname(file.local_path)
                self._make_folder(file, above)

    def _make_folder(self, file: File, path: str) -> None:
        try:
            os.makedirs(path, exist_ok=True)
        except OSError as error:
            raise StageInError(f"no folder for an output: {error.strerror} ({path})", where=_shown(file)) from error

    def send_what_it_said(self, streams: Sequence[File]) -> None:
        """Publish a failed call's ``stdout`` and ``stderr``, which are wanted most then; what else fails is noted."""
        try:
            self.send_out(streams)
        except StageOutError as error:
            sys.stderr.write(f"pilotage: {error.where}: {error.message}\n")

    def send_out(self, files: Sequence[File]) -> None:
        """Publish the outputs among ``files``; where one is not there, none is."""
        outputs = [file for file in files if _role(file) == OUT]
        outputs = [file for file in outputs if isinstance(file, older.Placed) or not self._in_place(file)]
        for file in outputs:
            if not os.path.exists(file.local_path or ""):
                raise StageOutError(f"the task has not written it: there is no {file.local_path}", where=_shown(file))
        self._at_once(self._send, outputs, StageOutError)

    def _at_once(
        self, work: Callable[[File], None], files: Sequence[File], kind: type[StageInError | StageOutError]
    ) -> None:
        def one(file: File) -> None:
            url = _shown(file)
            try:
                work(file)
            except PilotageError as error:
                known = (None, url) if _is_relative(url) else (None, url, _url(file))
                place = f" ({error.where})" if error.where not in known else ""
                raise kind(f"{error.message}{place}", where=url, hint=error.hint or _hint(url, kind)) from error
            except OSError as error:
                name = f" ({error.filename})" if error.filename else ""
                raise kind(f"{error.strerror or error}{name}", where=url) from error

        if len(files) < 2:
            for file in files:
                one(file)
            return
        with ThreadPoolExecutor(min(AT_ONCE, len(files)), thread_name_prefix="Staging") as pool:
            for future in [pool.submit(one, file) for file in files]:
                future.result()

    def _path_of(self, file: File) -> str:
        """Return where the task has a file: the path that it asks for, else its name, else below a number."""
        if isinstance(file, older.Placed):
            self._names.leave(file.at)
            return file.path_in(self._folder)
        place, given = place_of(_url(file)), (mark_of(file) or {}).get("name")
        local = getattr(file, "local", None)
        if self._in_place(file) and local is None and given is None:
            return place.path
        if local is None:
            return below(self._folder, self._names.find(given or place.name))
        try:
            self._names.ask(local)
        except ValueError as error:
            raise StageInError(
                f"local={local!r} is where another file of the same task is, {str(error)!r}",
                where=_shown(file),
                hint="give each file of a task a local of its own",
            ) from error
        return below(self._folder, local)

    def _in_place(self, file: File) -> bool:
        """Return whether a file is used where it is: it is an input of the driver's, whose filesystem is here too."""
        scheme = place_of(_url(file)).scheme
        if _role(file) == OUT:
            return scheme == "file"
        return scheme in ("driver", "file") and self._context.shared and not self._options.get("writable")

    def _bring(self, file: File) -> None:
        place, target = place_of(_url(file)), file.local_path or ""
        if self._in_place(file) and not isinstance(file, older.Placed):
            if not os.path.exists(place.path):
                raise StageInError("there is no such file or folder", where=place.path)
            self._check_kind(file, place.path)
            if target != place.path:
                os.makedirs(os.path.dirname(target), exist_ok=True)
                os.symlink(place.path, target)
            here = place._replace(scheme="file")
            store = stores.store_of(self._context, here)
            self._note(file, known_by(store, here, store.look(place.path))[0])
            return
        with _Told(file, IN) as told:
            store = self._store(place, file)
            cache = Cache(self._cache_folder(), self._context.cache_size)
            if isinstance(file, older.Placed):
                known, told.cached = older.bring(file, store, place, scratch(self._context.cache), cache, told)
                self._note(file, known)
                return
            found = None
            if not self._options.get("writable"):
                found = cache.get(store, place, target, told)
            if found is None:
                entry = fetch(store, place, target, told)
                self._note(file, f"{entry.size} {entry.tag}" if entry.tag else None)
            else:
                told.cached = found.cached
                self._note(file, found.known)
            self._check_kind(file, target)

    def _check_kind(self, file: File, path: str) -> None:
        """Raise StageInError where a Directory is a file: its task would find it empty, and say nothing."""
        if is_folder(file) and not isinstance(file, older.Placed) and not os.path.isdir(path):
            raise StageInError("it is a file and no folder", hint="File(...) in the place of Directory(...)")

    def _note(self, file: File, known: str | None) -> None:
        if known is not None:
            self.inputs[str((mark_of(file) or {})["id"])] = known

    def _send(self, file: File) -> None:
        place, source = place_of(_url(file)), file.local_path or ""
        if is_folder(file) != os.path.isdir(source):
            wanted, is_ = ("folder", "file") if is_folder(file) else ("file", "folder")
            raise StageOutError(f"it is to be a {wanted}, and the task has made a {is_}")
        store = self._store(place, file)
        if isinstance(file, older.Placed) and older.is_there(file, store, place):
            return
        with _Told(file, OUT) as told:
            publish(store, source, place, told)

    def _store(self, place: Place, file: File) -> stores.Store:
        grant = (mark_of(file) or {}).get("grant")
        return stores.store_of(self._context, place, grant)

    def _cache_folder(self) -> str:
        return self._context.cache or os.path.join(scratch(None), "cache")


class _Told(Meter):
    """Tells the driver what of a file has moved: each second, and in the end."""

    def __init__(self, file: File, role: str) -> None:
        super().__init__()
        self.cached = False
        self._record = {"url": _shown(file), "direction": role, "host": socket.gethostname(), "at": "worker"}
        self._told = (0, 0, time.monotonic())

    def add(self, count: int, files: int = 0) -> None:
        """Count, and tell where nothing was told for a second."""
        super().add(count, files)
        if time.monotonic() - self._told[2] > 1:
            self._tell()

    def __enter__(self) -> _Told:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or (self.bytes, self.files) != self._told[:2]:  # what was taken back is told, too
            self._tell()

    def _tell(self) -> None:
        with self._lock:
            bytes_, files, at = self._told
            now = time.monotonic()
            record = {"bytes": self.bytes - bytes_, "files": self.files - files, "seconds": round(now - at, 3)}
            self._told = self.bytes, self.files, now
        accounts.moved({**self._record, **record, "cached": self.cached})


def _is_within(file: File, others: Sequence[File]) -> bool:
    """Return whether a file's path is below another's, which is to be there first."""
    return any(str(file.local_path).startswith(f"{one.local_path}/") for one in others)


def _chooses_later(file: File) -> bool:
    """Return whether the path of a file is found last: it asks for none."""
    return not isinstance(file, older.Placed) and getattr(file, "local", None) is None


def _role(file: File) -> str:
    return str((mark_of(file) or {}).get("role", ""))


def _shown(file: File) -> str:
    """Return the URL that the user knows."""
    return shown(str((mark_of(file) or {}).get("shown") or _url(file)))


def _is_relative(url: str) -> bool:
    place = place_of(url)
    return place.scheme in PATHS and not os.path.isabs(place.path)


def _hint(url: str, kind: type[PilotageError]) -> str | None:
    """Return what to do about a path that begins with ``~``, which is a name as any other here."""
    place = place_of(url)
    if kind is StageInError and place.scheme in PATHS and place.path.startswith("~"):
        return "~ is taken as it is written: os.path.expanduser gives the path of your home"
    return None


def _url(file: File) -> str:
    return str((mark_of(file) or {})["url"])
