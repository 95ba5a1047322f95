"""Reads MLflow's old file stores as they are: no MLflow, which refuses them by now, and nothing is written.

::

    ROOT/<experiment id>/meta.yaml
    ROOT/<experiment id>/<run id>/{meta.yaml, params/, metrics/, tags/, artifacts/}

A name with a slash is a file in a folder. A metric's file has a line a value: ``timestamp value step``, no step in the
oldest, a dataset's name and digest behind it in newer ones. Git keeps no empty folders, so that any may be missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pilotage.errors import StorageError
from pilotage.perf import flat_yaml
from pilotage.perf.logged import STATUSES, LoggedRun, Point

TRASH = ".trash"
META = "meta.yaml"
OWN = frozenset(
    ("experiment_id", "run_id", "run_name", "status", "lifecycle_stage", "user_id", "start_time", "end_time", "tags")
)
"""Keys of a run's ``meta.yaml`` that have a field in LoggedRun."""


@dataclass
class Found:
    """What a store holds: its runs, and a sentence about each that cannot be read."""

    runs: list[LoggedRun] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def is_store(folder: Path) -> bool:
    """Return whether a folder is a file store, or one of its experiments or runs."""
    return any(True for _ in _run_folders(folder))


def read(folder: Path) -> Found:
    """Return the runs of a store, of one of its experiments, or one run alone; raises StorageError where there is none.

    Runs that their author has deleted are there too, as long as their files are.
    """
    found = Found()
    if not folder.is_dir():
        raise StorageError("there is no such folder", where=str(folder))
    for run in _run_folders(folder):
        try:
            found.runs.append(_run(run))
        except (OSError, ValueError) as error:
            found.problems.append(f"{run}: {error}")
    if not found.runs and not found.problems:
        raise StorageError(
            "no run of MLflow's is there",
            where=str(folder),
            hint="a file store has EXPERIMENT/RUN/meta.yaml; a database is named as sqlite:///FILE",
        )
    found.runs.sort(key=lambda run: (run.start or 0, run.run_id))
    return found


def _run_folders(folder: Path) -> Iterator[Path]:
    """Yield the folders of runs in a store, an experiment or a run, or wherever below a store stands (``mlruns``)."""
    if _is_run(folder):
        yield folder
        return
    for meta in sorted(folder.rglob(META)):  # not .trash alone is a name with a dot: rglob passes none over
        if _is_run(meta.parent):
            yield meta.parent


def _is_run(folder: Path) -> bool:
    meta = folder / META
    if not meta.is_file():
        return False
    try:
        text = meta.read_text(encoding="utf-8")
    except (OSError, ValueError):
        text = ""
    if re.search(r"^run_(id|uuid):", text, re.MULTILINE):
        return True
    # One that is broken is told of, not passed over; a logged model has such folders too.
    broken = (folder / "metrics").is_dir() or (folder / "params").is_dir()
    return broken and re.search(r"^(model_id|artifact_location):", text, re.MULTILINE) is None


def _run(folder: Path) -> LoggedRun:
    meta = flat_yaml.read((folder / META).read_text(encoding="utf-8"))
    tags = _texts(folder / "tags")
    number = meta.get("status")
    if not isinstance(number, int) or not 1 <= number <= len(STATUSES):
        raise ValueError(f"status: {number!r} is none of 1 to {len(STATUSES)}")
    more: dict[str, flat_yaml.Scalar] = {
        key: value for key, value in meta.items() if key not in OWN and not isinstance(value, list)
    }
    run_id = str(meta.get("run_id") or meta.get("run_uuid"))
    if more.get("run_uuid") == run_id:
        del more["run_uuid"]
    metrics: dict[str, list[Point]] = {}
    for name, text in _texts(folder / "metrics").items():
        metrics[name], datasets = _points(name, text)
        more |= datasets
    return LoggedRun(
        experiment=_experiment(folder.parent, str(meta.get("experiment_id", ""))),
        run_id=run_id,
        name=_text(meta.get("run_name")) or tags.get("mlflow.runName", ""),
        status=STATUSES[number - 1],
        deleted=meta.get("lifecycle_stage") == "deleted" or TRASH in folder.parts,
        start=_time(meta, "start_time"),
        end=_time(meta, "end_time"),
        user=_text(meta.get("user_id")),
        params=_texts(folder / "params"),
        tags=tags,
        metrics=metrics,
        artifacts={name: path.stat().st_size for name, path in _files(folder / "artifacts").items()},
        more={**more, "experiment_id": str(meta.get("experiment_id", folder.parent.name))},
    )


def _experiment(folder: Path, number: str) -> str:
    """Return the experiment's name, or its number where its own file is not there or not readable."""
    try:
        return _text(flat_yaml.read((folder / META).read_text(encoding="utf-8")).get("name")) or number
    except (OSError, ValueError):
        return number or folder.name


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _time(meta: dict[str, flat_yaml.Scalar | list[flat_yaml.Scalar]], key: str) -> int | None:
    value = meta.get(key)
    if value is None or isinstance(value, int):
        return value
    raise ValueError(f"{key}: {value!r} is no time in milliseconds")


def _files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    return {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}


def _texts(folder: Path) -> dict[str, str]:
    """Return the text of each file by its name; line ends are as they are."""
    return {name: path.read_bytes().decode() for name, path in _files(folder).items()}


def _points(name: str, text: str) -> tuple[list[Point], dict[str, flat_yaml.Scalar]]:
    """Return the values of a metric, and the datasets that they were taken from."""
    points: list[Point] = []
    datasets: dict[str, flat_yaml.Scalar] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        parts = line.split()
        if not parts:
            continue
        try:
            step = int(parts[2]) if len(parts) > 2 else 0
            points.append(Point(int(parts[0]), float(parts[1]), step))
        except (ValueError, IndexError) as error:
            raise ValueError(f"metrics/{name}, line {number}: {line!r} is no value") from error
        if len(parts) > 3:
            datasets[f"dataset of {name}, line {number}"] = " ".join(parts[3:])
    return points, datasets
