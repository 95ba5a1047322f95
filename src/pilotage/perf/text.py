"""Benchmarks as text for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pilotage.perf.compare import Comparison, Group
from pilotage.perf.record import METRICS, Record
from pilotage.statistics import FEW, typical

COLUMNS = ("record", "site", "scheduler", "executor", "ran", "sessions", "tasks/s", "latency ms", "cold start s")
LONGEST_VALUE = 60
LARGE = 1e12
"""From here on a number has a power of ten."""


def row(record: Record) -> list[str]:
    """Return a record's line of a table, in the order of `COLUMNS`."""
    ran = record.ran
    asked = max(record.options.repeat, len(record.finished))
    size = f", {record.options.argsize:,} B" if record.options.argsize else ""
    return [
        record.id,
        record.site,
        record.scheduler,
        record.executor,
        f"{len(ran.nodes)}n{ran.workers}w{size}",
        f"{len(record.finished)}/{asked}",
        shown(record, "rate"),
        shown(record, "latency_p50", 1e3),
        shown(record, "cold_start"),
    ]


def shown(record: Record, metric: str, scale: float = 1.0) -> str:
    """Return a record's typical number with its interval; below ten sessions with their spread, as ``min-max``."""
    values = [scale * value for value in record.values(metric) if value > 0]
    if not values:
        return "-"
    found = typical(values) if len(values) >= FEW else typical(values, resamples=1)  # no interval is shown
    if len(values) == 1:
        return number(found.value)
    if len(values) < FEW:
        return f"{number(found.value)} [{number(min(values))}-{number(max(values))}]"
    return f"{number(found.value)} ({number(found.low)} to {number(found.high)})"


def number(value: float) -> str:
    """Return a number with about three digits that say something."""
    return f"{value:,.0f}" if 999.5 <= value < LARGE else f"{value:.3g}"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return rows under column names as plain text."""
    every = [list(columns), *map(list, rows)]
    widths = [max(len(line[place]) for line in every) for place in range(len(columns))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in every]
    return "\n".join(line.rstrip() for line in lines)


NOTE = f"[a-b]: the spread of fewer than {FEW} sessions; (a to b): the 95 % interval"


def comparison(found: Comparison) -> str:
    """Return a comparison: verdicts first, then every sample, then what is different about the sides."""
    lines = []
    for verdict in found.verdicts:
        lines.append(verdict.words)
        if verdict.effect is not None:
            how = "paired by repeat" if verdict.paired else "not paired"
            lines.append(f"    effect size {verdict.effect:+.2f} ({verdict.effect_words}); {how}")
        lines += [f"    note: {caution}" for caution in verdict.cautions]
    lines += ["", *(_samples(group) for group in found.groups)]
    if found.differences:
        lines += ["", "different:"]
        for one in found.differences:
            values = "; ".join(f"{name}: {_cut(value)}" for name, value in one.values.items())
            lines.append(f"    {one.name}: {values}")
    else:
        lines += ["", "different: nothing that is known"]
    lines += [f"note: {caution}" for caution in found.cautions]
    return "\n".join(map(_visible, lines)).strip()


def _samples(group: Group) -> str:
    metric = METRICS[group.metric]
    shown = []
    for place, value in enumerate(group.values):
        mark = "w" if place < group.warm_up else "*" if place in group.outliers else ""
        shown.append(f"{number(value)}{mark}")
    legend = []
    if group.warm_up:
        legend.append("w: warm-up")
    if any(place >= group.warm_up for place in group.outliers):
        legend.append("*: far from the others")
    note = f"  [{'; '.join(legend)}]" if legend else ""
    failed = f"  ({group.failed} failed)" if group.failed else ""
    return f"{group.name}, {metric.title}, {metric.unit}: {' '.join(shown)}{note}{failed}"


def _visible(line: str) -> str:
    """Return a line without what a terminal would take for an order: parameters and reasons come from anywhere."""
    return "".join(letter if letter.isprintable() else " " for letter in line)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"
