"""Starts runs elsewhere, and finds again those whose start was not heard of any more."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from pilotage.errors import HostError, PilotageError, ScriptError, UsageError
from pilotage.runs.places import kept as keeping
from pilotage.runs.places.base import Place
from pilotage.runs.places.kept import Kept

STARTS = 120.0
"""Seconds that a start may take there."""


def start(
    place: Place,
    script: Path,
    more: Sequence[Path],
    arguments: Sequence[str],
    options: Sequence[str],
    name: str | None,
    python: str | None = None,
) -> Kept:
    """Send a script there and start a run of it, which goes on by itself.

    Parameters
    ----------
    place: where.
    script: a file here.
    more: other files and folders that are sent with it; all are in one folder there, under their own names.
    arguments: the script's.
    options: of ``pilotage run`` there.
    name: the user's own for the run.
    python: path of a Python there that has pilotage, where it is not found by itself.

    Raises UsageError where that cannot be, HostError where the place cannot be reached (once the run has perhaps begun,
    `settle` finds it again), and whatever error the pilotage there has had.
    """
    sources = [path.absolute() for path in (script, *more)]
    _check(sources)
    place.connect()
    place.find_program(python)
    kept = keeping.new(place.name, name, script.name, sources, list(arguments), program=list(place.program), values={})
    try:
        kept = kept.but(folder=place.make_folder(kept.folder))
        _send(place, kept)
    except BaseException:
        _take_back(place, kept)
        raise
    words = ["run", "--detach", "--name", kept.there, *options, script.name, "--", *arguments]
    return _begin(place, kept, words)


def again(place: Place, before: Kept, options: Sequence[str], name: str | None) -> Kept:
    """Resume a run that is over, with its files as they are here now; see `start`."""
    if before.run is None:
        raise UsageError("it is not known whether that run has started", hint="pilotage ps asks")
    place.connect()
    now = settle(place, before, place.ask(["ps"])["runs"])
    if now is None or not now.is_over:
        raise UsageError(f"run {before.run} is not over", hint=f"pilotage attach {before.run} shows it")
    with contextlib.suppress(HostError):  # it is there still, unless `clean` has removed it
        place.make_folder(before.folder)
    kept = keeping.new(
        before.host,
        name or before.name,
        before.script,
        [Path(source) for source in before.sources],
        before.arguments,
        program=before.program,
        folder=before.folder,
        resumes=before.run,
    )
    try:
        _send(place, kept)
    except BaseException:
        kept.forget()
        raise
    return _begin(place, kept, ["resume", before.run, "--detach", "--name", kept.there, *options])


def _check(sources: Sequence[Path]) -> None:
    for path in sources:
        if not path.exists():
            raise ScriptError("there is no such file", where=str(path))
    names = [path.name for path in sources]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"two of the files to be sent are called {twice}", hint="they would be in one folder there")


def _send(place: Place, kept: Kept) -> None:
    for source in map(Path, kept.sources):
        if source.exists():  # else what is there stays
            place.send(source, str(PurePosixPath(kept.folder) / source.name))


def _begin(place: Place, kept: Kept, words: Sequence[str]) -> Kept:
    try:
        values = place.ask(words, folder=kept.folder, timeout=STARTS)
    except HostError as error:
        hint = f"pilotage ps finds it, where it has started: {error.hint}" if error.hint else "pilotage ps finds it"
        raise HostError(
            f"whether the run has started is not known: {error.message}", where=error.where, hint=hint
        ) from error
    except PilotageError:  # it has said no
        _take_back(place, kept)
        raise
    return kept.but(run=str(values["id"]), values=values)


def _take_back(place: Place, kept: Kept) -> None:
    """Remove what was to be of a run; where the place is away, its record stays until another command can."""
    try:
        if not shares_folder(kept):
            place.remove(kept.folder)
    except PilotageError:
        return
    kept.forget()


def shares_folder(kept: Kept) -> bool:
    """Return whether another run has its script in the same folder there."""
    return any(one.folder == kept.folder and one.token != kept.token for one in keeping.all_kept())


def settle(place: Place, kept: Kept, runs: Sequence[dict[str, Any]]) -> Kept | None:
    """Return what is known of a run with what its place tells of all; None where it was never started.

    What was to be of that one is removed.
    """
    if kept.run is None:
        found = [run for run in runs if str(run.get("name") or "").endswith(f".{kept.token}")]
        if found:
            return kept.but(run=str(found[0]["id"]), values=found[0])
        if not kept.is_starting:
            _take_back(place, kept)
            return None
        return kept
    values = next((run for run in runs if run["id"] == kept.run), None)
    if values is None:
        gone = {**kept.values, "state": "lost", "reason": "it is not there any more"}
        return kept.but(values=gone) if not kept.is_over else kept
    return kept.but(values=values) if values != kept.values else kept
