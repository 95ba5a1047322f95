"""``pilotage run``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from pilotage.cli.common import command_options, set_option
from pilotage.cli.completion import SiteName
from pilotage.errors import UsageError
from pilotage.output import Output

if TYPE_CHECKING:
    from pathlib import Path

    from pilotage.assembly.configs import Target
    from pilotage.runs.order import Order
    from pilotage.runs.start import Options


class ScriptCommand(click.Command):
    """A command whose unknown options are most likely meant for the script."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as click does, with a hint where an option is unknown."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            words = f"{error.format_message()} What is for the script comes after --: SCRIPT -- {error.option_name} ..."
            raise click.UsageError(words, ctx) from error


@click.command(cls=ScriptCommand, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("script", metavar="SCRIPT")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- ARGS]...")
@click.option(
    "--site",
    "-s",
    "sites",
    type=SiteName(),
    multiple=True,
    metavar="[LABEL=]SITE",
    help="Where to run: a site, or a Python file with a Parsl config; several under labels.",
)
@set_option
@click.option("--name", metavar="NAME", help="A name for the run, by which other commands find it.")
@click.option("-d", "--detach", is_flag=True, help="Return at once with the run's id; the run goes on by itself.")
@click.option("--max-node-hours", type=click.FloatRange(min=0, min_open=True), help="Stop in order at this use.")
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    default=8.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a run that is stopped may take to end in order.",
)
@click.option("--env", "environment", metavar="FILE", help="Run in what FILE says: a conda YAML, requirements.txt...")
@click.option("--on", "host", metavar="HOST", help="Run it on a login host, also without this machine: user@host.")
@click.option("--send", multiple=True, type=click.Path(), metavar="PATH", help="Also send this there, with --on.")
@click.option("--remote-python", "python", metavar="PATH", help="A Python there that has pilotage, with --on.")
@click.option(
    "--sync",
    "names",
    multiple=True,
    metavar="PATH",
    help="Send just PATH of the script's files to sites reached by SSH; a folder, or a quoted pattern: 'data/*.csv'.",
)
@click.option("--no-sync", is_flag=True, help="Send none of the script's own modules to sites reached by SSH.")
@click.option("--override", is_flag=True, help="Put the site in the place of a Config that the script loads.")
@command_options
def run(
    output: Output,
    script: str,
    arguments: tuple[str, ...],
    sites: tuple[str, ...],
    assignments: tuple[str, ...],
    name: str | None,
    detach: bool,
    max_node_hours: float | None,
    grace: float,
    environment: str | None,
    host: str | None,
    send: tuple[str, ...],
    python: str | None,
    names: tuple[str, ...],
    no_sync: bool,
    override: bool,
) -> None:
    """Run SCRIPT, unchanged, on a site.

    parsl.load() without a config gets the site's. What comes after -- goes to the script. With --debug, Parsl keeps its
    full logs.

    With --env FILE, driver and workers run in an environment that is made for it, once: a conda YAML, requirements.txt,
    pyproject.toml, pylock.toml or uv.lock.

    With --on HOST, supervisor and driver run there, and go on without this machine; sites are those of HOST.
    """
    if host is not None and environment is not None:
        raise UsageError("--env makes an environment here, and --on runs the driver there", hint="leave one out")
    if names and no_sync:
        raise UsageError("--sync names what is sent, and --no-sync sends nothing", hint="leave one out")
    # Of a command, paths are from the current folder; of a site, from the script's.
    names = click.get_current_context().params["names"] = _from_script(script, names)
    if host is not None:
        from pilotage.cli.elsewhere import run_there

        run_there(output, host, script, send, arguments, python)
        return
    if send or python:
        raise UsageError(f"{'--send' if send else '--remote-python'} is for a run on another host", hint="--on HOST")
    from pilotage.assembly.configs import check_before_start, is_file, targets
    from pilotage.paths import expanded
    from pilotage.runs.choice import site_choice
    from pilotage.runs.order import Order
    from pilotage.runs.script import read_script, refuse_own_config
    from pilotage.runs.start import Options
    from pilotage.runs.store import checked_name
    from pilotage.sites.catalogue import Catalogue

    path, tree = read_script(script)
    if sites and not override:
        refuse_own_config(path, tree)
    catalogue = Catalogue.load(fallback=path.parent)
    for warning in catalogue.warnings:
        output.warn(warning)
    chosen = targets(site_choice(sites, is_file), assignments, catalogue)
    more = []
    if no_sync:
        from pilotage.assembly.login import without_code

        more += without_code(chosen)
    if names:
        from pilotage.assembly.login import with_names

        more += with_names(chosen, names)
    if environment is not None:
        from pilotage.assembly.own import for_workers, go_on_inside, is_inside

        if not is_inside(environment):
            go_on_inside(environment, sys.argv[1:], output.say)
        more += for_workers(environment, chosen)
    if more:
        chosen = targets(site_choice(sites, is_file), [*assignments, *more], catalogue)
    check_before_start(chosen)
    check_names(chosen, path, "--sync" if names else None)
    order = Order(
        script=path,
        arguments=arguments,
        targets=chosen,
        site_given=bool(sites),
        override=override,
        quiet=output.quiet,
        debug=output.debug,
        environment=None if environment is None else str(expanded(environment).absolute()),
    )
    carry_out(
        output,
        order,
        script,
        Options(
            name=checked_name(name),
            keep_stdout=output.as_json,
            detach=detach,
            max_node_hours=max_node_hours,
            grace=grace,
        ),
    )


def _from_script(script: str, names: Sequence[str]) -> tuple[str, ...]:
    """Return paths of the current folder as they are from the script's."""
    folder = os.path.realpath(os.path.dirname(script))  # noqa: PTH120
    return tuple(
        one if one.startswith(("~", "/")) or not one else os.path.relpath(one, folder) + "/" * one.endswith("/")
        for one in names
    )


def check_names(chosen: Sequence[Target], script: Path, where: str | None = None) -> None:
    """Raise UsageError where what a site's ``sync`` names is not there; nothing is asked of a host yet."""
    if any(isinstance(getattr(target.resolved.site, "sync", None), list) for target in chosen if target.resolved):
        from pilotage.assembly import login

        login.check_names(chosen, script.parent, where)


def carry_out(output: Output, order: Order, given: str, options: Options) -> None:
    """Start a run, show it where it is not detached, and exit as its script did."""
    from pilotage.runs.details import failures, tails
    from pilotage.runs.record import RunRecord
    from pilotage.runs.run import begin, summary, watch
    from pilotage.runs.store import shown
    from pilotage.runs.text import failed, where
    from pilotage.runs.view import die_as

    started = begin(order, given, options, output.say)
    if started.view is None:
        output.text(started.folder.id, shown(RunRecord(started.folder.path).values))
        output.say(
            f"detached; pilotage attach {started.folder.id} shows it, pilotage cancel {started.folder.id} ends it"
        )
        return
    ended, values = watch(started, order, output, live=not output.quiet)
    if ended.by is not None:
        output.say(f"detached; the run goes on: pilotage attach {started.folder.id}")
        die_as(-ended.by)
    output.data(shown(values))
    if not output.as_json:
        if values["state"] == "failed" and (kinds := failures(started.folder)):
            output.say(f"\n{failed(kinds)}\n\n{where(tails(started.folder), values['id'])}")
        output.say(summary(values))
    die_as(1 if ended.code is None else ended.code)
