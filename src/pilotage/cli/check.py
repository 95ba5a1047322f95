"""``pilotage check``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pilotage.cli.common import command_options, set_option
from pilotage.cli.completion import SiteName
from pilotage.output import Output

if TYPE_CHECKING:
    from pilotage.check.checking import Report
    from pilotage.sites.catalogue import Catalogue, Resolved


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("sites", metavar="[SITE]...", nargs=-1, type=SiteName())
@set_option
@click.option("--submit", is_flag=True, help="Submit one short block too, and look at each of its nodes.")
@click.option(
    "--wait",
    type=click.FloatRange(min=0, min_open=True),
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="How long that block may wait in the queue.",
)
@command_options
def check(output: Output, sites: tuple[str, ...], assignments: tuple[str, ...], submit: bool, wait: float) -> None:
    """Look for every reason for which a run on SITE (the default site, where none is named) would fail.

    Exits with 1 where something failed. Nothing is submitted without --submit.
    """
    from pilotage.check.shapes import checked
    from pilotage.sites.catalogue import Catalogue

    catalogue = Catalogue.load()
    for warning in catalogue.warnings:
        output.warn(warning)
    names = list(dict.fromkeys(sites)) or [catalogue.default_site]
    reports = [_one(output, catalogue, name, assignments, submit, wait) for name in names]
    output.data(checked(reports))
    if not all(report.ok for report in reports):
        raise SystemExit(1)


def _one(
    output: Output, catalogue: Catalogue, name: str, assignments: tuple[str, ...], submit: bool, wait: float
) -> Report:
    from pilotage.check.checking import Listener, Result, check_site
    from pilotage.check.text import line, summary

    def found(result: Result) -> None:
        output.finding(str(result.finding.status), *line(result))

    def resolve() -> Resolved:
        return _resolved(catalogue, name, assignments)

    listener = Listener(found, output.waits)
    report = check_site(name, resolve, listener, options=assignments, submit=submit, wait=wait)
    if submit and report.scheduler and not any(result.probe == "block" for result in report.results):
        output.say(f"{name} starts no blocks: nothing was submitted")
    output.say(summary(report))
    return report


def _resolved(catalogue: Catalogue, name: str, assignments: tuple[str, ...]) -> Resolved:
    from pilotage.assembly.configs import targets
    from pilotage.errors import UsageError

    chosen = targets(name, assignments, catalogue)[0]
    if chosen.resolved is None:
        raise UsageError(
            f"{name} is a Parsl config of its own, and no site whose values could be checked",
            hint="make it a site: pilotage site add",
        )
    return chosen.resolved
