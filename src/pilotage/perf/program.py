"""What the script of a benchmark's run does: its sessions in turn, then a table, or a comparison."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from pilotage import journal
from pilotage.errors import StorageError, UsageError
from pilotage.paths import RunFolder, storage, write_json
from pilotage.perf import compare, hook, text
from pilotage.perf import folder as records
from pilotage.perf.campaign import Campaign, Configuration
from pilotage.perf.record import Record
from pilotage.perf.request import Request
from pilotage.perf.session import SessionRunner
from pilotage.perf.subjects import subjects_of
from pilotage.perf.tally import Tally
from pilotage.runs import driver, progress
from pilotage.runs.order import Order


def main(arguments: Sequence[str], data: TextIO, talk: TextIO) -> int:
    """Carry out the benchmark that the run of this process was asked for; return its exit code.

    Parameters
    ----------
    arguments: of the script, as `Request.arguments` writes them.
    data: where the result goes.
    talk: told how far it has come.
    """
    if journal.current is None:
        raise UsageError("this script is part of a benchmark's run", hint="pilotage perf run starts one")
    folder = RunFolder(Path(journal.current.path).parent)
    driver.unwind_on_termination()
    request, order = Request.parse(arguments), Order.read(folder)
    if order.debug:
        sys.excepthook = sys.__excepthook__  # a Ctrl-C has a traceback, too

    def say(message: str) -> None:
        if not order.quiet:
            talk.write(f"{message}\n")
            talk.flush()

    if progress.current is not None:
        progress.current.include(Tally(folder))
    runner = SessionRunner(folder, say, request.settle)
    campaign = Campaign(folder, request, subjects_of(order.targets, request.workers), runner, say)
    if order.resumes:
        count = campaign.take_up(RunFolder(folder.path.with_name(order.resumes)))
        say(f"{count} sessions of run {order.resumes} are there already")
    try:
        campaign.run()
    except BaseException as error:  # what was measured is told of too, but by whoever sends next: this is to end soon
        hook.keep(folder, campaign.made(), request.root, request.tracking, say)
        if isinstance(error, (KeyboardInterrupt, driver.Terminated)):
            say(f"stopped; what was measured is kept, and `pilotage resume {folder.id}` goes on with what is missing")
        elif isinstance(error, StorageError):
            say(f"once there is room, `pilotage resume {folder.id}` goes on with what is missing")
        raise
    made = [campaign.record(one) for one in campaign.configurations]
    if request.compare:
        found = compared(folder, request, list(zip(campaign.configurations, made, strict=True)))
        data.write(text.comparison(found) + "\n")
    else:
        data.write(text.table(text.COLUMNS, map(text.row, made)) + f"\n{text.NOTE}\n")
    data.flush()
    for file in campaign.files.values():
        say(f"written: {_nearby(file)}")
    hook.track(folder, made, request.root, request.tracking, say)
    failed = [session for record in made for session in record.sessions if session.status == "failed"]
    if failed:
        say(f"{len(failed)} session{'s' if len(failed) > 1 else ''} failed: {failed[-1].reason}")
    return 1 if failed else 0


def compared(folder: RunFolder, request: Request, made: Sequence[tuple[Configuration, Record]]) -> compare.Comparison:
    """Compare what was measured, and the records that were there already, in the order that was asked for."""
    sides: list[tuple[str, Record]] = []
    for name in request.compare:
        if name.startswith("@"):
            path = Path(name[1:])
            sides.append((compare.short_path(path), records.read(path)))
        else:
            sides += [(one.title, record) for one, record in made if one.subject.label == name]
    found = compare.compare(compare.names_of(sides), run=folder.id, seed=request.seed)
    with storage(folder.path):
        write_json(folder.path / "perf" / "comparison.json", found.model_dump(mode="json"))
    return found


def _nearby(file: Path) -> str:
    try:
        return str(file.relative_to(Path.cwd()))
    except ValueError:
        return str(file)
