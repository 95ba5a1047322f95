"""Nodes, cores, memory and GPUs of a block against what the queue's nodes have."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence

from pilotage.check.asked import inquiry_of, nodes, shape, the_queue
from pilotage.check.context import Context
from pilotage.check.finding import Finding, failed, listed, ok, skipped, warning
from pilotage.check.probe import Probe, probe
from pilotage.check.queues import AsksScheduler
from pilotage.check.workers import accelerators, key_of, slots_on_accelerators
from pilotage.schedulers.inquiry import Nodes
from pilotage.sites.models import SlurmSite


def nodes_command(context: Context) -> str | None:
    """Return what lists the nodes, as a shell line."""
    asked = inquiry_of(context)
    return shlex.join(asked.nodes_commands()[0]) if asked is not None else None


@probe
class NodeCount(AsksScheduler):
    """The queue has as many nodes as a block asks for."""

    name = "nodes"
    needs = ("scheduler", "queue")

    def run(self, context: Context) -> Finding:
        """Compare with the limit of the queue, and with the nodes that work."""
        asked, queue, has = shape(context), the_queue(context), nodes(context)
        count = sum(one.count for one in has if one.usable)
        limit = queue.max_nodes if queue is not None else None
        where, command = context.key("nodes_per_block"), nodes_command(context)
        words = f"a block asks for {asked.nodes} node{'s' if asked.nodes > 1 else ''}"
        if limit is not None and asked.nodes > limit:
            hint = f"set nodes_per_block to {limit} or less"
            return failed(
                f"{words}, and {_name(context)} gives {limit} at most", hint=hint, where=where, command=command
            )
        if has and asked.nodes > count:
            hint = f"set nodes_per_block to {count} or less, or wait until more nodes are back"
            return warning(
                f"{words}, and {count} of {_name(context)} take jobs", hint=hint, where=where, command=command
            )
        site = context.blocks
        if has and site is not None and asked.whole and asked.nodes * site.max_blocks > sum(one.count for one in has):
            hint = "the last blocks will wait for the first to end: set a lower max_blocks"
            words = f"{site.max_blocks} blocks of {asked.nodes} whole nodes are more than {_name(context)} has"
            return warning(words, hint=hint, where=context.key("max_blocks"), command=command)
        return ok(f"{words}; {_name(context)} has {count}" if has else words, command=command)


def _name(context: Context) -> str:
    queue = the_queue(context)
    return queue.name if queue is not None else "the scheduler"


class OnNodes(AsksScheduler):
    """A probe that compares a number of a block with that of the nodes: ``what`` it is, and what `Nodes` have of it."""

    needs = ("scheduler", "queue")
    what = ""
    of = ""
    number: Callable[[Nodes], int | None]

    def asked(self, context: Context) -> int | None:
        """Return what a block asks for on each node."""
        raise NotImplementedError

    def applies(self, context: Context) -> bool:
        """Apply where a block asks for it."""
        return super().applies(context) and self.asked(context) is not None

    def run(self, context: Context) -> Finding:
        """Count the nodes that have enough."""
        wanted, has = self.asked(context) or 0, nodes(context)
        key, command = shape(context).key(self.of or self.name), nodes_command(context)
        sizes = [(self.number(one), one.count) for one in has]
        known = [(size, count) for size, count in sizes if size is not None]
        if not known:
            return skipped(f"the scheduler does not tell the {self.what} of its nodes", command=command)
        enough = sum(count for size, count in known if size >= wanted)
        most = max(size for size, _ in known)
        needed = min(shape(context).nodes, sum(count for _, count in known))  # how many there are is another's question
        if enough < needed:
            some = f"only {enough} of its nodes have that" if enough else f"its nodes have {most} at most"
            return failed(
                f"a block asks for {wanted} {self.what} on each of {needed} nodes of {_name(context)}: {some}"
                if needed > 1
                else f"a block asks for {wanted} {self.what} on a node of {_name(context)}: {some}",
                hint=f"ask for {f'{most} or less' if most else 'none'} ({key}), or use another queue",
                where=context.key(key),
                command=command,
            )
        return ok(f"{wanted} {self.what}; {enough} of {sum(c for _, c in known)} nodes have them", command=command)


@probe
class Cores(OnNodes):
    """The nodes have the cores that a block asks for."""

    name = "cores"
    what = "cores"
    number = staticmethod(lambda one: one.cores)

    def asked(self, context: Context) -> int | None:
        """Return the cores of a node."""
        return shape(context).cores


@probe
class NodeMemory(OnNodes):
    """The nodes have the memory that a block asks for."""

    name = "node-memory"
    of = "memory"
    what = "GB of memory"
    number = staticmethod(lambda one: one.memory)

    def asked(self, context: Context) -> int | None:
        """Return the GB of a node."""
        return shape(context).memory


@probe
class GPUs(OnNodes):
    """The nodes have the GPUs that a block asks for."""

    name = "gpus"
    what = "GPUs"
    number = staticmethod(lambda one: one.gpus)

    def asked(self, context: Context) -> int | None:
        """Return the GPUs of a node."""
        return shape(context).gpus


@probe
class Constraint(AsksScheduler):
    """Nodes have the features of ``constraint``."""

    name = "constraint"
    needs = ("scheduler", "queue")

    def applies(self, context: Context) -> bool:
        """Apply to Slurm's sites with one."""
        return super().applies(context) and isinstance(context.site, SlurmSite) and bool(context.site.constraint)

    def run(self, context: Context) -> Finding:
        """Look for each feature that is named; how they are combined is for sbatch to judge."""
        site, has = context.site, nodes(context)
        given = (site.constraint or "") if isinstance(site, SlurmSite) else ""
        named = [word for word in _features(given) if word]
        known = sorted(set().union(*(one.features for one in has)) if has else set())
        missing = [word for word in named if word not in known]
        command, where = nodes_command(context), context.key("constraint")
        if missing:
            hint = f"the nodes of {_name(context)} have {listed(known, 'no features')}"
            return failed(f"no node has the feature {missing[0]!r}", hint=hint, where=where, command=command)
        return ok(f"{given}: there are nodes with each", command=command)


def _features(text: str) -> list[str]:
    for mark in "&|()[],!":
        text = text.replace(mark, " ")
    return [word.partition("*")[0].strip("\"'") for word in text.split()]


@probe
class Accelerators(Probe):
    """Workers are pinned to GPUs that a block has, and the GPUs that it has are used."""

    name = "accelerators"
    cost = AsksScheduler.cost
    needs = ("scheduler", "queue")

    def applies(self, context: Context) -> bool:
        """Apply where there are GPUs, or workers that want them."""
        site = context.blocks
        if site is None or site.mpi is not None:
            return False
        return accelerators(site) != 0 or bool(shape(context).gpus)

    def run(self, context: Context) -> Finding:
        """Compare the number of accelerators with that of GPUs."""
        site, gpus = context.blocks, shape(context).gpus
        if site is None:
            return skipped("there are no blocks")
        count, where = accelerators(site), key_of(context, "available_accelerators")
        if count is None:
            return ok(f"as many as a job has: {gpus or 'what this machine has'}")
        if count == 0:
            return warning(
                f"a block asks for {gpus} GPUs, and workers are pinned to none: each sees all of them",
                hint=f"available_accelerators = {gpus} gives each worker its own",
                where=where,
            )
        if gpus is None and site.scheduler == "local":
            return _of_this_machine(context, count, where)
        if gpus is None and isinstance(site, SlurmSite):
            return failed(
                f"workers are pinned to {count} accelerators, and a block asks for no GPUs",
                hint=f"gpus_per_node = {count}: Slurm gives none that nobody asked for, on whole nodes either",
                where=where,
            )
        if gpus is not None and count > gpus:
            return failed(
                f"workers are pinned to {count} accelerators, and a block asks for {gpus} GPUs",
                hint=f"available_accelerators = {gpus}, or ask for more",
                where=where,
            )
        room, most = slots_on_accelerators(site) or count, site.pool.max_workers_per_node
        if most and most > room:
            return warning(
                f"max_workers_per_node = {most}, and {count} accelerators are for {room} workers: so many will start",
                hint=f"max_workers_per_node = {room}, or workers_per_gpu for several on each",
                where=key_of(context, "max_workers_per_node"),
            )
        return ok(f"{count} for {gpus} GPUs" if gpus is not None else f"{count}; --submit counts the GPUs")


LISTINGS = (("nvidia-smi", "-L"), ("rocm-smi", "--showid"))


def _of_this_machine(context: Context, count: int, where: str) -> Finding:
    there: Sequence[tuple[str, ...]] = [argv for argv in LISTINGS if context.host.has(argv[0])]
    for argv in there:
        answer = context.run(*argv)
        found = len({line.split(":")[0] for line in answer.stdout.splitlines() if line.startswith("GPU")})
        if answer.ok and found < count:
            hint = f"available_accelerators = {found}"
            words = f"workers are pinned to {count} accelerators, and this machine has {found}"
            return failed(words, hint=hint, where=where, command=shlex.join(argv))
        if answer.ok:
            return ok(f"{count} of {found} GPUs", command=shlex.join(argv))
    return warning(
        f"workers are pinned to {count} accelerators, and this machine has neither nvidia-smi nor rocm-smi",
        hint="available_accelerators = 0, unless they are of another make",
        where=where,
        command="command -v nvidia-smi rocm-smi",
    )
