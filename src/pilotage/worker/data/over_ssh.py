"""Files and folders of a host that ssh reaches, by the ``sh``, ``cat`` and ``tar`` that are there.

What is written has a name that nobody looks for until all of it has come, and is given its own by the command that
wrote it. Paths go there as escapes, so that no shell sees anything in them.
"""

from __future__ import annotations

import io
import os
import re
import secrets
import stat
import threading
from collections.abc import Iterable, Mapping
from typing import Any

from pilotage.errors import BrokenTransferError, DataError, UsageError
from pilotage.worker.data import tar_streams
from pilotage.worker.data.base import FILE, FOLDER, LINK, Entry, Meter
from pilotage.worker.data.files import beside
from pilotage.worker.data.places import Place, shown
from pilotage.worker.data.ssh_connection import Connection
from pilotage.worker.data.ssh_shell import PIECE, Session

LARGE = 8 << 20
"""Bytes from which on a file is worth a shell of its own, for ``cat`` copies faster than ``head``."""
# Scripts run in a subshell of a POSIX shell; `$x` is what `d` decodes, `$p` what `at` does. No word is used undecoded.
INTO = 'into() { cd -- "$1" 2>/dev/null || { ls -d -- "$1/." >/dev/null; exit 1; }; }; '
"""Go into a folder; unlike ``cd``, ``ls`` says in the same words everywhere why that cannot be."""
NEW = (
    'at "$1"; to=$p; at "$2"; new=$p; shift 2; end() { rm -rf -- "$new"; }; trap end EXIT; trap "exit 1" HUP INT TERM; '
    'mkdir -p -- "${to%/*}/" || exit; '
    'place() { mv -fT -- "$1" "$2" 2>/dev/null && return; '
    '[ -d "$2" ] && { echo "$2: Is a directory" >&2; return 1; }; mv -f -- "$1" "$2"; }; '
)
"""Begin what is written: the place itself is ``$to``, the name until it is whole ``$new``. Not every mv knows -T."""
GNU_STAT, BSD_STAT = '-c "{}%f %s %Y %y/{}"', '-f "{}%Xp %z %m %Fm/{}"'
LOOK = 'at "$1"; stat -L STAT -- "$p"'
WALK = INTO + (
    'at "$1"; into "$p"; find . -exec stat STAT {} + || exit; d "$2"; find . -type l -exec sh -c "$x" sh "$3" {} +'
)
LINKS = 'mark=$1; shift; for one do printf "%s link/%s%s to/" "$mark" "$one" "$mark"; readlink "$one" || exit; done'
GET = 'at "$1"; cat "$p"'
PUT = NEW + (
    'if [ "$3" = all ]; then cat >"$new"; else head -c "$1" >"$new"; fi || exit; n=$(($(wc -c <"$new"))); '
    '[ $n -eq "$1" ] || { echo "$n bytes have come of $1" >&2; exit 1; }; '
    'chmod $(printf %o $((0$2 & ~$(umask)))) "$new" && place "$new" "$to"'
)
GET_FOLDER = INTO + 'at "$1"; into "$p"; exec tar -cf - .'
PUT_FOLDER = NEW + (
    'mkdir "$new" && tar -xpomf - -C "$new" || exit; '
    '[ -e "$new/whole" ] || { echo "not all bytes have come" >&2; exit 1; }; '
    '[ -e "$to" ] || mv -T "$new/it" "$to" 2>/dev/null || [ -e "$to" ] || mv "$new/it" "$to" || exit; '
    '[ -d "$new/it" ] || exit 0; [ -d "$to" ] || { echo "$to: Not a directory" >&2; exit 1; }; cd "$new/it" || exit; '
    'd "$2"; move=$x; export to move; d "$1"; find . -type d -exec sh -c "$x" sh {} +'
)
MERGE = (
    'b="{"; for one do into=$to/$one/; export into; mkdir -p -- "$into" || exit; '
    'find "$one" -maxdepth 1 "(" -type f -o -type l ")" -exec sh -c "$move" sh "$b}" + || exit; done'
)
"""For each folder of what has come: make it, and move into it what is not a folder. What find runs may have one pair of
braces, wherever they are."""
MOVE = 'exec mv -f -- "$@" "$into"'
MAKE_FOLDER = 'at "$1"; mkdir -p -- "$p"'
MAKE_LINK = NEW + 'd "$1"; ln -s -- "$x" "$new" && place "$new" "$to"'
REMOVE = 'at "$1"; rm -rf -- "$p"'

_connections: dict[tuple[str, float, tuple[str, ...]], tuple[Connection, int]] = {}
_lock = threading.Lock()


class OverSSH:
    """The `Store` of a host that is reached by ssh; all stores of a process share one connection to it.

    Options: ``silence`` (seconds, 60), and ``config``, an ssh_config in the place of the user's.
    """

    keeps_links = True
    keeps_modes = True
    at_once = 4

    def __init__(self, place: Place, options: Mapping[str, Any]) -> None:
        self._url = shown(f"{place.url.partition(':')[0]}://{place.host}")
        config = ("-F", str(options["config"])) if "config" in options else ()
        self._key = (place.host, float(options.get("silence", 60)), config)
        with _lock:
            known, users = _connections.get(self._key, (None, 0))
            self._connection = known or Connection(place.host, self._url, self._key[1], self._key[2])
            _connections[self._key] = self._connection, users + 1

    def look(self, path: str) -> Entry:
        """See `Store.look`."""
        said = self._run(self._stat(LOOK, "", ""), path)
        return _entry(said.decode(errors="replace").partition("/")[0], "", self._of(path))

    def walk(self, path: str) -> Iterable[Entry]:
        """See `Store.walk`."""
        mark = secrets.token_hex(8)
        with self._session(path, self._stat(WALK, "$3 ", "%n"), LINKS, mark) as session:
            said = os.fsdecode(session.result())
        entries: dict[str, Entry] = {}
        link = ""
        for record in said.split(mark)[1:]:
            fields, _, name = record.lstrip(" ").partition("/")
            if fields == "link":
                link = name.removeprefix("./")
            elif fields == "to":
                entries[link] = Entry(link, LINK, target=name.removesuffix("\n"))
            elif (name := name.removesuffix("\n")) != ".":
                name = name.removeprefix("./")
                entries[name] = _entry(fields, name, f"{self._of(path)}/{name}")
        return entries.values()

    def get(self, path: str, entry: Entry, target: str, meter: Meter) -> None:  # noqa: ARG002
        """See `Store.get`."""
        with open(target, "xb", buffering=0) as file, self._session(path, GET) as session:
            while piece := session.read():
                _write(file, piece)
                meter.add(len(piece))
            session.result()

    def put(self, source: str, path: str, entry: Entry, meter: Meter) -> None:  # noqa: ARG002
        """See `Store.put`; its mode is kept, but for what the far side's umask takes away."""
        path = _clean(path)
        with open(source, "rb", buffering=0) as file:
            known = os.fstat(file.fileno())
            is_large = known.st_size > LARGE
            words = (beside(path), str(known.st_size), f"{known.st_mode & 0o777:o}", "all" if is_large else "")
            with self._session(path, PUT, *words, reads=True) as session:
                while piece := file.read(PIECE):
                    session.write(piece)
                    meter.add(len(piece))
                if is_large or file.tell() < known.st_size:
                    session.end_input()
                session.result()

    def get_folder(self, path: str, target: str, meter: Meter) -> None:
        """See `WholeFolders.get_folder`."""
        with self._session(path, GET_FOLDER) as session:
            try:
                tar_streams.unpack(session, target, meter, self._of(path))
            except BrokenTransferError:
                session.result()  # which knows better why, if it is not the archive
                raise
            session.result()
            if "socket ignored" in (said := session.warnings()):
                raise DataError(f"it cannot be copied: {said.strip()}", where=self._of(path))

    def put_folder(self, source: str, path: str, meter: Meter) -> None:
        """See `WholeFolders.put_folder`."""
        path = _clean(path)
        with self._session(path, PUT_FOLDER, beside(path), MERGE, MOVE, reads=True) as session:
            tar_streams.pack(source, "it", "whole", session.write, meter)
            session.end_input()
            session.result()

    def make_folder(self, path: str) -> None:
        """See `Store.make_folder`."""
        self._run(MAKE_FOLDER, path)

    def make_link(self, path: str, target: str) -> None:
        """See `Store.make_link`."""
        self._run(MAKE_LINK, path, beside(_clean(path)), target)

    def remove(self, path: str) -> None:
        """See `Store.remove`."""
        if _clean(path) in ("/", "~"):
            raise UsageError("that is not removed as a whole", where=self._of(path))
        self._run(REMOVE, path)

    def close(self) -> None:
        """See `Store.close`; the last store of a host ends its connection."""
        with _lock:
            known, users = _connections.pop(self._key, (None, 0))
            if known is not None and users > 1:
                _connections[self._key] = known, users - 1
                return
        if known is not None:
            known.close()

    def _run(self, script: str, path: str, *words: str) -> bytes:
        return self._connection.run(self._of(path), script, _clean(path), *words)

    def _session(self, path: str, script: str, *words: str, reads: bool = False) -> Session:
        return self._connection.session(self._of(path), script, _clean(path), *words, reads=reads)

    def _stat(self, script: str, before: str, name: str) -> str:
        """Let a script ask the ``stat`` that is there."""
        gnu = self._connection.has_gnu_stat
        return script.replace("STAT", (GNU_STAT if gnu else BSD_STAT).format(before, name if gnu else name.upper()))

    def _of(self, path: str) -> str:
        return f"{self._url}{'' if path.startswith('/') else '/'}{path}"


def _clean(path: str) -> str:
    """Return a path as scripts want it, which begins with a slash or ``~/``. Raises UsageError for another."""
    path = path.rstrip("/") or "/"
    if path.startswith("/") or path == "~" or path.startswith("~/"):
        return path
    raise UsageError(f"{path} is a path that is not absolute", hint="such as ssh://host/path, or ssh://host/~/path")


def _entry(fields: str, path: str, url: str) -> Entry:
    """Return what a line of ``stat`` says; raises DataError for what is no file, folder or link."""
    parts = fields.split()
    try:
        mode, size, when = int(parts[0], 16), int(parts[1]), parts[2]
    except (IndexError, ValueError) as error:
        raise DataError(
            f"stat says {fields!r} of it", where=url, hint="GNU's, busybox's or a BSD's is needed"
        ) from error
    if stat.S_ISDIR(mode):
        return Entry(path, FOLDER)
    if stat.S_ISLNK(mode):
        return Entry(path, LINK)
    if not stat.S_ISREG(mode):
        raise DataError("it is no file, folder or link, and cannot be copied", where=url)
    finer = re.search(r"\.\d+", fields)
    return Entry(path, FILE, size, f"{size}-{when}{finer[0] if finer else ''}", executable=bool(mode & 0o100))


def _write(file: io.FileIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
