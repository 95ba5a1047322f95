"""One file for a bug report: what a run wrote, and where it ran, without secrets.

Files are chosen by name, so that certificates, results and whatever a script has put into the folder stay out.
"""

from __future__ import annotations

import importlib.metadata
import io
import os
import stat
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pilotage.errors import PilotageError, UsageError
from pilotage.paths import RunFolder, storage
from pilotage.redaction import redact, redact_file
from pilotage.runs.details import details, versions
from pilotage.runs.task_output import block_files, driver_files, worker_files
from pilotage.runs.text import full

TAIL = 5 << 20
"""Bytes of a file that are kept, its last ones."""
MOST = 200 << 20
"""Bytes of all files together, before they are compressed; what is beyond is named, not kept."""
OWN = (
    "run.json",
    "order.json",
    "supervisor.json",
    "events.jsonl",
    "journal.jsonl",
    "progress.json",
    "failures.json",
    "versions.json",
    "error.json",
    "request.json",
    "driver.log",
    "supervisor.log",
)


class Bundle(NamedTuple):
    """What came of it: the file, its bytes, the files in it, and the secrets that were removed from them."""

    file: Path
    size: int
    files: int
    secrets: int

    def as_dict(self) -> dict[str, Any]:
        """Return the shape of ``pilotage bundle --json``."""
        return {"file": str(self.file), "bytes": self.size, "files": self.files, "secrets_removed": self.secrets}


def bundle(folder: RunFolder, target: Path | None = None, *, force: bool = False) -> Bundle:
    """Write the bundle of a run, 0600; a run whose record cannot be read has one too.

    Parameters
    ----------
    folder: the run's.
    target: the file, or a folder to put it in; ``pilotage-ID.tar.gz`` in the current folder by default.
    force: replace a file that is there.

    Raises UsageError where there is such a file, StorageError where it cannot be written.
    """
    name = f"pilotage-{folder.id}"
    path = (target or Path()).absolute()
    if path.is_dir():
        path = path / f"{name}.tar.gz"
    taken = UsageError("there is such a file", where=str(path), hint="--force replaces it; -o FILE names another")
    if not force and os.path.lexists(path):
        raise taken
    partial = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    with storage(path):
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                files, secrets = _write(folder, file, name)
            if force:
                partial.replace(path)
            else:
                _put(partial, path)
        except FileExistsError as error:
            raise taken from error
        finally:
            partial.unlink(missing_ok=True)
        return Bundle(path, path.stat().st_size, files, secrets)


def _put(partial: Path, path: Path) -> None:
    """Give a file its name, without ever replacing another's."""
    try:
        os.link(partial, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        partial.replace(path)


def _write(folder: RunFolder, file: Any, name: str) -> tuple[int, int]:
    files = secrets = size = 0
    left_out = []
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for path in _paths(folder):
            found = _tail(path)
            if found is None:
                continue
            text, modified = found
            if size + len(text) > MOST:
                left_out.append(str(path.relative_to(folder.path)))
                continue
            text, removed = redact_file(path.name, text)
            size += _add(archive, f"{name}/{path.relative_to(folder.path)}", text, modified)
            files, secrets = files + 1, secrets + removed
        text, removed = redact(about(folder, left_out))
        _add(archive, f"{name}/about.txt", text, time.time())
    return files + 1, secrets + removed


def _paths(folder: RunFolder) -> Iterator[Path]:
    yield from (folder.path / name for name in OWN)
    yield from (log.path for log in driver_files(folder.parsl))
    yield from (log.path for log in block_files(folder.parsl))
    yield from (log.path for log in worker_files(folder.parsl))


def _tail(path: Path) -> tuple[str, float] | None:
    """Return the last part of a file, in whole lines, and when it was written; None where it is no file to be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return None
        try:
            file.seek(max(0, status.st_size - TAIL))
            data = file.read(TAIL)
        except OSError:
            return None
    if status.st_size > TAIL:  # what a secret is known by may stand in the part of a line that is cut off
        data = data.partition(b"\n")[2]
    return data.decode(errors="surrogateescape"), status.st_mtime


def _add(archive: tarfile.TarFile, name: str, text: str, modified: float) -> int:
    data = text.encode(errors="surrogateescape")
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(data), 0o600, int(modified)
    archive.addfile(info, io.BytesIO(data))
    return len(data)


def about(folder: RunFolder, left_out: list[str]) -> str:
    """Return what ``pilotage show`` says of a run, and the machine that this is."""
    try:
        told = full(details(folder))
    except PilotageError as error:
        told = f"error: {error}"
    except Exception as error:  # a record that is no record is what the report may be about
        told = f"the run cannot be shown: {type(error).__name__}: {error}"
    machine = [f"  {name} {version}" for name, version in versions().items()]
    machine.append(f"  cores {os.cpu_count()}")
    packages = {f"  {found.name} {found.version}" for found in importlib.metadata.distributions() if found.name}
    parts = [told, "", "the machine that this bundle was made on", *machine]
    parts += ["", "installed packages", *sorted(packages, key=str.lower)]
    if left_out:
        parts += ["", f"left out, to stay below {MOST >> 20} MiB", *(f"  {name}" for name in left_out)]
    return "\n".join(parts) + "\n"
