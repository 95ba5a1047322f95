"""``pilotage site add``: from what a machine has to a site in a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pilotage.assembly import site_files
from pilotage.assembly.detection import Found, Machine, detect, site_table
from pilotage.errors import UsageError, did_you_mean
from pilotage.hosts.base import Host
from pilotage.schedulers.base import Queue

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
    path = site_files.file_to_write(project=project)
    document = site_files.document(path, [name], force=force)
    machine = detect(host)
    _tell(machine, say)
    found = _scheduler(machine, given.get("scheduler"), ask)
    queue = _queue(found, given.get("queue"), ask)
    account = _account(found, given.get("account"), ask)
    table = site_table(machine, found, queue, account, given.get("nodes") or 1)
    text = site_files.put(document, {name: table})
    site_files.check(path, text, [name])
    site_files.write(path, text, project=project)
    return path, site_files.alone({name: table})


def _tell(machine: Machine, say: Callable[[str], None]) -> None:
    say(f"found: {machine.cores} cores, {machine.gpus} GPUs")
    if machine.login is not None:
        python = machine.login.python
        say(f"found: {python}, with the driver's versions" if python else f"warning: {machine.login.remark}")
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
            f"{'this machine' if machine.login is None else machine.login.destination} has no {chosen!r}",
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
