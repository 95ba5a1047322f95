"""What a submitted block has told of its nodes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pilotage.assembly.configs import machine
from pilotage.check.asked import node_cores, shape
from pilotage.check.clocks import judged as judged_clock
from pilotage.check.context import Context
from pilotage.check.environment import judged as judged_versions
from pilotage.check.finding import Finding, Status, failed, listed, ok, skipped, warning
from pilotage.check.probe import Cost, Probe, probe
from pilotage.check.visiting import BEGAN
from pilotage.check.workers import accelerators, key_of
from pilotage.runs.status import clock
from pilotage.sites.models import BatchSite, LocalSite

SLOW_TRIP = 0.2
"""Seconds of a round trip from which on it is told."""
SLOW_BYTES = 2e6
"""Bytes per second below which it is told."""
SLOW_ROUTE = 0.2


class OfBlock(Probe):
    """A probe that judges what the block has told."""

    cost = Cost.BLOCK
    needs = ("block",)

    def applies(self, context: Context) -> bool:
        """Apply where a block may be submitted."""
        return context.submit and context.blocks is not None

    def run(self, context: Context) -> Finding:
        """Judge, where there is anything to judge."""
        found = context.memory.get("visit") or {}
        if not found.get("nodes"):
            return skipped("no node was looked at")
        return self.judge(found, context)

    def judge(self, found: dict[str, Any], context: Context) -> Finding:
        """Return what is to be said of what the script wrote down."""
        raise NotImplementedError


def worst(nodes: dict[str, Any], judge: Callable[[dict[str, Any]], Finding]) -> Finding:
    """Return the worst finding of all nodes, with the number of nodes of which it is as bad."""
    findings = [judge(nodes[name]) for name in sorted(nodes)]
    order = (Status.FAILED, Status.WARNING, Status.OK, Status.SKIPPED)
    found = min(findings, key=lambda one: order.index(one.status))
    if len(findings) == 1:
        return found
    count = sum(one.status is found.status for one in findings)
    how = "well" if found.status is Status.OK else str(found.status)
    return replace(found, message=f"{found.message} ({count} of {len(findings)} nodes {how})")


@probe
class NodesConnected(OfBlock):
    """Each node of the block has a manager."""

    name = "managers"

    def judge(self, found: dict[str, Any], context: Context) -> Finding:
        """Count them."""
        wanted, count, names = found["wanted"], found["managers"], found["nodes"]
        where = context.key("launcher")
        if count < wanted:
            hint = "the launcher did not start one on each node: look at launcher, and its overrides"
            return failed(f"{count} of {wanted} nodes have connected", hint=hint, where=where)
        if len(names) < wanted and isinstance(context.site, BatchSite):
            hint = "the launcher started several on one node, and the others are idle: look at launcher"
            told = f"{count} managers run on {len(names)} of {wanted} nodes: {listed(sorted(names))}"
            return failed(told, hint=hint, where=where)
        return ok(f"on {listed(sorted(names))}")


@probe
class NodeVersions(OfBlock):
    """Python, Parsl and pilotage on the nodes are those of the driver."""

    name = "node-versions"

    def judge(self, found: dict[str, Any], context: Context) -> Finding:
        """Compare each node's with ours."""
        python, where = machine(context.resolved).python, context.key("python")
        return worst(found["nodes"], lambda node: judged_versions(node["versions"], node["host"], python, where, None))


@probe
class NodeFolder(OfBlock):
    """Nodes see the run's folder, and the driver sees what they write there."""

    name = "node-folder"

    def judge(self, found: dict[str, Any], context: Context) -> Finding:
        """Look at what each node has read and written."""
        bad = {name: node["folder"] for name, node in found["nodes"].items() if node["folder"]}
        if bad:
            name, words = next(iter(bad.items()))
            key = "run_folder" if context.is_far else "PILOTAGE_STATE"
            hint = f"set {key} to a folder on a file system that login and compute nodes share"
            what = "the login host's folder" if context.is_far else context.folder.parent
            return failed(f"{name} does not share {what}: {words}", hint=hint)
        if context.hosts and not context.is_far:
            return skipped("each host of a pool has a folder of its own")
        return ok("read and written on each node")


@probe
class NodeRoute(OfBlock):
    """Nodes reach the driver's port."""

    name = "node-route"

    def judge(self, found: dict[str, Any], context: Context) -> Finding:
        """Compare the times that a connection took; they are here, so there is a way."""
        times = [seconds for node in found["nodes"].values() for seconds in node["routes"].values()]
        took = [seconds for seconds in times if isinstance(seconds, int | float)]
        if not times:
            return skipped("workers come by ways of their own")
        if not took:
            hint = "workers are connected, but a new connection was refused: a limit of a firewall?"
            return warning(f"{times[0] if times else 'no address'}", hint=hint, where=context.key("address"))
        words = f"a connection takes {1000 * max(took):.3g} ms at most"
        if max(took) > SLOW_ROUTE:
            hint = "is the way through a tunnel or a slow network? Set address or interface to a faster one"
            return warning(words, hint=hint, where=context.key("address"))
        return ok(words)


@probe
class NodeCores(OfBlock):
    """Nodes have the cores and workers that the site says."""

    name = "node-cores"

    def judge(self, found: dict[str, Any], context: Context) -> Finding:
        """Compare the cores that a worker may use with those that the block was to have."""
        wanted = node_cores(context)
        affinity = context.blocks is not None and context.blocks.pool.cpu_affinity != "none"

        def judge(node: dict[str, Any]) -> Finding:
            words = f"{node['host']}: {node['workers']} workers, {node['cores']} cores"
            if wanted is not None and node["cores"] < wanted and not affinity:
                hint = "the scheduler binds the job to fewer cores: ask for them, or let the launcher not bind"
                return warning(f"{words}, and {wanted} were expected", hint=hint, where=context.key("launcher"))
            return ok(words)

        return worst(found["nodes"], judge)


@probe
class NodeGPUs(OfBlock):
    """Nodes have the GPUs that workers are pinned to."""

    name = "node-gpus"

    def applies(self, context: Context) -> bool:
        """Apply where there should be GPUs."""
        site = context.blocks
        return super().applies(context) and site is not None and (accelerators(site) != 0 or bool(shape(context).gpus))

    def judge(self, found: dict[str, Any], context: Context) -> Finding:
        """Compare the GPUs that a node lists with those of the site."""
        site = context.blocks
        wanted = max((accelerators(site) or 0) if site is not None else 0, shape(context).gpus or 0)

        def judge(node: dict[str, Any]) -> Finding:
            if node["gpus"] is None:
                return skipped(f"{node['host']} has neither nvidia-smi nor rocm-smi")
            words = f"{node['host']}: {node['gpus']} GPUs"
            if node["gpus"] < wanted:
                hint = "ask the scheduler for them, or set available_accelerators to what is there"
                where = key_of(context, "available_accelerators")
                return failed(f"{words}, and the site says {wanted}", hint=hint, where=where)
            return ok(words)

        return worst(found["nodes"], judge)


@probe
class NodeClocks(OfBlock):
    """The nodes' clocks agree with the driver's."""

    name = "node-clocks"

    def judge(self, found: dict[str, Any], context: Context) -> Finding:  # noqa: ARG002  any site's
        """Bound each node's clock by when its tasks were sent and came back."""
        return worst(found["nodes"], lambda node: judged_clock(*offset(node), f"{node['host']}'s clock", "date +%s.%N"))


def offset(node: dict[str, Any]) -> tuple[float, float]:
    """Return by how many seconds a node's clock is ahead, and how far that may be wrong."""
    least, most = node["clock"]
    return (least + most) / 2, abs(most - least) / 2


@probe
class RoundTrip(OfBlock):
    """Tasks and their data travel as fast as can be expected."""

    name = "round-trip"

    def judge(self, found: dict[str, Any], context: Context) -> Finding:
        """Look at the time of an empty task, and at the bytes per second of a large one."""
        trip, band = found.get("round_trip"), found.get("bandwidth")
        if not trip or not band:
            return skipped("nothing was measured")
        there, back = (f"{band[way] / 1e6:.0f} MB/s {words}" for way, words in (("there", "there"), ("back", "back")))
        median, least, most = (1000 * trip[name] for name in ("median", "least", "most"))
        words = f"{median:.3g} ms a task ({least:.2g} to {most:.2g}); {there}, {back}"
        if trip["median"] > SLOW_TRIP or min(band["there"], band["back"]) < SLOW_BYTES:
            hint = "is the way through a tunnel, or over a slow interface? Set address or interface to a faster one"
            return warning(words, hint=hint, where=context.key("address"))
        context.memory.setdefault("measured", {}).update(round_trip=trip, bandwidth=band)
        return ok(words)


@probe
class StartUp(OfBlock):
    """How long a block takes from its submission to its first result, part by part."""

    name = "start-up"

    def judge(self, found: dict[str, Any], context: Context) -> Finding:
        """Split the time at the job's begin, the managers' start, and their connection."""
        parts = split(found, context)
        context.memory.setdefault("measured", {}).update(start_up=parts, nodes=_nodes(found))
        known = [f"{name.replace('_', ' ')} {clock(seconds)}" for name, seconds in parts.items() if seconds is not None]
        return ok(", ".join(known))


def split(found: dict[str, Any], context: Context) -> dict[str, float | None]:
    """Return the seconds of each part of a start-up, by the driver's clock; None where a part is not known."""
    ahead = [offset(node)[0] for node in found["nodes"].values()]
    shift = 0.0 if isinstance(context.site, LocalSite) or not ahead else sum(ahead) / len(ahead)
    began = _stamp(context)
    pools = [node["pool_started"] - offset(node)[0] for node in found["nodes"].values() if node["pool_started"]]
    pool = min(pools, default=None)
    begin = began - shift if began is not None else found.get("running")
    times = [found.get("submitted"), begin, pool, found.get("connected"), found.get("first")]
    names = ("queue", "launch", "connect", "first_task")
    parts: dict[str, float | None] = {}
    for name, before, after in zip(names, times, times[1:], strict=False):
        parts[name] = None if before is None or after is None else round(max(after - before, 0.0), 3)
    last, first = times[-1], times[0]
    parts["together"] = None if first is None or last is None else round(last - first, 3)
    return parts


def _stamp(context: Context) -> float | None:
    try:
        text = (context.folder / BEGAN).read_text().strip()
    except OSError:
        return None
    return float(text) if re.fullmatch(r"\d+\.\d+", text) else None


def _nodes(found: dict[str, Any]) -> list[dict[str, Any]]:
    told = []
    for node in found["nodes"].values():
        ahead, error = offset(node)
        same = ("host", "workers", "cores", "cores_of_node", "memory", "gpus", "pinned", "versions", "routes")
        told.append(
            {**{key: node[key] for key in same}, "clock_ahead": round(ahead, 4), "clock_error": round(error, 4)}
        )
    return told
