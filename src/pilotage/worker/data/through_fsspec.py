"""Every other place that fsspec knows, by the name of its protocol: ftp, smb, webdav, hdfs, abfs, and so on.

What such a place keeps, and what its errors mean, is as its library has it, which is more or less; our own stores know
theirs better.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import fsspec
from fsspec.asyn import AsyncFileSystem
from fsspec.registry import known_implementations

from pilotage.errors import (
    BrokenTransferError,
    DataError,
    DeniedError,
    MissingExtraError,
    NotThereError,
    UsageError,
    did_you_mean,
)
from pilotage.worker.data.base import FOLDER, LINK, STORES, Entry, Meter
from pilotage.worker.data.files import beside, told
from pilotage.worker.data.places import ALIASES, Place, shown

PIECE = 4 << 20
OURS = {"silence", "checksums"}
"""Options that are not the library's."""
TAGS = ("ETag", "etag", "checksum", "uid", "ino", "mtime", "modified", "modify", "last_modified", "LastModified")
"""What an entry may have that changes with the content, the best first."""
TRANSIENT = {408, 421, 425, 426, 429, 450, 451, 500, 502, 503, 504}
_NOT_ALLOWED = re.compile("permission|privilege|denied|not allowed", re.IGNORECASE)


class ThroughFsspec:
    """The `Store` of any filesystem of fsspec.

    Parameters
    ----------
    place: its scheme is fsspec's protocol.
    options: what the filesystem is opened with, such as ``username``.

    Raises UsageError for a protocol that fsspec does not know, MissingExtraError where it needs a library.
    """

    keeps_links = False
    keeps_modes = False
    at_once = 1  # few of the libraries say whether several threads may use them

    def __init__(self, place: Place, options: Mapping[str, Any]) -> None:
        self._place = place
        self._lock = threading.RLock()
        where = shown(place.url)
        try:
            kind = fsspec.get_filesystem_class(place.scheme)
        except ValueError as error:
            known = {*STORES, *ALIASES, *known_implementations}
            raise UsageError(
                f"nothing here knows the scheme {place.scheme!r}", where=where, hint=did_you_mean(place.scheme, known)
            ) from error
        except ImportError as error:
            about = known_implementations.get(place.scheme, {}).get("err", str(error))
            raise MissingExtraError(f"{place.scheme}: {about}", where=where) from error
        base = f"{place.scheme}://{place.host}/"
        with self._told("", place.url):
            words = {**kind._get_kwargs_from_urls(base), **{k: v for k, v in options.items() if k not in OURS}}
            self._system = kind(**words, skip_instance_cache=True)
            self._root = str(kind._strip_protocol(base)).rstrip("/")

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}" if self._root or not path.startswith("/") else path

    def look(self, path: str) -> Entry:
        """See `Store.look`."""
        with self._told(path):
            self._system.invalidate_cache()
            return _entry(self._system.info(self._at(path.rstrip("/"))), "")

    def walk(self, path: str) -> Iterable[Entry]:
        """See `Store.walk`."""
        waiting = [("", self._at(path.rstrip("/")))]
        while waiting:
            prefix, folder = waiting.pop()
            with self._told(path):
                self._system.invalidate_cache()
                found = sorted(self._system.ls(folder, detail=True), key=lambda one: str(one["name"]))
            for one in found:
                name = str(one["name"]).rstrip("/").rpartition("/")[2]
                if str(one["name"]).strip("/") == folder.strip("/"):
                    continue  # some list the folder itself
                entry = _entry(one, prefix + name)
                yield entry
                if entry.kind == FOLDER:
                    waiting.append((f"{entry.path}/", f"{folder}/{name}"))

    def get(self, path: str, entry: Entry, target: str, meter: Meter) -> None:  # noqa: ARG002
        """See `Store.get`."""
        with self._told(path):
            if isinstance(self._system, AsyncFileSystem):  # takes names alone
                self._system.get_file(self._at(path), target)
            else:
                with open(target, "xb") as file:  # by a name, some leave it open when they break off
                    self._system.get_file(self._at(path), file)
        meter.add(os.path.getsize(target))

    def put(self, source: str, path: str, entry: Entry, meter: Meter) -> None:  # noqa: ARG002
        """See `Store.put`: written under a name beside its own, and moved."""
        there = self._at(path)
        new = beside(there)
        self._make(os.path.dirname(there), path)
        try:
            with told(source), open(source, "rb", buffering=0) as reading, self._told(path):
                with self._system.open(new, "wb", block_size=PIECE) as writing:
                    while data := reading.read(PIECE):
                        writing.write(data)
                        meter.add(len(data))
                self._replace(new, there)
        except BaseException:
            self._try_to_remove(new)
            raise

    def _replace(self, new: str, there: str) -> None:
        """Give what is whole its name; where none is put in the place of another there, that goes first."""
        try:
            self._system.mv(new, there)
        except Exception:
            if not self._system.exists(there):
                raise
            self._system.rm_file(there)
            self._system.mv(new, there)

    def _try_to_remove(self, there: str) -> None:
        try:
            if self._system.exists(there):
                self._system.rm_file(there)
        except Exception:  # noqa: S110  what went wrong first is to be told
            pass

    def _make(self, there: str, path: str) -> None:
        with self._told(path):
            if not there.strip("/") or self._system.exists(there):
                return
            above = there.strip("/").rpartition("/")[0]
            if above:  # one by one: some make those above anew, and call that an error
                self._make(there[: there.rindex(above) + len(above)], path)
            try:
                self._system.mkdir(there, create_parents=False)
            except Exception:
                self._system.invalidate_cache()
                if not self._system.exists(there):  # somebody else may have made it
                    raise

    def make_folder(self, path: str) -> None:
        """See `Store.make_folder`."""
        self._make(self._at(path.rstrip("/")), path)

    def make_link(self, path: str, target: str) -> None:
        """Links are not kept."""
        raise DataError(f"{self._place.scheme} keeps no links, such as one to {target}", where=self._url(path))

    def remove(self, path: str) -> None:
        """See `Store.remove`."""
        there = self._at(path.rstrip("/"))
        with self._told(path):
            self._system.invalidate_cache()
            if self._system.exists(there):
                self._remove(there)

    def _remove(self, there: str) -> None:
        """Remove one after the other: what fsspec has for all at once takes a name with a star for a pattern."""
        if not self._system.isdir(there):
            self._system.rm_file(there)
            return
        for one in self._system.ls(there, detail=False):
            if str(one).strip("/") != there.strip("/"):
                self._remove(f"{there}/{str(one).rstrip('/').rpartition('/')[2]}")
        self._system.rmdir(there)

    def close(self) -> None:
        """Close what can be; most libraries do that when they are forgotten."""
        client = getattr(self._system, "client", None)
        for one in (getattr(client, "http", None), client):
            if one is not None and callable(getattr(one, "close", None)):
                one.close()
                return

    def _url(self, path: str) -> str:
        return shown(f"{self._place.scheme}://{self._place.host}/{path.lstrip('/')}")

    @contextmanager
    def _told(self, path: str, url: str = "") -> Iterator[None]:
        """Turn what a library raises within into a DataError; one thread at once is within."""
        where = shown(url) if url else self._url(path)
        try:
            with self._lock:
                yield
        except DataError:
            raise
        except FileNotFoundError as error:
            raise NotThereError("there is no such file or folder", where=where) from error
        except PermissionError as error:
            raise DeniedError(f"it is not allowed: {error}", where=where) from error
        except ImportError as error:
            raise MissingExtraError(f"{self._place.scheme}: {error}", where=where) from error
        except Exception as error:
            raise _meant(error, where) from error


def _meant(error: Exception, where: str) -> DataError:
    """Return what an error of any library seems to be, by the status that it has, of HTTP or FTP, or by its kind."""
    words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    status = next((getattr(error, name, None) for name in ("status", "status_code", "code")), None)
    if not isinstance(status, int):
        first = str(error)[:3]
        status = int(first) if first.isdigit() else 0
    if status in (401, 403, 530, 532) or (status == 550 and _NOT_ALLOWED.search(words)):
        return DeniedError(words, where=where)
    if status in (404, 550):
        return NotThereError(words, where=where)
    if status in TRANSIENT or (status == 0 and isinstance(error, (OSError, EOFError))):
        return BrokenTransferError(words, where=where)
    return DataError(words, where=where)


def _entry(info: Mapping[str, Any], path: str) -> Entry:
    kind = info.get("type")
    if kind == "directory":
        return Entry(path, FOLDER)
    if kind == "link" or info.get("islink"):
        return Entry(path, LINK, target=str(info.get("destination") or info.get("target") or ""))
    size = -1 if info.get("size") is None else int(info["size"])
    tag = next((f"{size}-{info[name]}" for name in TAGS if info.get(name)), "")
    return Entry(path, size=size, tag=tag)
