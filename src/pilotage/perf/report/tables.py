"""The numbers of a report: as tables for its page and for Markdown, and as CSV for other programs."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pilotage.perf.record import METRICS
from pilotage.perf.report.series import PART_NAMES, PARTS, Entry, Material, Series
from pilotage.perf.text import number
from pilotage.statistics import median, quantile


class Table(NamedTuple):
    """Rows under column names; columns whose name begins with ``>`` are numbers and stand to the right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def summary(material: Material) -> Table:
    """Return a row for each configuration."""
    columns = [
        "configuration",
        "runs on",
        ">tasks/s (95 % interval)",
        ">sessions",
        ">p50",
        ">p99",
        ">cold start",
        "newest",
    ]
    rows = []
    for one in material.measured:
        found = one.throughput
        assert found is not None  # noqa: S101  it is a measured one
        between = f" ({number(found.low)} to {number(found.high)})" if found.count > 1 else ""
        few = " *" if found.too_narrow else ""
        rows.append(
            [
                one.name,
                _runs_on(one),
                f"{number(found.value)}{between}{few}",
                str(found.count),
                _typical(one, "latency_p50", 1e3, "ms"),
                _typical(one, "latency_p99", 1e3, "ms"),
                _typical(one, "cold_start", 1, "s"),
                one.entries[-1].record.created[:10],
            ]
        )
    return Table(columns, rows)


def _runs_on(one: Series) -> str:
    record = next((entry.record for entry in reversed(one.entries) if entry.record.ran.workers), one.entries[-1].record)
    ran = record.ran
    where = f"{_count(len(ran.nodes), 'node')}, {_count(ran.workers, 'worker')}" if ran.workers else "nodes not known"
    return f"{record.scheduler}, {record.executor}; {where}"


def _count(number_: int, word: str) -> str:
    return f"{number_} {word}{'' if number_ == 1 else 's'}"


def _typical(one: Series, metric: str, factor: float, unit: str) -> str:
    values = [value for session in one.sessions if (value := METRICS[metric].of(session)) is not None]
    return f"{number(median(values) * factor)} {unit}" if values else ""


def startup(material: Material) -> Table:
    """Return the parts of the start-up."""
    rows = []
    for one in material.series:
        if one.startups:
            parts = [number(median([start[key] for start in one.startups])) for key in (*PARTS, "total_s")]
            rows.append([one.name, *parts, str(len(one.startups))])
    return Table(["configuration", *(f">{name}, s" for name in (*PART_NAMES, "all")), ">starts"], rows)


def workers(material: Material) -> Table:
    """Return the throughput by the workers that ran."""
    rows = [
        [family.name, str(count), number(median(rates)), str(len(rates))]
        for family in material.families
        for count, rates in family.by_workers().items()
    ]
    return Table(["configuration", ">workers that ran", ">tasks/s, median", ">sessions"], rows)


def history(material: Material) -> Table:
    """Return the throughput of each record over time; what is slower than the one before is marked."""
    rows = []
    for one in material.series:
        for step in one.steps:
            found = step.verdict.ratio if step.verdict is not None and step.change == "worse" else None
            between = f"{found.low:.2f} to {found.high:.2f}" if found else ""
            word = f"SLOWER: {found.value:.2f} times the one before ({between})" if found else ""
            rows.append([one.name, step.created[:16], number(median(step.values)), str(len(step.values)), word])
    return Table(["configuration", "time", ">tasks/s, median", ">sessions", "against the one before"], rows)


def latency(material: Material) -> Table:
    """Return quantiles of the time of one call."""
    places = (0.25, 0.5, 0.75, 0.9, 0.99, 1.0)
    rows = [
        [one.name, *(number(quantile(one.latencies, p) * 1e3) for p in places), str(len(one.latencies))]
        for one in material.series
        if one.latencies
    ]
    return Table(["configuration", *(f">{100 * p:g} %, ms" for p in places), ">calls"], rows)


def throughput(material: Material) -> Table:
    """Return every session with its throughput."""
    rows = []
    for one in material.measured:
        for entry in one.entries:
            for session in entry.record.finished:
                iterations = ", ".join(
                    number(i.runtime_tps) + (" (warm-up)" if i.warm_up else "") for i in session.iterations
                )
                rows.append([one.name, session.started[:16], number(session.rate or 0), iterations])
    return Table(["configuration", "started", ">tasks/s", "of each iteration"], rows)


def not_counted(material: Material) -> Table:
    """Return what does not count, and why."""
    rows = [
        [one.entry.record.site, one.entry.record.id, str(one.session.number) if one.session else "", one.reason]
        for one in material.not_counted
    ]
    return Table(["site", "record", ">session", "why it does not count"], rows)


def provenance(material: Material) -> Table:
    """Return what produced each record."""
    columns = ["record", "site", "origin", "versions", "machine", "git", "load before", "marks"]
    return Table(columns, [_provenance(entry) for entry in material.entries])


def _provenance(entry: Entry) -> list[str]:
    record, machine = entry.record, entry.record.machine
    versions = ", ".join(f"{name} {version}" for name, version in sorted(record.versions.items()))
    where = (
        f"{machine.cpu}, {machine.usable_cores} of {machine.cores} cores, {machine.kernel}" if machine else "not known"
    )
    git = ", ".join(f"{n} {r.commit[:10]}{' with changes' if r.dirty else ''}" for n, r in record.revisions.items())
    loads = [session.load.before[0] for session in record.sessions if session.load.before]
    load = f"{number(min(loads))} to {number(max(loads))}" if loads else ""
    origin = f"{record.origin} {record.created[:16]}" + (f", {record.source}" if record.source else "")
    return [record.id, record.site, origin, versions or "not known", where, git, load, "; ".join(record.marks)]


def sessions_csv(material: Material) -> str:
    """Return a row for each session, with its numbers."""
    metrics = list(METRICS)
    head = ["record", "site", "scheduler", "executor", "label", "origin", "session", "status", "reason", "started"]
    head += ["blocks", "managers", "workers", "nodes", *metrics, *(f"cold_start_{key}" for key in PARTS), "file"]
    return _csv(head, (row for entry in material.entries for row in _session_rows(entry)))


def _session_rows(entry: Entry) -> Iterable[list[object]]:
    record = entry.record
    for one in record.sessions:
        ran = one.ran
        own = [record.id, record.site, record.scheduler, record.executor, record.label, record.origin]
        own += [str(one.number), one.status, one.reason, one.started]
        known = [ran.blocks or "", ran.managers or "", ran.workers or "", len(ran.nodes) or ""]
        values = [metric.of(one) for metric in METRICS.values()]
        cold = [getattr(one.cold_start, key, None) for key in PARTS]
        yield [*own, *known, *values, *cold, str(entry.path)]


def iterations_csv(material: Material) -> str:
    """Return a row for each iteration."""
    names = ("number", "num_tasks", "submission_s", "submission_tps", "runtime_s", "runtime_tps", "warm_up")
    rows = (
        [entry.record.id, entry.record.site, session.number, session.status, *(getattr(one, name) for name in names)]
        for entry in material.entries
        for session in entry.record.sessions
        for one in session.iterations
    )
    return _csv(["record", "site", "session", "status", *names], rows)


def _csv(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([["" if cell is None else _safe(cell) for cell in row] for row in rows])
    return file.getvalue()


def _safe(cell: object) -> object:
    """Return a cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "@", "-", "\t") else cell


def markdown(table: Table) -> str:
    """Return a table in Markdown."""
    lines = ["| " + " | ".join(plain(name.lstrip(">")) for name in table.columns) + " |"]
    lines.append("|" + "|".join("---:" if name.startswith(">") else "---" for name in table.columns) + "|")
    return "\n".join([*lines, *("| " + " | ".join(map(plain, row)) + " |" for row in table.rows)])


def plain(text: str) -> str:
    """Return a text in which Markdown and HTML see nothing of theirs."""
    return re.sub(r"([\\|<>*_`\[\]])", r"\\\1", " ".join(text.split()))
