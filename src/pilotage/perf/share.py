"""Puts records and their configs on a git branch as a commit, without touching the checkout."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pilotage.errors import StorageError, UsageError
from pilotage.perf import folder
from pilotage.perf.record import Model, Record
from pilotage.perf.sources import git, run_git

BRANCH = "perf-results"


class Shared(Model):
    """The result of ``pilotage perf share``."""

    schema_version: Literal[1] = 1
    branch: str
    commit: str
    files: list[str]
    replaced: list[str] = []
    """Files of these that the branch had with other contents: they are in its history."""
    pushed: str | None = None


def share(
    records: Mapping[Path, Record],
    root: Path,
    branch: str = BRANCH,
    push: str | None = None,
    message: str | None = None,
) -> Shared:
    """Commit ``records``, and the configs that were measured, to ``branch`` of the repository that ``root`` is in.

    Parameters
    ----------
    records: by their files.
    root: folder in the repository below which ``results`` and ``configs`` are to be.
    branch: made from the current commit where it is new. It must not be checked out anywhere.
    push: the remote to push it to; nothing is pushed without.
    message: of the commit.

    Raises UsageError for what git or its state does not allow; nothing is changed then, unless it was the push that
    failed. Where the branch has all of it already, the result is its commit.
    """
    repository = _top(root)
    _refuse(repository, branch)
    prefix = (git(root, "rev-parse", "--show-prefix") or "").removesuffix("\n")
    files = {prefix + str(place): text for place, text in _files(records, root).items()}
    before = (git(repository, "rev-parse", "--verify", "--quiet", f"refs/heads/{branch}") or "").strip()
    parent = before or (git(repository, "rev-parse", "--verify", "--quiet", "HEAD") or "").strip()
    tree = _tree(repository, parent, files)
    if before and tree == _checked(repository, "rev-parse", f"{before}^{{tree}}"):
        commit = before
    else:
        words = message or _message(list(records.values()))
        commit = _checked(
            repository, "commit-tree", tree, *(["-p", parent] if parent else []), "-F", "-", given=words + "\n"
        )
        # The old value is given: where somebody has moved the branch meanwhile, it stays theirs.
        _checked(
            repository, "update-ref", "-m", "pilotage perf share", f"refs/heads/{branch}", commit, before or "0" * 40
        )
    if push is not None:
        _push(repository, push, branch)
    replaced = _replaced(repository, before, commit) & files.keys()
    return Shared(branch=branch, commit=commit, files=sorted(files), replaced=sorted(replaced), pushed=push)


def _top(root: Path) -> Path:
    """Return the folder of the repository that ``root`` is in."""
    if not root.is_dir():
        raise UsageError("there is no such folder", where=str(root))
    found = run_git(root, "rev-parse", "--show-toplevel")
    if found.returncode:
        raise UsageError(
            f"this folder is in no git repository that can be used: {_last(found)}",
            where=str(root),
            hint="git init, or --folder FOLDER" if "not a git repository" in found.stderr else None,
        )
    return Path(found.stdout.removesuffix("\n"))


def _replaced(repository: Path, before: str, commit: str) -> set[str]:
    """Return the files whose contents a commit has changed."""
    if not before:
        return set()
    return set(_checked(repository, "diff", "--name-only", "-z", "--diff-filter=M", before, commit).split("\0"))


def _push(repository: Path, remote: str, branch: str) -> None:
    """Push a branch, however long that takes: a person may be asked for a passphrase."""
    done = run_git(repository, "push", "--", remote, f"refs/heads/{branch}:refs/heads/{branch}", timeout=None)
    if done.returncode:
        raise UsageError(
            f"the records are on {branch}, and git push failed: {_last(done)}",
            where=str(repository),
            hint=f"git push {remote} {branch}",
        )


def _refuse(repository: Path, branch: str) -> None:
    if run_git(repository, "check-ref-format", "--branch", branch).returncode:
        raise UsageError(f"{branch!r} cannot be a branch's name", where="--branch")
    staged = run_git(repository, "diff", "--cached", "--quiet", "--exit-code")
    if staged.returncode > 1:
        raise UsageError(f"git cannot read the index: {_last(staged)}", where=str(repository))
    if staged.returncode:
        raise UsageError(
            "the index holds changes that are not committed",
            where=str(repository),
            hint="commit them, or take them out again: git restore --staged .",
        )
    for line in (git(repository, "worktree", "list", "--porcelain") or "").splitlines():
        if line == f"branch refs/heads/{branch}":
            raise UsageError(
                f"the branch {branch!r} is checked out, and its files would not follow",
                where=str(repository),
                hint="--branch NAME takes another one",
            )


def _files(records: Mapping[Path, Record], root: Path) -> dict[Path, str]:
    """Return the texts of records and their configs by the places that they are to have."""
    found: dict[Path, str] = {}
    for file, record in records.items():
        found[folder.result_path(record)] = record.to_json()
        place = folder.config_path(record)
        for near in (folder.config_beside(file, record), root / place):
            if near.is_file():
                found[place] = _text(near)
                break
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise StorageError(f"cannot be read: {error.strerror}", where=str(path)) from error


def _tree(repository: Path, parent: str, files: Mapping[str, str]) -> str:
    """Return the tree of ``parent`` with ``files`` in it, made in an index of its own."""
    with tempfile.TemporaryDirectory(prefix="pilotage-share-") as place:
        env = {"GIT_INDEX_FILE": os.path.join(place, "index")}  # noqa: PTH118  an environment's value is text
        _checked(repository, "read-tree", parent or "--empty", env=env)
        for name, text in files.items():
            blob = _checked(repository, "hash-object", "-w", "--stdin", given=text)
            _checked(repository, "update-index", "--add", "--cacheinfo", f"100644,{blob},{name}", env=env)
        return _checked(repository, "write-tree", env=env)


def _checked(repository: Path, *arguments: str, env: dict[str, str] | None = None, given: str | None = None) -> str:
    done = run_git(repository, *arguments, env=env, given=given)
    if done.returncode:
        raise UsageError(
            f"git {arguments[0]} failed: {_last(done)}",
            where=str(repository),
            hint="git config user.name NAME, git config user.email ADDRESS" if "ident" in done.stderr else None,
        )
    return done.stdout.strip()


def _last(done: subprocess.CompletedProcess[str]) -> str:
    """Return the last words of a git that has failed."""
    words = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return next(
        (line for line in reversed(words) if line.startswith(("fatal:", "error:"))), (words or ["it says nothing"])[-1]
    )


def _message(records: Sequence[Record]) -> str:
    sites = ", ".join(sorted({record.site for record in records}))
    count = len(records)
    lines = [f"Benchmarks of {sites}: {count} record{'s' if count != 1 else ''}", ""]
    lines += [f"- {folder.stem(record)}, {record.created[:10]}, {len(record.finished)} sessions" for record in records]
    return "\n".join(lines)
