"""``pilotage perf report``."""

from __future__ import annotations

from pathlib import Path

import click

from pilotage.cli.common import command_options
from pilotage.output import Output

FILES = click.Path(exists=True, path_type=Path)


@click.command()
@click.argument("records", nargs=-1, type=FILES, metavar="[RECORD|FOLDER]...")
@click.option(
    "-o",
    "--output",
    "target",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder for the report; made where it is not there.",
)
@click.option("--title", help="Title of the page.")
@command_options
def report(output: Output, records: tuple[Path, ...], target: Path, title: str | None) -> None:
    """Write a page with figures of all records in RECORD files and FOLDERs (else of results/).

    The page, report.html, needs nothing but itself. Beside it: each figure as SVG and PNG, the numbers as CSV, and
    report.md.
    """
    from pilotage.perf import shapes
    from pilotage.perf.report.writing import TITLE, write

    material, files = write(records or [Path("results")], target, title or TITLE)
    for problem in material.problems:
        output.warn(problem)
    value = shapes.reported(files, len(material.entries), len(material.not_counted), material.problems)
    output.text(str(files[0]), value)
