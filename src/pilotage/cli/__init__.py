"""The command line. Each command turns its arguments into one call and hands the result to Output."""

from __future__ import annotations

import click

from pilotage import __version__
from pilotage.cli.lazy import LazyGroup


@click.group(
    cls=LazyGroup,
    commands_in={
        "attach": ("pilotage.cli.runs", "attach", "Show the live view of a run again."),
        "bundle": ("pilotage.cli.bundle", "bundle", "Put what a run wrote into one file for a bug report."),
        "cancel": ("pilotage.cli.runs", "cancel", "Stop runs in order, and leave nothing."),
        "check": ("pilotage.cli.check", "check", "Find every reason for which a run on a site would fail."),
        "clean": ("pilotage.cli.runs", "clean", "End what dead runs have left."),
        "cluster": ("pilotage.cli.cluster", "cluster", "Start and end real clusters on this machine."),
        "cp": ("pilotage.cli.cp", "cp", "Copy files and folders between any two places."),
        "env": ("pilotage.cli.env", "env", "Show, build, verify, list and remove the environments of workers."),
        "forward": ("pilotage.cli.forward", "forward", "Reach a server that a task of a run has started."),
        "login": ("pilotage.cli.login", "login", "Connect with the hosts of a site once, for all runs of the day."),
        "logs": ("pilotage.cli.logs", "logs", "Show what a run, a task, a block or a worker wrote."),
        "perf": ("pilotage.cli.perf", "perf", "Measure sites with parsl-perf, keep what was measured, compare."),
        "ps": ("pilotage.cli.runs", "ps", "List runs, those that go on first."),
        "resume": ("pilotage.cli.runs", "resume", "Run again, with the results that are there."),
        "rm": ("pilotage.cli.runs", "rm", "Remove runs that are over."),
        "show": ("pilotage.cli.runs", "show", "Show all that is known of a run."),
        "run": ("pilotage.cli.run", "run", "Run a Parsl script, unchanged, on a site."),
        "site": ("pilotage.cli.site", "site", "List, show, add, check and export sites."),
    },
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="pilotage")
def main() -> None:
    """Run any Parsl workflow, unchanged, on any site."""
