"""Runs a call whose files travel with it, since its worker does not see the driver's: in a folder that ends with it.

What it is to bring back is in what comes back itself: written where the driver wants it as soon as that is unpickled.
So a file is there when the call's future is done, and with the outcome of a failed call too.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pilotage.worker import processes

MOST = 64 << 20
"""Bytes of the files that go with a call, and of those that come back with it, at most."""
FILES = "pilotage_files"
"""Attribute of an exception that holds what its call has written."""

FOLDERS = "PILOTAGE_FILES"
"""Environment variable that says how the names of calls' folders begin on this node."""
PREFIX = "pilotage-files-"


class TooLargeError(ValueError):
    """The files of a call are too large to go with it, or to come back."""


class Sent(NamedTuple):
    """A file that goes with a call: the driver's path, and its content."""

    path: str
    content: bytes
    mode: int


class Wanted(NamedTuple):
    """A file that comes back: the driver's path, whether it is added to what is there, and where that is."""

    path: str
    appended: bool
    target: str


class NotLanded(NamedTuple):
    """Stands for the outcome of a call of which something could not be written on the driver's machine."""

    error: OSError


class Landed:
    """An outcome with the files that come with it; unpickled, it is the outcome alone, and the files are written."""

    def __init__(self, outcome: Any, files: Sequence[tuple[Wanted, bytes]]) -> None:
        self.outcome = outcome
        self.files = tuple(files)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return land, (self.outcome, self.files)


def land(outcome: Any, files: Iterable[tuple[Wanted, bytes]]) -> Any:
    """Write files to their places on the driver's machine, and return the outcome, or `NotLanded`.

    Nothing is raised: whoever unpickles an outcome would take it for one that cannot be read.
    """
    for wanted, content in files:
        path = Path(wanted.target)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab" if wanted.appended else "wb") as file:
                file.write(content)
        except OSError as error:
            outcome = NotLanded(error)
    return outcome


def run(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    sent: Sequence[Sent],
    wanted: Sequence[Wanted],
) -> Any:
    """Run a call where its files are not the driver's; see the module.

    Parameters
    ----------
    function, args, kwargs: the call; Parsl's Files in it are told where they are here.
    sent: what travels with it.
    wanted: what is to come back, as far as it is there in the end.

    Raises TooLargeError where that is more than 64 MiB; of that, and of a call that fails, what is not too large comes
    back.
    """
    with tempfile.TemporaryDirectory(prefix=os.environ.get(FOLDERS, PREFIX), ignore_cleanup_errors=True) as folder:
        here: dict[str, str] = {}
        for number, path in enumerate(dict.fromkeys([*(one.path for one in sent), *(one.path for one in wanted)])):
            place = Path(folder, str(number))
            place.mkdir()
            here[path] = str(place / Path(path).name)
        for one in sent:
            Path(here[one.path]).write_bytes(one.content)
            os.chmod(here[one.path], one.mode)  # noqa: PTH101
        _tell_files([*args, *kwargs.values()], here)
        streams = {name: _stream(kwargs[name], here) for name in ("stdout", "stderr") if name in kwargs}
        try:
            outcome = function(*args, **{**kwargs, **streams})
            _limit(wanted, here)
        except Exception as error:
            with contextlib.suppress(AttributeError, TypeError):  # one without attributes of its own
                setattr(error, FILES, Landed(None, _written(_fitting(wanted, here), here)))
            raise
        return Landed(outcome, _written(wanted, here))


def claim() -> Callable[[], None]:
    """Let calls' folders on this node be this process's, whose workers make them; return what removes those left.

    A worker that is killed leaves its call's. What processes like this one have left that were killed is removed now.
    """
    me = processes.identity(os.getpid())
    own = f"{PREFIX}{me['pid']}.{me['start']}.{_boot()}-"
    os.environ[FOLDERS] = own
    _remove(_is_orphan)
    return lambda: _remove(lambda name: name.startswith(own))


def _boot() -> str:
    return hashlib.blake2b(processes.boot().encode(), digest_size=4).hexdigest()


def _is_orphan(name: str) -> bool:
    """Return whether a folder's process was one of this boot, and is gone; others cannot be judged here."""
    pid, start, boot = (*name.removeprefix(PREFIX).partition("-")[0].split("."), "", "", "")[:3]
    return pid.isdecimal() and boot == _boot() and processes.start_of(int(pid)) != start


def _remove(whose: Callable[[str], bool]) -> None:
    with contextlib.suppress(OSError):
        for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
            if whose(folder.name) and folder.lstat().st_uid == os.getuid():
                shutil.rmtree(folder, ignore_errors=True)


def _limit(wanted: Iterable[Wanted], here: Mapping[str, str]) -> None:
    sizes = {one.path: _size(here[one.path]) for one in wanted}
    total = sum(sizes.values())
    if total > MOST:
        largest = max(sizes, key=lambda path: sizes[path])
        raise TooLargeError(
            f"the files that this call has written are {total / 2**20:.1f} MiB ({largest}: "
            f"{sizes[largest] / 2**20:.1f} MiB), and at most {MOST / 2**20:g} MiB come back with a call; "
            "larger ones must be written where the workers keep them, and their path returned"
        )


def _fitting(wanted: Iterable[Wanted], here: Mapping[str, str]) -> list[Wanted]:
    """Return what may come back of more than that: the first ones that fit together."""
    found, room = [], MOST
    for one in wanted:
        size = _size(here[one.path])
        if size <= room:
            found.append(one)
            room -= size
    return found


def _size(path: str) -> int:
    return Path(path).stat().st_size if Path(path).is_file() else 0


def _written(wanted: Iterable[Wanted], here: Mapping[str, str]) -> list[tuple[Wanted, bytes]]:
    found = []
    for one in wanted:
        path = Path(here[one.path])
        if path.is_file():
            found.append((one, path.read_bytes()))
            shutil.rmtree(path.parent, ignore_errors=True)
    return found


def _tell_files(values: Iterable[Any], here: Mapping[str, str]) -> None:
    from parsl.data_provider.files import File

    for value in values:
        if isinstance(value, list | tuple):
            _tell_files(value, here)
        elif isinstance(value, File) and value.scheme == "file" and value.filepath in here:
            value.local_path = here[value.filepath]


def _stream(given: Any, here: Mapping[str, str]) -> Any:
    """Return a bash_app's ``stdout`` or ``stderr`` for here: a path, or a path and a mode."""
    if isinstance(given, str):
        return here.get(given, given)
    if isinstance(given, tuple) and len(given) == 2:
        return here.get(given[0], given[0]), given[1]
    return given
