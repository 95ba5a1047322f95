"""The figure of the report: four panels, each peer in the same colour everywhere."""

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

# Ours stands out; families share a hue: Parsl blue, frameworks green and violet, pools of one machine grey.
COLOURS = {
    "pilotage": "#d9480f",
    "parsl-htex": "#1c4e80",
    "parsl-htex-nolog": "#5b94c9",
    "parsl-threads": "#a9cbe6",
    "ray": "#2f7d4f",
    "dask": "#7a4fa3",
    "processpool": "#6b7280",
    "loky": "#9ca3af",
    "multiprocessing": "#4b5563",
    "hyperqueue": "#b08900",
}
STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "pilotage",  # equal numbers give an equal file
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
}


def picked(rows, measure, value):
    return {row["peer"]: row["estimate"] for row in rows if row["measure"] == measure and row["value"] == value}


def _error(estimate):
    return [[estimate["value"] - estimate["low"]], [estimate["high"] - estimate["value"]]]


def bars(axes, found, peers, title):
    """Draw one bar a peer, the longest on top."""
    order = sorted(found, key=lambda peer: found[peer]["value"])
    for place, peer in enumerate(order):
        estimate = found[peer]
        axes.barh(place, estimate["value"], color=COLOURS[peer], xerr=_error(estimate), error_kw={"lw": 1})
        axes.annotate(
            f"{estimate['value']:,.0f}", (estimate["high"], place), (4, 0), textcoords="offset points", va="center"
        )
    axes.set_yticks(range(len(order)), [peers[peer]["title"] for peer in order])
    axes.margins(x=0.15)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_title(title)


def latencies(axes, low, high, peers, title):
    """Draw p50 and p99 of each peer, joined."""
    order = sorted(low, key=lambda peer: -low[peer]["value"])
    for place, peer in enumerate(order):
        ends = [low[peer]["value"], high[peer]["value"]]
        axes.plot(ends, [place, place], color=COLOURS[peer], lw=1.5)
        axes.plot(ends[:1], [place], "o", color=COLOURS[peer])
        axes.plot(ends[1:], [place], "|", ms=10, color=COLOURS[peer])
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_yticks(range(len(order)), [peers[peer]["title"] for peer in order])
    axes.set_title(title)


def curves(axes, rows, measure, points, peers, title):
    """Draw one line a peer through ``points`` (value's name, place)."""
    names = {peer for value, _ in points for peer in picked(rows, measure, value)}
    for peer in (peer for peer in peers if peer in names):
        there = [(x, picked(rows, measure, value).get(peer)) for value, x in points]
        there = [(x, estimate) for x, estimate in there if estimate]
        places, middle = [x for x, _ in there], [estimate["value"] for _, estimate in there]
        error = [[_error(estimate)[side][0] for _, estimate in there] for side in (0, 1)]
        label = peers[peer]["title"]
        axes.errorbar(places, middle, error, marker="o", ms=3, lw=1.3, color=COLOURS[peer], label=label)
    axes.set_title(title)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    if names:
        axes.legend(frameon=False, fontsize=7, ncols=2 if len(names) > 4 else 1)


def draw(summary, path):
    """Write the figure of a summary as SVG to ``path``."""
    rows, peers = summary["rows"], summary["peers"]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(2, 2, figsize=(11, 7.5), layout="constrained")
        bars(axes[0][0], picked(rows, "throughput", "rate"), peers, "No-op tasks a second")
        both = (picked(rows, "latency", value) for value in ("p50", "p99"))
        latencies(axes[0][1], *both, peers, "One call after the other, ms: p50 (dot) to p99 (bar)")
        sizes = [("rate_0", 0), ("rate_10kB", 1), ("rate_1MB", 2)]
        curves(axes[1][0], rows, "arguments", sizes, peers, "Tasks a second by size of the argument")
        axes[1][0].set_yscale("log")
        axes[1][0].yaxis.set_major_formatter("{x:,.0f}")
        axes[1][0].set_xticks([0, 1, 2], ["0 B", "10 kB", "1 MB"])
        counts = [1, 2, 4, 8, 16, 32]
        managers = [(f"rate_{count}", place) for place, count in enumerate(counts)]
        curves(axes[1][1], rows, "managers", managers, peers, "Tasks a second by managers, all here")
        axes[1][1].set_ylim(bottom=0)
        axes[1][1].set_xticks(range(len(counts)), counts)
        figure.savefig(path, format="svg", metadata={"Date": None})
        plt.close(figure)
