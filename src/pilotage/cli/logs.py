"""``pilotage logs``."""

from __future__ import annotations

import click

from pilotage.cli.common import command_options
from pilotage.cli.completion import RunName
from pilotage.output import Output


@click.command()
@click.argument("run", type=RunName(), default="@last")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run ends.")
@click.option("--task", type=click.IntRange(min=0), metavar="N", help="What task N printed, and its own log files.")
@click.option("--block", metavar="B", help="What block B's job printed, and its script.")
@click.option("--worker", is_flag=True, help="The logs of managers and workers (of --block B, if given).")
@click.option("--scheduler", is_flag=True, help="What happened to blocks, and what the interchange logged.")
@command_options
def logs(
    output: Output, run: str, follow: bool, task: int | None, block: str | None, worker: bool, scheduler: bool
) -> None:
    """Show what RUN wrote: its script's output, or that of a task, a block, the workers or the scheduler."""
    from pilotage.cli.elsewhere import pass_on
    from pilotage.runs.logs import Wanted, follow_pieces, pieces
    from pilotage.runs.store import find

    pass_on(run, attended=follow)
    folder = find(run)
    wanted = Wanted(task=task, block=block, worker=worker, scheduler=scheduler)
    if output.as_json:
        found = [{"file": str(piece.file), "text": piece.text} for piece in pieces(folder, wanted)]
        output.data({"run": folder.id, "pieces": found})
        return
    several = task is not None or block is not None or worker or scheduler
    last, ends = None, True
    for piece in follow_pieces(folder, wanted) if follow else pieces(folder, wanted):
        if several and piece.file != last:
            output.raw("" if ends else "\n")
            output.say(f"==> {piece.file} <==")
        last, ends = piece.file, piece.text.endswith("\n")
        output.raw(piece.text)
    if several and not ends:
        output.raw("\n")
