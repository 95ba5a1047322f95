"""The calls that differ between Linux and other POSIX systems, each with a fall-back.

Tests switch the Linux path off through `linux`, so that every fall-back runs on Linux machines too.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")
ROUTES = Path("/proc/net/route")
POLL = 0.2


def linux() -> bool:
    """Return whether Linux's own calls may be used."""
    return sys.platform == "linux"


def usable_cores() -> int:
    """Return how many cores this process may use: its affinity, and the CPU quota of its cgroup (rounded down)."""
    if not linux():
        return os.cpu_count() or 1
    cores = len(os.sched_getaffinity(0))
    quota = _cgroup_quota()
    return max(1, min(cores, int(quota))) if quota is not None else cores


def _cgroup_quota() -> float | None:
    """Return the CPU quota in cores, or None without one. Containers see their own cgroup at the root."""
    try:
        limit, period = (CGROUP / "cpu.max").read_text().split()  # version 2
    except (OSError, ValueError):
        try:  # version 1
            limit = (CGROUP / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (CGROUP / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    try:
        return float(limit) / float(period) if float(limit) > 0 else None
    except (ValueError, ZeroDivisionError):  # "max"
        return None


def wait_for_process_end(pid: int, timeout: float | None = None) -> bool:
    """Wait until the process ``pid`` has ended, at most ``timeout`` seconds; return whether it has.

    The process need not be a child. Where Linux has no pidfd, and elsewhere, its start time is watched instead, so
    that a new process under the same number is not taken for it.
    """
    if linux() and hasattr(os, "pidfd_open"):
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return True
        except OSError:  # an old kernel, or a sandbox that forbids it
            return _poll_for_end(pid, timeout)
        try:
            return bool(select.select([descriptor], [], [], timeout)[0])
        finally:
            os.close(descriptor)
    return _poll_for_end(pid, timeout)


def _poll_for_end(pid: int, timeout: float | None) -> bool:
    try:
        process = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return True
    end = None if timeout is None else time.monotonic() + timeout
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        if end is not None and time.monotonic() >= end:
            return False
        time.sleep(POLL)
    return True


def when_parent_ends(call: Callable[[], None]) -> threading.Thread:
    """Call ``call`` in a daemon thread when the parent process of now has ended; return the thread.

    Not PR_SET_PDEATHSIG: that follows the parent's thread, and fires when a thread that started us ends.
    """
    parent = os.getppid()

    def watch() -> None:
        wait_for_process_end(parent)
        call()

    # The parent may have ended before its number was read: then we belong to somebody else already, and nobody
    # but a subreaper or init adopts, so the wait would never end. Parents check that we have started.
    thread = threading.Thread(target=watch, name="parent-watch", daemon=True)
    thread.start()
    return thread


def interface_address(name: str) -> str | None:
    """Return the first IPv4 address of the network interface ``name``, or None."""
    for address in psutil.net_if_addrs().get(name, []):
        if address.family == socket.AF_INET:
            return address.address
    return None


def primary_address() -> str:
    """Return an IPv4 address by which other machines most likely reach this one.

    That of the interface with the default route, else of the first interface that is up and not loopback, else
    127.0.0.1. Nothing is sent, and no name is looked up.
    """
    candidates = [name for name in (_default_route_interface(),) if name]
    stats = psutil.net_if_stats()
    candidates += [name for name, stat in stats.items() if stat.isup]
    for name in candidates:
        address = interface_address(name)
        if address and not address.startswith("127."):
            return address
    return "127.0.0.1"


def _default_route_interface() -> str | None:
    if not linux():
        return None
    try:
        rows = [line.split() for line in ROUTES.read_text().splitlines()[1:]]
    except OSError:
        return None
    default = [row for row in rows if len(row) > 6 and row[1] == "00000000"]
    return min(default, key=lambda row: int(row[6]))[0] if default else None
