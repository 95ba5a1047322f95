"""Writes a report: its page, its figures as pictures, its numbers as CSV and Markdown."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from pilotage.errors import UsageError
from pilotage.paths import storage, write_atomically
from pilotage.perf import folder
from pilotage.perf.report import panels, tables
from pilotage.perf.report.figures import Figure, figures
from pilotage.perf.report.inline import drawn, png
from pilotage.perf.report.page import FEW, page
from pilotage.perf.report.series import Material, gather

TITLE = "Parsl, measured"


def write(paths: Sequence[Path], target: Path, title: str = TITLE) -> tuple[Material, list[Path]]:
    """Write the report of the records in ``paths`` into the folder ``target``; return its material and its files.

    Files of an earlier report are replaced. Raises StorageError, UsageError where there is no record at all, and
    MissingExtraError without matplotlib.
    """
    panels.require()
    found = folder.read_all(paths)
    if not found.records:
        said = f": {found.problems[0]}" if found.problems else ""
        raise UsageError(
            f"there is no record{said}", where=", ".join(map(str, paths)), hint="`pilotage perf run` makes some"
        )
    material = gather(found.records, found.problems)
    shown = [drawn(figure) for figure in figures(material)]
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    contents: dict[str, str | bytes] = {
        "report.html": page(material, shown, title, made),
        "report.md": _markdown(material, [one.figure for one in shown], title, made),
        "sessions.csv": tables.sessions_csv(material),
        "iterations.csv": tables.iterations_csv(material),
    }
    for one in shown:
        contents[f"{one.figure.name}.svg"] = one.wide
        contents[f"{one.figure.name}.png"] = png(one.figure, panels.WIDE)
    return material, [_written(target / name, content) for name, content in contents.items()]


def _written(path: Path, content: str | bytes) -> Path:
    with storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content, 0o644)
    return path


def _markdown(material: Material, shown: Sequence[Figure], title: str, made: str) -> str:
    parts = [
        f"# {tables.plain(title)}",
        f"Made {made}.",
        tables.markdown(tables.summary(material)),
        FEW.replace("*", "\\*"),
    ]
    for figure in shown:
        parts += [f"## {figure.title}", figure.note, f"![{tables.plain(figure.text)}]({figure.name}.svg)"]
    if material.not_counted:
        parts += ["## Not counted", tables.markdown(tables.not_counted(material))]
    parts += ["## Provenance", tables.markdown(tables.provenance(material))]
    parts += [f"Left out: {tables.plain(problem)}" for problem in material.problems]
    return "\n\n".join(parts) + "\n"
