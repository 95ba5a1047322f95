"""``pilotage run``."""

from __future__ import annotations

import click

from pilotage.cli.common import command_options, set_option
from pilotage.output import Output


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("script", metavar="SCRIPT")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- ARGS]...")
@click.option(
    "--site",
    "-s",
    "sites",
    multiple=True,
    metavar="[LABEL=]SITE",
    help="Where to run: a site, or a Python file with a Parsl config; several under labels.",
)
@set_option
@click.option("--override", is_flag=True, help="Put the site in the place of a Config that the script loads.")
@command_options
def run(
    output: Output,
    script: str,
    arguments: tuple[str, ...],
    sites: tuple[str, ...],
    assignments: tuple[str, ...],
    override: bool,
) -> None:
    """Run SCRIPT, unchanged, on a site.

    parsl.load() without a config gets the site's. What comes after -- goes to the script.
    """
    from pilotage.assembly.configs import check_before_start, is_file, targets
    from pilotage.runs.choice import site_choice
    from pilotage.runs.order import Order
    from pilotage.runs.run import run as run_order
    from pilotage.runs.run import summary
    from pilotage.runs.script import read_script, refuse_own_config
    from pilotage.runs.terminal import die_as
    from pilotage.sites.catalogue import Catalogue

    path, tree = read_script(script)
    if sites and not override:
        refuse_own_config(path, tree)
    catalogue = Catalogue.load(fallback=path.parent)
    for warning in catalogue.warnings:
        output.warn(warning)
    chosen = targets(site_choice(sites, is_file), assignments, catalogue)
    check_before_start(chosen)
    order = Order(
        script=path,
        arguments=arguments,
        targets=chosen,
        site_given=bool(sites),
        override=override,
        quiet=output.quiet,
        debug=output.debug,
    )
    record = run_order(order, script, output, live=not output.quiet, keep_stdout=output.as_json)
    output.data(record.as_dict())
    if not output.as_json:
        output.say(summary(record))
    die_as(record.code or 0)
