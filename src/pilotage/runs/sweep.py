"""Ends what dead runs have left: with their driver gone, and their supervisor too, from the journal alone.

A run is dead when its owner, a process of this host and boot, has ended. Runs of other hosts are never judged here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from pilotage.errors import StorageError
from pilotage.events import Events
from pilotage.journal import Entry, Journal
from pilotage.paths import RunFolder, state_folder
from pilotage.runs import ending
from pilotage.runs.record import FINAL, RunRecord, owner_is
from pilotage.worker import processes

TAG = "PILOTAGE_RUN"


@dataclass
class Leftovers:
    """What a dead run has left: ``entries`` of its journal, and ``strays``, processes that carry its id.

    After a sweep, ``left`` are the entries that could not be ended, and ``problems`` say why.
    """

    folder: RunFolder
    entries: list[Entry] = field(default_factory=list)
    strays: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    left: list[Entry] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return a line for people on each thing."""
        return ending.describe(self.entries) + [f"process {pid} (carries the run's id)" for pid in self.strays]

    def ended(self) -> list[str]:
        """Return a line for people on each thing that a sweep has ended."""
        return Leftovers(self.folder, [one for one in self.entries if one not in self.left], self.strays).lines()

    def as_dict(self) -> dict[str, Any]:
        """Return the shape of ``pilotage clean --json``."""
        return {"run": self.folder.id, "leftovers": self.lines(), "problems": self.problems}


def marked() -> list[RunFolder]:
    """Return the runs that may have left something, oldest first."""
    try:
        names = sorted(os.listdir(state_folder() / "live"))  # noqa: PTH208  names are what is wanted
    except (OSError, StorageError):
        return []
    return [RunFolder(state_folder() / "runs" / name) for name in names]


def is_dead(folder: RunFolder) -> bool:
    """Return whether nobody looks after a run any more: its owner, one of this host, has ended.

    Of a run whose record cannot be read (a network file system that does not answer) nobody knows that.
    """
    values = RunRecord(folder.path).values
    return bool(values) and owner_is(values.get("owner")) == "dead"


def leftovers(folder: RunFolder) -> Leftovers:
    """Return what a dead run has left; looks only."""
    found = Leftovers(folder)
    for entry in Journal(folder.journal).open_entries():
        if not _is_known_to_be_gone(entry):
            found.entries.append(entry)
    known = {int(entry.id["pid"]) for entry in found.entries if entry.id and "pid" in entry.id}
    found.strays = [pid for pid in processes.tagged(TAG, folder.id) if pid not in known and not _is_ancestor(pid)]
    return found


def _is_known_to_be_gone(entry: Entry) -> bool:
    if entry.kind == "temporary_file":
        return entry.what.get("host") == processes.host() and not os.path.exists(str(entry.what.get("path")))  # noqa: PTH110
    if entry.kind == "part_files":
        from pilotage.engine.parts import left

        what = entry.what
        below = bool(what.get("below"))
        return what.get("host") == processes.host() and not any(left(str(what["path"]), str(what["mark"]), below=below))
    if entry.kind != "process":
        return False
    if entry.id is None:
        return True
    return not ending.is_another_hosts(entry) and not processes.is_alive(entry.id) and not entry.what.get("group")


def _is_ancestor(pid: int) -> bool:
    """Return whether a process is one we come from: a script may call pilotage about its own run."""
    parents = processes.parents()
    one: int | None = os.getpid()
    while one:
        if one == pid:
            return True
        one = parents.get(one)
    return False


def sweep_one(folder: RunFolder) -> Leftovers:
    """End what a dead run has left, and write down that it is lost; returns what was found."""
    record = RunRecord(folder.path)
    found = leftovers(folder)
    journal = Journal(folder.journal)
    # Together, before any is ended: once its parent is gone, a child can be anybody's.
    roots = [entry.id for entry in found.entries if entry.kind == "process" and entry.id is not None]
    stubborn = processes.end_known([*roots, *map(processes.identity, found.strays)], ending.PATIENCE)
    problems = ending.end_all(journal)
    # What may come to be only later is looked for again by the next command, and told where it was.
    late = [entry.key for entry, _ in problems if ending.may_come(entry)]
    found.entries = [entry for entry in found.entries if entry.key not in late]
    found.left = [entry for entry, _ in problems if entry.key not in late]
    found.problems = [f"{ending.describe([e])[0]}: {reason}" for e, reason in problems if e.key not in late]
    found.problems += [f"process {pid} does not end" for pid in stubborn]
    if lines := found.ended():
        Events(folder.events).tell("swept", f"ended what a dead run had left: {'; '.join(lines)}", "warning")
    if record.values and record.values.get("state") not in FINAL:
        owner = record.values.get("owner") or {}
        what = "the process that loaded it" if record.values.get("kind") == "load" else "its supervisor"
        reason = f"{what} (process {owner.get('pid')}) ended without a word"
        try:
            record.finish("lost", 1, reason)
        except OSError:  # a disk that refuses: the next sweep tries again
            return found
    if not found.problems and not late:
        (folder.path / "view.sock").unlink(missing_ok=True)
        record.unmark_live()
    return found


def sweep() -> list[Leftovers]:
    """End what any dead run of this host has left; returns what was found, run by run."""
    found = []
    for folder in marked():
        try:
            if one := _swept(folder):
                found.append(one)
        except OSError as error:  # a disk that is away: another command tries again
            found.append(Leftovers(folder, problems=[f"cannot be looked at: {error}"]))
    return found


def _swept(folder: RunFolder) -> Leftovers | None:
    if folder.record.exists():
        return sweep_one(folder) if is_dead(folder) else None
    RunRecord(folder.path).unmark_live()
    return None


def expire(*, dry_run: bool = False) -> list[str]:
    """Remove the runs that the configuration says are too old or too many bytes; return their ids."""
    from pilotage.runs.keeping import limits
    from pilotage.runs.store import expire as expire_runs

    return expire_runs(*limits(), dry_run=dry_run)
