"""Each record goes to MLflow: at once where its store answers, later where it does not.

What is to be sent is on the disk first (`pilotage.perf.waiting`), and stays there until the store has all of it.
Without an address the store is a SQLite file of the user's own: there is nothing to start.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from pilotage import __version__
from pilotage.errors import PilotageError, StorageError, UsageError
from pilotage.paths import TrackingFolder, private_folder, storage_error
from pilotage.perf import folder as folders
from pilotage.perf import mlflow_child, waiting
from pilotage.perf.logged import RECORD_FILE
from pilotage.perf.record import Record
from pilotage.perf.to_mlflow import run_of

EXPERIMENT = "parsl-perf"
"""Name of the experiment, unless ``MLFLOW_EXPERIMENT_NAME`` gives another."""
START = 45
"""Seconds for MLflow to be imported, and to make a new store's tables."""
EACH = 15
"""Seconds for a record."""
QUIET = 300.0
"""Seconds after a failure in which only `perf sync` tries a store again: others are not to wait for it once more."""

Say = Callable[[str], None]


@dataclass
class Sent:
    """What came of an attempt: ids by outcome, and a sentence about each problem."""

    sent: list[str] = field(default_factory=list)
    there: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def address(given: str | None = None) -> str | None:
    """Return the store's address that is meant: the one given, else ``MLFLOW_TRACKING_URI``; None is the default store.

    Raises UsageError for one that is none of MLflow's.
    """
    if given and "@" in _host(given):
        raise UsageError(
            "an address with a password would be seen by others",
            where="--tracking-uri",
            hint="set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
        )
    uri = given or os.environ.get("MLFLOW_TRACKING_URI") or None
    if uri is None or uri.startswith("databricks"):
        return uri
    if uri.startswith("sqlite:///"):  # a file of the current folder is that file from wherever it is sent
        return f"sqlite:///{Path(uri.removeprefix('sqlite:///')).absolute()}"
    if "://" in uri and not uri.startswith(("file:", "sqlite:")) and _host(uri):
        return uri
    raise UsageError(
        f"{uri!r} is no address of an MLflow store",
        hint="http://HOST:PORT, or sqlite:////ABSOLUTE/FILE; folders of files are for `pilotage perf import`",
    )


def _host(uri: str) -> str:
    """Return the host that an address names, with all that stands before and behind it; nothing where it names none."""
    try:
        return urlsplit(uri).netloc
    except ValueError:  # brackets
        return ""


def store(uri: str | None) -> str:
    """Return the address of a store; of the default one where there is none."""
    return uri or f"sqlite:///{TrackingFolder.standard().database}"


def track(record: Record, files: Mapping[str, Path | str | bytes], *, uri: str | None = None, say: Say) -> Sent:
    """Keep a record for MLflow and send it, with whatever still waits; an absent MLflow or server is no error.

    Parameters
    ----------
    record: it is on the disk already.
    files: what goes with it (config, rendered script, logs), by the name that each is to have; a text is a content.
    uri: the store that was asked for; see `address`.
    say: told where records wait.
    """
    try:
        keep(record, files, uri)
    except PilotageError as error:
        say(f"warning: MLflow is not told of record {record.id}: {error.message}; `pilotage perf sync FILE` tells it")
        return Sent(problems=[str(error)])
    return send_and_tell(say)


def send_and_tell(say: Say) -> Sent:
    """Send what waits, and say what could not be sent."""
    try:
        sent = send(say=say)
    except PilotageError as error:
        say(f"warning: {error.message}")
        return Sent(problems=[str(error)])
    for problem in sent.problems:
        say(f"warning: {problem}")
    if sent.waiting:
        say(f"{_count(sent.waiting)} for MLflow: the next benchmark sends them, or `pilotage perf sync`")
    return sent


def _count(ids: Sequence[str]) -> str:
    return "1 record waits" if len(ids) == 1 else f"{len(ids)} records wait"


def keep(record: Record, files: Mapping[str, Path | str | bytes], uri: str | None) -> waiting.Order:
    """Let a record wait until it is sent; raises StorageError."""
    experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    run = run_of(record, experiment, __version__)
    return waiting.put(record.id, run, address(uri), {**files, RECORD_FILE: record.to_json()})


def keep_files(paths: Sequence[Path], uri: str | None) -> list[str]:
    """Let the records of files and folders wait, with the configs that lie beside them; return what cannot be read."""
    found = folders.read_all(paths)
    for path, record in found.records.items():
        config = folders.config_beside(path, record)
        keep(record, {config.name: config} if config.is_file() else {}, uri)
    return found.problems


def send(*, uri: str | None = None, insist: bool = False, say: Say = lambda _words: None) -> Sent:
    """Send what waits, each record to the store that it is meant for; what cannot be sent waits on.

    Parameters
    ----------
    uri: send all of it there instead.
    insist: also to a store that failed a moment ago, and raise MissingExtraError where MLflow is not installed.
    say: told what it waits for.
    """
    result = Sent()
    by_store: dict[str, list[waiting.Order]] = {}
    for order in waiting.orders():
        by_store.setdefault(store(uri or order.uri), []).append(order)
    for place, orders in by_store.items():
        if insist:
            mlflow_child.require(place)
        if packages := mlflow_child.missing(place):
            result.problems.append(f"MLflow ({', '.join(packages)}) is not installed: pip install 'pilotage[mlflow]'")
        elif insist or not _failed_just_now(place):
            with _lock(say):
                _send_to(place, orders, result, say)
    left = {order.id for order in waiting.orders()}
    result.waiting = sorted(left)
    return result


def _send_to(place: str, orders: Sequence[waiting.Order], result: Sent, say: Say) -> None:
    own = place == store(None)
    if not own or not TrackingFolder.standard().database.exists():
        say(f"sending {len(orders)} to MLflow at {mlflow_child.shown(place)}")
    by_folder = {str(order.folder): order for order in orders if order.folder.is_dir()}  # another may have sent it
    request = {
        "uri": place,
        "own": own and TrackingFolder.standard().database.exists(),
        "artifacts": str(TrackingFolder.standard().artifacts) if own else None,
        "folders": list(by_folder),
    }
    failed = ""
    try:
        _check_file(place)
        for answer in mlflow_child.ask("mlflow_sender", request, START + EACH * len(by_folder)):
            order, outcome = by_folder[answer["folder"]], answer["outcome"]
            if outcome == "failed":
                failed = failed or answer["words"]
                result.problems.append(f"record {order.id}: {mlflow_child.shown(place)}: {answer['words']}")
                continue
            if answer["words"]:
                result.problems.append(f"record {order.id}: {answer['words']}")
            {"sent": result.sent, "was there": result.there}.get(outcome, result.deleted).append(order.id)
            order.remove()
    except mlflow_child.TrackingError as error:
        failed = error.message
        result.problems.append(str(error))
    _note(place, failed)


def _check_file(place: str) -> None:
    """Raise TrackingError where a SQLite file cannot be there: MLflow would try for a minute."""
    if not place.startswith("sqlite:///"):
        return
    path = Path(place.removeprefix("sqlite:///"))
    if path.is_dir():
        raise mlflow_child.TrackingError("a folder stands where the database is to be", where=str(path))
    if not path.parent.is_dir():
        raise mlflow_child.TrackingError("there is no such folder", where=str(path.parent))


def _note(place: str, failed: str) -> None:
    """Note that a store has failed just now, or has not."""
    mark = _mark(place)
    try:
        if failed:
            mark.write_text(failed)
        else:
            mark.unlink(missing_ok=True)
    except OSError:  # the next command waits once more
        return


def _mark(place: str) -> Path:
    import hashlib

    return TrackingFolder.standard().path / f"away-{hashlib.blake2b(place.encode(), digest_size=8).hexdigest()}"


def _failed_just_now(place: str) -> bool:
    try:
        return 0 <= time.time() - _mark(place).stat().st_mtime < QUIET
    except OSError:
        return False


@contextlib.contextmanager
def _lock(say: Say) -> Iterator[None]:
    """Let one process of this host send at a time."""
    folder = TrackingFolder.standard()
    private_folder(folder.path)
    try:
        descriptor = os.open(folder.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise storage_error(folder.lock, error) from error
    try:
        with contextlib.suppress(OSError):  # a file system without locks: the store itself is asked before and after
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("waiting for another process that sends to MLflow")
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def forget(ids: Sequence[str]) -> None:
    """Let records wait no longer; raises StorageError for one that does not wait."""
    by_id = {order.id: order for order in waiting.orders()}
    for one in ids:
        if one not in by_id:
            raise StorageError(f"no record {one!r} waits", hint="pilotage perf sync --dry-run lists them")
    for one in ids:
        by_id[one].remove()
