"""Benchmarks over time: each record beside the one before it of the same configuration; regressions are marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pilotage.perf.compare import Interval, Verdict, interval_of, judge
from pilotage.perf.record import METRICS, Metric, Model, Record
from pilotage.perf.text import number
from pilotage.statistics import typical

COLUMNS = ("time", "site", "executor", "ran", "revision", "sessions", "value", "change", "")


class Step(Model):
    """One record in the history of its configuration."""

    record: str
    created: str
    site: str
    scheduler: str
    executor: str
    workers: int
    nodes: int
    argsize: int
    revision: str
    metric: str
    unit: str
    values: list[float]
    typical: Interval
    since: str | None = None
    """The record before it, with which it is compared."""
    verdict: Verdict | None = None
    change: Literal["first", "better", "worse", "same", "cannot tell"]
    failed: int


class History(Model):
    """The result of ``pilotage perf history``."""

    schema_version: Literal[1] = 1
    metric: str
    steps: list[Step]
    problems: list[str]


def history(records: Sequence[Record], metric: str = "rate", site: str | None = None) -> list[Step]:
    """Return the steps of each configuration one after the other, each in order of time.

    Parameters
    ----------
    records: in order of time.
    metric: one of `pilotage.perf.record.METRICS`.
    site: only this one.
    """
    by_configuration: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        if site in (None, record.site):
            by_configuration.setdefault(record.configuration, []).append(record)
    return [step for same in by_configuration.values() for step in past(same, METRICS[metric])]


def past(records: Sequence[Record], metric: Metric) -> list[Step]:
    """Return the steps of one configuration: its records, in order of time, that have numbers of ``metric``."""
    known = [record for record in records if any(value > 0 for value in record.values(metric.name))]
    return [_step(record, before, metric) for before, record in zip([None, *known], known, strict=False)]


def _step(record: Record, before: Record | None, metric: Metric) -> Step:
    values = [value for value in record.values(metric.name) if value > 0]
    verdict = None
    change: Literal["first", "better", "worse", "same", "cannot tell"] = "first"
    if before is not None:
        verdict = judge(record.id, record, before.id, before, metric)
        change = "cannot tell" if verdict is None else direction(verdict, metric)
    return Step(
        record=record.id,
        created=record.created,
        site=record.site,
        scheduler=record.scheduler,
        executor=record.executor,
        workers=record.ran.workers,
        nodes=len(record.ran.nodes),
        argsize=record.options.argsize,
        revision=revision_of(record),
        metric=metric.name,
        unit=metric.unit,
        values=values,
        typical=interval_of(typical(values)),
        since=before.id if before is not None else None,
        verdict=verdict,
        change=change,
        failed=sum(session.status == "failed" for session in record.sessions),
    )


def direction(verdict: Verdict, metric: Metric) -> Literal["better", "worse", "same", "cannot tell"]:
    """Return what a verdict on new numbers against old ones means."""
    if verdict.outcome != "different" or verdict.ratio is None:
        return "cannot tell" if verdict.outcome == "cannot tell" else "same"
    return "better" if (verdict.ratio.value > 1) == metric.more_is_better else "worse"


def revision_of(record: Record) -> str:
    """Return the revision of pilotage that was measured: its commit, else its version."""
    state = record.revisions.get("pilotage")
    if state is None:
        return record.versions.get("pilotage", "?")
    return state.commit[:10] + ("+" if state.dirty else "")


def row(step: Step) -> list[str]:
    """Return a step's line of the table, in the order of `COLUMNS`."""
    size = f", {step.argsize:,} B" if step.argsize else ""
    ratio = step.verdict.ratio if step.verdict is not None else None
    change = f"{100 * (ratio.value - 1):+.1f} %" if ratio is not None else ""
    marks = {"first": "", "same": "same", "better": "better", "worse": "WORSE", "cannot tell": "cannot tell"}
    return [
        step.created[:16].replace("T", " "),
        step.site,
        step.executor,
        f"{step.nodes}n{step.workers}w{size}",
        step.revision,
        f"{len(step.values)}" + (f" ({step.failed} failed)" if step.failed else ""),
        f"{number(step.typical.value)} {step.unit}",
        change,
        marks[step.change],
    ]
