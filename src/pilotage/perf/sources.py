"""Where records are read from: files, folders, and revisions of a git repository."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from pilotage.errors import StorageError, UsageError
from pilotage.perf import folder
from pilotage.perf.folder import Found
from pilotage.perf.record import Record

TIMEOUT = 60.0


def found_in(places: Sequence[str], root: Path) -> Found:
    """Return the records in files and folders; without any, those of ``results`` below ``root``."""
    if places:
        return folder.read_all(map(Path, places))
    results = root / "results"
    if not results.is_dir():
        raise UsageError("there are no records here", where=str(results), hint="pilotage perf run makes some")
    return folder.read_all([results])


def reference(text: str, root: Path) -> Found:
    """Return the records that a reference means: a file, a folder, or ``results`` at a git revision of ``root``.

    ``REVISION:FOLDER`` is another folder at that revision. Raises UsageError where it means nothing.
    """
    if Path(text).exists():
        return folder.read_all([Path(text)])
    revision, _, place = text.partition(":")
    if git(root, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}") is None:
        raise UsageError(f"{text!r} is no file, folder or git revision", hint="such as main, HEAD~1 or a record's file")
    return _at_revision(root, revision, place or "results")


def _at_revision(root: Path, revision: str, place: str) -> Found:
    # In a folder of the repository, git's paths are those below it.
    listed = git(root, "ls-tree", "-r", "--name-only", "-z", revision, "--", place)
    found = Found()
    for name in (listed or "").split("\0"):
        if not name.endswith(".json"):
            continue
        text = git(root, "show", f"{revision}:./{name}")
        if text is None:
            found.problems.append(f"{revision}:{name}: git does not show it")
            continue
        try:
            record = folder.parse(text, f"{revision}:{name}")
        except StorageError as error:
            found.problems.append(f"{error.where}: {error.message}")
            continue
        found.records[Path(f"{revision}:{name}")] = record
    found.records = folder.in_order(found.records)
    return found


def git(root: Path, *arguments: str, env: dict[str, str] | None = None, given: str | None = None) -> str | None:
    """Return what git prints in ``root``, None where it fails; raises UsageError where there is no git."""
    done = run_git(root, *arguments, env=env, given=given)
    return done.stdout if done.returncode == 0 else None


def run_git(
    root: Path,
    *arguments: str,
    env: dict[str, str] | None = None,
    given: str | None = None,
    timeout: float | None = TIMEOUT,
) -> subprocess.CompletedProcess[str]:
    """Run git in ``root``; raises UsageError where there is none or it does not end."""
    try:
        return subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            encoding="utf-8",  # a record is, whatever the terminal's is
            errors="replace",
            timeout=timeout,
            input=given if given is not None else "",
            env={**os.environ, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", **(env or {})},
        )
    except OSError as error:
        raise UsageError(f"git cannot be started: {error.strerror}", hint="install git") from error
    except subprocess.TimeoutExpired as error:
        raise UsageError(f"git {arguments[0]} does not end", where=str(root)) from error


def newest(records: Sequence[Record]) -> dict[tuple[object, ...], Record]:
    """Return the newest record with a finished session of each configuration; ``records`` is in order of time."""
    return {record.configuration: record for record in records if record.finished}
