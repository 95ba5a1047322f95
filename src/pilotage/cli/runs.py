"""Commands about runs: ``ps``, ``show``, ``attach``, ``cancel``, ``resume``, ``clean`` and ``rm``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from pilotage.cli.common import command_options
from pilotage.cli.completion import RunName
from pilotage.output import Output

MANY = 20


@click.command()
@click.option("-a", "--all", "everything", is_flag=True, help=f"All; without it the newest {MANY} that are over.")
@command_options
def ps(output: Output, everything: bool) -> None:
    """List runs: those that go on first, then the newest."""
    from pilotage.cli.elsewhere import listed
    from pilotage.runs.record import FINAL
    from pilotage.runs.shapes import listing
    from pilotage.runs.store import runs
    from pilotage.runs.text import ROW, row

    found = listed(output, runs())
    shown, ended = [], 0
    for run in found:
        ended += run["state"] in FINAL
        if everything or output.as_json or run["state"] not in FINAL or ended <= MANY:
            shown.append(run)
    output.table(ROW, [row(run) for run in shown], listing(shown))
    if len(shown) < len(found):
        output.say(f"{len(found) - len(shown)} older runs are not shown: --all")


@click.command()
@click.argument("run", type=RunName())
@command_options
def show(output: Output, run: str) -> None:
    """Show RUN: its state, what happened, what failed, and where its files are."""
    from pilotage.cli.elsewhere import pass_on
    from pilotage.runs.details import details
    from pilotage.runs.store import find
    from pilotage.runs.text import full

    pass_on(run)
    found = details(find(run))
    output.text(full(found), found)


@click.command()
@click.argument("run", type=RunName(), default="@last")
@command_options
def attach(output: Output, run: str) -> None:
    """Show the live view of RUN again; closing it, or Ctrl-\\, leaves the run alone."""
    from pilotage.cli.elsewhere import pass_on
    from pilotage.runs.attach import connect
    from pilotage.runs.run import follow, summary
    from pilotage.runs.store import find, shown, values_of
    from pilotage.runs.view import die_as

    pass_on(run, attended=True)
    folder = find(run)
    values = values_of(folder)
    ended, values = follow(folder, connect(folder, values), values, output, live=not output.quiet)
    if ended.by is not None:
        output.say(f"detached; the run goes on: pilotage attach {folder.id}")
        die_as(-ended.by)
    output.data(shown(values))
    if not output.as_json:
        output.say(summary(values))
    die_as(1 if ended.code is None else ended.code)


@click.command()
@click.argument("runs", type=RunName(), nargs=-1, required=True, metavar="RUN...")
@click.option("--now", is_flag=True, help="End at once, without time for the script to unwind.")
@command_options
def cancel(output: Output, runs: Sequence[str], now: bool) -> None:
    """Stop each RUN in order: its script is interrupted, its blocks cancelled, nothing left."""
    from pilotage.cli import elsewhere
    from pilotage.runs.cancel import cancel as cancel_run
    from pilotage.runs.shapes import cancelled
    from pilotage.runs.store import find

    here, there = elsewhere.split(runs)
    folders = list(dict.fromkeys(find(run) for run in here))
    results = [cancel_run(folder, at_once=now, say=output.say) for folder in folders]
    results += elsewhere.cancelled(there, now=now, say=output.say)
    words = {"was over": "was over already", "asked": "has been asked to stop", "not ended": "does not end"}
    lines = [f"{one['id']} {words.get(one['outcome'], 'has ended')} ({one['state']})" for one in results]
    output.text("\n".join(lines), cancelled(results))
    if any(one["outcome"] == "not ended" for one in results):
        sys.exit(1)


@click.command()
@click.argument("run", type=RunName(), default="@last")
@click.option("--ignore-changes", is_flag=True, help="Reuse results of apps whose source has changed since, too.")
@click.option("--name", metavar="NAME", help="A name for the new run.")
@click.option("-d", "--detach", is_flag=True, help="Return at once with the new run's id.")
@command_options
def resume(output: Output, run: str, ignore_changes: bool, name: str | None, detach: bool) -> None:
    """Run the script of RUN again, with its arguments and sites; calls that had finished are not made again."""
    from pilotage.cli.elsewhere import resume_there
    from pilotage.cli.run import carry_out, check_names
    from pilotage.runs.cancel import grace_of
    from pilotage.runs.resume import order_again
    from pilotage.runs.start import Options
    from pilotage.runs.store import checked_name, find, values_of

    if resume_there(output, run, ignore_changes=ignore_changes, name=name):
        return
    folder = find(run)
    values = values_of(folder)
    order = order_again(folder, values, ignore_changes=ignore_changes)
    if order.environment is not None:
        from pilotage.assembly.own import go_on_inside, is_inside

        if not is_inside(order.environment):
            go_on_inside(order.environment, sys.argv[1:], output.say)
    check_names(order.targets, order.script)
    options = Options(
        name=checked_name(name) or values.get("name"),
        keep_stdout=output.as_json,
        detach=detach,
        max_node_hours=values.get("max_node_hours"),
        grace=grace_of(folder),
        resumes=folder.id,
    )
    carry_out(output, order, values.get("given") or str(order.script), options)


@click.command()
@click.option("-n", "--dry-run", is_flag=True, help="Only list what would be ended.")
@command_options
def clean(output: Output, dry_run: bool) -> None:
    """End what dead runs have left, by their journals and by their ids, and remove runs past their time."""
    from pilotage.cli import elsewhere
    from pilotage.runs import sweep
    from pilotage.runs.shapes import cleaned
    from pilotage.runs.store import folders

    dead = [folder for folder in folders() if sweep.is_dead(folder)]
    found = [sweep.leftovers(folder) for folder in dead]
    found = [one for one in found if one.entries or one.strays or not one.folder.record.exists()]
    for one in found:
        for line in one.lines():
            output.say(f"run {one.folder.id}: {line}")
    if not dry_run:
        found = [sweep.sweep_one(one.folder) for one in found]
    expired = sweep.expire(dry_run=dry_run)
    problems = [problem for one in found for problem in one.problems]
    count = sum(len(one.ended()) for one in found)
    verb = "would end" if dry_run else "ended"
    words = f"{verb} {count} thing{'s' if count != 1 else ''} of {len(found)} dead run{'s' if len(found) != 1 else ''}"
    there, away = elsewhere.cleaned(dry_run=dry_run)
    problems += away
    for one_there in there:
        problems += one_there["problems"]
        for line in one_there["leftovers"]:
            output.say(f"run {one_there['run']}: {line}")
    if expired:
        words += f"; {'would remove' if dry_run else 'removed'} {len(expired)} old runs"
    output.text(
        "\n".join([words, *problems]), cleaned([*(one.as_dict() for one in found), *there], expired, dry_run=dry_run)
    )
    if problems:
        sys.exit(1)


@click.command()
@click.argument("runs", type=RunName(), nargs=-1, required=True, metavar="RUN...")
@click.option("--force", is_flag=True, help="Also one whose host is gone for good, or which has left a batch job.")
@command_options
def rm(output: Output, runs: Sequence[str], force: bool) -> None:
    """Remove each RUN that is over, with its logs and results."""
    from pilotage.cli import elsewhere
    from pilotage.runs.shapes import removed
    from pilotage.runs.store import find, remove

    here, there = elsewhere.split(runs)
    folders = list(dict.fromkeys(find(run) for run in here))
    remove(folders, force=force)
    ids: list[Any] = [folder.id for folder in folders] + elsewhere.removed(there, force=force)
    output.text("\n".join(f"removed {one}" for one in ids), removed(ids))
