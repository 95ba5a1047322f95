"""Commands about runs whose driver is on another host: the same command is run there, with our streams."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from pilotage.errors import HostError, PilotageError, UsageError
from pilotage.output import Output

if TYPE_CHECKING:
    from pilotage.runs.places.kept import Kept
    from pilotage.runs.places.ssh import SSHPlace


def open_place(host: str, program: Sequence[str] = ()) -> SSHPlace:
    """Return a host as a place; where there is a terminal, a person may be asked for what it wants."""
    from pilotage.runs.places.ssh import SSHPlace
    from pilotage.runs.view import is_terminal

    return SSHPlace(host, program, ask=is_terminal(0))


def found_again(kept: Kept) -> tuple[Kept, str]:
    """Return a run elsewhere with its id there, also where its start was not heard of; raises UsageError, HostError."""
    from pilotage.runs.places.starting import settle

    if kept.run is None:
        place = open_place(kept.host, kept.program)
        try:
            place.connect()
            settled = settle(place, kept, place.ask(["ps"])["runs"])
        finally:
            place.leave()
        if settled is None:
            raise UsageError(f"that run was never started on {kept.host}", hint="what was sent there has been removed")
        kept = settled
    if kept.run is None:
        raise UsageError("that run is being started", hint="pilotage ps shows it")
    return kept, kept.run


def pass_on(run: str, *, attended: bool = False) -> None:
    """Where ``run`` is elsewhere, run this very command there and exit as that does; else do nothing.

    With ``attended`` it is given our terminal, where there is one.
    """
    from pilotage.runs.places.kept import elsewhere
    from pilotage.runs.view import is_terminal

    kept = elsewhere(run)
    if kept is None:
        return
    kept, there = found_again(kept)
    context = click.get_current_context()
    place = open_place(kept.host, kept.program)
    place.connect()
    try:
        words = [str(context.info_name), *options_of(context.command, context.params), there]
        code = place.hand_over(words, terminal=attended and is_terminal(0) and is_terminal(1))
    finally:
        place.leave()
    if code == 255:
        raise HostError("the connection has ended; the run goes on", where=kept.host)
    sys.exit(code)


def options_of(command: click.Command, values: Mapping[str, Any], leave_out: Sequence[str] = ()) -> list[str]:
    """Return the options of a command line that was parsed, as they are written."""
    words: list[str] = []
    for one in command.params:
        if not isinstance(one, click.Option) or one.name is None or one.name in leave_out:
            continue
        value = values.get(one.name)
        if one.is_flag:
            words += [one.opts[-1]] if value else []
        elif one.multiple:
            words += [word for part in value or () for word in (one.opts[-1], str(part))]
        elif value is not None:
            words += [one.opts[-1], str(value)]
    return words


def split(runs: Sequence[str]) -> tuple[list[str], list[Kept]]:
    """Return which of some runs are here and which elsewhere."""
    from pilotage.runs.places.kept import elsewhere

    found = {run: elsewhere(run) for run in dict.fromkeys(runs)}
    there = {kept.token: kept for kept in found.values() if kept is not None}
    return [run for run, kept in found.items() if kept is None], list(there.values())


def cancelled(there: Sequence[Kept], *, now: bool, say: Any) -> list[dict[str, Any]]:
    """Cancel runs elsewhere; return what came of it, as the pilotage there tells."""
    results: list[dict[str, Any]] = []
    for one in there:
        kept, run = found_again(one)
        place = open_place(kept.host, kept.program)
        try:
            place.connect()
            say(f"stopping run {run} on {kept.host}")
            # Given a long time to stop in order, it takes that.
            results += place.ask(["cancel", *(["--now"] if now else []), run], timeout=3600)["runs"]
        finally:
            place.leave()
    return results


def removed(there: Sequence[Kept], *, force: bool) -> list[str]:
    """Remove runs elsewhere that are over, with what is known of them here; return their ids.

    With ``force``, what is known of those whose host cannot be reached goes too.
    """
    for kept in there:
        try:
            _remove(kept, force=force)
        except HostError:
            if not force:
                raise
            kept.forget()
    return [kept.run or f"on-{kept.token}" for kept in there]


def _remove(kept: Kept, *, force: bool) -> None:
    from pilotage.runs.places.asking import forget

    kept, run = found_again(kept)
    place = open_place(kept.host, kept.program)
    try:
        place.connect()
        try:
            place.ask(["rm", *(["--force"] if force else []), run])
        except PilotageError as error:
            if f"there is no run {run!r}" not in error.message:
                raise
        forget(place, kept)
    finally:
        place.leave()


def cleaned(*, dry_run: bool) -> tuple[list[dict[str, Any]], list[str]]:
    """Clean where runs are elsewhere; return what was found there, run by run, and what could not be cleaned."""
    from pilotage.runs.places.kept import all_kept

    known = all_kept()
    if not known:
        return [], []
    from pilotage.runs.places.asking import cleaned as clean

    return clean(known, open_place, dry_run=dry_run)


def listed(output: Output, here: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the runs of here and of elsewhere: those that go on first, then the newest first."""
    from pilotage.runs.places.kept import all_kept

    known = all_kept()
    if not known:
        return here
    from pilotage.runs.places.asking import listed as ask
    from pilotage.runs.record import FINAL

    output.waits(f"asking {', '.join(dict.fromkeys(kept.host for kept in known if not kept.is_over))}")
    there, problems = ask(known, open_place)
    output.waits(None)
    for problem in problems:
        output.warn(problem)
    ids = {run["id"] for run in there}
    found = sorted([*there, *(run for run in here if run["id"] not in ids)], key=_began, reverse=True)
    return sorted(found, key=lambda run: run["state"] in (*FINAL, "silent"))


def _began(run: Mapping[str, Any]) -> tuple[str, str]:
    return str(run["started"] or ""), str(run["id"])


def run_there(
    output: Output, host: str, script: str, send: Sequence[str], arguments: Sequence[str], python: str | None
) -> None:
    """Start a run of a script on another host, by the options of this very command; tell its id."""
    from pathlib import Path

    from pilotage.runs.places.starting import start
    from pilotage.runs.script import read_script
    from pilotage.runs.store import checked_name

    if host.startswith("-") or len(host.split()) != 1:  # ssh would take it for an option
        raise UsageError(f"{host!r} is no host", hint="--on user@host, or a name of your ssh_config")
    path, _ = read_script(script)
    context = click.get_current_context()
    own = ("host", "send", "python", "name", "detach", "as_json", "quiet")
    options = options_of(context.command, context.params, own)
    place = open_place(host)
    try:
        name = checked_name(context.params["name"])
        kept = start(place, path, [Path(one) for one in send], arguments, options, name, python)
    finally:
        place.leave()
    _tell(output, kept)


def resume_there(output: Output, run: str, *, ignore_changes: bool, name: str | None) -> bool:
    """Resume a run that is elsewhere, and tell the new one's id; return False for a run of here."""
    from pilotage.runs.places.kept import elsewhere

    kept = elsewhere(run)
    if kept is None:
        return False
    from pilotage.runs.places.starting import again
    from pilotage.runs.store import checked_name

    kept, _ = found_again(kept)
    place = open_place(kept.host, kept.program)
    try:
        options = ["--ignore-changes"] if ignore_changes else []
        _tell(output, again(place, kept, options, checked_name(name)))
    finally:
        place.leave()
    return True


def forward_there(
    run: str,
    port: int,
    node: str | None,
    local: int | None,
    told: Callable[[Any], None],
    say: Callable[[str], None],
) -> bool:
    """Reach a server of a run that is elsewhere, until a signal or its end; return False for a run of here."""
    from pilotage.runs.places.kept import elsewhere

    kept = elsewhere(run)
    if kept is None:
        return False
    from pilotage.runs.places.forwarding import forward

    kept, there = found_again(kept)
    place = open_place(kept.host, kept.program)
    place.connect()
    try:
        forward(place, there, port, ["--node", node] if node else [], local, told, say)
    finally:
        place.leave()
    return True


def _tell(output: Output, kept: Kept) -> None:
    output.text(str(kept.run), kept.shown())
    output.say(f"on {kept.host}; pilotage attach {kept.run} shows it, pilotage cancel {kept.run} ends it")
