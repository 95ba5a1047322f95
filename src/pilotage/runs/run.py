"""``pilotage run``: from a checked order to a run and its view."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from pilotage import journal, steps
from pilotage.assembly.configs import is_elsewhere
from pilotage.errors import HostError
from pilotage.events import Events
from pilotage.paths import RunFolder
from pilotage.runs import sweep
from pilotage.runs.order import Order
from pilotage.runs.record import FINAL, RunRecord
from pilotage.runs.start import Options, Started, new_record, start
from pilotage.runs.status import StatusLine, clock
from pilotage.runs.talk import Talk
from pilotage.runs.view import Ended, View, is_terminal

LONG = 1.0
"""Seconds after which a step is told where there is no live line."""
TELL_AGAIN = 10.0
"""Seconds between two lines about one step."""


def begin(order: Order, given: str, options: Options, say: Callable[[str], None] | None = None) -> Started:
    """Start a run of ``order``; return when its supervisor has taken over. Raises StorageError.

    Parameters
    ----------
    order: what is run.
    given: the script as the user wrote it, which is its ``sys.argv[0]``.
    options: how.
    say: told with which hosts it connects.
    """
    folder = RunFolder.create()
    new_record(folder, order, given, options, time.time())
    # Where one of these fails, the mark stays: the next command looks for what may be left and writes the end down.
    order.write(folder)
    if options.resumes:
        from pilotage.runs.checkpoint import inherit  # imports Parsl

        inherit(RunFolder(folder.path.with_name(options.resumes)).checkpoint, folder.checkpoint)
    _log_in(order, folder, say)
    return start(folder, given, options)


def _log_in(order: Order, folder: RunFolder, say: Callable[[str], None] | None) -> None:
    """Connect with the login hosts of a run, while there is a terminal to ask at. Raises HostError; the run has failed.

    The connections are the run's: its journal has them, and its end ends them.
    """
    sites = {target.label: target.resolved.site for target in order.targets if target.resolved is not None}
    if not any(map(is_elsewhere, sites.values())):
        return
    from pilotage.assembly.login import connect

    before = journal.current, steps.current
    journal.current = journal.Journal(folder.journal)
    steps.current = steps.Steps(
        folder.steps, None if say is None else lambda label, words: say(f"pilotage: {label}: {words}")
    )
    try:
        connect(sites, ask=sys.stdin is not None and sys.stdin.isatty())
    except HostError as error:
        RunRecord(folder.path).finish("failed", error.exit_code, error.message)
        sweep.sweep_one(folder)
        raise
    except KeyboardInterrupt:  # a person who has changed his mind at the question
        RunRecord(folder.path).finish("cancelled", 130, "interrupted while it was to log in")
        sweep.sweep_one(folder)
        raise
    finally:
        journal.current, steps.current = before


def watch(started: Started, order: Order, talk: Talk, *, live: bool) -> tuple[Ended, dict[str, Any]]:
    """Show a run that has just been started until it ends or the view does; return how, and the run's record."""
    if started.view is None:
        raise ValueError("a detached run has no view")
    status = StatusLine(started.folder, ", ".join(order.sites.values())) if live else None
    news = News(started.folder, quiet=order.quiet, has_line=live and is_terminal(2))
    ended = View(started.view, status, news).run()
    if ended.by is None:
        started.supervisor.wait()  # it has nothing more to do
    return _with_record(started.folder, ended, talk)


def _with_record(folder: RunFolder, ended: Ended, talk: Talk) -> tuple[Ended, dict[str, Any]]:
    """Return how a run ended, from its record where the view has not heard it, and the record."""
    if ended.code is None and ended.by is None:
        values = RunRecord(folder.path).values
        if values.get("state") in FINAL:
            return Ended(values["code"], values["state"], values["reason"]), values
        talk.warn("the run's supervisor was killed; ending what it left")
        sweep.sweep_one(folder)
    return ended, RunRecord(folder.path).values


def follow(
    folder: RunFolder, connection: socket.socket, values: dict[str, Any], talk: Talk, *, live: bool
) -> tuple[Ended, dict[str, Any]]:
    """Show a run that goes on until it ends or the view does; see `watch`.

    Parameters
    ----------
    folder: the run's.
    connection: to its supervisor.
    values: its record.
    talk: where messages for people go.
    live: show the live line.
    """
    elapsed = time.time() - values.get("started_at", time.time())
    status = StatusLine(folder, ", ".join(values["sites"].values()), elapsed) if live else None
    _, here = Events(folder.events).read()
    news = News(folder, quiet=not live, offset=here, has_line=is_terminal(2))
    ended = View(connection, status, news, leaves_by_key=True).run()
    return _with_record(folder, ended, talk)


class News:
    """What a person should know of a run besides its output: its events, from a place in the file on.

    Where there is no live line, what is being done is told too, once it takes longer than a second.

    Parameters
    ----------
    folder: the run's.
    quiet: only errors.
    offset: where to begin.
    has_line: whether there is a live line.
    """

    def __init__(self, folder: RunFolder, *, quiet: bool, offset: int = 0, has_line: bool = False) -> None:
        self._steps = None if quiet or has_line else folder.steps
        self._told: dict[str, tuple[float, str, float]] = {}
        self._events = Events(folder.events)
        self._levels = ("error",) if quiet else ("warning", "error")
        self._offset = offset

    def __call__(self) -> list[str]:
        """Return a line for each event since the last call."""
        events, self._offset = self._events.read(self._offset)
        told = [f"pilotage: {event['message']}" for event in events if event["level"] in self._levels]
        return told + (self._long_steps() if self._steps is not None else [])

    def _long_steps(self) -> list[str]:
        """Return a line for each step that takes long, and for what one says anew after `TELL_AGAIN`."""
        now, lines = time.time(), []
        for one in steps.read(self._steps or ""):
            since, words, at = self._told.get(one["label"], (0.0, "", 0.0))
            if since != one["since"]:
                is_due = now - one["since"] >= LONG
            else:
                is_due = words != one["words"] and now - at >= TELL_AGAIN
            if is_due:
                self._told[one["label"]] = one["since"], one["words"], now
                lines.append(f"pilotage: {one['label']}: {one['words']}")
        return lines


def summary(values: dict[str, Any]) -> str:
    """Return the last line of a run for people, from its record."""
    tasks = values.get("tasks") or {}
    seconds = values.get("elapsed") or 0.0
    if tasks.get("total"):
        ended = tasks["done"] + tasks["failed"]
        rest = tasks["total"] - ended
        work = f"{tasks['done']:,} task{'s' if tasks['done'] != 1 else ''} done, {tasks['failed']:,} failed"
        work += f", {tasks['reused']:,} of them reused" if tasks.get("reused") and not values.get("resumes") else ""
        work += f", {rest:,} not finished" if rest > 0 else ""
        work += f", {ended / seconds:,.0f}/s" if seconds else ""
    else:
        work = "no tasks"
    work += _taken_up(tasks) if values.get("resumes") else ""
    sites = ", ".join(f"{label}={site}" if label != site else site for label, site in values["sites"].items())
    sites = "the script's own config" if values.get("own_config") else sites
    outcome = "" if values["exit_code"] == 0 else f" · exit code {values['exit_code']}"
    if values["state"] in FINAL and values["state"] not in ("finished", "failed"):
        outcome += f" · {values['state']}: {values['reason']}"
    if values["state"] == "finished" and tasks.get("failed"):
        outcome += f" · pilotage show {values['id']} says what failed"
    return f"run {values['id']} · {sites} · {work} · {clock(seconds)}{outcome}"


def _taken_up(tasks: dict[str, int]) -> str:
    """Return what came of the results of the run that was resumed: where nothing did, a person must hear why."""
    changed = tasks.get("changed", 0)
    hint = " (--ignore-changes reuses theirs too)" if changed else ""
    return f" · {tasks.get('reused', 0):,} reused, {changed:,} run again since their app has changed{hint}"
