"""One picture of benchmarks: the figures of a report, below each other."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from pilotage.errors import UsageError
from pilotage.paths import storage, write_atomically
from pilotage.perf.record import Record
from pilotage.perf.report import panels
from pilotage.perf.report.figures import Figure, figures
from pilotage.perf.report.series import gather

KINDS = ("throughput", "workers", "latency", "startup", "history")
TITLE = 0.35
"""Inches of a figure's title."""


def draw(records: Sequence[Record], kinds: Sequence[str], path: Path, metric: str = "rate") -> list[str]:
    """Write a picture with a figure for each of ``kinds`` to ``path``; return what is in it.

    Parameters
    ----------
    records: what is drawn.
    kinds: of `KINDS`; without any, all for which there are numbers but the history.
    path: its ending says the format (svg, png, pdf).
    metric: what the history is of.

    Raises UsageError for a format that is none and a kind without numbers, MissingExtraError without matplotlib,
    StorageError.
    """
    panels.require()
    material = gather({Path(record.id): record for record in records}, [], metric)
    known = {figure.name: figure for figure in figures(material)}
    chosen = kinds or [name for name in known if name != "history"]
    if missing := [kind for kind in chosen if kind not in known]:
        raise UsageError(
            f"these records have no numbers for {missing[0]}", hint=f"they have some for {', '.join(known)}"
        )
    if not chosen:
        raise UsageError("no session of these records has finished: there is nothing to draw")
    _write([known[kind] for kind in chosen], path)
    return list(chosen)


def _write(chosen: Sequence[Figure], path: Path) -> None:
    from matplotlib.figure import Figure as Drawing

    form = path.suffix[1:].lower()
    if not form:
        raise UsageError("the name has no ending that says the format", where=str(path), hint="such as .svg or .png")

    width = panels.WIDE
    heights = [figure.height(width) + TITLE for figure in chosen]
    file = io.BytesIO()
    with panels.style():
        drawing = Drawing(figsize=(width, sum(heights)), layout="constrained")
        parts = drawing.subfigures(len(chosen), 1, squeeze=False, height_ratios=heights)
        for part, figure in zip(parts[:, 0], chosen, strict=True):
            part.suptitle(figure.title, x=0.01, ha="left", weight="bold", fontsize=12)
            figure.fill(part, width)
        panels.settle(drawing, heights)
        try:
            drawing.savefig(file, format=form, dpi=150, metadata={"Date": None} if form == "svg" else None)
        except ValueError as error:
            raise UsageError(str(error).splitlines()[0], where=str(path), hint="such as .svg or .png") from error
    with storage(path):
        write_atomically(path, file.getvalue(), 0o644)
