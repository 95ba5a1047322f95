"""What this machine allows a process: open files, processes, memory."""

from __future__ import annotations

import math
import os
import resource
from pathlib import Path

import psutil

from pilotage import system
from pilotage.check.context import Context
from pilotage.check.finding import Finding, failed, ok, skipped, warning
from pilotage.check.probe import Cost, Probe, probe
from pilotage.check.space import size
from pilotage.sites.models import LocalSite

FILES_DRIVER = 64
"""Descriptors that driver and interchange need without any worker."""
FILES_NODE = 2
"""Descriptors that each connected node costs the interchange."""
FILES_WORKER = 4
"""Descriptors that each worker costs its manager."""
TASKS_DRIVER, TASKS_WORKER = 60, 4
"""Processes and threads of driver, interchange, supervisor and manager, and of each worker."""
EACH = 60 << 20
"""Bytes of memory that a process of Parsl takes before it has done anything."""
PIDS = "pids.max", "pids.current"


def local_workers(context: Context) -> int:
    """Return the workers that will start on this machine, 0 for a site whose workers are elsewhere."""
    site = context.site
    if not isinstance(site, LocalSite) or not site.uses_blocks:
        return 0
    cores = system.usable_cores()
    each = min(site.pool.max_workers_per_node or cores, max(1, math.floor(cores / site.pool.cores_per_worker)))
    return each * max(site.max_blocks, 1)


@probe
class OpenFiles(Probe):
    """A process may open as many files as the site's nodes and workers need."""

    name = "open-files"
    cost = Cost.MACHINE

    def run(self, context: Context) -> Finding:
        """Compare the limit with what the interchange, or a manager here, will have open."""
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        site = context.blocks
        count = site.nodes_per_block * site.max_blocks if site is not None else 0
        needed = FILES_DRIVER + max(FILES_NODE * count, FILES_WORKER * local_workers(context))
        if limit != resource.RLIM_INFINITY and limit < needed:
            return failed(
                f"a process may open {limit} files, and this site needs {needed}",
                hint=f"ulimit -n {needed} before the run, or ask your administrators",
                command="ulimit -n",
            )
        return ok("no limit" if limit == resource.RLIM_INFINITY else f"{limit:,} allowed", command="ulimit -n")


@probe
class Processes(Probe):
    """This user may start as many processes as the workers are."""

    name = "processes"
    cost = Cost.MACHINE

    def run(self, context: Context) -> Finding:
        """Compare the user's limit, and that of the control group, with what there is and what will come."""
        needed = TASKS_DRIVER + TASKS_WORKER * local_workers(context)
        limits = [("ulimit -u", *found) for found in _of_user()]
        limits += [(f"cat {path}", most, now) for path, most, now in _of_cgroups()]
        if not limits:
            return ok("no limit", command="ulimit -u")
        command, most, now = min(limits, key=lambda one: one[1] - one[2])
        words = f"{now:,} of {most:,} are in use, and a run needs {needed}"
        if most - now < needed:
            hint = "end processes that you do not need, raise the limit, or set max_workers_per_node"
            return failed(words, hint=hint, command=command)
        return ok(words, command=command)


def _of_user() -> list[tuple[int, int]]:
    """Return the user's limit and use; root has none."""
    limit = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if limit == resource.RLIM_INFINITY or os.geteuid() == 0:
        return []
    now = 0
    for process in psutil.process_iter():
        try:
            if process.uids().real == os.getuid():
                now += process.num_threads()  # Linux counts threads
        except psutil.Error:
            continue
    return [(limit, now)]


def _of_cgroups() -> list[tuple[str, int, int]]:
    found = []
    for folder in system.own_cgroups() if system.linux() else ():
        try:
            most, now = (int((folder / name).read_text()) for name in PIDS)
        except (OSError, ValueError):  # there is none, or "max"
            continue
        found.append((str(folder / PIDS[0]), most, now))
    return found


@probe
class Memory(Probe):
    """There is memory for the processes of this machine."""

    name = "memory"
    cost = Cost.MACHINE

    def run(self, context: Context) -> Finding:
        """Compare what is available with what the processes take before any task."""
        count = local_workers(context) + 4
        try:
            available = min(psutil.virtual_memory().available, system.usable_memory())
        except (OSError, psutil.Error) as error:
            return skipped(f"the system does not tell: {error}")
        command = "free -h" if Path("/proc/meminfo").exists() else "vm_stat"
        words = f"{size(available)} available for {count} processes"
        if available < EACH * count:
            hint = "set a lower max_workers_per_node, or run where there is more memory"
            return warning(words, hint=hint, command=command)
        return ok(words, command=command)
