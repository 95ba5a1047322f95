"""``pilotage perf table``, ``plot``, ``history``, ``check`` and ``share``: what records say."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pilotage.cli.common import FiniteRange, command_options
from pilotage.cli.perf_tracking import unwind_on_termination
from pilotage.errors import UsageError
from pilotage.output import Output

METRIC = click.Choice(["rate", "submission", "latency_p50", "latency_p99", "cold_start", "shutdown"])
PLACES = click.argument("places", metavar="[RECORD|FOLDER]...", nargs=-1)


def _root(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--folder",
        "root",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path(),
        help="Where results/ and configs/ are; the current folder when not given.",
    )(function)


@click.command()
@PLACES
@_root
@click.option("--site", "-s", metavar="SITE", help="Only this site.")
@command_options
def table(output: Output, places: tuple[str, ...], root: Path, site: str | None) -> None:
    """List the benchmarks in files and folders of records; those of results/ when none is named."""
    from pilotage.perf import shapes, text
    from pilotage.perf.sources import found_in

    found = found_in(places, root)
    _tell(output, found.problems)
    records = {file: record for file, record in found.records.items() if site in (None, record.site)}
    output.table(text.COLUMNS, map(text.row, records.values()), shapes.table(records, found.problems))
    if records:
        output.say(text.NOTE)


@click.command()
@PLACES
@_root
@click.option("--output", "-o", "path", type=click.Path(path_type=Path), default=Path("perf.svg"), show_default=True)
@click.option(
    "--kind",
    "kinds",
    type=click.Choice(["throughput", "workers", "latency", "startup", "history"]),
    multiple=True,
    help="A figure; repeatable. Without: all for which there are numbers, but the history.",
)
@click.option("--metric", type=METRIC, default="rate", show_default=True, help="Of the history.")
@command_options
def plot(output: Output, places: tuple[str, ...], root: Path, path: Path, kinds: tuple[str, ...], metric: str) -> None:
    """Draw the benchmarks in files and folders of records; the ending of the file's name says the format."""
    from pilotage.perf.plot import draw
    from pilotage.perf.shapes import drawn
    from pilotage.perf.sources import found_in

    found = found_in(places, root)
    _tell(output, found.problems)
    records = list(found.records.values())
    if not records:
        raise UsageError("there is no record to draw", hint="pilotage perf run makes some")
    draw(records, kinds, path, metric)
    output.say(f"written: {path}")
    output.data(drawn([path]))


@click.command()
@PLACES
@_root
@click.option("--site", "-s", metavar="SITE", help="Only this site.")
@click.option("--metric", type=METRIC, default="rate", show_default=True)
@command_options
def history(output: Output, places: tuple[str, ...], root: Path, site: str | None, metric: str) -> None:
    """Show benchmarks over time, each beside the one before it of the same configuration."""
    from pilotage.perf.history import COLUMNS, History, row
    from pilotage.perf.history import history as steps_of
    from pilotage.perf.sources import found_in

    found = found_in(places, root)
    _tell(output, found.problems)
    steps = steps_of(list(found.records.values()), metric, site)
    value = History(metric=metric, steps=steps, problems=found.problems).model_dump(mode="json")
    output.table(COLUMNS, [row(step) for step in steps], value)


@click.command()
@PLACES
@click.option("--against", required=True, metavar="REF", help="A record, a folder of records, or a git revision.")
@_root
@click.option("--metric", "metrics", type=METRIC, multiple=True, help="Repeatable; rate, latency_p50 and cold_start.")
@click.option(
    "--tolerance", type=FiniteRange(min=0), default=0.0, metavar="PERCENT", help="What may be worse all the same."
)
@click.option(
    "--see",
    type=FiniteRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    metavar="PERCENT",
    help="The smallest regression that must not go unseen; where it might, nothing can be told.",
)
@click.option("--strict", is_flag=True, help="Fail, too, where nothing can be told.")
@command_options
def check(
    output: Output,
    places: tuple[str, ...],
    against: str,
    root: Path,
    metrics: tuple[str, ...],
    tolerance: float,
    see: float,
    strict: bool,
) -> None:
    """Exit with 1 where the newest benchmark of a configuration is worse than before, beyond its interval.

    Where the samples are too few to tell, that is said; it is no failure unless --strict.
    """
    from pilotage.perf.check import CHECKED
    from pilotage.perf.check import check as judge_all
    from pilotage.perf.sources import found_in, reference

    new, old = found_in(places, root), reference(against, root)
    problems = [*new.problems, *old.problems]
    _tell(output, problems)
    found = judge_all(
        list(new.records.values()),
        list(old.records.values()),
        against=against,
        metrics=metrics or CHECKED,
        tolerance=tolerance / 100,
        see=see / 100,
        problems=problems,
    )
    lines = [item.words for item in found.items]
    if not lines:
        lacking = "no record has such a number" if new.records else "there is no record to judge"
        lines = [f"cannot tell: {lacking}"]
    output.text("\n".join(lines), found.model_dump(mode="json"))
    if found.outcome == "regression" or (strict and found.outcome != "passed"):
        sys.exit(1)
    if found.outcome == "cannot tell":
        output.warn("not all could be told; that is no pass (--strict makes it a failure)")


@click.command()
@PLACES
@_root
@click.option(
    "--branch", default="perf-results", show_default=True, help="Made from the current commit where it is new."
)
@click.option("--push", metavar="REMOTE", help="Push the branch there; nothing is pushed without this.")
@click.option("--message", "-m", help="Of the commit.")
@command_options
def share(
    output: Output, places: tuple[str, ...], root: Path, branch: str, push: str | None, message: str | None
) -> None:
    """Commit records and their configs to a branch; the checkout and its index stay as they are.

    Records hold no host names, addresses or values of environment variables. Look at the commit before you publish it.
    """
    from pilotage.perf.share import share as commit
    from pilotage.perf.sources import found_in

    unwind_on_termination()
    found = found_in(places, root)
    _tell(output, found.problems)
    if not found.records:
        raise UsageError("there is no record to share", hint="pilotage perf run makes some")
    done = commit(found.records, root.absolute(), branch, push, message)
    lines = [f"{done.branch} is at {done.commit[:12]}, with {len(done.files)} files of these benchmarks"]
    lines += [f"it had another form of {file}, which is in its history" for file in done.replaced]
    if push is None:
        lines.append(f"nothing was pushed: git show {done.branch}, then git push REMOTE {done.branch}")
    output.text("\n".join(lines), done.model_dump(mode="json"))


def _tell(output: Output, problems: list[str]) -> None:
    for problem in problems:
        output.warn(f"not used: {problem}")
