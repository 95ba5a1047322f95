"""Slurm."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pilotage.schedulers.base import Block, Queue, clock, render

# Keys of Parsl's SlurmProvider and the options of sbatch that they become.
OPTIONS = {
    "partition": "partition",
    "account": "account",
    "qos": "qos",
    "constraint": "constraint",
    "clusters": "clusters",
    "gpus_per_node": "gpus-per-node",
    "gres": "gres",
}


class Slurm:
    """Slurm by its commands."""

    name = "slurm"
    commands: tuple[str, ...] = ("sbatch", "squeue", "scancel", "sinfo")

    def render(self, block: Block) -> str:
        """Return the script for sbatch."""
        settings = block.settings
        options = [(option, settings[key]) for key, option in OPTIONS.items() if settings.get(key)]
        cores = settings.get("cores_per_node")
        cores_per_task = cores // block.tasks_per_node if isinstance(cores, int) else None
        if cores_per_task:
            options.append(("cpus-per-task", cores_per_task))
        if settings.get("mem_per_node"):
            options.append(("mem", f"{settings['mem_per_node']}G"))
        defaults = {"exclusive": False, "scheduler_options": "", "mem_per_node": None}
        complete = {**defaults, **settings}
        return render("slurm.sh.j2", _with(block, complete), options=options, cores_per_task=cores_per_task)

    def queue_queries(self) -> tuple[tuple[str, ...], ...]:
        """Return the question for partitions."""
        return (("sinfo", "--noheader", "--all", "--format=%P|%a|%l|%D|%c|%m|%G"),)

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


def _with(block: Block, settings: dict[str, object]) -> Block:
    from dataclasses import replace

    return replace(block, settings=settings)


def _partition(fields: list[str]) -> Queue:
    name, state, limit, nodes, cores, memory, gres = (field.strip() for field in fields)
    megabytes = _number(memory)
    return Queue(
        name=name.rstrip("*"),
        default=name.endswith("*"),
        available=state == "up",
        max_walltime=walltime(limit),
        max_nodes=_number(nodes),
        cores_per_node=_number(cores),
        memory_per_node=megabytes // 1000 if megabytes else None,
        gpus_per_node=_gpus(gres),
    )


def _together(one: Queue, other: Queue) -> Queue:
    def least(a: int | None, b: int | None) -> int | None:
        known = [value for value in (a, b) if value is not None]
        return min(known) if known else None

    return Queue(
        name=one.name,
        default=one.default or other.default,
        available=one.available or other.available,
        max_walltime=one.max_walltime or other.max_walltime,
        max_nodes=(one.max_nodes or 0) + (other.max_nodes or 0) or None,
        cores_per_node=least(one.cores_per_node, other.cores_per_node),
        memory_per_node=least(one.memory_per_node, other.memory_per_node),
        gpus_per_node=least(one.gpus_per_node or 0, other.gpus_per_node or 0) or None,
    )


def walltime(text: str) -> str | None:
    """Return Slurm's time (``D-HH:MM:SS``, ``HH:MM:SS``, ``MM:SS``, ``MM``, ``infinite``) as HH:MM:SS, or None."""
    found = re.fullmatch(r"(?:(\d{1,6})-)?(\d{1,6})(?::(\d{1,2}))?(?::(\d{1,2}))?", text, re.ASCII)
    if not found:
        return None
    days, first, second, third = found.groups()
    if days is not None:
        parts = (int(first), int(second or 0), int(third or 0))
    elif third is not None:
        parts = (int(first), int(second), int(third))
    else:
        parts = (0, int(first), int(second or 0))
    return clock(int(days or 0) * 86400 + parts[0] * 3600 + parts[1] * 60 + parts[2])


def _number(text: str) -> int | None:
    found = re.match(r"\d{1,12}", text, re.ASCII)  # "64+": nodes of several sizes, the smallest is told
    return int(found.group()) if found else None


def _gpus(gres: str) -> int | None:
    # gpu:4, gpu:a100:4(S:0-1), gpu:a100:2,gpu:v100:2, and others such as mps:100 that are no GPUs
    counts = re.findall(r"(?:^|,)gpu(?::[^:,(]+)?:(\d{1,6})", gres, re.ASCII)
    return sum(map(int, counts)) or None


SLURM = Slurm()
