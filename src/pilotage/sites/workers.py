"""The workers of a node: from what a site says of accelerators and cores to the arguments of Parsl's executor."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pilotage.errors import SiteValueError
from pilotage.sites.catalogue import Resolved
from pilotage.sites.machines import NEAREST
from pilotage.sites.models import BlockSite, FluxSite, KubernetesSite, LocalSite, PBSProSite, SlurmSite, Workers

GPU_LIMITS = ("nvidia.com/gpu", "amd.com/gpu", "gpu.intel.com/i915", "gpu.intel.com/xe")


@dataclass(frozen=True)
class Pool:
    """The workers of a node, by Parsl's names.

    ``workers_per_place`` says that the accelerators are places in what the scheduler gives to the job, with as many
    workers on each; 0 that they are ids, to be taken as they are.
    """

    max_workers_per_node: int | None
    cores_per_worker: float
    mem_per_worker: float | None
    cpu_affinity: str
    available_accelerators: int | list[str]
    workers_per_place: int


def pool(resolved: Resolved, site: BlockSite, gpus_here: int) -> Pool:
    """Return the workers of a node of ``site``.

    Parameters
    ----------
    resolved: the site, for the places in messages.
    gpus_here: accelerators of this machine, for a local site with ``accelerators = "auto"``.

    Raises SiteValueError where ``auto`` cannot be told.
    """
    workers = site.pool
    given = workers.accelerators
    if given == "auto":
        count = _asked_for(site, gpus_here)
        if count is None:
            raise SiteValueError(
                "the site does not say how many accelerators a job has on each node",
                where=resolved.place("workers", "accelerators"),
                hint=f"{_key_for_gpus(site)}, or the number in the place of auto",
            )
        workers = workers.model_copy(update={"accelerators": count})
        try:
            workers.check()
        except ValueError as error:
            raise SiteValueError(str(error), where=resolved.place("workers")) from error
    elif isinstance(given, str):
        raise TypeError(f"accelerators = {given!r}")
    entries, places = accelerators(workers)
    return Pool(
        workers.max_workers_per_node,
        workers.cores_per_worker,
        workers.mem_per_worker,
        affinity(workers, entries),
        entries,
        places,
    )


def accelerators(workers: Workers) -> tuple[int | list[str], int]:
    """Return Parsl's ``available_accelerators``, and the workers on each place (0 where these are ids)."""
    given, each = workers.accelerators, workers.gpus_per_worker
    if isinstance(given, list):
        return [",".join(given[start : start + each]) for start in range(0, len(given), each)], 0
    count = int(given)
    if each == 1:
        return count * workers.workers_per_gpu, workers.workers_per_gpu if count else 0
    groups = [range(start, start + each) for start in range(0, count, each)]
    return [",".join(map(str, group)) for group in groups], 1


def affinity(workers: Workers, entries: int | list[str]) -> str:
    """Return Parsl's ``cpu_affinity``: for ``nearest``, the machine's list for each worker."""
    if workers.cpu_affinity != "nearest" or workers.machine is None:
        return workers.cpu_affinity
    count = entries if isinstance(entries, int) else len(entries)
    count = min(count, workers.max_workers_per_node or count)
    cores, each, share = NEAREST[workers.machine], workers.gpus_per_worker, workers.workers_per_gpu
    lists = []
    for worker in range(count):
        first = worker // share * each
        near = ",".join(cores[first : first + each])
        lists.append(_part(near, share, worker % share))
    return "list:" + ":".join(lists) if lists else "none"


def _part(cores: str, parts: int, which: int) -> str:
    """Return one of equal parts of a core list; all of it where a range has fewer cores than there are parts."""
    taken = []
    for text in cores.split(","):
        first, _, last = text.partition("-")
        size = (int(last or first) - int(first) + 1) // parts
        if size == 0:
            return cores
        start = int(first) + which * size
        taken.append(f"{start}-{start + size - 1}" if size > 1 else str(start))
    return ",".join(taken)


def _asked_for(site: BlockSite, gpus_here: int) -> int | None:
    """Return the accelerators that a job has on each node by what the site asks the scheduler for."""
    if isinstance(site, LocalSite):
        return gpus_here
    if isinstance(site, (SlurmSite, FluxSite)) and site.gpus_per_node:
        return site.gpus_per_node
    if isinstance(site, SlurmSite):
        return _number(r"(?:^|,)(?:gres/)?gpu(?::[^:,]+)?:(\d+)", site.gres or "")
    if isinstance(site, PBSProSite):
        return _number(r"(?:^|:)ngpus=(\d+)", site.select_options)
    if isinstance(site, KubernetesSite):
        counts = [site.extra_limits[name] for name in GPU_LIMITS if name in site.extra_limits]
        return _number(r"^(\d+)$", counts[0]) if counts else None
    return None


def _key_for_gpus(site: BlockSite) -> str:
    if isinstance(site, PBSProSite):
        return 'select_options = "ngpus=N"'
    if isinstance(site, KubernetesSite):
        return 'extra_limits = { "nvidia.com/gpu" = "N" }'
    return "gpus_per_node = N"


def _number(pattern: str, text: str) -> int | None:
    found = re.search(pattern, text)
    return int(found.group(1)) if found else None
