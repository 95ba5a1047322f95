"""What ``pilotage cp`` copies, and to where: the rules of ``cp``, for any two places."""

from __future__ import annotations

import os
import posixpath
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from pilotage.errors import DataError, NotThereError, UsageError
from pilotage.staging.relaying import relay
from pilotage.worker.data.base import FILE, FOLDER, Entry, Meter, Store, open_store
from pilotage.worker.data.copying import at_once, fetch, patiently, publish
from pilotage.worker.data.files import beside, move_into, remove, told
from pilotage.worker.data.places import WEB, Place, place_of

FILES_AT_ONCE = 4
"""Of several files that are named, with no folder among them."""
HERE = "file"
Options = Mapping[str, Mapping[str, Any]]


class Copy(NamedTuple):
    """One file or folder that is to be copied, and where it will be; ``entry`` is what was there when asked."""

    source: Place
    entry: Entry
    target: Place
    meter: Meter

    def as_dict(self) -> dict[str, Any]:
        """Return it for ``--json``."""
        return {"source": str(self.source), "destination": str(self.target), "kind": self.entry.kind}


class Job:
    """All that one command copies.

    Parameters
    ----------
    copies: see `planned`.
    stores: those of all places in it.
    """

    def __init__(self, copies: Sequence[Copy], stores: Stores, meter: Meter) -> None:
        self.copies = copies
        self.meter = meter
        self._stores = stores
        self._began = time.monotonic()
        self._seconds = 0.0

    def run(self) -> None:
        """Copy all of it; of several that fail, the error of the first is raised.

        Nothing is left beside a target then, nor half of anything under its own name.
        """
        self._began = time.monotonic()
        files = [one for one in self.copies if one.entry.kind == FILE]
        try:
            at_once(min(FILES_AT_ONCE, len(files)), self._copy, files, self.meter)
            for one in self.copies:
                if one.entry.kind == FOLDER:
                    self._copy(one)
        finally:
            self._seconds = time.monotonic() - self._began

    def expected(self) -> tuple[int, int] | None:
        """Return the bytes and files that there are, None before all folders have been listed."""
        known = [one.meter.expected for one in self.copies]
        if any(one is None for one in known):
            return None
        return sum(one[0] for one in known if one), sum(one[1] for one in known if one)

    def as_dict(self) -> dict[str, Any]:
        """Return what was done, for ``--json``: bytes, files, seconds, and bytes a second."""
        return {
            "schema_version": 1,
            "copies": [one.as_dict() for one in self.copies],
            "bytes": self.meter.bytes,
            "files": self.meter.files,
            "seconds": round(self._seconds, 3),
            "rate": round(self.meter.bytes / self._seconds) if self._seconds else None,
        }

    def _copy(self, one: Copy) -> None:
        source, entry, target, meter = one
        if source.scheme == HERE and (target.scheme != HERE or entry.kind == FILE):
            publish(self._stores.of(target), source.path, target, meter)
        elif target.scheme == HERE:
            self._bring(one)
        else:
            relay(self._stores.of(source), source, entry, self._stores.of(target), target, meter)

    def _bring(self, one: Copy) -> None:
        """Bring a file or folder to this machine: all of it beside its place, then what is there is replaced."""
        source, entry, target, meter = one
        if entry.kind == FILE:
            fetch(self._stores.of(source), source, target.path, meter, entry)
            return
        new = beside(target.path)
        try:
            fetch(self._stores.of(source), source, new, meter, entry)
            with told(target.path):
                if source.scheme == HERE:
                    _as_private(source.path, new)
                move_into(new, target.path)
        finally:
            remove(new)


def _as_private(source: str, copy: str) -> None:
    """Let nobody into a copied folder whom the folder itself keeps out."""
    for base, _, _ in os.walk(source):
        one = os.path.join(copy, os.path.relpath(base, source))
        os.chmod(one, os.stat(one).st_mode & 0o7777 & ~(0o077 & ~os.stat(base).st_mode))


class Stores:
    """The open stores of a command, one for each host or bucket."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._open: dict[tuple[str, str], Store] = {}

    def of(self, place: Place) -> Store:
        """Return the store that ``place`` is in; raises as `open_store`."""
        key = (place.scheme, place.host)
        if key not in self._open:
            self._open[key] = open_store(place, self._options.get(place.scheme, {}))
        return self._open[key]

    def close(self) -> None:
        """Close all of them."""
        for store in self._open.values():
            store.close()


@contextmanager
def planned(sources: Sequence[str], destination: str, options: Options | None = None) -> Iterator[Job]:
    """Give what copying ``sources`` to ``destination`` comes to; nothing is copied yet.

    A destination that ends with a slash, and one where a folder is, has the copies in it under their own names.

    Parameters
    ----------
    options: of stores, by their scheme.

    Raises NotThereError where a source is not, UsageError where a copy would replace itself, another, or be within
    itself, and DataError where a file would replace a folder, or a folder a file.
    """
    stores = Stores(options or {})
    try:
        meter, to = Meter(), _place(destination)
        from_ = [_place(source) for source in sources]
        entries = [_look(stores, place) for place in from_]
        into = _is_folder(stores, to)
        if len(from_) > 1 and not into:
            raise UsageError(f"{to} is no folder", hint="several are copied into a folder; a new one ends with /")
        copies = []
        for place, entry in zip(from_, entries, strict=True):
            if into and entry.kind == FILE and not place.name:
                raise UsageError("it has no name to be copied under", where=str(place), hint=f"such as {to.url}data")
            target = _target(place, to, into)
            part = Meter(meter)
            if entry.kind == FILE:
                part.expect([entry])
            _check(stores, place, entry, target)
            copies.append(Copy(place, entry, target, part))
        _check_names(copies)
        yield Job(copies, stores, meter)
    finally:
        stores.close()


def _place(url: str) -> Place:
    place = place_of(url)
    return place._replace(scheme=HERE) if place.scheme == "driver" else place


def _look(stores: Stores, place: Place) -> Entry:
    found = patiently(lambda: stores.of(place).look(place.path))
    if found.kind not in (FILE, FOLDER):
        raise DataError("it is no file and no folder", where=str(place))
    return found


def _there(stores: Stores, place: Place) -> Entry | None:
    try:
        return _look(stores, place)
    except NotThereError:
        return None


def _is_folder(stores: Stores, place: Place) -> bool:
    if place.path.endswith("/") or not place.path:
        return True
    if place.scheme in WEB:
        return False
    there = _there(stores, place)
    return there is not None and there.kind == FOLDER


def _target(source: Place, to: Place, into: bool) -> Place:
    name = source.name
    if not into or name in ("", ".", ".."):  # what is in such a one, as cp does
        return _below_link(to if to.path in ("", "/") else _place(to.url.rstrip("/")))
    return _below_link(_place(f"{to.url.rstrip('/')}/{name}"))


def _below_link(place: Place) -> Place:
    """Return the place that a link of this machine leads to: it stays, and what it leads to is replaced."""
    if place.scheme != HERE or not os.path.islink(place.path) or not os.path.exists(place.path):
        return place
    return place._replace(path=os.path.realpath(place.path))


def _check(stores: Stores, source: Place, entry: Entry, target: Place) -> None:
    """Raise an error where ``source`` cannot be copied to ``target``, as far as that can be known before."""
    if _real(source) == _real(target):
        raise UsageError("source and destination are the same", where=str(source))
    if entry.kind == FOLDER and _within(_real(target), _real(source)):
        raise UsageError(f"{target} is within it: it would be copied into itself", where=str(source))
    if target.scheme in WEB or (target.scheme != HERE and entry.kind == FILE):
        return  # what is there says so itself
    there = _there(stores, target)
    if there is None or there.kind == entry.kind:
        return
    if entry.kind == FILE:
        raise DataError("a folder is there, and is not replaced by a file", where=str(target))
    raise DataError("a file is there, and is not replaced by a folder", where=str(target))


def _check_names(copies: Sequence[Copy]) -> None:
    seen: dict[tuple[object, ...], Place] = {}
    for one in copies:
        other = seen.setdefault(_real(one.target), one.source)
        if other is not one.source:
            raise UsageError(f"{other} and {one.source} would both be {one.target}", hint="copy one after the other")


def _real(place: Place) -> tuple[object, ...]:
    """Return what is the same for two URLs of the same place, as far as URLs tell."""
    if place.scheme == HERE:
        try:
            known = os.stat(place.path)
        except OSError:
            return HERE, os.path.realpath(place.path)
        # Two links to one file are the same; of folders the path is needed too, to see what is within.
        if os.path.isdir(place.path):
            return HERE, os.path.realpath(place.path)
        return HERE, known.st_dev, known.st_ino
    path = place.path.rstrip("/")
    if place.scheme == "ssh":
        path = posixpath.normpath(path)
    return place.scheme, place.host.rpartition("@")[2], path


def _within(inner: tuple[object, ...], outer: tuple[object, ...]) -> bool:
    if inner[:-1] != outer[:-1]:
        return False
    folder = str(outer[-1]).rstrip("/")
    return str(inner[-1]).startswith(f"{folder}/" if folder or outer[0] in (HERE, "ssh") else "")
