"""Slurm."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pilotage.errors import SiteValueError
from pilotage.schedulers.base import Block, Queue, clock, whole_number
from pilotage.schedulers.rendering import given, given_count, one_line, render

# Settings of a site and the options of sbatch that they become as they are.
OPTIONS = {
    "partition": "partition",
    "account": "account",
    "qos": "qos",
    "constraint": "constraint",
    "clusters": "clusters",
    "reservation": "reservation",
    "gpus_per_node": "gpus-per-node",
    "gres": "gres",
}


class Slurm:
    """Slurm by its commands.

    Parameters
    ----------
    clusters: whose partitions are asked for, as for ``--clusters``; this host's own where not given.
    """

    name = "slurm"
    commands: tuple[str, ...] = ("sbatch", "squeue", "scancel", "sinfo")

    def __init__(self, clusters: str | None = None) -> None:
        self._clusters = clusters

    def render(self, block: Block) -> str:
        """Return the script for sbatch.

        Where cores or memory are asked for, the job finds them as PARSL_CORES (of one task) and PARSL_MEMORY_GB.
        """
        settings = block.settings
        # As in Parsl, no GPUs (0) are not asked for.
        options = [(option, settings.get(key) or None) for key, option in OPTIONS.items()]
        cores, memory = _cores_per_task(block), given_count(settings, "mem_per_node")
        options += [("cpus-per-task", cores), ("mem", None if memory is None else f"{memory}G")]
        exports = [("PARSL_MEMORY_GB", memory), ("PARSL_CORES", cores)]
        return render(
            "slurm.sh.j2",
            block,
            options=_known(options),
            exports=_known(exports),
            exclusive=given(settings, "exclusive"),
            value=directive_value,
            path=directive_path,
        )

    def queue_queries(self) -> tuple[tuple[str, ...], ...]:
        """Return the question for partitions."""
        return (("sinfo", *of_clusters(self._clusters), "--noheader", "--all", "--format=%P|%a|%l|%D|%c|%m|%G"),)

    def parse_queues(self, outputs: Sequence[str]) -> list[Queue]:
        """Return the partitions; one with several kinds of nodes is told by the smallest of each."""
        queues: dict[str, Queue] = {}
        for line in outputs[0].splitlines() if outputs else ():
            fields = line.split("|")
            if len(fields) != 7 or not fields[0].strip("* "):
                continue
            queue = _partition(fields)
            queues[queue.name] = _together(queues[queue.name], queue) if queue.name in queues else queue
        return list(queues.values())

    def account_query(self, user: str) -> tuple[str, ...] | None:
        """Return the question for the accounts of ``user``."""
        return ("sacctmgr", "--noheader", "--parsable2", "show", "associations", f"user={user}", "format=account,user")

    def parse_accounts(self, output: str, user: str) -> list[str]:
        """Return the accounts that ``user`` may charge, in the order of the answer."""
        rows = [line.split("|") for line in output.splitlines()]
        return list(dict.fromkeys(row[0] for row in rows if len(row) == 2 and row[0] and row[1] == user))


def of_clusters(clusters: str | None) -> tuple[str, ...]:
    """Return the option by which Slurm's programs ask other clusters; a line with its name comes before each answer."""
    return (f"--clusters={clusters}",) if clusters else ()


def directive_value(value: object, key: str) -> str:
    """Return a value as sbatch reads it in a directive: in double quotes where it has a special character.

    Among these is ``#``: without quotes sbatch drops it and the rest of the line, and says nothing.
    """
    text = one_line(value, key)
    if not re.search(r"[\s\"'\\#]", text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def directive_path(value: object, key: str) -> str:
    """Return the path of an output file for a directive; its ``%`` is a percent sign and no pattern."""
    text = one_line(value, key)
    if "\\" in text:
        raise SiteValueError(f"{key} {text!r} has a backslash, which Slurm would take out of the path")
    return directive_value(text.replace("%", "%%"), key)


def walltime(text: str) -> str | None:
    """Return Slurm's time (``D-HH:MM:SS``, ``HH:MM:SS``, ``MM:SS``, ``MM``, ``infinite``) as HH:MM:SS, or None."""
    found = re.fullmatch(r"(?:(\d{1,4})-)?(\d{1,6})(?::(\d{1,2}))?(?::(\d{1,2}))?", text, re.ASCII)
    if not found:
        return None
    days, first, second, third = found.groups()
    if days is not None:
        hours, minutes, rest = int(first), int(second or 0), int(third or 0)
    elif third is not None:
        hours, minutes, rest = int(first), int(second), int(third)
    else:
        hours, minutes, rest = 0, int(first), int(second or 0)
    return clock(int(days or 0) * 86400 + hours * 3600 + minutes * 60 + rest)


def _cores_per_task(block: Block) -> int | None:
    cores = given_count(block.settings, "cores_per_node")
    if cores is None:
        return None
    if cores < block.tasks_per_node:
        raise SiteValueError(f"{block.tasks_per_node} tasks on a node of {cores} cores (cores_per_node) have none each")
    return cores // block.tasks_per_node


def _known(pairs: Sequence[tuple[str, object | None]]) -> list[tuple[str, object]]:
    return [(name, value) for name, value in pairs if value is not None]


def _partition(fields: list[str]) -> Queue:
    name, state, limit, nodes, cores, memory, gres = (field.strip() for field in fields)
    megabytes = _smallest(memory) or 0
    return Queue(
        name=name.rstrip("*"),
        default=name.endswith("*"),
        available=state == "up",
        max_walltime=walltime(limit),
        max_nodes=whole_number(nodes),
        cores_per_node=_smallest(cores),
        # Slurm's G is 1024 of its M. A node whose memory nobody configured has 1 M.
        memory_per_node=megabytes // 1024 or None,
        gpus_per_node=gpus_in(gres),
    )


def _together(one: Queue, other: Queue) -> Queue:
    return Queue(
        name=one.name,
        default=one.default or other.default,
        available=one.available or other.available,
        max_walltime=one.max_walltime or other.max_walltime,
        max_nodes=(one.max_nodes or 0) + (other.max_nodes or 0) or None,
        cores_per_node=_least(one.cores_per_node, other.cores_per_node),
        memory_per_node=_least(one.memory_per_node, other.memory_per_node),
        # Where some nodes have no GPUs, a job need not get any.
        gpus_per_node=min(one.gpus_per_node or 0, other.gpus_per_node or 0) or None,
    )


def _least(one: int | None, other: int | None) -> int | None:
    return min((value for value in (one, other) if value is not None), default=None)


def _smallest(text: str) -> int | None:
    return whole_number(text.removesuffix("+"))  # "64+": nodes of several sizes, of which this is the smallest


def gpus_in(gres: str) -> int | None:
    """Return the GPUs in a list of generic resources, None where it has none."""
    # gpu, gpu:4, gpu:a100:4(S:0-1), gpu:a100:2,gpu:v100:2, and others such as mps:100 that are no GPUs.
    plain = re.sub(r"\([^)]*\)", "", gres)
    total = 0
    for resource in plain.split(","):
        kind, *rest = resource.split(":")
        if kind == "gpu":
            total += (whole_number(rest[-1]) or 0) if rest else 1
    return total or None


SLURM = Slurm()
