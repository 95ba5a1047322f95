"""The calls that differ between Linux and other POSIX systems, each with a fall-back.

Tests switch the Linux path off through `linux`, so that every fall-back runs on Linux machines too.
"""

from __future__ import annotations

import errno
import functools
import math
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")
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
    quota = cgroup_cpus()
    return max(1, min(cores, int(quota))) if quota is not None else cores


def accelerators() -> int:
    """Return the number of this machine's GPUs that NVIDIA's or AMD's driver shows."""
    nvidia = Path("/proc/driver/nvidia/gpus")
    if nvidia.is_dir():
        return sum(1 for _ in nvidia.iterdir())
    found = 0
    for node in Path("/sys/class/kfd/kfd/topology/nodes").glob("*/gpu_id"):
        try:
            found += node.read_text().strip() != "0"  # a node without one is a CPU
        except OSError:
            continue
    return found


def usable_memory() -> int:
    """Return the bytes of memory that this process may use: the machine's, or the limit of its cgroup (version 2)."""
    limits = [psutil.virtual_memory().total]
    for folder in own_cgroups() if linux() else ():
        try:
            limits.append(int((folder / "memory.max").read_text()))
        except (OSError, ValueError):  # there is none, or "max"
            pass
    return min(limits)


def cgroup_cpus() -> float | None:
    """Return the CPU quota in cores, the least of this process's cgroup and those above it; None without one."""
    quotas = [quota for folder in own_cgroups() if (quota := _quota_of(folder)) is not None]
    return min(quotas, default=None)


def own_cgroups() -> list[Path]:
    """Return the folders of this process's cgroup and those above it: version 2, and the CPU part of version 1."""
    try:
        lines = OWN_CGROUPS.read_text().splitlines()
    except OSError:
        lines = []
    found = [CGROUPS, CGROUPS / "cpu"]  # a container sees its own cgroup there
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):
            root = CGROUPS / "cpu" if controllers else CGROUPS
            parts = [part for part in path.split("/") if part not in ("", "..")]
            found += [root.joinpath(*parts[:depth]) for depth in range(1, len(parts) + 1)]
    return found


def _quota_of(folder: Path) -> float | None:
    try:
        limit, period = (folder / "cpu.max").read_text().split()  # version 2
    except (OSError, ValueError):
        try:
            limit = (folder / "cpu.cfs_quota_us").read_text()  # version 1
            period = (folder / "cpu.cfs_period_us").read_text()
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
            poll = select.poll()  # select() takes no descriptor above 1023
            poll.register(descriptor, select.POLLIN)
            return bool(poll.poll(None if timeout is None else math.ceil(timeout * 1000)))
        finally:
            os.close(descriptor)
    return _poll_for_end(pid, timeout)


def _poll_for_end(pid: int, timeout: float | None) -> bool:
    end = None if timeout is None else time.monotonic() + timeout
    try:
        process = psutil.Process(pid)
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            if end is not None and time.monotonic() >= end:
                return False
            time.sleep(POLL)
    except psutil.NoSuchProcess:
        pass
    return True


def when_process_ends(pid: int, call: Callable[[], None]) -> threading.Thread:
    """Call ``call`` in a daemon thread when the process ``pid`` has ended, or at once; return the thread.

    Not PR_SET_PDEATHSIG: that follows the parent's thread, and fires when a thread that started us ends. And not the
    parent as it is found now, which may be whoever adopted us.
    """

    def watch() -> None:
        wait_for_process_end(pid)
        call()

    thread = threading.Thread(target=watch, name=f"watch-{pid}", daemon=True)
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
    route = _default_route_interface()
    names = [name for name, stat in psutil.net_if_stats().items() if stat.isup and name != route]
    addresses = [interface_address(name) for name in ([route] if route else []) + names]
    usable = [address for address in addresses if address and not address.startswith("127.")]
    # An interface that nobody has configured gives itself an address that no router passes on.
    usable.sort(key=lambda address: address.startswith("169.254."))
    return usable[0] if usable else "127.0.0.1"


def _default_route_interface() -> str | None:
    if not linux():
        return None
    try:
        rows = [line.split() for line in ROUTES.read_text().splitlines()[1:]]
    except OSError:
        return None
    # Interface, destination, gateway, flags (1: up), reference count, use, metric, mask.
    default = [row for row in rows if len(row) > 7 and row[1] == row[7] == "00000000" and int(row[3], 16) & 1]
    return min(default, key=lambda row: int(row[6]))[0] if default else None


def resident() -> int | None:
    """Return the bytes of memory that this process has, None where that is not known."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


@functools.cache
def _write_of_c() -> Any:
    import ctypes

    write = ctypes.PyDLL(None, use_errno=True).write  # PyDLL: the interpreter is not given away meanwhile
    write.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t)
    write.restype = ctypes.c_ssize_t
    return write


def write_in_turn(descriptor: int, data: bytes) -> int:
    """Write like ``os.write``, but no other thread of this process runs meanwhile; returns the bytes written.

    For short writes to a page cache: giving the interpreter away takes 5 ms to get it back from a thread that computes.
    Raises OSError.
    """
    try:
        write = _write_of_c()
    except (OSError, AttributeError):
        return os.write(descriptor, data)
    import ctypes

    written: int = write(descriptor, data, len(data))
    if written < 0:
        code = ctypes.get_errno()
        if code == errno.EINTR:
            return 0
        raise OSError(code, os.strerror(code))
    return written


def users_of_socket(path: str | os.PathLike[str]) -> int:
    """Return how many are connected with ssh's Unix socket at a path; 0 where the system does not tell.

    ssh makes its socket under ``path.RANDOM`` and then renames it; the system knows it by the first name.
    """
    connected, names = "03", (f"{os.fspath(path)} ", f"{os.fspath(path)}.")
    try:
        with open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as file:
            # Num RefCount Protocol Flags Type St Inode Path: the listener's end of each connection has its path.
            found = [line.rstrip("\n").split(None, 7) for line in file]
    except OSError:
        return 0
    return sum(len(line) == 8 and line[5] == connected and f"{line[7]} ".startswith(names) for line in found)
