"""``pilotage forward``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import click

from pilotage.cli.common import command_options
from pilotage.cli.completion import RunName
from pilotage.output import Output

PORT = click.IntRange(1, 65535)


@click.command()
@click.argument("run", type=RunName())
@click.argument("port", type=PORT)
@click.option("--node", metavar="NODE", help="Where the server runs; the run's node, where it has just one.")
@click.option("--local", type=PORT, metavar="PORT", help="Port of this machine; the same, if that is free.")
@command_options
def forward(output: Output, run: str, port: int, node: str | None, local: int | None) -> None:
    """Reach the server that a task of RUN has started at PORT of its node, until Ctrl-C or the end of the run.

    Prints the address to give to a browser.
    """
    from pilotage.cli.elsewhere import forward_there
    from pilotage.runs.forward import check_answers, server
    from pilotage.runs.forward import forward as bring
    from pilotage.runs.places.kept import HERE
    from pilotage.runs.shapes import forwarded
    from pilotage.runs.store import find
    from pilotage.runs.view import is_terminal

    def told(found: Mapping[str, Any]) -> None:
        output.text(found["address"], found)

    if forward_there(run, port, node, local, told, output.say):
        return
    folder = find(run)
    to = server(folder, port, node)

    def ready(at: int) -> None:
        told(forwarded(folder.id, to.node, port, at))

    if to.is_here and local in (None, port) and not os.environ.get(HERE):  # else it is wanted to its end
        check_answers(to)
        ready(port)
        output.say(f"{to.node} is this machine: nothing is to be forwarded")
        return
    output.say(f"{to.node}:{port}" + (f" by {to.login}" if to.login else "") + "; Ctrl-C ends it")
    bring(folder, to, local, ready, ask=is_terminal(0), say=output.say)
