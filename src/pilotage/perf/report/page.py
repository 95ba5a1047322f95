"""The report's page: one file without a script, a font, a picture or a style from anywhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from html import escape

from pilotage import __version__
from pilotage.perf.report import palette, tables
from pilotage.perf.report.figures import MOST
from pilotage.perf.report.inline import Drawn, for_page
from pilotage.perf.report.series import Material
from pilotage.perf.report.tables import Table

NUMBERS: dict[str, Callable[[Material], Table]] = {
    "throughput": tables.throughput,
    "workers": tables.workers,
    "latency": tables.latency,
    "startup": tables.startup,
    "history": tables.history,
}
CSS = """
:root { color-scheme: light dark; %(light)s }
@media screen and (prefers-color-scheme: dark) { :root { %(dark)s } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem 1.25rem 3rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, "Segoe UI", "DejaVu Sans", Verdana, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0.5rem 0; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 0.5rem; }
p { margin: 0.4rem 0; max-width: 46rem; }
.muted, figcaption, caption { color: var(--muted); }
figure { margin: 0.5rem 0 1rem; }
figcaption, caption { font-size: 0.9rem; text-align: left; max-width: 46rem; margin-bottom: 0.4rem; }
caption { position: sticky; left: 0; max-width: min(46rem, calc(100vw - 2.5rem)); }
svg { display: block; width: 100%%; height: auto; }
svg.narrow { display: none; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 0.7rem 0.25rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--grid); }
th { border-bottom: 2px solid var(--muted); }
th.n, td.n { text-align: right; white-space: nowrap; }
td { overflow-wrap: anywhere; min-width: 7rem; }
td.n { min-width: 0; }
summary { cursor: pointer; color: var(--muted); padding: 0.2rem 0; }
a:focus-visible, summary:focus-visible, .scroll:focus-visible { outline: 3px solid var(--s0); outline-offset: 2px; }
.slower { color: var(--alarm); font-weight: bold; }
@media (max-width: 44rem) { body { padding: 0.75rem; } svg.wide { display: none; } svg.narrow { display: block; } }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  svg.wide { display: block; } svg.narrow { display: none; }
  figure, tr { break-inside: avoid; } h2 { break-after: avoid; }
  .scroll { overflow: visible; } table { font-size: 8pt; }
  details:not([open]) { display: none; }
}
"""
HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{css}</style>
</head>
<body>
<main>
"""
FEW = "* Made of fewer than 10 sessions: such an interval is narrower than it should be."


def page(material: Material, figures: list[Drawn], title: str, made: str) -> str:
    """Return the page.

    Parameters
    ----------
    material: what it tells of.
    figures: what it shows.
    title: its title.
    made: when, in words.
    """
    return "".join(_parts(material, figures, title, made))


def _parts(material: Material, figures: list[Drawn], title: str, made: str) -> Iterator[str]:
    yield HEAD.format(title=escape(title), css=_css())
    yield f"<h1>{escape(title)}</h1>\n"
    yield f'<p class="muted">{escape(_overview(material, made))}</p>\n'
    summary = tables.summary(material)
    if summary.rows:
        few = any("*" in cell for row in summary.rows for cell in row)
        yield _table(summary, "Each number is the typical session of a configuration." + (f" {FEW}" if few else ""))
    else:
        yield "<p>No record has a session that counts.</p>\n"
    for one in figures:
        yield from _figure(one, material)
    yield from _not_counted(material)
    yield '<h2 id="provenance">Provenance</h2>\n'
    yield _table(tables.provenance(material), "What produced each record.")
    for problem in material.problems:
        yield f"<p>Left out: {escape(problem)}</p>\n"
    yield f'<p class="muted">pilotage {escape(__version__)}, {escape(made)}.</p>\n</main>\n</body>\n</html>\n'


def _css() -> str:
    variables, _ = palette.variables()
    light, dark = ("".join(f"{name}: {pair[which]}; " for name, pair in variables.items()) for which in (0, 1))
    return CSS % {"light": light, "dark": dark}


def _overview(material: Material, made: str) -> str:
    counted = sum(len(one.sessions) for one in material.series)
    dates = [entry.record.created[:10] for entry in material.entries]
    span = f", {dates[0]} to {dates[-1]}" if dates else ""
    words = f"{len(material.entries)} records of {len(material.series)} configurations{span}: {counted} sessions count"
    if material.not_counted:
        words += f", {len(material.not_counted)} do not"
    return f"{words}. Made {made}."


def _figure(drawn: Drawn, material: Material) -> Iterator[str]:
    figure = drawn.figure
    yield f'<h2 id="{figure.name}">{escape(figure.title)}</h2>\n<figure>\n'
    yield f"<figcaption>{escape(figure.note)}</figcaption>\n"
    yield for_page(figure, drawn.wide, "wide")
    yield for_page(figure, drawn.narrow, "narrow")
    yield "</figure>\n"
    if len(material.series) > MOST:
        yield f'<p class="muted">The first {MOST} configurations are drawn; all are in the tables.</p>\n'
    table = NUMBERS[figure.name](material)
    yield f"<details><summary>The numbers of this figure</summary>\n{_table(table, figure.title)}</details>\n"


def _not_counted(material: Material) -> Iterator[str]:
    if material.not_counted:
        yield '<h2 id="not-counted">Not counted</h2>\n'
        yield _table(
            tables.not_counted(material), "What failed, was stopped, or is no measurement is in no number above."
        )


def _table(table: Table, caption: str) -> str:
    # A region that can be scrolled is reached by the keyboard too.
    kinds = [' class="n"' if name.startswith(">") else "" for name in table.columns]
    head = "".join(
        f'<th scope="col"{kind}>{escape(name.lstrip(">"))}</th>'
        for kind, name in zip(kinds, table.columns, strict=True)
    )
    rows = "".join(
        "<tr>" + "".join(_cell(kind, cell) for kind, cell in zip(kinds, row, strict=True)) + "</tr>\n"
        for row in table.rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody></table></div>\n"
    )


def _cell(kind: str, cell: str) -> str:
    if cell.startswith("SLOWER"):
        return f'<td class="slower">{escape(cell)}</td>'
    return f"<td{kind}>{escape(cell)}</td>"
