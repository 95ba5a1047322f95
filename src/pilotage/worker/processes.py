"""Processes as they are known across the life of a program: who is who, what came from whom, and how to end it all.

A process is known by pid, start time, boot and host, never by its pid alone. Standard library only (psutil, which
Parsl brings, where there is no ``/proc``): the node guard on compute nodes and the supervisor, which must stay small,
both work with this.
"""

from __future__ import annotations

import errno
import functools
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

PR_SET_CHILD_SUBREAPER = 36
POLL = 0.02


def linux() -> bool:
    """Return whether Linux's own calls may be used; tests switch it off to run the fall-backs."""
    return sys.platform == "linux"


@functools.cache
def host() -> str:
    """Return this host's name."""
    return socket.gethostname()


@functools.cache
def boot() -> str:
    """Return what tells this boot, and this space of process numbers, from any other.

    Containers of one host may share its name and its boot, but a pid means another process in each.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            started = file.read().strip()
        return f"{started}/{os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115  pathlib is not worth its memory here
    except OSError:
        import psutil

        return str(int(psutil.boot_time()))


def start_of(pid: int) -> str | None:
    """Return the start time of a process in the system's own units, or None where there is no such process."""
    if linux():
        found = _stat(pid)
        return None if found is None else found[2]
    import psutil

    try:
        return repr(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def identity(pid: int) -> dict[str, Any]:
    """Return who the process ``pid`` is: pid, start, boot, host; ``start`` is None where it is gone."""
    return {"pid": pid, "start": start_of(pid), "boot": boot(), "host": host()}


def as_text(known: Mapping[str, Any]) -> str:
    """Return an identity as one word of a command line."""
    return f"{known['pid']},{known['start']},{known['boot']},{known['host']}"


def from_text(text: str) -> dict[str, Any]:
    """Return the identity in what `as_text` wrote; raises ValueError."""
    pid, start, boot_, host_ = text.split(",", 3)
    return {"pid": int(pid), "start": start, "boot": boot_, "host": host_}


def is_here(known: Mapping[str, Any]) -> bool:
    """Return whether a process of that identity would be one of this host, this boot and our pid namespace."""
    return known.get("host") == host() and known.get("boot") == boot()


def is_alive(known: Mapping[str, Any]) -> bool:
    """Return whether the process of that identity is there and not a zombie; False for another host's."""
    if not is_here(known) or known.get("start") is None:
        return False
    return start_of(int(known["pid"])) == known["start"] and not _is_zombie(int(known["pid"]))


def _is_zombie(pid: int) -> bool:
    if linux():
        found = _stat(pid)
        return found is None or found[0] in "ZX"
    import psutil

    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return True


def _stat(pid: int) -> tuple[str, int, str] | None:
    """Return state, parent and start time of a process, or None."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The program's name stands in brackets and may hold anything, brackets too.
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return fields[0].decode(), int(fields[1]), fields[19].decode()


def become_subreaper() -> bool:
    """Make this process the one that its orphaned descendants come to; return whether the system can do that."""
    if not linux():
        return False
    import ctypes

    return bool(ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def parents() -> dict[int, int]:
    """Return the parent of each process that is not a zombie, by pid."""
    found: dict[int, int] = {}
    if linux():
        for name in os.listdir("/proc"):  # noqa: PTH208  as above
            if name.isdigit() and (fields := _stat(int(name))) is not None and fields[0] not in "ZX":
                found[int(name)] = fields[1]
        return found
    import psutil

    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE:
                found[process.pid] = process.ppid()
        except psutil.Error:
            continue
    return found


def descendants(roots: Iterable[int]) -> list[int]:
    """Return the living descendants of processes, the nearest first, the roots left out."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents().items():
        children.setdefault(parent, []).append(pid)
    found = list(roots)
    given = len(found)
    seen = set(found)
    for pid in found:  # grows while it is gone through
        for child in children.get(pid, ()):
            if child not in seen:
                seen.add(child)
                found.append(child)
    return found[given:]


def send(pid: int, number: int) -> bool:
    """Send a signal; return whether there was a process to send it to."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def reap() -> dict[int, int]:
    """Collect the children that have ended; return their exit codes by pid, negative for a signal."""
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended[pid] = os.waitstatus_to_exitcode(status)


def end_descendants(
    patience: float, *, limit: float = 10.0, reaped: Callable[[dict[int, int]], None] | None = None
) -> list[int]:
    """End every descendant of this process, which is their subreaper; return those that would not go.

    Parameters
    ----------
    patience: seconds between SIGTERM and SIGKILL; 0 sends SIGKILL at once.
    limit: seconds after which what is left is given up: a process in the kernel's hands cannot be killed.
    reaped: told of the children that have ended, with their exit codes.
    """
    start = time.monotonic()
    asked: set[int] = set()
    while True:
        ended = reap()
        if ended and reaped is not None:
            reaped(ended)
        left = descendants([os.getpid()])
        now = time.monotonic() - start
        if not left or now > patience + limit:
            return left
        for pid in left:
            if now >= patience:
                send(pid, signal.SIGKILL)
            elif pid not in asked:
                asked.add(pid)
                send(pid, signal.SIGTERM)
                send(pid, signal.SIGCONT)  # a stopped process hears it only then
        time.sleep(POLL)


def end_known(known: Iterable[Mapping[str, Any]], patience: float = 0.5, limit: float = 10.0) -> list[int]:
    """End processes by their identities, with all that descends from them; return the pids that would not go.

    Those of another host or boot, and those that are gone, are passed over. To be called twice does no harm.
    """
    roots = [int(one["pid"]) for one in known if is_alive(one)]
    # From now on each is known by its start: a pid that is free again may be given to anybody.
    whole = [identity(pid) for pid in dict.fromkeys([*roots, *descendants(roots)]) if pid != os.getpid()]
    start = time.monotonic()
    asked = False
    while left := [one for one in whole if is_alive(one)]:
        now = time.monotonic() - start
        if now > patience + limit:
            break
        more = [identity(pid) for pid in descendants([one["pid"] for one in left])]
        whole += [one for one in more if one not in whole and one["pid"] != os.getpid()]
        for one in left:
            if now >= patience:
                send(one["pid"], signal.SIGKILL)
            elif not asked:
                send(one["pid"], signal.SIGTERM)
                send(one["pid"], signal.SIGCONT)
        asked = True
        time.sleep(POLL)
    return [one["pid"] for one in left]


def tagged(name: str, value: str) -> list[int]:
    """Return the processes of this user whose environment has ``name=value``; a help only, since it can be erased."""
    wanted = f"{name}={value}".encode()
    return [pid for pid in parents() if pid != os.getpid() and wanted in _environment(pid)]


def _environment(pid: int) -> list[bytes]:
    if linux():
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                return file.read().split(b"\0")
        except OSError:
            return []
    import psutil

    try:
        return [f"{name}={value}".encode() for name, value in psutil.Process(pid).environ().items()]
    except (psutil.Error, OSError):
        return []


def open_watch(pid: int) -> int | None:
    """Return a descriptor that is readable once the process ``pid`` has ended; None where the system has none."""
    if not (linux() and hasattr(os, "pidfd_open")):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno == errno.ESRCH:
            raise ProcessLookupError(pid) from error
        return None


def has_ended(descriptor: int) -> bool:
    """Return whether the process that a descriptor of `open_watch` watches has ended."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
