"""MLflow's own page over a store, on this machine alone, as long as somebody waits for it.

Each page has a folder, with a journal: what a page has left whose starter *and* guard were killed is ended by the next
command (`sweep`).
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

from pilotage.errors import PilotageError
from pilotage.journal import Journal
from pilotage.paths import TrackingFolder, new_id, private_folder, storage, write_json
from pilotage.perf import kept, mlflow_child, page_environment
from pilotage.perf.page_environment import PageError
from pilotage.runs import ending
from pilotage.runs.record import owner_is, read_json
from pilotage.worker import processes

HOST = "127.0.0.1"
READY = 180.0
"""Seconds in which it answers; 10 on an idle machine, much more where Python has to compile all of MLflow first."""
LOOK = 0.1
TELL = 10.0
"""Seconds between two words that it is still waited for."""
TRIES = 5
"""Ports that are tried: another program may take one between the choice and the start."""
TAG = "PILOTAGE_PAGE"
SWITCHES = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # else 30 s more, and workers that outlive it
TAKEN = "address already in use"

Say = Callable[[str], None]


class Page(NamedTuple):
    """A page that answers."""

    url: str
    process: subprocess.Popen[str]
    log: Path

    def wait(self) -> None:
        """Wait until it ends by itself, which raises PageError."""
        self.process.wait()
        raise PageError(f"MLflow's page has ended by itself: {_end_of(self.log)}", where=self.url)


@contextmanager
def page(store: str, *, port: int | None, say: Say) -> Iterator[Page]:
    """Show a store; yield the page once it answers, and leave nothing.

    Parameters
    ----------
    store: its address: a database, or a folder of files.
    port: None chooses a free one.
    say: told what is waited for.

    Raises PageError, StorageError.
    """
    if port is not None and not _is_free(port):
        raise _taken(port)
    interpreter = page_environment.python(say)
    folder = private_folder(TrackingFolder.standard().pages) / new_id(8)
    with storage(folder):
        folder.mkdir(mode=0o700)
        write_json(folder / "page.json", {"owner": processes.identity(os.getpid()), "store": mlflow_child.shown(store)})
        journal = Journal(folder / "journal.jsonl")
        journal.create()
    try:
        for attempt in range(TRIES):
            chosen = port or _free_port()
            key = journal.intend("process", role="MLflow's page", host=processes.host())
            guard = _start(interpreter, store, chosen, folder)
            journal.identify(key, **processes.identity(guard.pid))
            try:
                _wait(guard, chosen, folder / "server.log", say)
                yield Page(f"http://{HOST}:{chosen}", guard, folder / "server.log")
                return
            except _TakenError as error:
                if port is not None or attempt == TRIES - 1:
                    raise _taken(chosen) from error
            finally:
                page_environment.stop(guard)
                _end_strays(folder)
                journal.ended(key)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _TakenError(Exception):
    """The port is another's."""


def _taken(port: int) -> PageError:
    return PageError(f"port {port} is in use", hint="leave --port away, or name another")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a page that has just ended lingers
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _start(interpreter: Path, store: str, port: int, folder: Path) -> subprocess.Popen[str]:
    temporary = private_folder(folder / "tmp")
    env = {**mlflow_child.environment(), **SWITCHES, TAG: folder.name, "TMPDIR": str(temporary)}
    env.pop("PYTHONPATH", None)
    if "://" not in store:
        env["MLFLOW_ALLOW_FILE_STORE"] = "true"
    argv = [str(interpreter), "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    argv += ["--backend-store-uri", store, "--default-artifact-root", str(TrackingFolder.standard().artifacts)]
    with (folder / "server.log").open("w") as log:
        return kept.start(argv, env=env, cwd=str(folder), output=log)


def _wait(guard: subprocess.Popen[str], port: int, log: Path, say: Say) -> None:
    """Wait until the page answers."""
    # No proxy stands between this machine and itself.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    begun = told = time.monotonic()
    say("starting MLflow's page")
    while guard.poll() is None:
        now = time.monotonic()
        if now - begun > READY:
            raise PageError(f"no answer within {READY:g} s: {_end_of(log)}", where=f"{HOST}:{port}")
        if now - told > TELL:
            told = now
            say(f"waiting for MLflow's page ({now - begun:.0f} s)")
        try:
            with opener.open(f"http://{HOST}:{port}/health", timeout=5) as answer:
                if answer.status == 200 and _listens(guard.pid, port):
                    return
        except (urllib.error.URLError, OSError, ValueError):
            pass
        time.sleep(LOOK)
    if TAKEN in _text(log):
        raise _TakenError
    raise PageError(f"MLflow's page has ended at once: {_end_of(log)}")


def _listens(guard: int, port: int) -> bool:
    """Return whether it is a process of the guard's that listens: another program may have taken the port meanwhile."""
    try:
        for process in psutil.Process(guard).children(recursive=True):
            for one in process.net_connections("tcp"):
                if one.status == psutil.CONN_LISTEN and one.laddr.port == port:
                    return True
    except psutil.Error:  # it has ended, which the caller sees
        return False
    return False


def _text(log: Path) -> str:
    try:
        return log.read_text(errors="replace").lower()
    except OSError:
        return ""


def _end_of(log: Path) -> str:
    try:
        return " | ".join(log.read_text(errors="replace").strip().splitlines()[-3:])
    except OSError:
        return "it said nothing"


def _end_strays(folder: Path) -> list[int]:
    """End what has left a guard that was killed; return what does not end."""
    return processes.end_known([processes.identity(pid) for pid in processes.tagged(TAG, folder.name)])


def sweep() -> list[str]:
    """End what pages have left whose owners were killed; return a sentence about each thing that does not end."""
    problems: list[str] = []
    try:
        folders = [path for path in TrackingFolder.standard().pages.iterdir() if path.is_dir()]
    except (OSError, PilotageError):
        return problems
    for folder in folders:
        owner = read_json(folder / "page.json").get("owner")
        if owner is None or owner_is(owner) != "dead":
            continue
        left = ending.end_all(Journal(folder / "journal.jsonl"))
        problems += [f"{ending.describe([entry])[0]}: {reason}" for entry, reason in left]
        strays = _end_strays(folder)
        problems += [f"process {pid} of a page does not end" for pid in strays]
        if not left and not strays:
            shutil.rmtree(folder, ignore_errors=True)
    return problems
