"""What places tell of the runs that are kept there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pilotage.errors import PilotageError
from pilotage.runs.places.base import Place
from pilotage.runs.places.kept import Kept
from pilotage.runs.places.starting import settle, shares_folder

ANSWERS = 10.0
"""Seconds that a place has to list its runs."""
CLEANS = 300.0

Open = Callable[[str, Sequence[str]], Place]
"""Returns the place of a host, with the pilotage that is there."""


def listed(known: Sequence[Kept], open_place: Open) -> tuple[list[dict[str, Any]], list[str]]:
    """Return runs elsewhere in the shape of ``ps``, and why some places were not heard of.

    Only places with runs that may go on are asked, all at once. What is known of their runs is written down.
    """
    over = [kept.shown() for kept in known if kept.is_over]
    groups = _by_place([kept for kept in known if not kept.is_over])
    found, problems = over, []
    with ThreadPoolExecutor(max_workers=max(len(groups), 1)) as pool:
        answers = pool.map(lambda group: _asked(group, open_place), groups)
        for group, (runs, problem) in zip(groups, answers, strict=True):
            if problem:
                problems.append(f"{group[0].host}: {problem}")
            found += runs
    return found, problems


def _by_place(known: Sequence[Kept]) -> list[list[Kept]]:
    groups: dict[tuple[str, ...], list[Kept]] = {}
    for kept in known:
        groups.setdefault((kept.host, *kept.program), []).append(kept)
    return list(groups.values())


def _asked(group: Sequence[Kept], open_place: Open) -> tuple[list[dict[str, Any]], str]:
    place = open_place(group[0].host, group[0].program)
    try:
        place.connect()
        runs = place.ask(["ps"], timeout=ANSWERS)["runs"]
        settled = [settle(place, kept, runs) for kept in group]
    except PilotageError as error:
        words = " ".join(error.message.split())
        return [kept.shown("unreachable", words) for kept in group], words
    finally:
        place.leave()
    return [kept.shown() for kept in settled if kept is not None], ""


def cleaned(known: Sequence[Kept], open_place: Open, *, dry_run: bool) -> tuple[list[dict[str, Any]], list[str]]:
    """Clean places where runs are kept; return what each tells of its runs, and what could not be cleaned.

    There, what dead runs have left is ended. The folder with the script of a run that is over is removed: a resume
    sends it again. What is known here of a run that is not there any more is removed too.
    """
    found: list[dict[str, Any]] = []
    problems: list[str] = []
    for group in _by_place(known):
        place = open_place(group[0].host, group[0].program)
        try:
            place.connect()
            told = place.ask(["clean", *(["--dry-run"] if dry_run else [])], timeout=CLEANS)
            found += told["runs"]
            runs = place.ask(["ps"], timeout=ANSWERS)["runs"]
            if not dry_run:
                _remove_folders(place, group, runs)
        except PilotageError as error:
            problems.append(f"{group[0].host}: {' '.join(error.message.split())}")
        finally:
            place.leave()
    return found, problems


def _remove_folders(place: Place, group: Sequence[Kept], runs: Sequence[dict[str, Any]]) -> None:
    settled = [kept for one in group if (kept := settle(place, one, runs)) is not None]
    there = {run["id"] for run in runs}
    live = {kept.folder for kept in settled if not kept.is_over}
    for folder in dict.fromkeys(kept.folder for kept in settled if kept.folder not in live):
        place.remove(folder)
    for kept in settled:
        if kept.is_over and kept.run not in there:
            kept.forget()


def forget(place: Place, kept: Kept) -> None:
    """Remove the folder of a run that has been removed there, and what is known of it here."""
    if not shares_folder(kept):
        place.remove(kept.folder)
    kept.forget()
