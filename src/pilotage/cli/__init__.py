"""The command line. Each command turns its arguments into one call and hands the result to Output."""

from __future__ import annotations

import click

from pilotage import __version__
from pilotage.cli.lazy import LazyGroup


@click.group(
    cls=LazyGroup,
    commands_in={
        "run": ("pilotage.cli.run", "run", "Run a Parsl script, unchanged, on a site."),
        "site": ("pilotage.cli.site", "site", "List, show, add, check and export sites."),
    },
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="pilotage")
def main() -> None:
    """Run any Parsl workflow, unchanged, on any site."""
