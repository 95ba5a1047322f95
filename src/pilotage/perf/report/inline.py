"""A figure as SVG: for a file as matplotlib writes it, for the page with names of its own and the page's colours."""

from __future__ import annotations

import io
import re
from html import escape
from typing import NamedTuple

from pilotage.perf.report import palette
from pilotage.perf.report.figures import Figure
from pilotage.perf.report.panels import NARROW, WIDE, style

REFERENCE = re.compile(r'(\bid="|href="#|url\(#)([^")]+)')
COLOUR = re.compile(r'((?:fill|stroke)(?:: |="))(#[0-9a-f]{6})\b')


def svg(figure: Figure, width: float) -> str:
    """Return a figure as SVG, which stands alone; ``width`` in inches."""
    return _drawn(figure, width, "svg").decode()


def png(figure: Figure, width: float) -> bytes:
    """Return a figure as PNG, with two pixels where a page has one."""
    return _drawn(figure, width, "png")


def _drawn(figure: Figure, width: float, form: str) -> bytes:
    with style({"svg.hashsalt": figure.name}):
        canvas = figure.draw(width)
        file = io.BytesIO()
        metadata = {"Date": None} if form == "svg" else {"Software": None}
        canvas.savefig(file, format=form, dpi=200, metadata=metadata)
    return file.getvalue()


class Drawn(NamedTuple):
    """A figure as SVG, in both widths."""

    figure: Figure
    wide: str
    narrow: str


def drawn(figure: Figure) -> Drawn:
    """Return a figure, drawn."""
    return Drawn(figure, svg(figure, WIDE), svg(figure, NARROW))


def for_page(figure: Figure, text: str, variant: str) -> str:
    """Return a figure as an element of a page: several may stand there, on paper or on a dark screen.

    Parameters
    ----------
    figure: what it is.
    text: its SVG.
    variant: its class.
    """
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->\n?", "", text, flags=re.DOTALL)
    name = f"{figure.name}-{variant}"
    text = REFERENCE.sub(lambda match: f"{match[1]}{name}-{match[2]}", text)
    _, variables = palette.variables()
    text = COLOUR.sub(lambda match: match[1] + variables.get(match[2], match[2]), text)
    head = re.match(r"<svg[^>]*>", text)
    assert head is not None  # noqa: S101  it begins so
    box = re.search(r'viewBox="([^"]+)"', head[0])
    assert box is not None  # noqa: S101
    pixels = round(float(box[1].split()[2]) * 4 / 3)
    said = escape(f"{figure.note} {figure.text}")
    start = (
        f'<svg class="{variant}" role="img" viewBox="{box[1]}" style="max-width: {pixels}px" '
        f'aria-labelledby="{name}-title {name}-text" xmlns:xlink="http://www.w3.org/1999/xlink">'
        f'<title id="{name}-title">{escape(figure.title)}</title><desc id="{name}-text">{said}</desc>'
    )
    return start + text[head.end() :]
