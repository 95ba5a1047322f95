"""Workers of a node against its cores, memory and GPUs, as far as the site itself says."""

from __future__ import annotations

import math

from pilotage.check.asked import Shape, inquiry_of, node_cores, nodes, shape
from pilotage.check.context import Context
from pilotage.check.finding import Finding, failed, ok, skipped, warning
from pilotage.check.probe import Cost, Probe, probe
from pilotage.sites.models import IN_WORKERS, BlockSite, SlurmSite


def _blocks(context: Context) -> BlockSite:
    if context.blocks is None:
        raise TypeError("asked of a site with blocks only")
    return context.blocks


def accelerators(site: BlockSite) -> int | None:
    """Return how many accelerators of a node workers are pinned to, None where it is as many as there will be."""
    given = site.pool.accelerators
    if isinstance(given, str):
        return None
    return given if isinstance(given, int) else len(given)


def slots_on_accelerators(site: BlockSite) -> int | None:
    """Return how many workers find accelerators on a node, None where that does not limit them."""
    count = accelerators(site)
    return count * site.pool.workers_per_gpu // site.pool.gpus_per_worker if count else None


def key_of(context: Context, name: str) -> str:
    """Return the place of a value about workers: in the table ``workers``, or by Parsl's name in the site itself."""
    site = _blocks(context)
    inner = IN_WORKERS[name]
    return context.key("workers", inner) if inner in site.workers.model_fields_set else context.key(name)


@probe
class Workers(Probe):
    """As many workers start as the site says, and each has its cores to itself."""

    name = "workers"
    cost = Cost.SCHEDULER
    needs = ("scheduler", "queue")

    def applies(self, context: Context) -> bool:
        """Apply to sites with worker processes; with ``mpi``, a manager counts programs and not cores."""
        return context.blocks is not None and context.blocks.mpi is None

    def run(self, context: Context) -> Finding:
        """Compare workers with the cores and the memory that a block has on a node."""
        site, has, cores = _blocks(context), shape(context), node_cores(context)
        seen = _cores_that_parsl_counts(context) or cores
        if cores is None or seen is None:
            return skipped("how many cores of a node a block has is not known")
        room = math.floor(seen / site.pool.cores_per_worker)
        if room < 1:
            has_few = f"a block has {_cores_in_words(seen)} on a node"
            return failed(
                f"cores_per_worker = {site.pool.cores_per_worker:g}, and {has_few}: no worker starts",
                hint="lower cores_per_worker, or ask for more cores",
                where=key_of(context, "cores_per_worker"),
            )
        if (problem := _too_little_memory(context, site, has, room)) is not None:
            return problem
        count = min(site.pool.max_workers_per_node or room, room, slots_on_accelerators(site) or room)
        if count * site.pool.cores_per_worker > cores:
            return _too_few_cores(context, site, has, count, cores)
        most = site.pool.max_workers_per_node
        if most is not None and most > room:
            each = "" if site.pool.cores_per_worker == 1 else f" for workers of {site.pool.cores_per_worker:g}"
            few = f"max_workers_per_node = {most}, and a block has {_cores_in_words(seen)}{each}"
            return warning(
                f"{few}: {count} will start",
                hint=f"set max_workers_per_node = {room}, or a lower cores_per_worker",
                where=key_of(context, "max_workers_per_node"),
            )
        share = cores / count
        return ok(f"{count} on a node, {share:.3g} core{'s' if share != 1 else ''} each")


def _cores_in_words(count: int) -> str:
    return f"{count} core{'s' if count != 1 else ''}"


def _cores_that_parsl_counts(context: Context) -> int | None:
    """Return the cores by which a manager reckons: those asked for where the script tells it, else all of the node."""
    if isinstance(context.site, SlurmSite) and context.site.cores_per_node:
        return context.site.cores_per_node
    sizes = [one.cores for one in nodes(context) if one.cores and one.usable] if inquiry_of(context) else []
    return min(sizes, default=None)


def _too_few_cores(context: Context, site: BlockSite, has: Shape, count: int, cores: int) -> Finding:
    enough = math.ceil(count * site.pool.cores_per_worker)
    return warning(
        f"{count} workers will start on a node, and a block has {_cores_in_words(cores)} of it",
        hint=f"ask for {enough} ({has.key('cores')}), or set max_workers_per_node; "
        "a cores_per_worker below 1 says that they are to share",
        where=key_of(context, "max_workers_per_node"),
    )


def _too_little_memory(context: Context, site: BlockSite, has: Shape, most: int) -> Finding | None:
    if site.pool.mem_per_worker is None or has.memory is None:
        return None
    fit = math.floor(has.memory / site.pool.mem_per_worker)
    wanted = min(site.pool.max_workers_per_node or most, most)
    if fit >= wanted:
        return None
    few = f"mem_per_worker = {site.pool.mem_per_worker:g}, and a block has {has.memory} GB on a node"
    hint = "lower mem_per_worker, or ask for more memory"
    where = key_of(context, "mem_per_worker")
    if fit < 1:
        return failed(f"{few}: no worker will start", hint=hint, where=where)
    return warning(f"{few}: {fit} workers of {wanted} will start", hint=hint, where=where)


@probe
class Affinity(Probe):
    """The core lists of ``cpu_affinity`` name cores that a node has."""

    name = "affinity"
    cost = Cost.SCHEDULER
    needs = ("scheduler", "queue")

    def applies(self, context: Context) -> bool:
        """Apply to sites that list cores."""
        return context.blocks is not None and context.blocks.pool.cpu_affinity.startswith("list:")

    def run(self, context: Context) -> Finding:
        """Compare the highest core with the number of cores."""
        site, cores = _blocks(context), node_cores(context)
        where = key_of(context, "cpu_affinity")
        try:
            lists = [_cores(text) for text in site.pool.cpu_affinity.removeprefix("list:").split(":")]
        except ValueError as error:
            hint = "each list is cores and ranges of them: list:0-3:4-7"
            return failed(f"cpu_affinity has {error.args[0]!r} for cores", hint=hint, where=where)
        highest = max(core for listed in lists for core in listed)
        if cores is not None and highest >= cores:
            return failed(
                f"cpu_affinity names core {highest}, and a block has cores 0 to {cores - 1} on a node",
                hint="Parsl's workers end where they cannot be bound: name cores that are there",
                where=where,
            )
        seen = [core for listed in lists for core in listed]
        if len(seen) != len(set(seen)):
            twice = sorted({core for core in seen if seen.count(core) > 1})
            return warning(
                f"cpu_affinity gives core {twice[0]} to several workers",
                hint="workers that share cores slow each other down",
                where=where,
            )
        return ok(f"{len(lists)} lists, cores up to {highest}")


def _cores(text: str) -> list[int]:
    """Return the cores in ``0-3,8``; raises ValueError with the part that is none."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(part)
        found += range(int(first), int(last or first) + 1)
    if not found:
        raise ValueError(text)
    return found
