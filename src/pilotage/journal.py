"""The append-only record of every outside thing that a run has created.

A thing is written down before it exists (`Journal.intend`), again with its id once it has one (`Journal.identify`),
and once more when it is gone (`Journal.ended`). So whatever ends a run, and whenever, another process can read what
may be left. How a thing is ended is not known here: each room supplies that for its kind.

One JSON object a line, written by one ``write`` and on the disk before the call returns. Several processes of one
host append to the same file.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

SCHEMA_VERSION = 1
KINDS = ("process", "batch_job", "provider_job", "pod", "tunnel", "remote_folder", "temporary_file", "part_files")
RESERVE = 64 << 10
"""Bytes kept on the disk from the start, so that what has ended can be told on a disk that has become full."""


class Entry(NamedTuple):
    """One thing that may be there still.

    ``what`` was known before it existed, ``id`` came with it (None: perhaps it never did). ``at`` is in seconds since
    the epoch.
    """

    key: str
    kind: str
    what: dict[str, Any]
    id: dict[str, Any] | None
    at: float


class Journal:
    """The journal of one run.

    Parameters
    ----------
    path: the file; its folder must be there.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._count = 0

    def create(self) -> None:
        """Make the file and the reserve beside it; raises OSError."""
        os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600))
        descriptor = os.open(self._reserve, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, b"\0" * RESERVE)
        finally:
            os.close(descriptor)
        _sync_folder(os.path.dirname(self.path))  # noqa: PTH120  pathlib is not worth its memory in the supervisor

    @property
    def _reserve(self) -> str:
        return self.path + ".reserve"

    def intend(self, kind: str, **what: Any) -> str:
        """Write down a thing that is about to be created; return its key. Raises OSError: then do not create it."""
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is none of {', '.join(KINDS)}")
        self._count += 1
        key = f"{os.getpid()}.{self._count}.{time.time_ns():x}"
        self._append({"key": key, "kind": kind, "what": what})
        return key

    def identify(self, key: str, **identity: Any) -> None:
        """Write down the id of a thing, now that it is there; raises OSError."""
        self._append({"key": key, "id": identity})

    def ended(self, key: str, how: str = "") -> None:
        """Write down that a thing is gone; raises OSError."""
        self._append({"key": key, "ended": how})

    def release_reserve(self) -> None:
        """Give the reserve's room back; later lines then find some on a full disk."""
        try:
            os.unlink(self._reserve)  # noqa: PTH108  as above
        except OSError:
            return

    def _append(self, record: Mapping[str, Any]) -> None:
        # A line begins with a line break of its own, so that a torn line before it spoils nothing.
        line = ("\n" + json.dumps({**record, "at": round(time.time(), 3)}) + "\n").encode()
        try:
            self._write(line)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not os.path.exists(self._reserve):  # noqa: PTH110
                raise
            self.release_reserve()
            self._write(line)

    def _write(self, line: bytes) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            if os.write(descriptor, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.path)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def open_entries(self) -> list[Entry]:
        """Return what may be there still, in the order of its creation; nothing where there is no journal."""
        found: dict[str, Entry] = {}
        for record in self._records():
            key = record["key"]
            if "kind" in record:
                found[key] = Entry(key, record["kind"], record.get("what", {}), None, record.get("at", 0.0))
            elif "ended" in record:
                found.pop(key, None)
            elif key in found:
                found[key] = found[key]._replace(id=record.get("id"))
        return list(found.values())

    def _records(self) -> list[dict[str, Any]]:
        try:
            with open(self.path, "rb") as file:
                lines = file.read().split(b"\n")
        except FileNotFoundError:
            return []
        records = []
        for line in lines:
            try:
                record = json.loads(line) if line else None
            except ValueError:  # torn by a full disk or a kill
                continue
            if isinstance(record, dict) and isinstance(record.get("key"), str):
                records.append(record)
        return records


current: Journal | None = None
"""The journal of the run that this process belongs to; None in a process that belongs to none."""


def run_id() -> str:
    """Return the id of this process's run, the name of the folder that its journal is in; empty without one."""
    return "" if current is None else os.path.basename(os.path.dirname(current.path))  # noqa: PTH119, PTH120


def job_name(given: str) -> str:
    """Return a name for a batch job that begins with the id of this process's run: by it the job is found again."""
    return f"pilotage-{run_id()}.{given}" if run_id() else given


def intend(kind: str, **what: Any) -> str:
    """Write down, in the journal of this process's run, what is about to be created; see `Journal.intend`."""
    return current.intend(kind, **what) if current is not None else ""


def identify(key: str, **identity: Any) -> None:
    """Write down the id of what `intend` returned the key of; raises OSError."""
    if current is not None and key:
        current.identify(key, **identity)


def ended(key: str, how: str = "") -> None:
    """Write down that a thing is gone. A disk that refuses is no error: a sweep finds out that it is gone."""
    if current is not None and key:
        try:
            current.ended(key, how)
        except OSError:
            return


def _sync_folder(path: str) -> None:
    descriptor = os.open(path or ".", os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:  # some network file systems have nothing to do here
        return
    finally:
        os.close(descriptor)
