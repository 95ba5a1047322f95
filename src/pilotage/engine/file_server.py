"""What the driver does for nodes with its files: `pilotage.worker.data.wire`'s requests, answered one by one.

It knows of no connection, so what asks may lose its own at any time and ask again; what changes something is done once.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pilotage.engine.beneath import Folders, opened_in, spot
from pilotage.engine.granting import Grants
from pilotage.engine.listing import entries
from pilotage.engine.parts import Noted
from pilotage.engine.uploads import Uploads, Whole
from pilotage.errors import BrokenTransferError, DataError, DeniedError, NotThereError, UsageError
from pilotage.journal import Journal
from pilotage.worker.data.base import FOLDER, Entry, of_known
from pilotage.worker.data.wire import ENTRIES, PIECE, Message, granted

MOST = 16 * PIECE
"""Bytes of one reply, at most."""
REMEMBERED = 10_000
"""Requests that have changed something and whose replies are known, should they come again."""
ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
AGAIN = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE)

Answer = tuple[dict[str, Any], "bytes | memoryview"]


class FileServer:
    """Answers requests.

    Parameters
    ----------
    grants: what nodes may do.
    journal: the run's, for what may be left; None where there is none.
    clock: seconds, for tests.
    """

    def __init__(
        self, grants: Grants, journal: Journal | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._grants = grants
        mark = secrets.token_hex(6)
        self.uploads = Uploads(mark, Noted(journal, mark), clock)
        self._done: OrderedDict[bytes, dict[str, Any]] = OrderedDict()
        self._reads: dict[str, Callable[[dict[str, Any]], Answer]] = {
            "ping": lambda _said: ({}, b""),
            "look": self._look,
            "list": self._list,
            "read": self._read,
        }
        self._writes: dict[str, Callable[[dict[str, Any], memoryview], None]] = {
            "write": self._write,
            "commit": self._commit,
            "store": self._store,
            "folders": self._folders,
            "links": self._links,
            "remove": self._remove,
            "discard": self._discard,
        }

    def end(self) -> None:
        """Remove what is not whole, and whatever else may be left of it."""
        self.uploads.end()

    def answer(self, request: Message) -> Message:
        """Return the reply to a request; whatever goes wrong is in it."""
        if request.number in self._done:
            return Message(request.number, self._done[request.number])
        said, payload, what = request.head, memoryview(b""), str(request.head.get("do"))
        try:
            if what in self._writes:
                with _told(said):
                    self._writes[what](said, request.payload)
                head: dict[str, Any] = {}
            elif what in self._reads:
                with _told(said):
                    head, data = self._reads[what](said)
                payload = memoryview(data)
            else:
                raise DataError(f"this driver does not know how to {what}", hint="use one version of pilotage")
        except DataError as error:
            head = {"error": type(error).__name__, "words": error.message, "where": error.where, "hint": error.hint}
        except (LookupError, TypeError, ValueError, AttributeError, UsageError) as error:  # a node may ask for anything
            head = {"error": "DataError", "words": f"its driver does not understand: {error}"}
        if what in self._writes and what != "write":  # a piece may be written again
            self._remember(request.number, head)
        return Message(request.number, head, payload)

    def _remember(self, number: bytes, head: dict[str, Any]) -> None:
        self._done[number] = head
        while len(self._done) > REMEMBERED:
            self._done.popitem(last=False)

    def _look(self, said: dict[str, Any]) -> Answer:
        place = spot(self._grants.checked(said["grant"], "read"), said["path"], follow=True)
        with place.folder() as folder:
            known = os.stat(place.name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISDIR(known.st_mode):
            return {"entry": Entry("", FOLDER)}, b""
        if not stat.S_ISREG(known.st_mode):
            raise DataError("it is no file and no folder", where=place.path)
        return {"entry": of_known(known)}, b""

    def _list(self, said: dict[str, Any]) -> Answer:
        place = spot(self._grants.checked(said["grant"], "read"), said["path"], follow=True)
        found: list[Entry] = []
        for entry in entries(place, said["after"]):
            found.append(entry)
            if len(found) == ENTRIES:
                break
        return {"entries": found, "more": len(found) == ENTRIES}, b""

    def _read(self, said: dict[str, Any]) -> Answer:
        root, pieces, tags, room = self._grants.checked(said["grant"], "read"), [], [], MOST
        with contextlib.closing(Folders(root)) as folders:
            for path, offset, length in said["files"]:
                said["path"] = path
                file, known = opened_in(folders, root, path)
                try:
                    data = os.pread(file, min(length, room), offset)
                finally:
                    os.close(file)
                room -= len(data)
                pieces.append(data)
                tags.append([len(data), of_known(known).tag])
        payload = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return {"files": tags, "crc": zlib.crc32(payload) if said.get("crc") else None}, payload

    def _write(self, said: dict[str, Any], data: memoryview) -> None:
        root = self._grants.checked(said["grant"], "write")
        self.uploads.write(root, said["path"], said["upload"], said["offset"], data, said["crc"])

    def _commit(self, said: dict[str, Any], _data: memoryview) -> None:
        root = self._grants.checked(said["grant"], "write")
        whole = Whole(said["size"], said["checksum"], said["executable"])
        self.uploads.commit(root, said["path"], said["upload"], whole)

    def _store(self, said: dict[str, Any], data: memoryview) -> None:
        root, begin = self._grants.checked(said["grant"], "write"), 0
        with contextlib.closing(Folders(root, make=True)) as folders:
            for path, size, crc, executable in said["files"]:
                said["path"] = path
                self.uploads.store(folders, path, data[begin : begin + size], crc, executable=executable)
                begin += size

    def _folders(self, said: dict[str, Any], _data: memoryview) -> None:
        root = self._grants.checked(said["grant"], "write")
        for path in said["paths"]:
            said["path"] = path
            place = spot(root, path, follow=True)
            with place.folder(make=True) as folder:
                try:
                    os.mkdir(place.name, dir_fd=folder)
                except FileExistsError:
                    if not stat.S_ISDIR(os.stat(place.name, dir_fd=folder, follow_symlinks=False).st_mode):
                        raise

    def _links(self, said: dict[str, Any], _data: memoryview) -> None:
        root = self._grants.checked(said["grant"], "write")
        for path, target in said["links"]:
            said["path"] = path
            place, new = spot(root, path, follow=False), f".{secrets.token_hex(8)}.part"
            with place.folder(make=True) as folder:
                os.symlink(target, new, dir_fd=folder)
                try:
                    os.replace(new, place.name, src_dir_fd=folder, dst_dir_fd=folder)
                except OSError:
                    os.unlink(new, dir_fd=folder)
                    raise

    def _remove(self, said: dict[str, Any], _data: memoryview) -> None:
        place = spot(self._grants.checked(said["grant"], "write"), said["path"], follow=False)
        try:
            with place.folder() as folder:
                if stat.S_ISDIR(os.stat(place.name, dir_fd=folder, follow_symlinks=False).st_mode):
                    shutil.rmtree(place.name, dir_fd=folder)
                else:
                    os.unlink(place.name, dir_fd=folder)
        except FileNotFoundError:
            return

    def _discard(self, said: dict[str, Any], _data: memoryview) -> None:
        self._grants.checked(said["grant"], "write")
        self.uploads.discard(said["upload"])


@contextmanager
def _told(said: dict[str, Any]) -> Iterator[None]:
    """Turn an OSError into a DataError in the words that a person at the driver understands, naming the path."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotThereError("there is no such file or folder at the driver", where=_where(said)) from error
    except PermissionError as error:
        raise DeniedError(f"the driver may not: {error.strerror}", where=_where(said)) from error
    except OSError as error:
        if error.errno in ROOM:
            hint = "make room on the driver's disk"
            raise DataError(f"the driver cannot write it: {error.strerror}", where=_where(said), hint=hint) from error
        kind = BrokenTransferError if error.errno in AGAIN else DataError
        raise kind(f"the driver cannot: {error.strerror or error}", where=_where(said)) from error
    except DataError as error:
        error.where = error.where or _where(said)
        raise


def _where(said: dict[str, Any]) -> str | None:
    """Return the path that a request is about."""
    try:
        below = str(said.get("path") or "")
        return granted(str(said["grant"])).path + (f"/{below}" if below else "")
    except (LookupError, UsageError):
        return None
