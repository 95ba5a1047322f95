"""Makes a record of a run that MLflow has kept: by another's script, or an older one.

Nothing is lost: the run as it was found is in the record's ``imported``. Nothing is invented: what the run does not say
(what really ran, how long an iteration aimed at) stays unknown. And nothing is averaged that is no measurement: a run
that failed, has not ended, was deleted by its author, or is a placeholder becomes a session that has not finished, with
the reason.
"""

from __future__ import annotations

import hashlib
import math
import re
from datetime import UTC, datetime
from typing import Literal

from pilotage.perf.logged import LoggedRun
from pilotage.perf.parameters import SHORT
from pilotage.perf.record import Iteration, Options, Record, Revision, Scalar, Session, name_of

FIELDS = ("num_tasks", "submission_s", "submission_tps", "runtime_s", "runtime_tps")
"""Metrics that are fields of an iteration."""
PLACEHOLDER = re.compile(r"(^|[^a-z])(test(s|ing)?|placeholder|dummy|example|my-run-name|delete-?me)([^a-z]|$)", re.I)
MADE_UP = re.compile(r"[a-z]+-[a-z]+-\d{1,3}$")
"""Names that MLflow gives to runs without one: an adjective, a noun and a number."""


def record_of(run: LoggedRun, site: str | None = None) -> Record:
    """Return the record of a run.

    Parameters
    ----------
    run: as its store has it.
    site: the site's name, where the caller knows it; else the run's tag ``site``, its name, or its experiment.
    """
    iterations, marks = _iterations(run)
    status, reason = _status(run, iterations)
    if reason:
        marks.insert(0, reason)
    started = _iso(run.start)
    session = Session(number=1, status=status, reason=reason, started=started, iterations=iterations)
    executor = run.tags.get("Parsl Executor", "")
    return Record(
        id=f"{started[:10].replace('-', '')}-{_plain_id(run)}",
        created=started,
        origin="imported",
        source=f"MLflow: {run.experiment}/{run.run_id}",
        site=name_of(site or run.tags.get("site") or _site(run)),
        scheduler=name_of(re.sub("provider$", "", run.tags.get("Parsl Provider", "").strip().lower())) or "unknown",
        executor=name_of(SHORT.get(executor, re.sub("executor$", "", executor.strip().lower()))) or "unknown",
        options=Options(time_s=None, repeat=1),
        sessions=[session],
        parameters=_parameters(run),
        versions={"parsl": version} if (version := run.tags.get("Parsl version", "")) else {},
        revisions=_revisions(run),
        marks=[*marks, "imported: what really ran (nodes, workers) is not known"],
        imported=run,
    )


def _plain_id(run: LoggedRun) -> str:
    if re.fullmatch(r"[A-Za-z0-9]{8,64}", run.run_id):
        return run.run_id
    return hashlib.blake2b(f"{run.experiment}/{run.run_id}".encode(), digest_size=16).hexdigest()


def _iso(milliseconds: int | None) -> str:
    try:
        return datetime.fromtimestamp((milliseconds or 0) / 1000, UTC).isoformat(timespec="milliseconds")
    except (OverflowError, OSError) as error:
        raise ValueError(f"start_time: {milliseconds} is out of all time") from error


def _site(run: LoggedRun) -> str:
    if run.name and not MADE_UP.match(run.name) and not PLACEHOLDER.search(run.name):
        return run.name
    return run.experiment or "imported"


def _status(run: LoggedRun, iterations: list[Iteration]) -> tuple[Literal["finished", "failed", "cancelled"], str]:
    """Return whether the run's numbers count, and why not."""
    if run.deleted:
        return "cancelled", "deleted by its author"
    if run.status == "KILLED":
        return "cancelled", "killed before its end"
    if run.status == "FAILED":
        return "failed", "failed"
    if run.status != "FINISHED":
        return "failed", "unfinished: it has no end"
    if run.name and PLACEHOLDER.search(run.name):
        return "failed", f"placeholder: it is called {run.name!r}"
    if not any(points for name, points in run.metrics.items() if name in FIELDS):
        return "failed", "placeholder: it has no metrics of parsl-perf"
    if any(point.value == 0 for point in run.metrics.get("num_tasks", [])[-1:]):
        return "failed", "placeholder: it has run 0 tasks"
    if not iterations or iterations[-1].runtime_tps == 0:
        return "failed", "unfinished: it has no throughput"
    return "finished", ""


def _iterations(run: LoggedRun) -> tuple[list[Iteration], list[str]]:
    """Return the iterations in a run's metrics, and what is to be said of them.

    Values of one step belong together. A script that gives no step has logged all of them as step 0: then the first
    value of each metric belongs to the first iteration, and so on.
    """
    rows: dict[tuple[int, int], dict[str, float]] = {}
    marks = []
    for name in FIELDS:
        counts: dict[int, int] = {}
        for point in sorted(run.metrics.get(name, []), key=lambda point: (point.step, point.timestamp)):
            place = counts.setdefault(point.step, 0)
            counts[point.step] += 1
            if math.isfinite(point.value) and point.value >= 0:
                rows.setdefault((point.step, place), {})[name] = point.value
            else:
                marks.append(f"metric {name}, step {point.step}: {point.value} is no measurement")
    whole = [rows[key] for key in sorted(rows) if "runtime_tps" in rows[key]]
    if len(whole) < len(rows):
        marks.append(f"{len(rows) - len(whole)} of {len(rows)} iterations have no throughput")
    said = _whole(run.metrics["num_iterations"][-1].value) if run.metrics.get("num_iterations") else None
    if said is not None and len(whole) == 1 and said > 1:
        marks.append(f"only the last of {said} iterations was kept")
        return [_iteration(said, whole[0])], marks
    return [_iteration(number, row) for number, row in enumerate(whole, start=1)], marks


def _iteration(number: int, row: dict[str, float]) -> Iteration:
    tasks = row.get("num_tasks")
    return Iteration(
        number=number,
        num_tasks=None if tasks is None else _whole(tasks),
        submission_s=row.get("submission_s"),
        submission_tps=row.get("submission_tps"),
        runtime_s=row.get("runtime_s"),
        runtime_tps=row["runtime_tps"],
    )


def _whole(value: float) -> int | None:
    return int(value) if math.isfinite(value) and value == int(value) else None


def _parameters(run: LoggedRun) -> dict[str, Scalar]:
    """Return the run's parameters as numbers, booleans and texts, and the classes that its tags name."""
    found: dict[str, Scalar] = {name: _scalar(text) for name, text in run.params.items()}
    for name, tag in (("executor.class", "Parsl Executor"), ("provider.class", "Parsl Provider")):
        if tag in run.tags:
            found.setdefault(name, run.tags[tag])
    return found


def _scalar(text: str) -> Scalar:
    words: dict[str, Scalar] = {"None": None, "True": True, "False": False}
    if text in words:
        return words[text]
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        if math.isfinite(value) and str(value) == text:  # "007" and "1e3" stay what they are
            return value
    return text


def _revisions(run: LoggedRun) -> dict[str, Revision]:
    commit = run.tags.get("mlflow.source.git.commit")
    branch = run.tags.get("mlflow.source.git.branch")
    return {"here": Revision(commit=commit, branch=branch)} if commit else {}
