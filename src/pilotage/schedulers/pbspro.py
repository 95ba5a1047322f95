"""PBS Pro and OpenPBS."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pilotage.errors import SiteValueError
from pilotage.schedulers.base import Block, Queue, WithoutAccounts, clock, whole_number
from pilotage.schedulers.rendering import given, given_count, one_line, render

SIZES = ("b", "kb", "mb", "gb", "tb", "pb")


class PBSPro(WithoutAccounts):
    """PBS Pro by its commands; it does not know who may charge what."""

    name = "pbspro"
    commands: tuple[str, ...] = ("qsub", "qstat", "qdel", "pbsnodes")

    def render(self, block: Block) -> str:
        """Return the script for qsub; queue and account stand in it, so that the script alone is complete.

        The job's PATH is ``/bin:/usr/bin`` whatever the user's is: the command must name its programs by their
        whole paths, or ``worker_init`` set the PATH.
        """
        settings = block.settings
        more = str(given(settings, "select_options") or "")
        if more and not more.startswith(":"):
            more = ":" + more
        return render(
            "pbspro.sh.j2",
            block,
            select=f"{block.nodes}:ncpus={given_count(settings, 'cpus_per_node') or 1}{more}",
            queue=given(settings, "queue"),
            account=given(settings, "account"),
            value=directive_value,
            path=directive_path,
        )

    def queue_queries(self) -> tuple[tuple[str, ...], ...]:
        """Return the questions for queues, nodes and the server's default queue."""
        return (
            ("qstat", "-Q", "-f", "-F", "json"),
            ("pbsnodes", "-a", "-F", "json"),
            ("qstat", "-B", "-f", "-F", "json"),
        )

    def parse_queues(self, outputs: Sequence[str]) -> list[Queue]:
        """Return the queues that take jobs from users.

        A queue that takes them from a routing queue only is left out; the routing queue has the widest of its
        destinations' limits.
        """
        answers = [*outputs, "", "", ""]
        queues, nodes = tables(answers[0], "Queue"), tables(answers[1], "nodes")
        defaults = {str(server.get("default_queue")) for server in tables(answers[2], "Server").values()}
        return [
            _queue(name, queue, queues, list(nodes.values()), name in defaults)
            for name, queue in queues.items()
            if name and not _true(queue.get("from_route_only"))
        ]


def directive_value(value: object, key: str) -> str:
    """Return a value as qsub reads it in a directive, in quotes where it has a special character.

    qsub knows both kinds of quotes, and no way to write the kind that is around: a value with both is refused.
    """
    text = one_line(value, key)
    if not re.search(r"[\s\"'\\]", text):
        return text
    quote = next((quote for quote in "\"'" if quote not in text), None)
    if quote is None:
        raise SiteValueError(f"{key} {text!r} has both kinds of quotes, which a directive of PBS cannot hold")
    return f"{quote}{text}{quote}"


def directive_path(value: object, key: str) -> str:
    """Return the path of an output file for a directive; refuses one that PBS would read as ``host:path``."""
    text = one_line(value, key)
    if re.match(r"[A-Za-z0-9._-]+:", text):
        raise SiteValueError(f"{key} {text!r} reads as host:path to PBS", hint="give an absolute path")
    return directive_value(text, key)


def _queue(
    name: str,
    queue: Mapping[str, Any],
    queues: Mapping[str, Mapping[str, Any]],
    nodes: Sequence[Mapping[str, Any]],
    default: bool,
) -> Queue:
    names = [destination.strip() for destination in str(queue.get("route_destinations", "")).split(",")]
    targets = {target: queues[target] for target in names if target in queues} or {name: queue}
    sizes = [subtable(node, "resources_available") for node in _nodes_of(targets, nodes)]
    limits = [subtable(target, "resources_max") for target in targets.values()]
    own = subtable(queue, "resources_max")
    longest = _duration(own.get("walltime")) or _widest([_duration(limit.get("walltime")) for limit in limits])
    most = whole_number(own.get("nodect")) or _widest([whole_number(limit.get("nodect")) for limit in limits])
    gpus = [whole_number(size.get("ngpus")) or 0 for size in sizes]
    return Queue(
        name=name,
        default=default,
        available=_true(queue.get("enabled")) and _true(queue.get("started")),
        max_walltime=clock(longest) if longest else None,
        max_nodes=most or len(sizes) or None,
        cores_per_node=_least(whole_number(size.get("ncpus")) for size in sizes),
        memory_per_node=_least(gigabytes(size.get("mem")) for size in sizes),
        gpus_per_node=min(gpus, default=0) or None,
    )


def _nodes_of(targets: Mapping[str, object], nodes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the nodes that jobs of these queues may get: their own where they have some, else those of nobody."""
    real = [node for node in nodes if whole_number(subtable(node, "resources_available").get("ncpus"))]
    own = [node for node in real if str(node.get("queue")) in targets]
    return own or [node for node in real if "queue" not in node]


def tables(output: str, key: str) -> dict[str, Mapping[str, Any]]:
    """Return the tables under a key of PBS's JSON by their names, none where it is no such JSON."""
    try:
        found = json.loads(output)
    except (ValueError, RecursionError):
        return {}
    named = subtable(found, key) if isinstance(found, Mapping) else {}
    return {name: table for name, table in named.items() if isinstance(table, Mapping)}


def subtable(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the table under a key, empty where there is none."""
    found = table.get(key)
    return found if isinstance(found, Mapping) else {}


def _true(value: object) -> bool:
    return str(value) == "True"


def _widest(limits: Sequence[int | None]) -> int | None:
    known = [limit for limit in limits if limit is not None]
    return max(known) if known and len(known) == len(limits) else None


def _least(values: Iterable[int | None]) -> int | None:
    return min((value for value in values if value), default=None)


def _duration(value: object) -> int | None:
    """Return PBS's duration (``[[HH:]MM:]SS``) in seconds, or None."""
    found = re.fullmatch(r"(?:(?:(\d{1,6}):)?(\d{1,6}):)?(\d{1,12})", str(value), re.ASCII)
    if not found:
        return None
    hours, minutes, rest = (int(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + rest


def gigabytes(value: object) -> int | None:
    """Return PBS's size (``24684084kb``) in GB, rounded down, or None."""
    found = re.fullmatch(r"(\d{1,18})([a-z]{1,2})", str(value).lower(), re.ASCII)
    if not found or found.group(2) not in SIZES:
        return None
    total: int = int(found.group(1)) * 1024 ** SIZES.index(found.group(2))
    return total // 1024**3


PBSPRO = PBSPro()
