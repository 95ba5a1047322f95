"""``pilotage bundle``."""

from __future__ import annotations

from pathlib import Path

import click

from pilotage.cli.common import command_options
from pilotage.cli.completion import RunName
from pilotage.errors import UsageError
from pilotage.output import Output


@click.command()
@click.argument("run", type=RunName(), default="@last")
@click.option(
    "-o", "--output", "target", type=click.Path(), metavar="FILE", help="Where to; pilotage-ID.tar.gz by default."
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@command_options
def bundle(output: Output, run: str, target: str | None, force: bool) -> None:
    """Put the records and logs of RUN into one file for a bug report, without secrets."""
    from pilotage.runs.bundle import bundle as write
    from pilotage.runs.places.kept import elsewhere
    from pilotage.runs.store import find

    if kept := elsewhere(run):
        raise UsageError(f"run {kept.run or run} is on {kept.host}", hint=f"there: pilotage bundle {kept.run or run}")
    made = write(find(run), None if target is None else Path(target), force=force)
    words = f"{made.files} files, {made.size / 1e6:.1f} MB, {made.secrets} secrets removed"
    output.text(str(made.file), made.as_dict())
    output.say(f"{words}; have a look at it before you send it")
