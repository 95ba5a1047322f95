"""Sites that are reached by SSH: the connection, and the folder there in which runs have theirs."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pilotage.check.context import Context
from pilotage.check.finding import Finding, failed, listed, ok, skipped, warning
from pilotage.check.folders import IN_MEMORY, SHARED, Mount, local_reason
from pilotage.check.probe import Cost, Probe, probe
from pilotage.check.space import ENOUGH, FILES_ENOUGH, FILES_LEAST, LEAST, size
from pilotage.errors import HostError
from pilotage.hosts.base import Completed
from pilotage.sites.models import BatchSite

CONNECTING = 45.0
"""Seconds that a host has to let us in."""
WHO = "id -un && uname -n"
NAMED = 'folder=$1; case "$folder" in "~"|"~/"*) folder=$HOME${folder#"~"};; esac; '
AWAY = (
    'if [ -n "$top" ]; then up=$folder; while rmdir -- "$up" 2>/dev/null && [ "$up" != "$top" ]; do '
    'up=$(dirname -- "$up"); done; fi'
)
FOLDER = (
    NAMED + "top=; mine=; up=$folder; "
    'while [ ! -e "$up" ]; do top=$up; up=$(dirname -- "$up"); done; '
    'umask 077; mkdir -p -- "$folder" && mine=$(mktemp -d "$folder/.check-XXXXXX") && echo written >"$mine/it" && '
    '[ "$(cat "$mine/it")" = written ]; code=$?; [ -n "$mine" ] && rm -rf -- "$mine"; '
    '[ $code = 0 ] && { echo "path $(cd -- "$folder" && pwd -P)"; echo "new $top"; '
    'df -PT -- "$folder" | sed -n "2s/^/space /p"; df -Pi -- "$folder" | sed -n "2s/^/files /p"; }; '
    + AWAY
    + "; exit $code"
)
"""For ``sh -c``: write to a folder, which is made and removed again where it is not there, and describe it in lines."""
REMOVE = NAMED + "top=$2; " + AWAY
"""For ``sh -c``: remove a folder that is empty, and what it is in up to the path that is the second argument."""
WHEN_OVER = 'trap "" HUP; cat >/dev/null; rm -rf -- "$3"; ' + REMOVE
"""For ``sh -c``: when what is read ends, remove first the path that is the third argument: also when we are killed."""
SPACE = r"^space .*? (\S+) +\d+ +\d+ +(\d+) +\S+ +(/.*)$"
FILES = r"^files .*? (\d+) +\d+ +(\d+) +\S+ +/.*$"


@dataclass(frozen=True)
class Folder:
    """A folder on a host: where it really is, its mount, and what is free (bytes, files).

    ``new`` is the first part of its path that was not there before, empty where all was.

    None is what that host does not tell.
    """

    path: str
    new: str
    mount: Mount | None
    room: int | None
    files: int | None


def folder_on(context: Context, name: str) -> Folder | Completed:
    """Return the folder of runs on one of the site's hosts, or the answer of a host on which there can be none."""
    return context.once(f"folder on {name}", lambda: _asked(context, name))


def _asked(context: Context, name: str) -> Folder | Completed:
    base = str(getattr(context.site, "run_folder", ""))
    context.say(f"writing to {base} on {name}")
    answer = context.hosts[name].run(["sh", "-c", FOLDER, "sh", base], timeout=CONNECTING)
    path = re.search(r"^path (/.*)$", answer.stdout, re.MULTILINE)
    if not answer.ok or path is None:
        return answer
    space = re.search(SPACE, answer.stdout, re.MULTILINE | re.ASCII)
    files = re.search(FILES, answer.stdout, re.MULTILINE | re.ASCII)
    return Folder(
        path[1],
        new="".join(re.findall(r"^new (/.*)$", answer.stdout, re.MULTILINE)[:1]),
        mount=None if space is None else Mount(Path(space[3]), space[1]),
        room=None if space is None else 1024 * int(space[2]),
        files=int(files[2]) if files is not None and int(files[1]) else None,
    )


class OnHosts(Probe):
    """A probe of the hosts that a site is reached by."""

    cost = Cost.MACHINE
    needs: ClassVar[tuple[str, ...]] = ("login",)

    def limit(self, context: Context) -> float:
        """Return a time for each host."""
        return CONNECTING * max(len(context.hosts), 1)

    def applies(self, context: Context) -> bool:
        """Apply to sites with a login host, and to pools."""
        return bool(context.hosts)


@probe
class Login(OnHosts):
    """The site's hosts let us in without a question, and say nothing that was not asked."""

    name = "login"
    needs = ("configuration",)

    def run(self, context: Context) -> Finding:
        """Connect, and ask each who we are there."""
        problems: dict[str, HostError] = {}
        told: dict[str, tuple[str, str]] = {}
        for name, host in context.hosts.items():
            context.say(f"connecting with {name}")
            try:
                who, noise = _who(host.run(["sh", "-c", WHO], timeout=20))
                told[name] = who, noise or " ".join(getattr(host, "noise", "").split())[:100]
            except HostError as error:
                problems[name] = error
        context.memory["reached"] = list(told)
        if problems:
            return _not_in(context, problems)
        loud = [name for name, (_, noise) in told.items() if noise]
        where, command = _place(context), f"ssh {shlex.quote(next(iter(told)))} true"
        if loud:
            hint = "scp and others take it for what they asked for: let ~/.bashrc there write to people only"
            said = told[loud[0]][1]
            return warning(f"{loud[0]} says {said!r} to a program", hint=hint, where=where, command=command)
        return ok(f"{listed(who for who, _ in told.values())}: nothing is asked", command=command)


def _who(answer: Completed) -> tuple[str, str]:
    """Return who we are there, and what else was written; raises HostError."""
    lines = [line for line in answer.stdout.splitlines() if line.strip()]
    if not answer.ok or len(lines) < 2:
        raise HostError(f"lets us in, and runs nothing: {_last(answer)}", hint="is its shell there a usual one?")
    return f"{lines[-2]} on {lines[-1]}", " ".join(lines[:-2])[:100]


def _not_in(context: Context, problems: dict[str, HostError]) -> Finding:
    name, error = next(iter(problems.items()))
    words = f"{name}: {error.message}"
    hint = error.hint or "what does ssh say to it?"
    where, command = _place(context), f"ssh -o BatchMode=yes {shlex.quote(name)} true"
    if len(problems) == len(context.hosts):
        return failed(words, hint=hint, where=where, command=command)
    passed = f"{len(problems)} of {len(context.hosts)} hosts are passed over, {words}"
    return warning(passed, hint=hint, where=where, command=command)


def _place(context: Context) -> str:
    return context.key("login" if isinstance(context.site, BatchSite) else "hosts")


def _last(answer: Completed) -> str:
    lines = (answer.stderr.strip() or answer.stdout.strip()).splitlines()
    return lines[-1][:300] if lines else f"exit code {answer.exit_code}"


@probe
class LoginFolder(OnHosts):
    """A run's folder can be made and written to on the site's hosts."""

    name = "login-folder"

    def run(self, context: Context) -> Finding:
        """Write a file and read it; what is made for that is removed."""
        found = {name: folder_on(context, name) for name in context.reached}
        base = getattr(context.site, "run_folder", "")
        command = shlex.join(["ssh", next(iter(found), ""), f"ls -ld {base}"])
        for name, one in found.items():
            if isinstance(one, Completed):
                return failed(
                    f"{base} on {name} cannot be written to: {_last(one)}",
                    hint="set run_folder to a folder there that you may write to",
                    where=context.key("run_folder"),
                    command=command,
                )
        return ok(listed(f"{one.path} on {name}" for name, one in known(found).items()), command=command)


def known(found: dict[str, Folder | Completed]) -> dict[str, Folder]:
    """Return those that are folders."""
    return {name: one for name, one in found.items() if isinstance(one, Folder)}


@probe
class LoginSpace(OnHosts):
    """The file system of that folder has room."""

    name = "login-space"
    needs = ("login", "login-folder")

    def run(self, context: Context) -> Finding:
        """Look at free bytes and files, of the host that has least."""
        found = known({name: folder_on(context, name) for name in context.reached})
        told = {name: one for name, one in found.items() if one.room is not None}
        if not told:
            return skipped("df there does not tell")
        name, least = min(told.items(), key=lambda item: item[1].room or 0)
        room, files = least.room or 0, least.files
        words = f"{size(room)} free" + (f", {files:,} files" if files is not None else "")
        words += f" in {least.path} on {name}"
        command = f"ssh {shlex.quote(name)} df -h {shlex.quote(least.path)}"
        hint, where = "make room there, or set run_folder to another file system", context.key("run_folder")
        if room < LEAST or (files is not None and files < FILES_LEAST):
            return failed(words, hint=hint, where=where, command=command)
        if room < ENOUGH or (files is not None and files < FILES_ENOUGH):
            return warning(words, hint=hint, where=where, command=command)
        return ok(words, command=command)


@probe
class LoginShared(OnHosts):
    """Nodes see the folder on the login host: certificates, scripts and logs are in it."""

    name = "login-shared"
    needs = ("login", "login-folder")

    def applies(self, context: Context) -> bool:
        """Apply where the login host is not what workers run on."""
        return super().applies(context) and isinstance(context.site, BatchSite)

    def run(self, context: Context) -> Finding:
        """Judge by the type of its file system, as far as that tells."""
        (name,) = context.hosts
        found = folder_on(context, name)
        if not isinstance(found, Folder) or found.mount is None:
            return skipped("df there does not tell the type; --submit finds out")
        command = f"ssh {shlex.quote(name)} df -T {shlex.quote(found.path)}"
        reason = local_reason(Path(found.path), found.mount, f"the memory of {name}")
        if reason is not None:
            return failed(
                f"runs are kept in {found.path} on {name}, on {reason}: nodes do not see it",
                hint="set run_folder to a folder on a file system that login and compute nodes share",
                where=context.key("run_folder"),
                command=command,
            )
        if found.mount.kind in SHARED - IN_MEMORY:
            return ok(f"{found.mount.point} on {name} is {found.mount.kind}", command=command)
        return skipped(
            f"{found.mount.kind} does not tell whether nodes see it too; --submit finds out", command=command
        )
