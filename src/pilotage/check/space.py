"""Room for what runs write: free space and files, quota, and the memory that logs are kept in."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from pathlib import Path

from pilotage.check.context import Context
from pilotage.check.finding import Finding, failed, ok, skipped, warning
from pilotage.check.folders import Mount, mount_of, runs_folder
from pilotage.check.probe import Cost, Probe, probe
from pilotage.hosts.base import Completed
from pilotage.worker import tails

ENOUGH, LEAST = 1 << 30, 64 << 20
"""Bytes below which a full disk is near, and below which a run will soon fail."""
FILES_ENOUGH, FILES_LEAST = 10_000, 500
NEAR = 0.95
"""Part of a quota from which on it is nearly used up."""
RINGS = 64 << 20
"""Bytes that the newest lines of logs of one machine may take."""


def size(count: float) -> str:
    """Return bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB" if count < 1000 else f"{count / 1000:.3g} PB"


@probe
class FreeSpace(Probe):
    """The run folder's file system has room."""

    name = "free-space"
    cost = Cost.MACHINE
    needs = ("run-folder",)

    def run(self, context: Context) -> Finding:
        """Look at free bytes and, where the file system counts them, free files."""
        folder = runs_folder()
        command = f"df -h {shlex.quote(str(folder))}; df -i {shlex.quote(str(folder))}"
        context.say(command)
        found = os.statvfs(folder)
        room, files = found.f_bavail * found.f_frsize, found.f_favail
        hint = "make room, or set PILOTAGE_STATE to a folder on another file system"
        counted = found.f_files > 0
        words = f"{size(room)} free" + (f", {files:,} files" if counted else "") + f" in {folder}"
        if room < LEAST or (counted and files < FILES_LEAST):
            return failed(words, hint=hint, command=command)
        if room < ENOUGH or (counted and files < FILES_ENOUGH):
            return warning(words, hint=hint, command=command)
        return ok(words, command=command)


@probe
class Quota(Probe):
    """The user's quota is not used up."""

    name = "quota"
    cost = Cost.MACHINE
    needs = ("run-folder", "login", "login-folder")

    def applies(self, context: Context) -> bool:
        """Apply where there is a program that tells of quotas; a login host is asked about itself, when it is."""
        return context.is_far or bool(_command(context))

    def run(self, context: Context) -> Finding:
        """Read what quota, or Lustre's own, says."""
        argv = _command(context)
        if not argv:
            return skipped("no program there tells of quotas")
        answer = context.run(*argv)
        rows = lustre(answer) if argv[0] == "lfs" else classic(answer)
        command = shlex.join(argv)
        hint = f"make room, or set {'run_folder' if context.is_far else 'PILOTAGE_STATE'} to another file system"
        if not rows:
            return skipped("no quota is told", command=command)
        where, what, used, limit = max(rows, key=lambda row: row[2] / row[3])
        part = used / limit
        words = f"{part:.0%} of the {what} that the quota of {where} allows"
        if part >= 1:
            return failed(words, hint=hint, command=command)
        if part >= NEAR:
            return warning(words, hint=hint, command=command)
        return ok(words, command=command)


def _command(context: Context) -> tuple[str, ...]:
    mount = _mount(context)
    if mount is not None and mount.kind == "lustre" and context.host.has("lfs"):
        return ("lfs", "quota", "-q", "-u", context.user(), str(mount.point))
    return ("quota", "-w") if context.host.has("quota") else ()


def _mount(context: Context) -> Mount | None:
    """Return the mount of the folder that nodes use: on the login host, where there is one."""
    if not context.is_far:
        return mount_of(runs_folder())
    from pilotage.check.login import Folder, folder_on

    found = folder_on(context, next(iter(context.hosts)))
    return found.mount if isinstance(found, Folder) else None


Row = tuple[str, str, int, int]
"""File system, what is counted, how many are used, how many are allowed."""


def classic(answer: Completed) -> list[Row]:
    """Return what ``quota -w`` tells; only rows with a limit.

    A row is a file system, then used, soft limit, hard limit, time left of blocks, and the same of files; a ``*``
    marks what is over its soft limit, which then has a time left.
    """
    found: list[Row] = []
    for line in answer.stdout.splitlines():
        fields = line.split()
        if len(fields) < 6 or not re.fullmatch(r"\d+\*?", fields[1]):
            continue
        numbers = [field for field in fields[1:] if re.fullmatch(r"\d+\*?", field)]
        for what, three in (("space", numbers[:3]), ("files", numbers[3:6])):
            found += _row(fields[0], what, three)
    return found


def lustre(answer: Completed) -> list[Row]:
    """Return what ``lfs quota -q`` tells: used, soft limit, hard limit, time left of kilobytes and of files."""
    fields = answer.stdout.split()
    if len(fields) < 9:
        return []
    return [*_row(fields[0], "space", fields[1:4]), *_row(fields[0], "files", fields[5:8])]


def _row(where: str, what: str, three: list[str]) -> list[Row]:
    numbers = [int(text.rstrip("*")) for text in three if text.rstrip("*").isdecimal()]
    if len(numbers) != 3:
        return []
    used, soft, hard = numbers
    limit = hard or soft
    return [(where, what, used, limit)] if limit else []


@probe
class LogRoom(Probe):
    """There is room in memory for the newest lines of the logs."""

    name = "log-room"
    cost = Cost.MACHINE

    def run(self, context: Context) -> Finding:  # noqa: ARG002  of the driver's machine
        """Look at the folder in which they will be."""
        bases = tails.bases()
        hint = "without them, a failure is told without what Parsl logged before it: make room, or use --debug"
        if not bases:
            return warning("there is no folder for temporary files", hint=hint, command="ls -ld /dev/shm /tmp")
        room = shutil.disk_usage(Path(bases[0])).free
        command = f"df -h {shlex.quote(bases[0])}"
        if room < RINGS:
            return warning(f"{size(room)} free in {bases[0]}", hint=hint, command=command)
        return ok(f"{size(room)} free in {bases[0]}", command=command)
