"""Files behind web addresses: read, and written by PUT where the server takes that.

A web server has no folders that could be listed: its index is a page for people.
"""

from __future__ import annotations

import base64
import io
import os
import re
from collections.abc import Iterable, Mapping
from email.message import Message
from typing import Any, NoReturn

from pilotage.errors import BrokenTransferError, UsageError
from pilotage.worker.data.base import FILE, Entry, Meter
from pilotage.worker.data.places import Place, shown
from pilotage.worker.data.web_requests import PIECE, Answer, Client, sends

ENOUGH = 1 << 20
"""Bytes that are to have come since the last break for the next piece to be asked for at once."""
NO_HEAD = {400, 403, 405, 501}
"""What servers say that answer no HEAD, or to which an address was signed for GET alone."""


class Web:
    """The `Store` of a web server. Options: ``silence`` (seconds, 60)."""

    keeps_links = False
    keeps_modes = False
    at_once = 8

    def __init__(self, place: Place, options: Mapping[str, Any]) -> None:
        self._root = f"{place.scheme}://{place.host}/"
        self._client = Client(float(options.get("silence", 60)))

    def look(self, path: str) -> Entry:
        """See `Store.look`: there are only files."""
        url = self._of(path)
        answer = self._client.ask("HEAD", url)
        if answer.status in NO_HEAD:
            answer.close()
            answer = self._client.ask("GET", url, {"Range": "bytes=0-0"})
            part = re.fullmatch(r"bytes (?:0-0|\*)/(\d+)", answer.headers.get("Content-Range", ""))
            if part and answer.status in (206, 416):  # an empty file has no first byte
                answer.close()
                return _entry(answer, int(part[1]), whole=False)
        with answer.check(url):
            return _entry(answer, answer.size, whole=True)

    def walk(self, path: str) -> Iterable[Entry]:
        """Raise UsageError: there is nothing to list."""
        self._no_folders(path)

    def get(self, path: str, entry: Entry, target: str, meter: Meter) -> None:
        """See `Store.get`; what breaks off is gone on with where the server can."""
        url = self._of(path)
        with open(target, "xb", buffering=0) as file:
            while True:
                begin = file.tell()
                try:
                    self._get(url, entry, file, meter)
                except BrokenTransferError:
                    if not _is_strong(entry.tag) or file.tell() < begin + ENOUGH:
                        raise
                else:
                    return

    def put(self, source: str, path: str, entry: Entry, meter: Meter) -> None:  # noqa: ARG002
        """See `Store.put`; that nobody sees half a file is for the server to keep."""
        url = self._of(path)
        with open(source, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
            with self._client.ask("PUT", url, headers, sends(file, size, meter.add)) as answer:
                answer.check(url)
            if file.tell() < size:
                raise BrokenTransferError("the server has not read all of it", where=shown(url))

    def make_folder(self, path: str) -> None:
        """Raise UsageError."""
        self._no_folders(path)

    def make_link(self, path: str, target: str) -> None:  # noqa: ARG002
        """Raise UsageError."""
        self._no_folders(path)

    def remove(self, path: str) -> None:
        """See `Store.remove`; by DELETE."""
        url = self._of(path)
        with self._client.ask("DELETE", url) as answer:
            if answer.status not in (404, 410):
                answer.check(url)

    def close(self) -> None:
        """See `Store.close`."""
        self._client.close()

    def _of(self, path: str) -> str:
        return self._root + path.partition("#")[0]

    def _no_folders(self, path: str) -> NoReturn:
        raise UsageError(
            "a web server has no folders, only files: the index that it may show is no listing",
            where=shown(self._of(path)),
            hint="name the files one by one, or one archive of them",
        )

    def _get(self, url: str, entry: Entry, file: io.FileIO, meter: Meter) -> None:
        """Get what is still missing of a file."""
        begin = file.tell()
        more = {"Range": f"bytes={begin}-", "If-Range": entry.tag} if begin else {}
        with self._client.ask("GET", url, more) as answer:
            answer.check(url)
            tag = _tag(answer, answer.size)
            if entry.tag and tag and tag != entry.tag:
                raise BrokenTransferError("it was changed meanwhile", where=shown(url))
            if begin and answer.status != 206:  # all of it comes once more
                meter.add(-begin)
                file.seek(0)
                file.truncate()
            elif begin and not answer.headers.get("Content-Range", "").startswith(f"bytes {begin}-"):
                raise BrokenTransferError("what comes is not the rest that was asked for", where=shown(url))
            buffer = memoryview(bytearray(PIECE))
            while count := answer.read_into(buffer):
                view = buffer[:count]
                while view:
                    view = view[file.write(view) :]
                meter.add(count)


def _tag(answer: Answer, size: int) -> str:
    etag, changed = answer.headers.get("ETag"), answer.headers.get("Last-Modified")
    return etag or (f"{changed} {size}" if changed and size >= 0 else "")


def _is_strong(tag: str) -> bool:
    """Return whether it is an ETag by which a server can tell byte for byte what to go on with."""
    return tag.startswith('"')


def _entry(answer: Answer, size: int, *, whole: bool) -> Entry:
    """Return what an answer's headers say; checksums are of the body, which has to be the ``whole`` file."""
    given = _checksums(answer.headers) if whole else {}
    tag = _tag(answer, size)
    return Entry("", FILE, size, tag, md5=given.get("md5", ""), crc32c=given.get("crc32c", ""))


def _checksums(headers: Message) -> dict[str, str]:
    """Return the checksums of a body, hexadecimal, by lower-case name."""
    if headers.get("X-Goog-Stored-Content-Encoding", "identity") != headers.get("Content-Encoding", "identity"):
        return {}  # they are of what is stored, and what comes is that unpacked
    found = [f"md5={headers['Content-MD5']}"] if "Content-MD5" in headers else []
    found += [part for name in ("Digest", "X-Goog-Hash") for part in ", ".join(headers.get_all(name, [])).split(",")]
    known = {}
    for one in found:
        name, _, value = one.strip().partition("=")
        try:
            known[name.lower()] = base64.b64decode(value, validate=True).hex()
        except ValueError:
            pass  # not one that we know
    return known
