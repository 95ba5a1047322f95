"""Every path that pilotage reads configuration from or writes to.

Configuration follows the XDG base directory specification; the state folder holds one folder a run.
Folders of ours are 0700 and files 0600: they hold certificates and arguments that are nobody else's business.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pilotage.errors import StorageError

FILE_NAME = "pilotage.toml"
"""Name of a site file in every place where one is looked for."""


def home() -> Path:
    """Return the user's home folder; raises StorageError where the account has none."""
    try:
        return Path.home()
    except RuntimeError as error:
        raise StorageError("the home folder is unknown", hint="set HOME") from error


def system_site_files() -> list[Path]:
    """Return the centre's site files, lowest precedence first (``$XDG_CONFIG_DIRS``, else ``/etc/xdg``)."""
    folders = os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    # The specification lists the most important folder first.
    return [Path(folder) / "pilotage" / FILE_NAME for folder in reversed(folders.split(":")) if folder]


def user_site_file() -> Path:
    """Return the user's site file (``$XDG_CONFIG_HOME``, else ``~/.config``)."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else home() / ".config") / "pilotage" / FILE_NAME


def project_site_file(start: Path) -> Path | None:
    """Return the nearest ``pilotage.toml`` in ``start`` or a folder above it, or None."""
    start = start.absolute()
    for folder in (start, *start.parents):
        candidate = folder / FILE_NAME
        try:
            if candidate.is_file():
                return candidate
        except OSError:  # a folder that may not be entered holds no project of ours
            continue
    return None


def state_folder() -> Path:
    """Return the folder of all runs: ``$PILOTAGE_STATE``, ``$XDG_STATE_HOME/pilotage`` or the default."""
    own = os.environ.get("PILOTAGE_STATE")
    if own:
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else home() / ".local" / "state") / "pilotage"


def cache_folder() -> Path:
    """Return the folder of what can be fetched again: ``$XDG_CACHE_HOME/pilotage`` or the default."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else home() / ".cache") / "pilotage"


def clusters_folder() -> Path:
    """Return the folder of this machine's clusters, which are root's: ``$PILOTAGE_CLUSTERS`` or the default."""
    return Path(os.environ.get("PILOTAGE_CLUSTERS") or "/var/lib/pilotage").absolute()


def expanded(path: str) -> Path:
    """Return a path with the home folder in the place of ``~``; that of somebody who is not known stays."""
    return Path(os.path.expanduser(path))  # noqa: PTH111  pathlib raises there


@contextmanager
def storage(path: Path | str) -> Iterator[None]:
    """Turn an OSError inside the block into a StorageError that names ``path``."""
    try:
        yield
    except OSError as error:
        raise storage_error(path, error) from error


def storage_error(path: Path | str, error: OSError) -> StorageError:
    """Return the StorageError for an OSError, with a hint that fits its number and whose folder ``path`` is in."""
    use = "set PILOTAGE_STATE to" if Path(path).absolute().is_relative_to(state_folder()) else "use"
    hints = {
        errno.ENOSPC: f"the disk is full: make room, or {use} a folder on another disk",
        errno.EDQUOT: f"your quota is used up: make room, or {use} another file system",
        errno.EACCES: f"{use} a folder that you may write to",
        errno.EPERM: f"{use} a folder that you may write to",
        errno.ENOENT: f"{use} a folder that can be made",
        errno.EROFS: f"the file system is read-only: {use} a folder that you may write to",
        errno.ENOTDIR: f"a file stands where a folder is needed: {use} another folder",
        errno.EEXIST: f"a file stands where a folder is needed: {use} another folder",
    }
    reason = error.strerror or str(error)
    return StorageError(f"cannot write: {reason}", where=str(error.filename or path), hint=hints.get(error.errno or 0))


def check_can_be_made(folder: Path) -> None:
    """Raise StorageError where ``folder`` is none that can be written to, nor could be made."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return
    number = errno.EACCES if there.is_dir() else errno.ENOTDIR
    if os.statvfs(there).f_flag & os.ST_RDONLY:
        number = errno.EROFS
    raise storage_error(folder, OSError(number, os.strerror(number), str(there)))


def private_folder(path: Path) -> Path:
    """Create ``path`` (0700, parents too) unless it is there; return it. Raises StorageError."""
    with storage(path):
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir(mode=0o700, exist_ok=True)
    return path


def write_atomically(path: Path, content: str | bytes, mode: int = 0o600) -> None:
    """Replace ``path`` by ``content`` so that a reader sees the old or the new content, never a part.

    A link stays one: what it leads to is replaced. Raises OSError; nothing is left behind then.
    """
    path = path.resolve()
    partial = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(content.encode() if isinstance(content, str) else content)
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # what cannot be written is told of by the name that it has for others
        raise


def write_json(path: Path, value: Any) -> None:
    """Replace ``path`` by ``value`` as JSON, atomically. Raises OSError."""
    write_atomically(path, json.dumps(value, indent=1, default=str) + "\n")


def write_user_file(path: str, text: str, *, replace: bool = False) -> None:
    """Write a file that a user named, with the permissions of any new file; raises StorageError.

    A regular file that is there is replaced only where ``replace`` says so.
    """
    if not replace and Path(path).is_file():
        raise StorageError("there is such a file already", where=path, hint="--force replaces it")
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write: {error.strerror}", where=path) from error


def new_id(letters: int = 4) -> str:
    """Return a run id that sorts by time (UTC) and is unlikely to be taken: ``20261121-101500-k7d2``."""
    alphabet = "abcdefghjkmnpqrstuvwxyz23456789"  # no letters that are read as digits
    chosen = "".join(alphabet[byte % len(alphabet)] for byte in os.urandom(letters))
    return time.strftime("%Y%m%d-%H%M%S-", time.gmtime()) + chosen


class TrackingFolder(NamedTuple):
    """The folder of what MLflow is told of benchmarks, and the name of everything in it."""

    path: Path

    @classmethod
    def standard(cls) -> TrackingFolder:
        """Return the user's; nothing is made."""
        return cls(state_folder() / "tracking")

    @property
    def database(self) -> Path:
        """The default store."""
        return self.path / "mlflow.db"

    @property
    def artifacts(self) -> Path:
        """The default store's artefacts."""
        return self.path / "artifacts"

    @property
    def waiting(self) -> Path:
        """A folder for each record that has not been sent."""
        return self.path / "waiting"

    @property
    def lock(self) -> Path:
        """Held by whoever sends."""
        return self.path / "lock"

    @property
    def temporary(self) -> Path:
        """A folder for each process with MLflow in it, which leaves things in folders for temporary files."""
        return self.path / "tmp"

    @property
    def pages(self) -> Path:
        """A folder for each of MLflow's pages that is up."""
        return self.path / "pages"


def check_folder() -> Path:
    """Make a folder for what a check writes, 0700, where the runs are; no run is called so. Raises StorageError."""
    path = private_folder(state_folder() / "runs") / f".check-{new_id(8)}"
    with storage(path):
        path.mkdir(mode=0o700)
    return path


class RunFolder(NamedTuple):
    """The folder of one run, and the name of everything in it."""

    path: Path

    @classmethod
    def create(cls) -> RunFolder:
        """Make the folder of a new run, 0700. Raises StorageError."""
        runs = private_folder(state_folder() / "runs")
        while True:
            path = runs / new_id()
            with storage(path):
                try:
                    path.mkdir(mode=0o700)
                except FileExistsError:
                    if runs.is_dir():  # the id is taken by a run that started in the same second
                        continue
                    raise
            return cls(path)

    @classmethod
    def to_come(cls) -> RunFolder:
        """Return a folder that whoever needs it makes, in a 0700 one. Raises StorageError where none can be made."""
        runs = private_folder(state_folder() / "runs")
        if not os.access(runs, os.W_OK | os.X_OK):
            raise storage_error(runs, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
        return cls(runs / new_id(8))  # nobody holds the name, so it must be no other's

    @property
    def id(self) -> str:
        """The run's id."""
        return self.path.name

    @property
    def record(self) -> Path:
        """The run's small record, replaced atomically."""
        return self.path / "run.json"

    @property
    def order(self) -> Path:
        """What the driver is told to run: script, arguments, sites."""
        return self.path / "order.json"

    @property
    def progress(self) -> Path:
        """The newest sample of the run's progress."""
        return self.path / "progress.json"

    @property
    def parsl(self) -> Path:
        """Parsl's ``run_dir``."""
        return self.path / "parsl"

    @property
    def journal(self) -> Path:
        """What the run created outside, see `pilotage.journal`."""
        return self.path / "journal.jsonl"

    @property
    def events(self) -> Path:
        """What happened, see `pilotage.events`."""
        return self.path / "events.jsonl"

    @property
    def steps(self) -> Path:
        """What is being done now, see `pilotage.steps`."""
        return self.path / "steps.json"

    @property
    def output(self) -> Path:
        """What the script wrote on its stdout and stderr."""
        return self.path / "driver.log"

    @property
    def supervisor_log(self) -> Path:
        """What the supervisor had to say of itself."""
        return self.path / "supervisor.log"

    @property
    def heartbeat(self) -> Path:
        """A file whose time of change says when the run's owner was last alive."""
        return self.path / "heartbeat"

    @property
    def request(self) -> Path:
        """What another host asks the run's owner for."""
        return self.path / "request.json"

    @property
    def socket(self) -> Path:
        """Where the supervisor listens for views."""
        return self.path / "view.sock"

    @property
    def checkpoint(self) -> Path:
        """Results of finished calls, which `pilotage resume` reuses."""
        return self.path / "checkpoint"
