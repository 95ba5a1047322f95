"""Makes of a record the run that MLflow is to keep: the names that published histories of parsl-perf use, and curves.

A step is an iteration; what a session has one of (latency, start-up, shutdown) stands at the session's last step. What
sessions that have not finished have measured goes by other names (``unfinished/...``), so that no mean takes it in.
Only what never changes is a parameter, since MLflow lets nobody change one: a resumed benchmark adds to its run.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from pilotage.perf.logged import RECORD_TAG, LoggedRun, Point, Status
from pilotage.perf.record import METRICS, Iteration, Record, Session, moment

LONGEST = 5000
"""Characters of a parameter or tag; MLflow takes 6,000. What is longer is whole in the record, which goes with it."""
KEY = 250
UNIT = {"latency_p50": "latency_p50_s", "latency_p99": "latency_p99_s", "shutdown": "shutdown_s"}
"""Metrics of a session beside its start-up, by the name that MLflow shows them under."""
STARTUP = ("driver_s", "queue_s", "launch_s", "connect_s", "first_task_s", "total_s")
ITERATION = ("num_tasks", "submission_s", "submission_tps", "runtime_s", "runtime_tps")


def run_of(record: Record, experiment: str, pilotage: str) -> LoggedRun:
    """Return the run of a record.

    Parameters
    ----------
    record: any, an imported one too.
    experiment: the experiment's name.
    pilotage: version of this program.
    """
    start = _milliseconds(record.sessions[0].started if record.sessions else record.created)
    metrics: dict[str, list[Point]] = {}
    end = start
    for key, point in (*_points(record), *_imported(record)):
        metrics.setdefault(_key(key), []).append(point)
        end = max(end, point.timestamp)
    return LoggedRun(
        experiment=experiment,
        name=f"{record.site} {record.executor} {len(record.ran.nodes)}n{record.ran.workers}w",
        status=_status(record),
        start=start,
        end=end,
        params={_key(name): _text(value) for name, value in _params(record).items()},
        tags={_key(name): _text(value) for name, value in _tags(record, pilotage).items() if value},
        metrics=metrics,
    )


def _status(record: Record) -> Status:
    if record.complete:
        return "FINISHED"
    return "KILLED" if any(session.status == "cancelled" for session in record.sessions) else "FAILED"


def _params(record: Record) -> dict[str, object]:
    options = {
        f"options.{name}": value for name, value in record.options.model_dump().items() if value not in (None, [])
    }
    options["options.repeat"] = record.options.repeat
    own = {"site": record.site, "scheduler": record.scheduler, "executor": record.executor, "label": record.label}
    return {**own, **options, **record.parameters}


def _tags(record: Record, pilotage: str) -> dict[str, str]:
    here = record.revisions.get("here") or record.revisions.get("pilotage")
    machine = record.machine
    known = {
        name: revision.commit + ("-dirty" if revision.dirty else "") for name, revision in record.revisions.items()
    }
    problems = [f"session {one.number}: {one.status}: {one.reason}" for one in record.sessions if one.reason]
    theirs = record.imported.tags if record.imported else {}
    return {
        **{name: value for name, value in theirs.items() if not name.startswith("mlflow.")},
        **record.tags,
        "site": record.site,
        "scheduler": record.scheduler,
        "origin": record.origin,
        "pilotage version": record.versions.get("pilotage", pilotage if record.origin == "measured" else ""),
        "Python version": record.versions.get("python", ""),
        "sessions": f"{len(record.finished)} of {record.options.repeat}",
        "marks": "\n".join([*record.marks, *(mark for session in record.sessions for mark in session.marks)]),
        "problems": "\n".join(problems),
        "pilotage runs": " ".join(record.runs),
        "machine": f"{machine.cpu}, {machine.usable_cores} of {machine.cores} cores" if machine else "",
        "kernel": machine.kernel if machine else "",
        **{f"git revision {name}": commit for name, commit in known.items()},
        "mlflow.source.git.commit": here.commit if here else "",
        "mlflow.source.git.branch": (here.branch or "") if here else "",
        "mlflow.source.name": "pilotage perf run",
        "mlflow.note.content": _note(record),
        RECORD_TAG: record.id,
    }


def _note(record: Record) -> str:
    rates = record.values("rate")
    lines = [
        f"Benchmark `{record.id}` of {record.created}: {len(record.finished)} of {record.options.repeat} sessions."
    ]
    if rates:
        lines.append(f"Throughput {min(rates):,.0f} to {max(rates):,.0f} tasks/s, one number a session.")
    return "\n\n".join([*lines, *(f"- {mark}" for mark in record.marks)])


def _points(record: Record) -> Iterator[tuple[str, Point]]:
    step = 0
    for session in record.sessions:
        time = _milliseconds(session.started)
        prefix = "" if session.status == "finished" else "unfinished/"
        for iteration in session.iterations:
            time += int(1000 * ((iteration.submission_s or 0) + (iteration.runtime_s or 0)))
            for name in ITERATION:
                value = getattr(iteration, name)
                if value is not None:
                    yield prefix + name, Point(time, float(value), step)
            yield prefix + "session", Point(time, float(session.number), step)
            yield prefix + "warm_up", Point(time, float(iteration.warm_up), step)
            step += 1
        last = max(step - 1, 0)
        for name, value in _once(session):
            yield prefix + name, Point(time, value, last)
        if not session.iterations:
            step += 1


def _imported(record: Record) -> Iterator[tuple[str, Point]]:
    """Yield what an imported run has measured beside parsl-perf's own."""
    for name, points in record.imported.metrics.items() if record.imported else ():
        if name not in (*ITERATION, "num_iterations"):
            yield from ((name, point) for point in points)


def _once(session: Session) -> Iterator[tuple[str, float]]:
    """Yield what a session has one number of."""
    if session.iterations:
        yield "num_iterations", float(_count(session.iterations))
    for metric, name in UNIT.items():
        if (value := METRICS[metric].of(session)) is not None:
            yield name, value
    for name in STARTUP if session.cold_start is not None else ():
        if (value := getattr(session.cold_start, name)) is not None:
            yield f"startup/{name}", value
    for name in ("blocks", "managers", "workers"):
        if value := getattr(session.ran, name):
            yield f"ran/{name}", float(value)
    if session.ran.nodes:
        yield "ran/nodes", float(len(session.ran.nodes))


def _count(iterations: list[Iteration]) -> int:
    return max(iteration.number for iteration in iterations)


def _milliseconds(iso: str) -> int:
    return round(moment(iso).timestamp() * 1000)


def _key(name: str) -> str:
    """Return a name that MLflow takes: it may be the path of a file."""
    plain = re.sub(r"[^\w\-. :/]", "_", name)[:KEY]
    return plain if plain == posixpath.normpath(plain) and plain[0] not in "./" else re.sub("[./]", "_", plain) or "_"


def _text(value: object) -> str:
    text = str(value)
    if len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]}... ({len(text)} characters; whole in the record)"
