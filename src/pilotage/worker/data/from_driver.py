"""Files and folders of the driver's machine, for workers that do not share its filesystem.

They come and go over the port that workers have to the interchange already; what may be read or written there, the
driver has granted. In the driver itself, and where tasks are its threads, they are files of this machine.
"""

from __future__ import annotations

import collections
import os
import secrets
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from pilotage.errors import BrokenTransferError, DeniedError
from pilotage.worker.data import link
from pilotage.worker.data.base import FILE, FOLDER, LINK, Entry, Meter, Store, local_entries
from pilotage.worker.data.files import Files
from pilotage.worker.data.link import Connection, Request
from pilotage.worker.data.places import Place, below
from pilotage.worker.data.wire import FILES, PIECE, Message, Mode, granted, whole_checksum

SILENCE = 60.0
"""Seconds without a word of the driver after which it is given up, at least."""


def from_driver(place: Place, options: Mapping[str, Any]) -> Store:
    """Return the store of the driver's files; see `FromDriver` for the options."""
    return Files(place, options) if link.here is None else FromDriver(link.here, options)


class FromDriver:
    """The `Store` of the driver's files.

    Parameters
    ----------
    interchange: where it is.
    options: ``grant``, a grant of the driver's (`pilotage.engine.granting`) or several; ``silence`` in seconds, if it
        is to be longer than that after which a manager gives its run up.
    """

    keeps_links = True
    keeps_modes = True
    at_once = 2

    def __init__(self, interchange: link.Interchange, options: Mapping[str, Any]) -> None:
        self._interchange = interchange
        self._checks = interchange.keys is None  # CurveZMQ does so itself
        given = options.get("grant") or ()
        self._grants = [(granted(one), one) for one in ([given] if isinstance(given, str) else given)]
        self._silence = max(interchange.threshold, float(options.get("silence") or SILENCE))

    def look(self, path: str) -> Entry:
        """See `Store.look`."""
        at = self._at(path, "read")
        with self._connection() as driver:
            return Entry(*driver.ask(at.says("look")).head["entry"])

    def walk(self, path: str) -> Iterable[Entry]:
        """See `Store.walk`."""
        with self._connection() as driver:
            yield from _listed(driver, self._at(path, "read"))

    def get(self, path: str, entry: Entry, target: str, meter: Meter) -> None:
        """See `Store.get`."""
        at = self._at(path, "read")
        with self._connection() as driver, open(target, "xb", buffering=0) as file:
            asked = (Request(at.reads([["", *piece]], self._checks), about=piece) for piece in _pieces(entry.size))
            for request, reply in driver.exchange(asked):
                ((_, tag),), data = _checked(reply), reply.payload
                _unchanged(at.path, entry, tag)
                _write(file.fileno(), data, request.about[0])
                meter.add(len(data))

    def get_folder(self, path: str, target: str, meter: Meter) -> None:
        """See `WholeFolders.get_folder`."""
        at = self._at(path, "read")
        with self._connection() as driver:
            entries = list(_listed(driver, at))
            for entry in entries:
                if entry.kind == FOLDER:
                    os.makedirs(below(target, entry.path), exist_ok=True)
            files = [entry for entry in entries if entry.kind == FILE]
            for entry in files:
                if entry.size == 0 or entry.size > PIECE:  # of the others there is a reply
                    os.close(_made(below(target, entry.path), entry, meter))
            for request, reply in driver.exchange(_reads(at, files, self._checks)):
                _take(at, request.about, reply, target, meter)
        for entry in entries:  # last: nothing is written through a link
            if entry.kind == LINK:
                os.symlink(entry.target, below(target, entry.path))

    def put(self, source: str, path: str, entry: Entry, meter: Meter) -> None:
        """See `Store.put`."""
        with self._connection() as driver:
            list(_put(driver, [_Upload(self._at(path, "write"), source, entry)], meter))

    def put_folder(self, source: str, path: str, meter: Meter) -> None:
        """See `WholeFolders.put_folder`."""
        at, entries = self._at(path, "write"), list(local_entries(source))
        folders = ["", *(entry.path for entry in entries if entry.kind == FOLDER)]
        links = [[entry.path, entry.target] for entry in entries if entry.kind == LINK]
        files = [entry for entry in entries if entry.kind == FILE]
        with self._connection() as driver:
            for begin in range(0, len(folders), FILES):
                driver.ask(at.says("folders", paths=at.all(folders[begin : begin + FILES])))
            for request, _ in driver.exchange(_stores(at, source, [one for one in files if one.size <= PIECE])):
                meter.add(len(request.payload), request.about)
            large = (
                _Upload(at.of(entry.path), below(source, entry.path), entry) for entry in files if entry.size > PIECE
            )
            for _ in _put(driver, large, meter):
                meter.add(0, 1)
            for begin in range(0, len(links), FILES):
                some = [[at.below(path), target] for path, target in links[begin : begin + FILES]]
                driver.ask(at.says("links", links=some))

    def make_folder(self, path: str) -> None:
        """See `Store.make_folder`."""
        at = self._at(path, "write")
        with self._connection() as driver:
            driver.ask(at.says("folders", paths=[at.path]))

    def make_link(self, path: str, target: str) -> None:
        """See `Store.make_link`."""
        at = self._at(path, "write")
        with self._connection() as driver:
            driver.ask(at.says("links", links=[[at.path, target]]))

    def remove(self, path: str) -> None:
        """See `Store.remove`."""
        at = self._at(path, "write")
        with self._connection() as driver:
            driver.ask(at.says("remove"))

    def close(self) -> None:
        """Connections are the process's, which closes them when nobody has used them for a while."""

    def _connection(self) -> Any:
        return link.connections.one(self._interchange, self._silence)

    def _at(self, path: str, mode: Mode) -> _At:
        """Return a path as the driver knows it. Raises DeniedError where no grant is for it."""
        path = os.path.normpath(path)
        for allowed, grant in self._grants:
            if allowed.mode == mode and (path == allowed.path or path.startswith(allowed.path.rstrip("/") + "/")):
                return _At(grant, path[len(allowed.path) :].lstrip("/"))
        raise DeniedError(f"the driver has not granted to {mode} it", where=f"driver:{path}")


class _At(NamedTuple):
    """A path below what a grant is for."""

    grant: str
    path: str

    def says(self, what: str, **more: Any) -> dict[str, Any]:
        return {"do": what, "grant": self.grant, "path": self.path, **more}

    def of(self, path: str) -> _At:
        return self._replace(path=self.below(path))

    def below(self, path: str) -> str:
        return "/".join(filter(None, (self.path, path)))

    def all(self, paths: Iterable[str]) -> list[str]:
        return [self.below(path) for path in paths]

    def reads(self, files: Iterable[list[Any]], crc: bool) -> dict[str, Any]:
        return self.says("read", crc=crc, files=[[self.below(path), *piece] for path, *piece in files])


def _listed(driver: Connection, at: _At) -> Iterator[Entry]:
    after, more = "", True
    while more:
        reply = driver.ask(at.says("list", after=after)).head
        entries, more = [Entry(*entry) for entry in reply["entries"]], reply["more"]
        yield from entries
        after = entries[-1].path if entries else ""


def _pieces(size: int) -> Iterator[tuple[int, int]]:
    """Yield where pieces of a file begin, and their bytes."""
    for begin in range(0, size, PIECE):
        yield begin, min(PIECE, size - begin)


def _batches(files: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Yield small files in such groups as travel together."""
    some: list[Entry] = []
    size = 0
    for entry in files:
        if some and (size + entry.size > PIECE or len(some) == FILES):
            yield some
            some, size = [], 0
        some.append(entry)
        size += entry.size
    if some:
        yield some


def _reads(at: _At, files: list[Entry], checks: bool) -> Iterator[Request]:
    for some in _batches(entry for entry in files if 0 < entry.size <= PIECE):
        yield Request(at.reads(([entry.path, 0, entry.size] for entry in some), checks), about=(some, 0))
    for entry in files:
        if entry.size > PIECE:
            for begin, length in _pieces(entry.size):
                yield Request(at.reads([[entry.path, begin, length]], checks), about=([entry], begin))


def _take(at: _At, about: tuple[list[Entry], int], reply: Message, target: str, meter: Meter) -> None:
    """Write what has come of small files, or a piece of a large one."""
    (entries, offset), begin = about, 0
    for entry, (size, tag) in zip(entries, _checked(reply), strict=True):
        _unchanged(at.below(entry.path), entry, tag)
        data, begin = reply.payload[begin : begin + size], begin + size
        path = below(target, entry.path)
        file = _made(path, entry, meter) if entry.size <= PIECE else os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            _write(file, data, offset)
        finally:
            os.close(file)
        meter.add(size)


def _made(path: str, entry: Entry, meter: Meter) -> int:
    """Make a file that is empty yet; return its descriptor."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    file = os.open(path, flags, 0o777 if entry.executable else 0o666)
    meter.add(0, 1)
    return file


def _write(file: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(file, data, offset)
        data, offset = data[written:], offset + written


def _checked(reply: Message) -> list[tuple[int, str]]:
    """Return of each file in a reply its bytes and its tag. Raises BrokenTransferError where they are others."""
    crc = reply.head["crc"]
    if crc is not None and crc != zlib.crc32(reply.payload):
        raise BrokenTransferError("what has come is not what the driver sent")
    return [(size, tag) for size, tag in reply.head["files"]]


def _unchanged(path: str, entry: Entry, tag: str) -> None:
    if entry.tag and tag != entry.tag:
        raise BrokenTransferError("it has changed while it was read", where=path)


def _stores(at: _At, source: str, files: list[Entry]) -> Iterator[Request]:
    for some in _batches(files):
        told, data = [], bytearray()
        for entry in some:
            with open(below(source, entry.path), "rb") as file:
                content = file.read()
            told.append([at.below(entry.path), len(content), zlib.crc32(content), entry.executable])
            data += content
        yield Request(at.says("store", files=told), data, len(some))


class _Upload:
    """A file on its way to the driver."""

    def __init__(self, at: _At, source: str, entry: Entry) -> None:
        self.at = at
        self.source = source
        self.entry = entry
        self.id = secrets.token_hex(12)
        self.sent: list[tuple[int, int, int]] = []
        self.unheard = 0
        self.is_read = False

    def pieces(self) -> Iterator[Request]:
        """Yield what sends its pieces."""
        begin = 0
        with open(self.source, "rb", buffering=0) as file:
            while data := file.read(PIECE):
                crc = zlib.crc32(data)
                self.sent.append((begin, len(data), crc))
                self.unheard += 1
                yield Request(self.at.says("write", upload=self.id, offset=begin, crc=crc), data, self)
                begin += len(data)
        self.is_read = True

    def commit(self) -> Request:
        """Return what gives it its name."""
        size, checksum = sum(length for _, length, _ in self.sent), whole_checksum(self.sent)
        executable = self.entry.executable
        head = self.at.says("commit", upload=self.id, size=size, checksum=checksum, executable=executable)
        return Request(head, b"", self)


def _put(driver: Connection, uploads: Iterable[_Upload], meter: Meter) -> Iterator[_Upload]:
    """Send files, and yield each that is whole at the driver; the others are not there, where this raises."""
    begun: dict[str, _Upload] = {}
    whole = collections.deque[Request]()

    def asked() -> Iterator[Request]:
        for upload in uploads:
            begun[upload.id] = upload
            for piece in upload.pieces():
                yield piece
                while whole:
                    yield whole.popleft()
            if not upload.unheard:  # the last reply has come before the file's end was seen
                whole.append(upload.commit())

    def heard(requests: Iterable[Request]) -> Iterator[_Upload]:
        for request, _ in driver.exchange(requests):
            upload: _Upload = request.about
            if request.head["do"] == "commit":
                del begun[upload.id]
                yield upload
                continue
            meter.add(len(request.payload))
            upload.unheard -= 1
            if upload.is_read and not upload.unheard:
                whole.append(upload.commit())

    try:
        yield from heard(asked())
        yield from heard(iter(whole))
    except BaseException:
        # Where it does not arrive, the driver's end finds out for itself that nothing more comes.
        _discard(driver, begun.values())
        raise


def _discard(driver: Connection, uploads: Iterable[_Upload]) -> None:
    try:
        driver.silence = 5.0
        for _ in driver.exchange(Request(one.at.says("discard", upload=one.id)) for one in uploads):
            pass
    except Exception:  # noqa: S110  the error that it is about is told
        pass
