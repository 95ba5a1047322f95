"""``pilotage perf`` and MLflow: ``ui``, ``sync``, ``import``."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType

import click

from pilotage.cli.common import command_options
from pilotage.errors import UsageError
from pilotage.output import Output

FILES = click.Path(exists=True, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
tracking_option = click.option(
    "--tracking-uri",
    metavar="URI",
    help="MLflow's store: http://HOST:PORT, or sqlite:////FILE. Else MLFLOW_TRACKING_URI, else one of your own.",
)


@click.command()
@tracking_option
@click.option("--port", type=click.IntRange(1, 65535), help="Port on this machine; without it a free one.")
@click.option("--no-open", is_flag=True, help="Only print the address; no browser.")
@command_options
def ui(output: Output, tracking_uri: str | None, port: int | None, no_open: bool) -> None:
    """Show all benchmarks on MLflow's page, until Ctrl-C.

    The page is MLflow's own, in an environment of its own that is installed on first use. It is on this machine alone,
    for whoever has an account on it.
    """
    from pilotage.perf import mlflow_child, page, shapes, tracking

    address = tracking.address(tracking_uri)
    store = tracking.store(address)
    if store.startswith(("http://", "https://")):  # it has a page already
        url = mlflow_child.shown(store)
        output.text(url, shapes.page(url, url, None))
        _open(output, store, no_open=no_open)
        return
    for problem in [*page.sweep(), *tracking.send(say=output.say).problems]:
        output.warn(problem)
    unwind_on_termination()
    with page.page(store, port=port, say=output.say) as shown:
        try:
            output.text(shown.url, shapes.page(shown.url, mlflow_child.shown(store), os.getpid()))
            output.say("Ctrl-C stops it")
            _open(output, shown.url, no_open=no_open)
            shown.wait()
        except KeyboardInterrupt:
            output.say("stopping MLflow's page")


def unwind_on_termination() -> None:
    """Let SIGTERM and SIGHUP end this process as Ctrl-C does: what it has started and half written goes with it."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, _interrupted)


def _interrupted(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  a handler's signature
    raise KeyboardInterrupt


def _open(output: Output, url: str, *, no_open: bool) -> None:
    """Show an address in the user's browser, where there is a screen."""
    screen = sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if no_open:
        return
    if screen:
        import webbrowser

        if webbrowser.open(url):
            return
    if os.environ.get("SSH_CONNECTION"):
        port = url.rpartition(":")[2].rstrip("/")
        output.say(f"from your own machine: ssh -L {port}:127.0.0.1:{port} THIS-HOST, then open {url} there")


@click.command()
@click.argument("records", nargs=-1, type=FILES, metavar="[RECORD|FOLDER]...")
@tracking_option
@click.option("-n", "--dry-run", is_flag=True, help="Only list what waits.")
@click.option("--forget", multiple=True, metavar="ID", help="Let the record wait no longer; its file stays.")
@command_options
def sync(
    output: Output, records: tuple[Path, ...], tracking_uri: str | None, dry_run: bool, forget: tuple[str, ...]
) -> None:
    """Send to MLflow what has not been sent, and RECORDs that it does not know.

    What was measured while MLflow's server was away waits on the disk, each record for the server it was meant for
    (with --tracking-uri for that one). A record that is there already is not sent again.
    """
    from pilotage.perf import mlflow_child, shapes, tracking, waiting

    unwind_on_termination()
    address = tracking.address(tracking_uri) if tracking_uri else None
    if dry_run and forget:
        raise UsageError("--dry-run changes nothing, and --forget would", hint="leave one of them away")
    tracking.forget(forget)
    problems = tracking.keep_files(records, address) if records and not dry_run else []
    if dry_run:
        rows = [(order.id, mlflow_child.shown(tracking.store(address or order.uri))) for order in waiting.orders()]
        output.table(("record", "for"), rows, shapes.synced(tracking.Sent(), dict(rows)))
        return
    told = tracking.send(uri=address, insist=True, say=output.say)
    told.problems[:0] = problems
    for problem in told.problems:
        output.warn(problem)
    counts = {"sent": told.sent, "were there": told.there, "deleted there": told.deleted, "wait": told.waiting}
    parts = [f"{len(ids)} {words}" for words, ids in counts.items() if ids]
    left = {order.id: mlflow_child.shown(tracking.store(address or order.uri)) for order in waiting.orders()}
    output.text(", ".join(parts) or "nothing waits", shapes.synced(told, left))
    if told.waiting or problems:
        sys.exit(1)


@click.command("import")
@click.argument("store")
@click.option("-o", "--output", "root", type=FOLDER, default=Path(), help="Folder that results/ is in; else this one.")
@click.option("--site", metavar="NAME", help="Site of all of them; else each run's tag `site`, or its name.")
@command_options
def import_(output: Output, store: str, root: Path, site: str | None) -> None:
    """Read an MLflow STORE into records: a folder of its old file form, a SQLite file, or an address.

    Nothing is lost, and what failed, has no end or is a placeholder is marked and never averaged. Runs that are there
    already stay as they are.
    """
    from pilotage.perf import shapes
    from pilotage.perf.importing import import_store

    unwind_on_termination()
    found = import_store(store, root, site)
    for problem in found.problems:
        output.warn(problem)
    for path, why in found.marked.items():
        output.say(f"{path}: {why}")
    counts = {"new": found.new, "updated": found.updated, "unchanged": found.unchanged}
    parts = [f"{len(paths)} {words}" for words, paths in counts.items() if paths]
    marked = f"; {len(found.marked)} of them are marked, and not averaged" if found.marked else ""
    output.text((", ".join(parts) or "no runs") + marked, shapes.imported(found))
    if found.problems:
        sys.exit(1)
