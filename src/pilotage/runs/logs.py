"""What a run wrote, wherever that is: the script, its tasks, workers, blocks and interchange."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pilotage.errors import UsageError
from pilotage.events import Events
from pilotage.paths import RunFolder
from pilotage.runs.details import failures
from pilotage.runs.record import RunRecord
from pilotage.runs.store import is_live, shown, values_of
from pilotage.runs.task_output import block_files, driver_files, task_output, worker_files
from pilotage.runs.text import first_line

LOOK = 0.2
AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Wanted:
    """What of a run's logs is asked for; nothing set means the script's own output."""

    task: int | None = None
    block: str | None = None
    worker: bool = False
    scheduler: bool = False


@dataclass(frozen=True)
class Text:
    """A piece of a log."""

    file: Path
    text: str


def pieces(folder: RunFolder, wanted: Wanted) -> Iterator[Text]:
    """Yield what there is now; raises UsageError where nothing of that kind was written."""
    if wanted.task is not None:
        found = task_output(folder.parsl, wanted.task)
        if not found:
            raise _printed_nothing(folder, wanted.task)
        for piece in found:
            yield Text(piece.file, piece.text())
        return
    if wanted.scheduler:
        events = Events(folder.events).read()[0]
        if events:
            yield Text(folder.events, "".join(f"{_time(event['at'])} {event['message']}\n" for event in events))
    files = paths(folder, wanted)
    if not any(file.exists() for file in files) and not wanted.scheduler:
        raise UsageError(
            f"run {folder.id} has no such log (yet)",
            hint="Parsl's logs are kept where something fails; pilotage run --debug keeps them all",
        )
    for file in files:
        yield from _whole(file)


def paths(folder: RunFolder, wanted: Wanted) -> list[Path]:
    """Return the files of that kind."""
    if wanted.worker:
        files = worker_files(folder.parsl)
        return [log.path for log in files if wanted.block is None or log.block == wanted.block]
    if wanted.block is not None:
        return [log.path for log in block_files(folder.parsl) if log.block == wanted.block]
    if wanted.scheduler:
        return [
            *(log.path for log in driver_files(folder.parsl)),
            *(log.path for log in block_files(folder.parsl) if log.kind == "interchange"),
        ]
    return [folder.output]


def follow_pieces(folder: RunFolder, wanted: Wanted) -> Iterator[Text]:
    """Yield what there is and what comes, until the run has ended."""
    places: dict[Path, int] = {}
    told: dict[tuple[Path, int], int] = {}
    while True:
        live = is_live(RunRecord(folder.path).values)
        if wanted.task is not None:
            for piece in task_output(folder.parsl, wanted.task):
                text = piece.text()
                before = told.get((piece.file, piece.begin), 0)
                if len(text) > before:
                    yield Text(piece.file, text[before:])
                    told[piece.file, piece.begin] = len(text)
        else:
            for file in paths(folder, wanted):
                for part in _whole(file, places.get(file, 0)):
                    yield part
                    places[file] = places.get(file, 0) + len(part.text.encode(errors="surrogateescape"))
        if not live:
            if wanted.task is not None and not told:
                raise _printed_nothing(folder, wanted.task)
            return
        time.sleep(LOOK)


def _printed_nothing(folder: RunFolder, task: int) -> UsageError:
    """Return the error that says what is known of a task without output."""
    values = shown(values_of(folder))
    total = values["tasks"].get("total", 0)
    if task >= total:
        return UsageError(f"there is no task {task}; the run has {total:,}")
    hint = None
    if _has_threads(folder, values):
        hint = f"tasks of a site of threads print into the script's own output: pilotage logs {folder.id}"
    return UsageError(f"task {task} of run {folder.id} printed nothing{_how_failed(folder, task)}", hint=hint)


def _how_failed(folder: RunFolder, task: int) -> str:
    kinds = failures(folder)
    for kind in kinds:
        if task in kind["tasks"]:
            words = f": {first_line(kind)}" if task == kind["first_task"] else ""
            return f" and failed: {kind['app']}: {kind['exception']}{words}"
    # Of a kind that is frequent, only some tasks are known.
    return "; whether it failed is not known" if any(k["count"] > len(k["tasks"]) for k in kinds) else ""


def _has_threads(folder: RunFolder, values: Mapping[str, Any]) -> bool:
    """Return whether a site of the run is one of threads: it is the only kind that has no folder in Parsl's."""
    from pilotage.assembly.configs import is_file

    labels = [label for label, site in values["sites"].items() if not is_file(site)]
    kernels = list(folder.parsl.glob("[0-9]*"))
    return not values["own_config"] and any(not any((k / label).is_dir() for k in kernels) for label in labels)


def _whole(file: Path, offset: int = 0) -> Iterator[Text]:
    try:
        with file.open("rb") as opened:
            opened.seek(offset)
            while data := opened.read(AT_ONCE):
                yield Text(file, data.decode(errors="surrogateescape"))
    except OSError:
        return


def _time(at: float) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(at))
