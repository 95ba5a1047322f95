"""What the tasks of a run have moved: counted as it happens, and kept as one table."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pilotage.paths import RunFolder, write_json
from pilotage.runs.record import read_json
from pilotage.worker.data import accounts

if TYPE_CHECKING:
    from parsl.dataflow.dflow import DataFlowKernel

WINDOW = 3.0
"""Seconds over which the rate is taken."""


@dataclass
class Row:
    """What has moved one way between one place and one host: whole files, bytes, seconds, and what was there before."""

    direction: str
    place: str
    host: str
    by: str
    files: int = 0
    bytes: int = 0
    seconds: float = 0.0
    cached: int = 0


class Moves:
    """Counts what is moved; several threads tell it.

    Parameters
    ----------
    folder: the run's.
    clock: seconds, for tests.
    """

    def __init__(self, folder: RunFolder, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = folder.path / "moves.json"
        self._clock = clock
        self._rows: dict[tuple[str, str, str, str], Row] = {}
        self._totals = {"in": 0, "out": 0}
        self._history: deque[tuple[float, int]] = deque([(clock(), 0)])
        self._lock = threading.Lock()
        self._written = self._changes = 0
        accounts.listen(self.take)

    def watch(self, kernel: DataFlowKernel) -> None:
        """Hear of what the workers of a kernel move."""
        for executor in kernel.executors.values():
            if hasattr(executor, "on_moved"):
                executor.on_moved = self.take

    def take(self, record: Mapping[str, Any]) -> None:
        """Count a record (`worker.data.accounts.moved`); one that lacks something is none of ours."""
        try:
            direction, count = str(record["direction"]), int(record["bytes"])
            place, host, by = root(str(record["url"])), str(record["host"]), str(record.get("at", "worker"))
            files, seconds = int(record["files"]), float(record["seconds"])
        except (KeyError, TypeError, ValueError):
            return
        with self._lock:
            row = self._rows.setdefault((direction, place, host, by), Row(direction, place, host, by))
            row.files += files
            row.bytes += count
            row.seconds += seconds
            row.cached += bool(record.get("cached"))
            self._totals[direction] = self._totals.get(direction, 0) + count
            self._changes += 1

    def sample(self) -> dict[str, Any] | None:
        """Return bytes moved in and out, and bytes a second of late; None where nothing was."""
        with self._lock:
            if not self._changes:
                return None
            now, total = self._clock(), sum(self._totals.values())
            self._history.append((now, total))
            while len(self._history) > 2 and self._history[0][0] < now - WINDOW:
                self._history.popleft()
            then, before = self._history[0]
            rate = (total - before) / (now - then) if now > then else 0.0
            return {**self._totals, "rate": round(max(rate, 0.0))}

    def write(self) -> None:
        """Write the table, where something has been added."""
        with self._lock:
            if self._changes == self._written:
                return
            self._written = self._changes
            rows = [{**vars(row), "seconds": round(row.seconds, 3)} for row in self._rows.values()]
        try:
            write_json(self._path, {"moves": rows})
        except OSError:  # a full disk must not end a run that has work to finish
            return


def read(folder: RunFolder) -> list[dict[str, Any]]:
    """Return the rows of a run's table, the largest first."""
    rows: list[dict[str, Any]] = read_json(folder.path / "moves.json").get("moves", [])
    return sorted(rows, key=lambda row: (-row["bytes"], row["place"], row["host"]))


def root(url: str) -> str:
    """Return what a table has of a URL: scheme and host or bucket, of a path its scheme alone."""
    scheme, colon, rest = url.partition(":")
    if not colon or "/" in scheme:
        return "file"
    scheme = {"pw": "driver", "sftp": "ssh"}.get(scheme, scheme)
    return f"{scheme}://{rest[2:].partition('/')[0]}" if rest.startswith("//") and scheme != "driver" else scheme


def size(count: float) -> str:
    """Return bytes for people, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def lines(rows: list[dict[str, Any]]) -> list[str]:
    """Return the table for people."""
    found = []
    for row in rows:
        way = f"{row['place']} to {row['host']}" if row["direction"] == "in" else f"{row['host']} to {row['place']}"
        by = ", copied by the driver" if row["by"] == "driver" else ""
        rate = f", {size(row['bytes'] / row['seconds'])}/s" if row["seconds"] > 0 and row["bytes"] else ""
        cached = f", {row['cached']:,} times there already" if row["cached"] else ""
        files = f"{row['files']:,} file{'' if row['files'] == 1 else 's'}"
        found.append(f"{way}: {files}, {size(row['bytes'])}{rate}{cached}{by}")
    return found
