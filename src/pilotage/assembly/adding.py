"""``pilotage site add``: from what a machine has to a site in a file."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from pilotage import paths
from pilotage.assembly.detection import Found, Machine, detect, site_table
from pilotage.errors import SiteFileError, StorageError, UsageError, did_you_mean
from pilotage.hosts.base import Host
from pilotage.schedulers.base import Queue
from pilotage.sites.catalogue import Catalogue, Layer

Ask = Callable[[str, list[str], str], str]


def add_site(
    name: str,
    host: Host,
    given: Mapping[str, Any],
    *,
    ask: Ask | None,
    project: bool,
    force: bool,
    say: Callable[[str], None],
) -> tuple[Path, str]:
    """Write a site made of what ``host`` has; return the file and the text of the site.

    Parameters
    ----------
    name: the new site's name.
    host: the machine that is asked.
    given: answers that need no question: ``scheduler``, ``queue``, ``account``, ``nodes``.
    ask: asks (question, choices, default) and returns the answer; None takes the defaults.
    project: write ``pilotage.toml`` of the current folder instead of the user's.
    force: replace a site of that name in the file.
    say: told what was found.

    Raises UsageError for answers that do not fit, SiteFileError for a file that cannot be kept intact, StorageError
    where it cannot be written.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or name.endswith(".py"):
        raise UsageError(f"{name!r} cannot be a site's name", hint="letters, digits, '.', '_' and '-'")
    path = Path.cwd() / paths.FILE_NAME if project else paths.user_site_file()
    document = _document(path, name, force)
    machine = detect(host)
    _tell(machine, say)
    found = _scheduler(machine, given.get("scheduler"), ask)
    queue = _queue(found, given.get("queue"), ask)
    account = _account(found, given.get("account"), ask)
    table = site_table(machine, found, queue, account, given.get("nodes") or 1)
    sites = document.setdefault("site", tomlkit.table(is_super_table=True))
    sites.pop(name, None)
    sites.add(name, table)
    text = tomlkit.dumps(document)
    _check(name, path, text)
    if not project:
        paths.private_folder(path.parent)
    try:
        # A project's file is the project's, one in the home folder nobody else's; a file that is there keeps its mode.
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else (0o644 if project else 0o600)
        paths.write_atomically(path, text, mode)
    except OSError as error:
        raise StorageError(f"cannot write: {error.strerror}", where=str(path)) from error
    alone = tomlkit.document()
    alone.add("site", tomlkit.table(is_super_table=True).add(name, table))
    return path, tomlkit.dumps(alone).strip()


def _document(path: Path, name: str, force: bool) -> tomlkit.TOMLDocument:
    if not path.exists():
        return tomlkit.document()
    Layer.read(path)  # a file that is wrong already is not written to
    try:
        document = tomlkit.parse(path.read_text(encoding="utf-8"))
    except TOMLKitError as error:
        raise SiteFileError(f"cannot be edited: {error}", where=str(path), hint="write the site by hand") from error
    if name in document.get("site", {}) and not force:
        raise UsageError(f"the file has a site {name!r} already", where=str(path), hint="--force replaces it")
    return document


def _check(name: str, path: Path, text: str) -> None:
    layers = [*Catalogue.load().layers]
    layers = [layer for layer in layers if layer.source != str(path)] + [Layer.parse(str(path), text)]
    Catalogue(layers).resolve(name)


def _tell(machine: Machine, say: Callable[[str], None]) -> None:
    say(f"found: {machine.cores} cores, {machine.gpus} GPUs")
    for found in machine.found:
        queues = ", ".join(queue.name for queue in found.queues) or "no queues"
        accounts = f"; accounts: {', '.join(found.accounts)}" if found.accounts else ""
        say(f"found: {found.scheduler}: {queues}{accounts}")
        for problem in found.problems:
            say(f"warning: {problem}")


def _scheduler(machine: Machine, given: str | None, ask: Ask | None) -> Found | None:
    choices = [found.scheduler for found in machine.found] + ["local"]
    chosen = given or _choose("Scheduler", choices, choices[0], ask)
    if chosen not in choices:
        near = did_you_mean(chosen, choices)
        raise UsageError(
            f"this machine has no {chosen!r}",
            where="--scheduler",
            hint=near or f"it has {', '.join(choices)}",
        )
    return next((found for found in machine.found if found.scheduler == chosen), None)


def _queue(found: Found | None, given: str | None, ask: Ask | None) -> Queue | None:
    if found is None:
        if given:
            raise UsageError("this machine itself has no queues", where="--queue")
        return None
    usable: Sequence[Queue] = [queue for queue in found.queues if queue.available]
    if not usable:
        return Queue(name=given) if given else None
    names = [queue.name for queue in usable]
    default = next((queue.name for queue in usable if queue.default), names[0])
    chosen = given or _choose("Partition or queue", names, default, ask)
    if chosen not in names:
        near = did_you_mean(chosen, names)
        raise UsageError(
            f"{found.scheduler} has no queue {chosen!r}",
            where="--queue",
            hint=near or f"it has {', '.join(names)}",
        )
    return next(queue for queue in usable if queue.name == chosen)


def _account(found: Found | None, given: str | None, ask: Ask | None) -> str | None:
    if given or found is None or not found.accounts:
        return given
    return _choose("Account", list(found.accounts), found.accounts[0], ask)


def _choose(question: str, choices: list[str], default: str, ask: Ask | None) -> str:
    return default if ask is None or len(choices) == 1 else ask(question, choices, default)
