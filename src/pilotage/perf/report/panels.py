"""How the figures are drawn, by matplotlib: each into a canvas that it is given, in two widths.

A canvas is a figure, or one of several parts of a figure below each other. matplotlib (extra ``report``) is imported
when something is drawn.
"""

from __future__ import annotations

import contextlib
import importlib.util
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pilotage.errors import MissingExtraError
from pilotage.perf.history import Step
from pilotage.perf.record import METRICS, Metric, moment
from pilotage.perf.report import palette
from pilotage.perf.report.palette import ink
from pilotage.perf.report.series import PART_NAMES, PARTS, Family, Series, curve
from pilotage.perf.text import number
from pilotage.statistics import median

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing
    from matplotlib.figure import FigureBase as Canvas

WIDE, NARROW = 9.0, 4.3
"""Inches: 72 to each, so that text of 10 points is as large as 13 pixels of a page."""
STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: it can be read out, searched and copied
    "svg.hashsalt": "pilotage",  # equal numbers give an equal file
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "font.size": 10,
    "text.parse_math": False,  # a site may be called $x$
    "text.color": ink("ink"),
    "axes.labelcolor": ink("ink"),
    "axes.edgecolor": ink("muted"),
    "axes.facecolor": ink("paper"),
    "figure.facecolor": ink("paper"),
    "xtick.color": ink("muted"),
    "ytick.color": ink("muted"),
    "xtick.labelcolor": ink("ink"),
    "ytick.labelcolor": ink("ink"),
    "grid.color": ink("grid"),
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "hatch.linewidth": 0.7,
}


def installed() -> bool:
    """Return whether there is a matplotlib."""
    return importlib.util.find_spec("matplotlib") is not None


def require() -> None:
    """Raise MissingExtraError where there is no matplotlib."""
    if not installed():
        raise MissingExtraError("matplotlib, which draws, is not installed", hint="pip install 'pilotage[report]'")


@contextlib.contextmanager
def style(more: Any = None) -> Iterator[None]:
    """Draw in the style of all figures, and of ``more``, and in silence: a letter that no font has is no news."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE | (more or {})), warnings.catch_warnings():
        for kind in (UserWarning, RuntimeWarning):
            warnings.simplefilter("ignore", kind)
        yield


def settle(drawing: Drawing, heights: Sequence[float] = ()) -> None:
    """Lay a drawing out once and for all; equal numbers then give an equal file.

    The solver of matplotlib's layout works in an order that depends on addresses in memory: its last digits go away.
    ``heights`` are those of the drawing's parts, which stand below each other, in any unit.
    """
    engine = drawing.get_layout_engine()
    if engine is None:
        raise ValueError("the drawing has no layout")
    engine.execute(drawing)
    drawing.set_layout_engine("none")
    top = 1.0
    for part, height in zip(drawing.subfigs, heights, strict=True):
        bottom = max(0.0, top - height / sum(heights))
        part.bbox_relative.p0, part.bbox_relative.p1 = (0.0, bottom), (1.0, top)
        top = bottom
    for axes in drawing.axes:
        left, low, width, high = (round(length, 5) for length in axes.get_position().bounds)
        axes.set_position((left, low, width, high))


# Of each figure: the height in inches that it takes at a width, and its drawing.


def throughput_height(series: Sequence[Series], width: float) -> float:
    """Return inches."""
    return 1.05 + 0.68 * len(series) + (0.4 if width < WIDE else 0)


def throughput(canvas: Canvas, series: Sequence[Series], width: float) -> None:
    """Draw a row for each configuration: the typical session above all sessions above all iterations."""
    axes: Any = canvas.subplots()
    everything = [rate for one in series for rate in (*one.rates, *(i.runtime_tps for i in one.iterations))]
    for row, one in enumerate(reversed(series)):
        _row_name(axes, one.name, row, width)
        warm = [i.runtime_tps for i in one.iterations if i.warm_up]
        rest = [i.runtime_tps for i in one.iterations if not i.warm_up]
        axes.plot(rest, [row - 0.24] * len(rest), "o", ms=4, mfc="none", mec=ink("muted"), mew=0.9)
        axes.plot(warm, [row - 0.24] * len(warm), "x", ms=4, mec=ink("muted"), mew=0.9)
        kind = {"marker": palette.marker(one.number), "ls": "", "ms": 6.5, "alpha": 0.85}
        axes.plot(
            one.rates, [row] * len(one.rates), color=palette.colour(one.number), mec=ink("paper"), mew=0.5, **kind
        )
        found = one.throughput
        if found is not None and found.count > 1:
            axes.plot([found.low, found.high], [row + 0.13] * 2, "-", lw=3, color=palette.colour(one.number))
            axes.plot([found.value], [row + 0.13], "|", ms=11, mew=2.5, color=palette.colour(one.number))
    _rate_axis(axes, everything, "x")
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_ylim(-0.5, len(series) - 0.42)
    axes.set_xlabel("tasks/s, more is better")
    _legend(
        canvas,
        [
            ("session (its last iteration)", {"marker": "o", "ls": "", "color": ink("muted")}),
            ("iteration", {"marker": "o", "ls": "", "mfc": "none", "color": ink("muted"), "ms": 4}),
            ("warm-up iteration", {"marker": "x", "ls": "", "color": ink("muted"), "ms": 4}),
            ("typical session, 95 % interval", {"marker": "|", "ls": "-", "lw": 3, "color": ink("muted"), "ms": 10}),
        ],
        width,
    )


def _row_name(axes: Axes, name: str, row: int, width: float) -> None:
    text = _cut(name, 40 if width < WIDE else 90)
    axes.text(0.004, row + 0.38, text, transform=axes.get_yaxis_transform(), va="center", weight="bold")


def _rate_axis(axes: Axes, values: Sequence[float], which: str) -> None:
    """Begin at 0; where values differ by factors, let equal factors be equal lengths."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    positive = [value for value in values if value > 0]
    axis = getattr(axes, f"{which}axis")
    limit = getattr(axes, f"set_{which}lim")
    if positive and max(positive) > 20 * min(positive):
        getattr(axes, f"set_{which}scale")("log")
        limit(min(positive) / 1.5, max(positive) * 1.5)
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_minor_formatter(NullFormatter())
    else:
        limit(0, max(positive, default=1) * 1.08)
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))


def _legend(canvas: Canvas, entries: Sequence[tuple[str, dict[str, Any]]], width: float) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], label=label, **style) for label, style in entries]
    columns = _columns([label for label, _ in entries], width)
    canvas.legend(handles=handles, loc="outside lower left", ncols=columns, fontsize=9)


def _columns(labels: Sequence[str], width: float) -> int:
    # A letter of 9 points is 0.09 inches wide or less, a marker with its gaps 0.6.
    longest = max(0.09 * len(label) + 0.6 for label in labels)
    return max(1, min(len(labels), int(width / longest)))


def _legend_height(series: Sequence[Series | Family], width: float) -> float:
    """Return the inches that a legend of series takes."""
    labels = [_short(one.name, width) for one in series]
    return 0.2 * -(-len(labels) // _columns(labels, width)) + 0.2


def _short(name: str, width: float) -> str:
    return _cut(name, 38 if width < WIDE else 40)


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 1] + "…"


def _series_legend(canvas: Canvas, series: Sequence[Series | Family], width: float) -> None:
    _legend(canvas, [(_short(one.name, width), _line(one.number)) for one in series], width)


def _line(number_: int) -> dict[str, Any]:
    return {
        "color": palette.colour(number_),
        "marker": palette.marker(number_),
        "ls": palette.dash(number_),
        "lw": 1.6,
        "ms": 6,
    }


def lines_height(series: Sequence[Series | Family], width: float) -> float:
    """Return inches of a figure that has a line for each of ``series``, and a legend."""
    return 3.6 + _legend_height(series, width)


def workers(canvas: Canvas, families: Sequence[Family], width: float) -> None:
    """Draw the rate by the workers that ran: a point for each session, a line through the medians."""
    from matplotlib.ticker import FixedLocator, NullLocator

    axes: Any = canvas.subplots()
    counts = sorted({float(workers) for family in families for workers in family.by_workers()})
    values: list[float] = []
    for family in families:
        found = family.by_workers()
        style = _line(family.number)
        medians = [(float(workers), median(rates)) for workers, rates in found.items()]
        axes.plot(*zip(*medians, strict=True), **{**style, "marker": ""})
        points = [(float(workers), rate) for workers, rates in found.items() for rate in rates]
        values += [rate for _, rate in points]
        axes.plot(*zip(*points, strict=True), **{**style, "ls": "", "alpha": 0.75, "mec": ink("paper"), "mew": 0.5})
    axes.set_xscale("log", base=2)
    axes.set_xlim(counts[0] / 1.3, counts[-1] * 1.3)
    axes.xaxis.set_major_locator(FixedLocator(counts))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    _rate_axis(axes, values, "y")
    axes.set_xlabel("workers that ran")
    axes.set_ylabel("tasks/s")
    _series_legend(canvas, families, width)


def latency(canvas: Canvas, series: Sequence[Series], width: float) -> None:
    """Draw which part of the calls took no longer than a time."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes: Any = canvas.subplots()
    for one in series:
        values, parts = curve(one.latencies)
        places = [parts.index(part) for part in (_reached(parts, p) for p in (0.25, 0.5, 0.75, 0.99))]
        milliseconds = [value * 1e3 for value in values]
        axes.plot(milliseconds, [part * 100 for part in parts], markevery=places, **_line(one.number))
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7) if width >= WIDE else (1, 2, 5)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_ylim(0, 101)
    axes.set_xlabel("ms from the call to its result, less is better")
    axes.set_ylabel("% of calls")
    _series_legend(canvas, series, width)


def _reached(parts: Sequence[float], probability: float) -> float:
    return next(part for part in parts if part >= probability)


def startup_height(series: Sequence[Series], width: float) -> float:
    """Return inches."""
    return 1.2 + 0.62 * len(series) + (0.4 if width < WIDE else 0)


def startup(canvas: Canvas, series: Sequence[Series], width: float) -> None:
    """Draw a bar for each configuration, of the median of each part, above all starts."""
    from matplotlib.patches import Patch

    axes: Any = canvas.subplots()
    for row, one in enumerate(reversed(series)):
        _row_name(axes, one.name, row, width)
        left = 0.0
        for part, key in enumerate(PARTS):
            seconds = median([start[key] for start in one.startups])
            axes.barh(row - 0.05, seconds, 0.36, left=left, **_part(part))
            left += seconds
        totals = [start["total_s"] for start in one.startups]
        axes.plot(totals, [row - 0.32] * len(totals), "o", ms=4, mfc="none", mec=ink("muted"), mew=0.9)
    handles = [Patch(label=name, **_part(part)) for part, name in enumerate(PART_NAMES)]
    axes.set_xlim(left=0)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_ylim(-0.55, len(series) - 0.4)
    axes.set_xlabel("s from the start of the driver, less is better")
    canvas.legend(handles=handles, loc="outside lower left", ncols=3 if width < WIDE else 5, fontsize=9)


def _part(part: int) -> dict[str, Any]:
    return {"facecolor": ink(f"part{part + 1}"), "edgecolor": ink("ink"), "lw": 0.7, "hatch": palette.HATCHES[part]}


def history_height(series: Sequence[Series], width: float) -> float:
    """Return inches."""
    return 0.6 + 2.3 * len(_sites(series)) + _legend_height(series, width)


def history(canvas: Canvas, series: Sequence[Series], width: float) -> None:
    """Draw each record's typical session over time, a panel for each site; what has become worse has a ring."""
    metric = METRICS[series[0].metric]
    sites = _sites(series)
    axes: Any = canvas.subplots(nrows=len(sites), sharex=True, squeeze=False)
    for panel, site in zip(axes[:, 0], sites, strict=True):
        values: list[float] = []
        for one in (one for one in series if one.site == site):
            values += _one_history(panel, one, metric, width)
        _rate_axis(panel, values, "y")
        panel.set_ylabel(metric.unit)
        panel.set_title(_cut(site, 40), loc="left", fontsize=10, weight="bold")
    _time_axis(axes[-1, 0], width)
    _series_legend(canvas, series, width)


def _sites(series: Sequence[Series]) -> list[str]:
    return list(dict.fromkeys(one.site for one in series))


def _one_history(axes: Axes, one: Series, metric: Metric, width: float) -> list[float]:
    times: list[Any] = [moment(step.created) for step in one.steps]
    found = [step.typical for step in one.steps]
    ends = [[f.value - min(f.low, f.value) for f in found], [max(f.high, f.value) - f.value for f in found]]
    axes.errorbar(times, [f.value for f in found], ends, capsize=3, elinewidth=1, **_line(one.number))
    for time, step in zip(times, one.steps, strict=True):
        if step.change == "worse":
            axes.plot([time], [step.typical.value], "o", ms=15, mfc="none", mec=ink("alarm"), mew=1.8)
            axes.annotate(
                _worse(step, metric, width),
                (time, step.typical.value),
                (0, -16),
                textcoords="offset points",
                ha="center" if width >= WIDE else "right",
                va="top",
                fontsize=9,
                color=ink("alarm"),
            )
    return [value for f in found for value in (f.low, f.high)]


def _worse(step: Step, metric: Metric, width: float) -> str:
    ratio = step.verdict.ratio if step.verdict is not None else None
    percent = 100 * abs(ratio.value - 1) if ratio is not None else 0.0
    words = f"▼ {percent:.0f} % slower" if metric.more_is_better else f"▲ {percent:.0f} % longer"
    return f"{words}\nat {step.revision}" if width >= WIDE else words


def _time_axis(axes: Axes, width: float) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=2, maxticks=4 if width < WIDE else 8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.set_xlabel("time of the record (UTC)")
