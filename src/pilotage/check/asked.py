"""What the scheduler has said, asked once for all probes."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pilotage import system
from pilotage.check.context import Context
from pilotage.hosts.base import Completed
from pilotage.schedulers import scheduler
from pilotage.schedulers.base import Queue, Scheduler, seconds
from pilotage.schedulers.inquiry import NAMES, Inquiry, Nodes, inquiry
from pilotage.sites.models import (
    BatchSite,
    BlockSite,
    FluxSite,
    GridEngineSite,
    LocalSite,
    PBSProSite,
    SlurmSite,
)

QUEUE_KEYS = {"slurm": "partition", "pbspro": "queue", "gridengine": "queue", "flux": "queue"}
QUEUE_DIRECTIVES = {
    "slurm": r"^#SBATCH\s(?:.*\s)?(?:--partition[=\s]\s*|-p\s*)(\S+)",
    "pbspro": r"^#PBS\s(?:.*\s)?-q\s*(\S+)",
    "gridengine": r"^#\$\s(?:.*\s)?-q\s+(\S+)",
    "flux": r"^[^\w\n]*(?:flux|FLUX):\s(?:.*\s)?(?:--queue[=\s]\s*|-q\s*)(\S+)",
}
"""What ``scheduler_options`` names a queue by."""


def inquiry_of(context: Context) -> Inquiry | None:
    """Return how the site's scheduler is asked, None where it has none that can be."""
    name = context.site.scheduler
    return context.once("inquiry", lambda: inquiry(name, **place(context)) if name in NAMES else None)


def place(context: Context) -> dict[str, str]:
    """Return where the site's scheduler is to be asked: Slurm, about the clusters that jobs are sent to."""
    site = context.site
    return {"clusters": site.clusters} if isinstance(site, SlurmSite) and site.clusters else {}


def scheduler_of(context: Context) -> Scheduler:
    """Return the site's scheduler, where blocks go to."""
    return scheduler(context.site.scheduler, **place(context))


def queue_answers(context: Context) -> list[Completed]:
    """Return the answers to the questions for queues."""
    return [context.run(*argv) for argv in scheduler_of(context).queue_queries()]


def queues(context: Context) -> list[Queue]:
    """Return the queues that the scheduler has."""
    answers = queue_answers(context)
    return context.once(
        "queues",
        lambda: scheduler_of(context).parse_queues([one.stdout if one.ok else "" for one in answers]),
    )


def _in_directives(context: Context) -> str | None:
    """Return the queue that the site's directives name; they come after what its key becomes."""
    site = context.site
    if not isinstance(site, BatchSite) or site.scheduler not in QUEUE_DIRECTIVES:
        return None
    found = re.findall(QUEUE_DIRECTIVES[site.scheduler], site.scheduler_options, re.MULTILINE | re.ASCII)
    return str(found[-1]).strip("\"'") if found else None


def queue_place(context: Context) -> str:
    """Return the key of the site that names the queue."""
    return "scheduler_options" if _in_directives(context) else QUEUE_KEYS.get(context.site.scheduler, "queue")


def queue_names(context: Context) -> list[str]:
    """Return the queues of which one will have a block: some schedulers take several, and hosts after an ``@``."""
    named = _in_directives(context) or getattr(context.site, queue_place(context), None)
    if not named:
        return []
    several = named.split(",") if context.site.scheduler in ("slurm", "gridengine") else [named]
    hosts = context.site.scheduler in ("pbspro", "gridengine")
    return [one.partition("@")[0] if hosts else one for one in several if one]


def queues_called(context: Context, name: str) -> list[Queue]:
    """Return the queues of a name, which for Grid Engine may be a pattern."""
    patterns = context.site.scheduler == "gridengine"
    return [one for one in queues(context) if one.name == name or (patterns and fnmatchcase(one.name, name))]


def the_queue(context: Context) -> Queue | None:
    """Return the queue that blocks go to, with its limits; None where there is none of that name, or no default.

    Of several it is the one that takes jobs, and the longest ones.
    """
    names = queue_names(context)
    known = [one for name in names for one in queues_called(context, name)]
    if not names:
        known = [one for one in queues(context) if one.default]
    return max((_detailed(context, one) for one in known), key=_how_long, default=None)


def _detailed(context: Context, queue: Queue) -> Queue:
    """Return a queue with its limits, where the list of queues does not have them."""
    asked = inquiry_of(context)
    detail = asked.detail_command(queue.name) if asked is not None else None
    return asked.parse_detail(queue, context.run(*detail)) if asked is not None and detail is not None else queue


def _how_long(queue: Queue) -> tuple[bool, float]:
    return queue.available, seconds(queue.max_walltime) if queue.max_walltime else math.inf


def nodes(context: Context) -> list[Nodes]:
    """Return the nodes that the blocks' queue has; those of no queue where it has none of its own."""
    asked = inquiry_of(context)
    queue = the_queue(context)
    if asked is None:
        return []
    known = asked.parse_nodes([context.run(*argv).stdout for argv in asked.nodes_commands()])
    own = [one for one in known if queue is not None and one.queue == queue.name]
    return own or [one for one in known if not one.queue]


@dataclass(frozen=True)
class Shape:
    """What one block asks for on each of its nodes; None where the site does not say.

    ``memory`` is in GB. ``whole`` is whether it has its nodes to itself. The keys of the site are in ``keys``.
    """

    nodes: int
    cores: int | None = None
    memory: int | None = None
    gpus: int | None = None
    whole: bool = False
    keys: tuple[tuple[str, str], ...] = ()

    def key(self, of: str) -> str:
        """Return the site's key for one of the numbers."""
        return dict(self.keys).get(of, of)


def shape(context: Context) -> Shape:
    """Return what a block of the site asks for."""
    site = context.site
    if isinstance(site, SlurmSite):
        return _of_slurm(site)
    if isinstance(site, PBSProSite):
        return _of_pbspro(site)
    if isinstance(site, FluxSite):
        keys = (("cores", "cores_per_node"), ("gpus", "gpus_per_node"))
        return Shape(site.nodes_per_block, site.cores_per_node, None, site.gpus_per_node, site.exclusive, keys)
    if isinstance(site, GridEngineSite):
        return Shape(site.nodes_per_block, slots(site), keys=(("cores", "scheduler_options"),))
    if isinstance(site, LocalSite):
        return Shape(1, system.usable_cores(), system.usable_memory() // 1024**3, whole=True)
    return Shape(site.nodes_per_block if isinstance(site, BlockSite) else 1)


def _of_slurm(site: SlurmSite) -> Shape:
    named = re.search(r"\bgpu(?::[^:,]+)*:(\d+)", site.gres or "")
    gpus = site.gpus_per_node or (int(named.group(1)) if named else 1 if "gpu" in (site.gres or "") else None)
    gpu_key = "gpus_per_node" if site.gpus_per_node else "gres"
    keys = (("cores", "cores_per_node"), ("memory", "mem_per_node"), ("gpus", gpu_key))
    cores = site.cores_per_node or (None if site.exclusive else 1)
    return Shape(site.nodes_per_block, cores, site.mem_per_node, gpus, site.exclusive, keys)


def _of_pbspro(site: PBSProSite) -> Shape:
    gpus = re.search(r"\bngpus=(\d+)", site.select_options)
    memory = re.search(r"\bmem=(\d+)gb", site.select_options, re.IGNORECASE)
    return Shape(
        site.nodes_per_block,
        site.cpus_per_node,
        int(memory.group(1)) if memory else None,
        int(gpus.group(1)) if gpus else None,
        "excl" in site.scheduler_options,
        (("cores", "cpus_per_node"), ("memory", "select_options"), ("gpus", "select_options")),
    )


def parallel_environment(site: GridEngineSite) -> tuple[str, int] | None:
    """Return name and slots of the parallel environment that the site asks for, None where it asks for none."""
    found = re.search(r"^#\$.*\s-pe\s+(\S+)\s+(\d+)", site.scheduler_options, re.MULTILINE | re.ASCII)
    return (found.group(1), int(found.group(2))) if found else None


def slots(site: GridEngineSite) -> int:
    """Return the slots that a block has on a node."""
    asked = parallel_environment(site)
    return 1 if asked is None else math.ceil(asked[1] / site.nodes_per_block)


def node_cores(context: Context) -> int | None:
    """Return the cores of a node that a block gets: those asked for, else all of the smallest that there is."""
    asked = shape(context)
    if asked.cores is not None or inquiry_of(context) is None:
        return asked.cores
    sizes = [one.cores for one in nodes(context) if one.cores and one.usable]
    return min(sizes, default=None)


def is_only_node(context: Context) -> bool:
    """Return whether this machine is all that the queue has, so that nothing has to be shared."""
    names = {one.names for one in nodes(context)} if inquiry_of(context) is not None else set()
    own = context.machine()
    return names in ({own}, {own.partition(".")[0]})
