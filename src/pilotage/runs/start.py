"""Starts a run: its folder, its record, and the supervisor that owns it from then on."""

from __future__ import annotations

import os
import pty
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pilotage.errors import StorageError
from pilotage.journal import Journal
from pilotage.paths import RunFolder, storage, write_json
from pilotage.runs import driver
from pilotage.runs.order import Order
from pilotage.runs.record import SCHEMA_VERSION, RunRecord, iso
from pilotage.worker import processes

GRACE = 8.0
"""Seconds that a run has to stop in order before it is ended."""
NO_SIZE = struct.pack("HHHH", 0, 0, 0, 0)


@dataclass(frozen=True)
class Options:
    """How a run is started.

    ``name`` is the user's own for it. ``keep_stdout`` keeps our stdout for data: the script's goes to stderr.
    ``detach`` starts it without a view. ``max_node_hours`` is the cap at which it stops in order; ``grace`` is in
    seconds; ``resumes`` is the id of the run whose results it reuses.
    """

    name: str | None = None
    keep_stdout: bool = False
    detach: bool = False
    max_node_hours: float | None = None
    grace: float = GRACE
    resumes: str | None = None


@dataclass(frozen=True)
class Started:
    """A run that its supervisor has taken over; ``view`` is the connection to it, None when detached."""

    folder: RunFolder
    view: socket.socket | None
    supervisor: subprocess.Popen[bytes]


def new_record(
    folder: RunFolder, order: Order, given: str, options: Options, started_at: float, kind: str = "run"
) -> RunRecord:
    """Write the first record, the journal and the mark of a new run; raises StorageError."""
    record = RunRecord(folder.path)
    record.values = {
        "schema_version": SCHEMA_VERSION,
        "id": folder.id,
        "name": options.name,
        "kind": kind,
        "folder": str(folder.path),
        "script": str(order.script),
        "given": given,
        "arguments": list(order.arguments),
        "sites": order.sites,
        "cwd": str(Path.cwd()),
        "state": "starting",
        "reason": "",
        "started": iso(started_at),
        "started_at": round(started_at, 3),
        "ended": None,
        "elapsed": None,
        "code": None,
        "exit_code": None,
        "error": None,
        "resumes": options.resumes,
        "max_node_hours": options.max_node_hours,
        "owner": processes.identity(os.getpid()),
        "driver": None,
    }
    with storage(folder.path):
        Journal(folder.journal).create()
        write_json(folder.record, record.values)
        folder.heartbeat.touch(mode=0o600)
    record.mark_live()
    return record


def start(folder: RunFolder, given: str, options: Options) -> Started:
    """Start the supervisor of the run in ``folder``, whose order and first record are written.

    Parameters
    ----------
    folder: the run's folder.
    given: the script as the user wrote it, which is its ``sys.argv[0]``.
    options: how.

    Raises StorageError where the folder cannot be written to, and where the supervisor does not start.
    """
    streams, targets = _streams(options)
    wants_terminal = "pty" in streams
    master, slave = map(_above_streams, pty.openpty()) if wants_terminal else (None, None)
    ours, theirs = (None, None) if options.detach else _sockets()
    settings: dict[str, Any] = {
        "folder": str(folder.path),
        "argv": driver.command(folder),
        "cwd": str(Path.cwd()),
        "script": given,
        "streams": streams,
        "targets": targets,
        "master": master,
        "slave": slave,
        "view": None if theirs is None else theirs.fileno(),
        "grace": options.grace,
        "max_node_hours": options.max_node_hours,
        "ignores_interrupt": signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
    }
    if slave is not None:
        _like_ours(slave)
    passed = [number for number in (master, slave, settings["view"]) if number is not None]
    ready, told = map(_above_streams, os.pipe())
    settings["ready"] = told
    with storage(folder.path):
        write_json(folder.path / "supervisor.json", settings)
    detached = subprocess.DEVNULL if options.detach else None
    with _interrupts_noted() as interrupts:
        try:
            supervisor = subprocess.Popen(
                command(folder),
                stdin=detached,
                stdout=detached,
                stderr=detached,
                start_new_session=True,
                pass_fds=[*passed, told],
                env={**os.environ, "PILOTAGE_RUN": folder.id},
            )
        finally:
            for number in (master, slave, told):
                if number is not None:
                    os.close(number)
            if theirs is not None:
                theirs.close()
        with os.fdopen(ready, "rb") as file:
            started = bool(file.read(1))
    if not started:
        words = folder.supervisor_log.read_text(errors="replace")[-2000:] if folder.supervisor_log.exists() else ""
        raise StorageError(
            f"the run's supervisor did not start{': ' + words if words else ''}", where=str(folder.supervisor_log)
        )
    if interrupts:
        supervisor.terminate()
    return Started(folder, ours, supervisor)


@contextmanager
def _interrupts_noted() -> Iterator[list[int]]:
    """Note each Ctrl-C: the supervisor, in its own session, does not hear it, and the run would go on unseen."""
    noted: list[int] = []
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield noted
        return
    before = signal.signal(signal.SIGINT, lambda number, _: noted.append(number))
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)


def command(folder: RunFolder) -> list[str]:
    """Return the argument list that starts a supervisor, isolated and without packages that it never uses."""
    source = str(Path(__file__).parents[2])
    flags = ["-I", "-S"] if processes.linux() else ["-I"]  # elsewhere it needs psutil
    code = f"import sys; sys.path.insert(0, {source!r}); from pilotage.runs.supervisor import main; main()"
    return [sys.executable, *flags, "-c", code, str(folder.path)]


def _above_streams(descriptor: int) -> int:
    """Return a descriptor above the standard streams: where one is closed, the next to be opened gets its place."""
    import fcntl

    if descriptor > 2:
        return descriptor
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(descriptor)
    return moved


def _sockets() -> tuple[socket.socket, socket.socket]:
    ours, theirs = (socket.socket(fileno=_above_streams(one.detach())) for one in socket.socketpair())
    return ours, theirs


def _streams(options: Options) -> tuple[list[str], list[int]]:
    """Return how the driver gets each standard stream, and where a copied one goes."""
    if options.detach:
        return ["pass", "log", "same"], [0, 1, 2]
    kinds = [_kind(number) for number in range(3)]
    targets = [0, 1, 2]
    if options.keep_stdout:
        # What the script prints takes the way of its stderr, and in order.
        kinds[1], targets[1] = kinds[2], 2
        kinds[2] = "same" if kinds[2] == "copy" else kinds[2]
    elif kinds[1] == kinds[2] == "copy" and os.path.sameopenfile(1, 2):
        kinds[2] = "same"
    return kinds, targets


def _kind(number: int) -> str:
    try:
        os.fstat(number)
    except OSError:  # closed by the caller: >&-
        return "closed"
    if os.isatty(number):
        return "pty"
    return "copy" if number else "pass"


def _like_ours(slave: int) -> None:
    """Give the pseudo-terminal the settings and the size of the user's."""
    import fcntl

    for number in range(3):
        try:
            termios.tcsetattr(slave, termios.TCSANOW, termios.tcgetattr(number))
            fcntl.ioctl(slave, termios.TIOCSWINSZ, fcntl.ioctl(number, termios.TIOCGWINSZ, NO_SIZE))
        except (OSError, termios.error):
            continue
        return
