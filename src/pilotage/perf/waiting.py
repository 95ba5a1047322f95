"""What MLflow has not been told yet: a folder for each record, with all that is to be sent.

An order is complete before it has its name, and is removed only when it was sent: nothing is lost, whatever dies in
between. It holds copies, since the run's folder, where logs and scripts come from, may be gone before that.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pilotage.errors import StorageError
from pilotage.paths import TrackingFolder, private_folder, storage, write_json
from pilotage.perf.logged import LoggedRun

STALE = 86400.0
"""Seconds after which what is half made is nobody's any more."""
LARGEST = 20 << 20
"""Bytes of a file that is sent along; of a larger one, a log, the end."""


@dataclass(frozen=True)
class Order:
    """A run that is to be logged.

    ``uri`` is the store that it is meant for, None: the default one. ``digest`` tells whether the same was sent.
    """

    id: str
    run: LoggedRun
    uri: str | None
    digest: str
    folder: Path

    @classmethod
    def read(cls, folder: Path) -> Order:
        """Return the order in a folder; raises StorageError."""
        path = folder / "order.json"
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            run = LoggedRun.model_validate(value["run"])
            return cls(str(value["id"]), run, value["uri"], str(value["digest"]), folder)
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise StorageError(f"cannot be read: {error}", where=str(path)) from error

    @property
    def files_folder(self) -> Path:
        """Where the files are that go with it."""
        return self.folder / "files"

    def files(self) -> list[Path]:
        """Return the files that go with it."""
        return sorted(path for path in self.files_folder.rglob("*") if path.is_file())

    def remove(self) -> None:
        """Remove it: it was sent. Raises StorageError."""
        with storage(self.folder):
            gone = self.folder.with_name(f".sent-{self.folder.name}-{os.urandom(4).hex()}")
            try:
                self.folder.rename(gone)
            except FileNotFoundError:  # a newer one stands in its place
                return
            shutil.rmtree(gone, ignore_errors=True)


def put(record: str, run: LoggedRun, uri: str | None, files: Mapping[str, Path | str | bytes]) -> Order:
    """Let a run wait; one of the same record that waits already is replaced. Raises StorageError.

    Parameters
    ----------
    record: the record's id.
    run: what is to be logged.
    uri: the store's address; None means the default.
    files: by the name that each is to have, with slashes; a text or bytes are a file's content.
    """
    waiting = private_folder(TrackingFolder.standard().waiting)
    partial = waiting / f".partial-{record}-{os.urandom(4).hex()}"
    with storage(waiting):
        _remove_stale(waiting)
        partial.mkdir(mode=0o700)
        try:
            digest = hashlib.blake2b(run.model_dump_json().encode(), digest_size=16)
            for name, source in sorted(files.items()):
                content = _content(source)
                digest.update(name.encode() + b"\0" + content)
                target = partial / "files" / name
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                target.write_bytes(content)
            value = {"id": record, "uri": uri, "digest": digest.hexdigest(), "run": run.model_dump(mode="json")}
            write_json(partial / "order.json", value)
            # What another process is just sending keeps its own folder: it removes that one and not this.
            folder = waiting / f"{record}.{digest.hexdigest()[:8]}"
            if not folder.exists():
                partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        for other in waiting.glob(f"{record}.*"):
            if other.name.rpartition(".")[0] == record and other != folder:
                shutil.rmtree(other, ignore_errors=True)
    return Order.read(folder)


def _remove_stale(waiting: Path) -> None:
    """Remove what a process that was killed has left half made or half removed."""
    for path in waiting.glob(".*"):
        if time.time() - path.lstat().st_mtime > STALE:
            shutil.rmtree(path, ignore_errors=True)


def _content(source: Path | str | bytes) -> bytes:
    if isinstance(source, bytes):
        return source
    if isinstance(source, str):
        return source.encode()
    path = source
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > LARGEST:
            file.seek(size - LARGEST)
        return file.read(LARGEST)


def orders() -> list[Order]:
    """Return what waits, the oldest record first; what cannot be read is passed over, and stays."""
    folder = TrackingFolder.standard().waiting
    found = []
    try:
        names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(f"cannot be read: {error.strerror}", where=str(folder)) from error
    for name in names:
        try:
            found.append(Order.read(folder / name))
        except StorageError:
            continue
    return found
