"""``pilotage run``: from a checked order to a finished run."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pilotage.paths import RunFolder, storage, write_json
from pilotage.runs import driver, terminal
from pilotage.runs.order import SCHEMA_VERSION, Order
from pilotage.runs.talk import Talk


@dataclass
class Record:
    """The small record of a run, ``run.json``."""

    folder: RunFolder
    order: Order
    started: float
    state: str = "running"
    ended: float | None = None
    code: int | None = None
    exit_code: int | None = None
    error: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the record with the newest progress; the shape of ``pilotage run --json``."""
        progress = read_progress(self.folder)
        return {
            "schema_version": SCHEMA_VERSION,
            "id": self.folder.id,
            "folder": str(self.folder.path),
            "script": str(self.order.script),
            "arguments": list(self.order.arguments),
            "sites": self.order.sites,
            "state": self.state,
            "exit_code": self.exit_code,
            "started": _iso(self.started),
            "ended": _iso(self.ended),
            "elapsed": None if self.ended is None else round(self.ended - self.started, 3),
            "tasks": progress.get("tasks", {}),
            "blocks": progress.get("blocks", {}),
            "error": self.error,
        }

    def write(self) -> None:
        """Replace ``run.json``; raises StorageError."""
        with storage(self.folder.record):
            write_json(self.folder.record, self.as_dict())


def run(order: Order, given: str, talk: Talk, *, live: bool, keep_stdout: bool) -> Record:
    """Run ``order`` to its end and return its record; ``record.code`` is negative for the signal that ended it.

    Parameters
    ----------
    order: what is run.
    given: the script as the user wrote it, which is its ``sys.argv[0]``.
    talk: where messages for people go.
    live: show the live line where stderr is a terminal.
    keep_stdout: keep our stdout for data: the script's goes to stderr and into the run's folder.

    Raises StorageError where the run's folder cannot be written at the start.
    """
    folder = RunFolder.create()
    record = Record(folder, order, started=time.time())
    order.write(folder)
    record.write()
    env = {**os.environ, "PILOTAGE_SCRIPT_AS_GIVEN": given}
    argv = driver.command(folder)
    if keep_stdout:
        with _Tee(folder.stdout) as tee:
            code = terminal.run_with_stdout(argv, env, tee.write)
    else:
        code = terminal.run(argv, env, StatusLine(folder, order) if live else None)
    record.ended = time.time()
    record.code = code
    record.exit_code = code if code >= 0 else 128 - code
    record.state = "finished" if code == 0 else "failed"
    record.error = driver.read_error(folder)
    try:
        write_json(folder.record, record.as_dict())
    except OSError as error:  # the script has ended and its result stands
        talk.warn(f"the run's record cannot be written: {error.strerror}: {folder.record}")
    return record


class _Tee:
    """The script's stdout: to our stderr, and into the run's folder as far as the disk lets it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: Any = None

    def __enter__(self) -> _Tee:
        with storage(self._path):
            self._file = os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb", 0)
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, piece: bytes) -> None:
        """Pass ``piece`` on."""
        sys.stderr.flush()
        os.write(2, piece)
        if self._file is not None:
            try:
                self._file.write(piece)
            except OSError:  # the disk is full: the copy ends here, the run goes on
                self._file.close()
                self._file = None


class StatusLine:
    """The live line: tasks by state, rate, blocks, elapsed time; rendered by rich to the terminal's width."""

    def __init__(self, folder: RunFolder, order: Order) -> None:
        self._folder = folder
        self._sites = ", ".join(order.sites.values())
        self._started = time.monotonic()

    def __call__(self, columns: int) -> str:
        """Return the line for a terminal of that many columns; empty while there is nothing to tell."""
        from rich.console import Console
        from rich.text import Text

        progress = read_progress(self._folder)
        if not progress:
            return ""  # the script has not loaded Parsl (yet)
        tasks = progress["tasks"]
        text = Text.assemble(
            (f"{self._sites} ", "bold"),
            (f"{tasks['done']:,} done", "green"),
            f" · {tasks['launched']:,} launched · {tasks['waiting']:,} waiting",
            (f" · {tasks['failed']:,} failed", "red") if tasks["failed"] else "",
            f" · {progress['rate']:,.0f}/s",
            f" · {_blocks(progress['blocks'])}" if progress["blocks"] else "",
            (f" · {_clock(time.monotonic() - self._started)}", "dim"),
        )
        text.truncate(max(columns - 1, 1), overflow="ellipsis")
        console = Console(stderr=True, width=columns, force_terminal=True)
        with console.capture() as capture:
            console.print(text, end="", soft_wrap=True)
        return capture.get()


def summary(record: Record) -> str:
    """Return the run's last line for people."""
    value = record.as_dict()
    tasks = value["tasks"]
    seconds = value["elapsed"] or 0.0
    if tasks.get("total"):
        ended = tasks["done"] + tasks["failed"]
        rest = tasks["total"] - ended
        work = f"{tasks['done']:,} tasks done, {tasks['failed']:,} failed"
        work += f", {rest:,} not finished" if rest else ""
        work += f", {ended / seconds:,.0f}/s" if seconds else ""
    else:
        work = "no tasks"
    sites = ", ".join(f"{label}={site}" if label != site else site for label, site in value["sites"].items())
    outcome = "" if value["exit_code"] == 0 else f" · exit code {value['exit_code']}"
    return f"run {value['id']} · {sites} · {work} · {_clock(seconds)}{outcome}"


def read_progress(folder: RunFolder) -> dict[str, Any]:
    """Return the newest sample of a run, empty where there is none yet."""
    try:
        found: dict[str, Any] = json.loads(folder.progress.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def _blocks(states: dict[str, int]) -> str:
    parts = [f"{count} {state}" for state, count in sorted(states.items())]
    return f"{sum(states.values())} block{'s' if sum(states.values()) != 1 else ''} ({', '.join(parts)})"


def _clock(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _iso(stamp: float | None) -> str | None:
    return None if stamp is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(stamp))
