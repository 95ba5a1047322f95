"""The figures of a report: what each is called, how it is read, what it says, and how it is drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pilotage.perf.record import METRICS
from pilotage.perf.report import panels
from pilotage.perf.report.series import PART_NAMES, PARTS, Family, Material, Series, curve
from pilotage.perf.text import number
from pilotage.statistics import median

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing
    from matplotlib.figure import FigureBase as Canvas

MOST = 12
"""Series in one figure; the others are in the tables."""


class Figure(NamedTuple):
    """A figure of the report.

    ``note`` says how it is read; ``text`` what it shows, to whoever does not see it. ``height`` returns the inches that
    it takes at a width in inches, ``fill`` draws it into a canvas of that width.
    """

    name: str
    title: str
    note: str
    text: str
    height: Callable[[float], float]
    fill: Callable[[Canvas, float], None]

    def draw(self, width: float) -> Drawing:
        """Return the figure alone, ``width`` inches wide."""
        from matplotlib.figure import Figure as Drawing

        drawing = Drawing(figsize=(width, self.height(width)), layout="constrained")
        self.fill(drawing, width)
        panels.settle(drawing)
        return drawing


def figures(material: Material) -> list[Figure]:
    """Return the figures for which there are numbers."""
    makers = (_throughput, _workers, _latency, _startup, _history)
    return [figure for make in makers if (figure := make(material)) is not None]


def _throughput(material: Material) -> Figure | None:
    series = material.measured[:MOST]
    note = "Tasks a second, a row for each configuration: above, the typical session with its interval; below it every "
    note += "session, and every iteration of each."
    return _figure("throughput", "Throughput by site", note, series, _rate, panels.throughput_height, panels.throughput)


def _workers(material: Material) -> Figure | None:
    families = [family for family in material.families if family.by_workers()][:MOST]
    note = "Tasks a second by the workers that really ran: a point for each session, a line through the medians."
    title = "Throughput by workers"
    return _figure("workers", title, note, families, _workers_text, panels.lines_height, panels.workers)


def _latency(material: Material) -> Figure | None:
    series = [one for one in material.series if one.latencies][:MOST]
    note = "Calls made one after the other: which part of them took no longer than a time. Markers stand at 25, 50, 75 "
    note += "and 99 %."
    return _figure("latency", "Latency of one call", note, series, _latency_text, panels.lines_height, panels.latency)


def _startup(material: Material) -> Figure | None:
    series = [one for one in material.series if one.startups][:MOST]
    note = (
        "Seconds from the start of the driver's process to the first result. Bars are medians of each part; a circle "
    )
    note += "is all of one start."
    title = "Start-up, broken down"
    return _figure("startup", title, note, series, _startup_text, panels.startup_height, panels.startup)


def _history(material: Material) -> Figure | None:
    series = [one for one in material.series if len(one.steps) > 1][:MOST]
    if not series:
        return None
    metric = METRICS[series[0].metric]
    title = "History" if metric.name == "rate" else f"History: {metric.title}"
    note = "The typical session of each record, with its interval. A red ring marks one that is "
    note += f"{'slower' if metric.more_is_better else 'longer'} than the record before it, beyond what chance would do."
    return _figure("history", title, note, series, _history_text, panels.history_height, panels.history)


def _figure(
    name: str,
    title: str,
    note: str,
    series: Sequence[Any],
    text: Callable[[Any], str],
    height: Callable[[Any, float], float],
    fill: Callable[[Canvas, Any, float], None],
) -> Figure | None:
    """Return a figure of ``series``; None where there are none."""
    if not series:
        return None
    said = "; ".join(f"{one.name}: {text(one)}" for one in series) + "."
    return Figure(
        name, title, note, said, lambda width: height(series, width), lambda canvas, width: fill(canvas, series, width)
    )


def _rate(one: Series) -> str:
    found = one.throughput
    if found is None:
        return "none"
    between = f" ({number(found.low)} to {number(found.high)})" if found.count > 1 else ""
    return f"{number(found.value)} tasks/s{between}, {found.count} session{'s' if found.count > 1 else ''}"


def _workers_text(one: Family) -> str:
    return ", ".join(f"{number(median(rates))} with {workers}" for workers, rates in one.by_workers().items())


def _latency_text(one: Series) -> str:
    values, parts = curve(one.latencies)
    half = next(value for value, part in zip(values, parts, strict=True) if part >= 0.5)
    late = next(value for value, part in zip(values, parts, strict=True) if part >= 0.99)
    return f"half within {number(half * 1e3)} ms, 99 % within {number(late * 1e3)} ms"


def _startup_text(one: Series) -> str:
    parts = [
        (name, median([start[key] for start in one.startups])) for name, key in zip(PART_NAMES, PARTS, strict=True)
    ]
    return ", ".join(f"{name} {number(seconds)} s" for name, seconds in parts if seconds)


def _history_text(one: Series) -> str:
    worse = [
        f"{step.created[:10]} {step.verdict.ratio.value:.2f} times the one before"
        for step in one.steps
        if step.change == "worse" and step.verdict is not None and step.verdict.ratio is not None
    ]
    return f"{len(one.steps)} records, " + ("worse: " + ", ".join(worse) if worse else "none worse than the one before")
