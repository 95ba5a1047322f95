"""The worker's side of the older form: files that a call has where its dictionaries say, and what it is told of them.

An input is a copy that the call may change, as it always was in that form. Below an absolute path, which other calls
may share, files that are there already and were not touched since are left as they are.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pilotage.errors import DataError
from pilotage.worker.data.base import FILE, FOLDER, Entry, Meter, Store, local_entries, of_file
from pilotage.worker.data.cache import Cache, held, known_by, remove_tree_or_file
from pilotage.worker.data.copying import fetch, patiently
from pilotage.worker.data.files import Files, beside, remove, told
from pilotage.worker.data.places import Place, below
from pilotage.worker.data.things import Directory, File

REMOTE = "\0remote_dir\0"
"""What stands in a path for the worker's working folder, which the driver does not know; no path has such a part."""
INPUTS, OUTPUTS = "inputs_dict", "outputs_dict"


class Named(NamedTuple):
    """The dictionary that names a file, its name there, and whether the call has other ``inputs`` or ``outputs``."""

    dictionary: str
    name: str
    beside_others: bool = False


class Placed(File):
    """A file that a call has at a path of its choice.

    Parameters
    ----------
    url: where it comes from or goes to.
    at: the path, absolute or below the call's own folder.
    of: who names it.
    """

    def __init__(self, url: str, at: str, of: Named) -> None:
        super().__init__(url)
        self.at = at
        self.of = of

    def cleancopy(self) -> Placed:
        """See `File.cleancopy`."""
        return type(self)(self.url, self.at, self.of)

    def path_in(self, folder: str) -> str:
        """Return the path here.

        Parameters
        ----------
        folder: the call's own.
        """
        path = self.at.replace(REMOTE, os.getcwd())
        return os.path.normpath(path) if os.path.isabs(path) else below(folder, path)


class PlacedDirectory(Placed, Directory):
    """A folder that a call has at a path of its choice."""


def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call what the user has written, which knows nothing of our Files, with the paths where they are."""
    for name, dictionary in (("inputs", INPUTS), ("outputs", OUTPUTS)):
        files = kwargs.get(name) or ()
        placed = [file for file in files if isinstance(file, Placed)]
        if not placed:
            continue
        known = kwargs[dictionary]
        there = {file.of.name: {**known[file.of.name], "worker_path": file.filepath} for file in placed}
        kwargs[dictionary] = {**known, **there}
        if placed[0].of.beside_others:
            kwargs[name] = [file for file in files if not isinstance(file, Placed)]
        else:
            del kwargs[name]
    return function(*args, **kwargs)


def bring(file: Placed, store: Store, place: Place, folder: str, cache: Cache, meter: Meter) -> tuple[str | None, bool]:
    """Bring an input to its path; return by what its content is known, and whether it was on this node already.

    Parameters
    ----------
    folder: this block's on this node, in which it is noted what is where.
    cache: of what several calls want.

    Raises a DataError, or OSError.
    """
    target = str(file.local_path)
    if os.path.isabs(file.at.replace(REMOTE, "/")):
        return _put(file, store, place, target, folder, meter)
    read_only = beside(target)
    found = cache.get(store, place, read_only, meter) if not isinstance(store, Files) else None
    if found is None:
        entry = patiently(lambda: store.look(place.path))
        _of_its_kind(file, entry)
        fetch(store, place, target, meter, entry)
        return known_by(store, place, entry)[0], False
    fetch(Files(place, {}), place._replace(path=read_only), target)
    remove_tree_or_file(read_only)
    _of_its_kind(file, Entry("", FOLDER if os.path.isdir(target) else FILE))
    _let_write(target)
    return found.known, found.cached


def is_there(file: Placed, store: Store, place: Place) -> bool:
    """Return whether a file's path is the place itself."""
    target = str(file.local_path)
    if not isinstance(store, Files):
        return False
    return os.path.realpath(place.path) == os.path.realpath(target)


def _put(file: Placed, store: Store, place: Place, target: str, folder: str, meter: Meter) -> tuple[str | None, bool]:
    """Bring an input to a path that other calls may use at the same time."""
    if is_there(file, store, place):
        entry = store.look(place.path)
        _of_its_kind(file, entry)
        return known_by(store, place, entry)[0], True
    name = hashlib.blake2b(target.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    with held(os.path.join(folder, f"placed-{name}")) as note:
        entry = patiently(lambda: store.look(place.path))
        _of_its_kind(file, entry)
        known, _ = known_by(store, place, entry)
        before: dict[str, Any] = note.read() if note is not None else {}
        if known is not None and before.get("known") == [place.url, known] and _is_as(target, before["is"]):
            return known, True
        with told(target):
            new = beside(target)
            try:
                fetch(store, place, new, meter, entry)
                brought = _state(new)
                if os.path.lexists(target):
                    _merge(new, target)
                else:
                    os.rename(new, target)
            finally:
                remove(new)
        if note is not None and known is not None:
            note.write({"known": [place.url, known], "is": brought})
    return known, False


def _of_its_kind(file: Placed, entry: Entry) -> None:
    if (entry.kind == FOLDER) != isinstance(file, Directory):
        is_, wanted = ("folder", "file") if entry.kind == FOLDER else ("file", "directory")
        raise DataError(f"it is a {is_}, and {file.of.dictionary}[{file.of.name!r}] has the type {wanted!r}")


def _state(path: str) -> dict[str, list[Any]]:
    """Return what is at a path, by name: of a file its size and time, of a link where it leads."""
    if not os.path.isdir(path):
        return {"": [of_file(path).tag]}
    return {entry.path: [entry.kind, entry.tag, entry.target] for entry in local_entries(path)}


def _is_as(target: str, state: Mapping[str, list[Any]]) -> bool:
    """Return whether all that was brought is there as it was; what others have put beside it does not count."""
    try:
        now = _state(target)
    except (OSError, DataError):
        return False
    return os.path.lexists(target) and all(now.get(name) == known for name, known in state.items())


def _merge(new: str, target: str) -> None:
    """Put what is at ``new`` in the place of what is at ``target``: file by file in a folder, whose others stay."""
    if not os.path.isdir(new):
        os.replace(new, target)
        return
    for entry in list(local_entries(new)):
        there = os.path.join(target, entry.path)
        if entry.kind == FOLDER:
            os.makedirs(there, exist_ok=True)
        else:
            os.replace(os.path.join(new, entry.path), there)


def _let_write(path: str) -> None:
    """Let the call change what it has of the cache, whose files nobody may change."""
    if not os.path.isdir(path):
        os.chmod(path, os.stat(path).st_mode | stat.S_IWUSR)
        return
    for entry in local_entries(path):
        if entry.kind == FILE:
            _let_write(os.path.join(path, entry.path))
