"""Finding what a task has printed, and the log files of a run, in the folder that Parsl wrote.

Parsl's ``run_dir`` holds a folder for each kernel (``000``), therein one for each executor, block, manager, in which
`pilotage.worker.task` (it describes the format) keeps an output file and an index of it for each worker. All this may
be read while the run goes on: lines may be torn and files may vanish.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pilotage.worker.tails import TAIL

BYTES_AT_ONCE = 1 << 20
_WORKER_FILE = re.compile(r"worker_(\d+)\.(.+)")
_JOB_FILE = re.compile(r"parsl\.(.+)\.block-([^.]+)\.\d+(?:\.\d+)?(\..+)?")
_JOB_KINDS = {".out": "stdout", ".stdout": "stdout", ".err": "stderr", ".stderr": "stderr", ".ec": "exit code"}


class Piece(NamedTuple):
    """What a task printed in one go; a task that was tried again has several.

    ``begin`` and ``end`` are bytes of ``file``; ``end`` is None while the task runs, or where its worker ended within
    it: then all that follows is the task's. ``time`` is when the task began, in seconds since the epoch.
    """

    file: Path
    begin: int
    end: int | None
    time: float

    def blocks(self) -> Iterator[bytes]:
        """Yield the bytes, up to 1 MiB at once; none where the file is gone."""
        try:
            with self.file.open("rb") as file:
                file.seek(self.begin)
                left = self.end - self.begin if self.end is not None else None
                while block := file.read(BYTES_AT_ONCE if left is None else min(left, BYTES_AT_ONCE)):
                    yield block
                    left = None if left is None else left - len(block)
        except OSError:
            return

    def text(self) -> str:
        """Return the whole text; what is not UTF-8 is replaced."""
        return b"".join(self.blocks()).decode("utf-8", "replace")


class LogFile(NamedTuple):
    """A log file of a run.

    ``kind`` is, of workers, ``manager``, ``worker`` (Parsl's log) or ``output`` (what tasks print); of the driver,
    ``parsl``; of blocks, ``interchange``, ``script``, ``stdout``, ``stderr`` or ``exit code`` of the batch job.
    ``manager`` is Parsl's name for one node's pool. What does not apply is empty, ``worker`` None.
    """

    kind: str
    executor: str
    block: str
    manager: str
    worker: int | None
    path: Path


def task_output(parsl_dir: Path, task: int) -> list[Piece]:
    """Return what a task has printed, in time order.

    Parameters
    ----------
    parsl_dir: Parsl's ``run_dir``. A script that loaded Parsl twice has two tasks of each number, and gets both.
    task: the kernel's number of the task.
    """
    pieces = []
    for folder in _managers(parsl_dir):
        for index in _sorted(folder):
            if _WORKER_FILE.fullmatch(index.name) and index.suffix == ".index":
                pieces += _pieces(index, task)
    return sorted(pieces, key=lambda piece: (piece.time, piece.file, piece.begin))


def worker_files(parsl_dir: Path) -> list[LogFile]:
    """Return the logs of managers and workers, and what their tasks printed; by executor, block, manager, worker."""
    found = []
    for folder in _managers(parsl_dir):
        where = folder.parents[1].name, folder.parent.name.removeprefix("block-"), folder.name
        for path in _sorted(folder):
            if path.name.partition(".")[0] == "manager":
                found.append(LogFile("manager", *where, None, path))
            elif (match := _WORKER_FILE.fullmatch(path.name)) and match[2] != "index":
                found.append(LogFile("output" if match[2] == "out" else "worker", *where, int(match[1]), path))
    return found


def driver_files(parsl_dir: Path) -> list[LogFile]:
    """Return the logs of Parsl in the driver."""
    return [
        LogFile("parsl", "", "", "", None, path)
        for kernel in _sorted(parsl_dir)
        for path in _sorted(kernel)
        if path.name in ("parsl.log", f"parsl{TAIL}")
    ]


def tail_files(parsl_dir: Path) -> list[LogFile]:
    """Return what was collected of Parsl's logs when something failed."""
    found = [*driver_files(parsl_dir), *block_files(parsl_dir), *worker_files(parsl_dir)]
    return [log for log in found if log.path.name.endswith(TAIL)]


def block_files(parsl_dir: Path) -> list[LogFile]:
    """Return the interchanges' logs, and the batch scripts of blocks with what they printed; by executor, block."""
    found = []
    for kernel in _sorted(parsl_dir):
        for folder in _sorted(kernel):
            if folder.name == "submit_scripts":
                continue
            found += [
                LogFile("interchange", folder.name, "", "", None, path)
                for path in _sorted(folder)
                if path.name.partition(".")[0] == "interchange"
            ]
        for path in _sorted(kernel / "submit_scripts"):
            if (match := _JOB_FILE.fullmatch(path.name)) and path.suffix != ".part":
                kind = _JOB_KINDS.get("." + (match[3] or "").rpartition(".")[2], "script")
                found.append(LogFile(kind, match[1], match[2], "", None, path))
    return found


def _pieces(index: Path, task: int) -> list[Piece]:
    output = index.with_suffix(".out")
    pieces: dict[tuple[int, float], Piece] = {}
    wanted = f'{{"task": {task}, '.encode()
    try:
        with index.open("rb") as file:
            # The head comes first: where its task has ended meanwhile, that task's line takes its place.
            lines = [line for line in file if line.startswith(wanted)]
    except OSError:
        return []
    for line in lines:
        entry = _entry(line)
        if entry is not None:
            pieces[entry["begin"], entry["time"]] = Piece(output, entry["begin"], entry.get("end"), entry["time"])
    return [piece for piece in pieces.values() if piece.end is not None or _is_longer(output, piece.begin)]


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry: dict[str, Any] = json.loads(line)
        numbers = entry["begin"], entry["time"], entry.get("end", 0)
    except (ValueError, LookupError, TypeError):
        return None
    return entry if all(isinstance(number, (int, float)) for number in numbers) else None


def _is_longer(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size > size
    except OSError:
        return False


def _managers(parsl_dir: Path) -> Iterator[Path]:
    """Yield the folder of each manager."""
    for kernel in _sorted(parsl_dir):
        for executor in _sorted(kernel):
            for block in _sorted(executor):
                if block.name.startswith("block-"):
                    yield from (manager for manager in _sorted(block) if manager.is_dir())


def _sorted(folder: Path) -> list[Path]:
    """Return what is in a folder, numbers in the order of their size; nothing where it is gone, or is no folder."""
    try:
        return sorted(folder.iterdir(), key=_natural)
    except OSError:
        return []


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]
