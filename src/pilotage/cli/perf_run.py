"""``pilotage perf run`` and ``pilotage perf compare``: each starts a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pilotage.cli.common import FiniteRange, command_options, set_option
from pilotage.cli.completion import SiteName
from pilotage.cli.perf_tracking import tracking_option
from pilotage.errors import UsageError
from pilotage.output import Output

if TYPE_CHECKING:
    from pilotage.assembly.configs import Target
    from pilotage.perf.request import Request


def _measuring(time_s: float, repeat: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator with the options that both commands have, with these defaults."""
    options: list[Callable[[Callable[..., Any]], Callable[..., Any]]] = [
        click.option(
            "--time",
            "time_s",
            type=FiniteRange(min=0, min_open=True),
            default=time_s,
            show_default=True,
            metavar="SECONDS",
            help="What an iteration of parsl-perf aims at.",
        ),
        click.option(
            "--repeat",
            type=click.IntRange(1, 10_000),
            default=repeat,
            show_default=True,
            help="Sessions of each, every one a process of its own.",
        ),
        click.option("--argsize", default="0", metavar="BYTES,...", help="Bytes that a call carries; several: each."),
        click.option("--workers", default="", metavar="N,...", help="Workers a node; several: each. Else the site's."),
        click.option("--latency", is_flag=True, help="Make calls one after the other, too."),
        click.option("--seed", type=int, default=1, show_default=True, help="Of the order of the sessions."),
        click.option(
            "--folder",
            type=click.Path(file_okay=False, path_type=Path),
            default=Path(),
            help="Where results/ and configs/ are; the current folder when not given.",
        ),
        click.option(
            "--settle",
            type=FiniteRange(min=0),
            default=10.0,
            show_default=True,
            metavar="SECONDS",
            help="How long to wait, at most, for the machine to be idle before each session.",
        ),
        tracking_option,
        set_option,
        click.option("--name", metavar="NAME", help="A name for the run, by which other commands find it."),
        click.option("-d", "--detach", is_flag=True, help="Return at once with the run's id."),
        click.option("--max-node-hours", type=FiniteRange(min=0, min_open=True), help="Stop at this use."),
    ]

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


@click.command()
@click.option(
    "--site", "-s", "sites", type=SiteName(), multiple=True, metavar="SITE", help="What to measure; several: in turn."
)
@click.option(
    "--config", "files", multiple=True, metavar="FILE", help="A Python file with a Parsl config; several: each."
)
@_measuring(30.0, 5)
@command_options
def run(output: Output, sites: tuple[str, ...], files: tuple[str, ...], **given: Any) -> None:
    """Measure a site, or any Parsl config, with unmodified parsl-perf.

    Each session is a process of its own; its rate, cold start and shutdown are kept with all raw samples in
    results/SITE/. It is a run like any other: ps, logs, cancel and resume know it, and resume goes on with the sessions
    that are missing.
    """
    targets = _targets([*sites, *files] or [None], given["assignments"], files)
    _carry_out(output, _request(given), targets, given)


@click.command()
@click.argument("subjects", metavar="A B...", nargs=-1, required=True)
@_measuring(5.0, 20)
@command_options
def compare(output: Output, subjects: tuple[str, ...], **given: Any) -> None:
    """Compare A with B, and with each further one: sites, Parsl config files, or records that are there.

    Sites and files are measured now, in turn and in random order, so that slow moments of the machine fall on all
    alike. The result is a ratio with its 95 % interval, and a verdict in words.
    """
    from dataclasses import replace

    from pilotage.perf import compare as comparing
    from pilotage.perf import folder, text

    if len(subjects) < 2:
        raise UsageError("there is nothing to compare it with", hint="pilotage perf compare A B")
    paths = {name: Path(name) for name in subjects if name.endswith(".json")}
    records = {name: folder.read(path) for name, path in paths.items()}
    if len(records) == len(set(subjects)):
        sides = comparing.names_of([(comparing.short_path(paths[name]), records[name]) for name in subjects])
        found = comparing.compare(sides)
        output.text(text.comparison(found), found.model_dump(mode="json"))
        return
    targets = _targets([name for name in subjects if name not in paths], given["assignments"], ())
    labels = iter([target.label for target in targets])
    order = tuple(f"@{paths[name].absolute()}" if name in paths else next(labels) for name in subjects)
    _carry_out(output, replace(_request(given), compare=order), targets, given)


def _request(given: dict[str, Any]) -> Request:
    from pilotage.perf import tracking
    from pilotage.perf.request import MOST_WORKERS, Request, numbers

    tracking.address(given["tracking_uri"])  # one that is none is told of before anything is measured
    return Request(
        time_s=given["time_s"],
        repeat=given["repeat"],
        root=given["folder"].absolute(),
        argsizes=numbers(given["argsize"], "--argsize", least=0) or (0,),
        workers=numbers(given["workers"], "--workers", least=1, most=MOST_WORKERS),
        latency=given["latency"],
        seed=given["seed"],
        settle=given["settle"],
        tracking=given["tracking_uri"],
    )


def _targets(names: list[Any], assignments: tuple[str, ...], files: tuple[str, ...]) -> list[Target]:
    """Return what is measured, each under a label of its own; the default site for None."""
    from dataclasses import replace

    from pilotage.assembly.configs import check_before_start, is_file, targets
    from pilotage.perf.subjects import with_workers
    from pilotage.sites.catalogue import Catalogue

    catalogue = Catalogue.load()
    found: list[Target] = []
    for name in names:
        if name in files and not is_file(name):
            name = f"./{name}"
        for target in targets(name, () if name is not None and is_file(name) else assignments, catalogue):
            label, count = target.label, 1
            while label in {other.label for other in found}:
                count += 1
                label = f"{target.label}-{count}"
            check_before_start([target])
            found.append(with_workers(replace(target, label=label), None))
    return found


def _carry_out(output: Output, request: Request, targets: list[Target], given: dict[str, Any]) -> None:
    """Start the run of a request, show it where it is not detached, and exit as its script did."""
    from pilotage.paths import check_can_be_made
    from pilotage.perf.request import SCRIPT
    from pilotage.perf.subjects import with_workers
    from pilotage.runs.order import Order
    from pilotage.runs.record import RunRecord
    from pilotage.runs.run import begin, summary, watch
    from pilotage.runs.start import Options
    from pilotage.runs.store import checked_name, shown
    from pilotage.runs.view import die_as

    for target in targets:
        for count in request.workers:
            with_workers(target, count)  # what a site refuses is told before anything is started
    if targets:
        for name in ("results", "configs"):
            check_can_be_made(request.root / name)  # nor is anything measured that could not be kept
    order = Order(
        script=SCRIPT,
        arguments=tuple(request.arguments()),
        targets=targets,
        site_given=True,
        quiet=output.quiet,
        debug=output.debug,
    )
    options = Options(
        name=checked_name(given["name"]),
        keep_stdout=output.as_json,
        detach=given["detach"],
        max_node_hours=given["max_node_hours"],
    )
    started = begin(order, "perf compare" if request.compare else "perf run", options, output.say)
    folder = started.folder
    if started.view is None:
        output.text(folder.id, shown(RunRecord(folder.path).values))
        output.say(f"detached; pilotage attach {folder.id} shows it, pilotage cancel {folder.id} ends it")
        return
    ended, values = watch(started, order, output, live=not output.quiet)
    if ended.by is not None:
        output.say(f"detached; the run goes on: pilotage attach {folder.id}")
        die_as(-ended.by)
    output.data(_result(folder.path, compares=bool(request.compare)))
    if not output.as_json:
        output.say(summary(values))
    die_as(1 if ended.code is None else ended.code)


def _result(folder: Path, *, compares: bool) -> dict[str, Any]:
    """Return the shape of ``--json``: the comparison, or the records that were written."""
    from pilotage.perf.shapes import measured
    from pilotage.runs.record import read_json

    if compares and (found := read_json(folder / "perf" / "comparison.json")):
        return found
    return measured(folder)
