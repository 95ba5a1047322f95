"""Colours, markers and dashes of the figures: five series are told apart by each of the three alone.

The colours were searched for by computer, so that any two of them differ (33 units of CIELAB at least, where 2 can be
seen) for people with and without each kind of colour blindness, stand out from the page (contrast 3.2 and more), and
have different greys. `tests/perf/test_report_palette.py` holds these numbers.
"""

from __future__ import annotations

SERIES = ("#3973ca", "#ae0064", "#91952e", "#00008e", "#613305", "#170100")
"""On white paper."""
DARK_SERIES = ("#beabff", "#d76037", "#00ffca", "#2a8280", "#ffbe00", "#a900e1")
"""On a dark screen."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES: tuple[str | tuple[int, tuple[int, ...]], ...] = ("-", (0, (5, 2)), (0, (1, 1)), (0, (6, 2, 1, 2)), (0, (9, 3)))
HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\")

PAPER, DARK_PAPER = "#ffffff", "#14181d"
ROLES = {
    "ink": ("#1b1f25", "#e8ebef"),
    "muted": ("#59616b", "#a3acb7"),
    "grid": ("#d9dde2", "#343b44"),
    "paper": (PAPER, DARK_PAPER),
    "alarm": ("#c00f0c", "#ff7b72"),
    "part1": ("#20435c", "#7fb3d6"),
    "part2": ("#3f7ea6", "#4a7f9f"),
    "part3": ("#83b4cf", "#c9dfec"),
    "part4": ("#c5dbe7", "#2f556d"),
    "part5": ("#e9f1f5", "#1d3543"),
}
"""Everything else by what it is for: on paper, on a dark screen. The parts of the start-up differ in their greys."""


def ink(role: str) -> str:
    """Return the colour of a role on paper."""
    return ROLES[role][0]


def colour(number: int) -> str:
    """Return the colour of a series on paper."""
    return SERIES[number % len(SERIES)]


def marker(number: int) -> str:
    """Return the marker of a series; there is one more of them than of colours: pairs do not come again soon."""
    return MARKERS[number % len(MARKERS)]


def dash(number: int) -> str | tuple[int, tuple[int, ...]]:
    """Return the dashes of a series."""
    return DASHES[number % len(DASHES)]


def variables() -> tuple[dict[str, tuple[str, str]], dict[str, str]]:
    """Return the page's variables (on paper, on a dark screen), and which stands for which colour of a figure."""
    found = {f"--{role}": colours for role, colours in ROLES.items()}
    found |= {f"--s{n}": pair for n, pair in enumerate(zip(SERIES, DARK_SERIES, strict=True))}
    return found, {light: f"var({name})" for name, (light, _) in found.items()}
