"""PBS Pro and OpenPBS."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pilotage.schedulers.base import Block, Queue, clock, render


class PBSPro:
    """PBS Pro by its commands."""

    name = "pbspro"
    commands: tuple[str, ...] = ("qsub", "qstat", "qdel", "pbsnodes")

    def render(self, block: Block) -> str:
        """Return the script for qsub; queue and account stand in it, so that the script alone is complete."""
        settings = {"queue": None, "account": None, "scheduler_options": "", **block.settings}
        more = str(settings.get("select_options") or "")
        if more and not more.startswith(":"):
            more = ":" + more
        select = f"{block.nodes}:ncpus={settings.get('cpus_per_node') or 1}{more}"
        return render("pbspro.sh.j2", replace(block, settings=settings), select=select)

    def queue_queries(self) -> tuple[tuple[str, ...], ...]:
        """Return the questions for queues and nodes."""
        return (("qstat", "-Q", "-f", "-F", "json"), ("pbsnodes", "-a", "-F", "json"))

    def parse_queues(self, outputs: Sequence[str]) -> list[Queue]:
        """Return the execution queues; sizes are those of the smallest node, which any queue may give."""
        queues = _tables(outputs[0] if outputs else "", "Queue")
        nodes = [_resources(node) for node in _tables(outputs[1] if len(outputs) > 1 else "", "nodes").values()]
        cores = [value for value in (_number(node.get("ncpus")) for node in nodes) if value]
        memory = [value for value in (_gigabytes(node.get("mem")) for node in nodes) if value]
        gpus = [value for value in (_number(node.get("ngpus")) for node in nodes) if value]
        return [
            Queue(
                name=name,
                available=str(queue.get("enabled")) == "True" and str(queue.get("started")) == "True",
                max_walltime=_longest(queue),
                max_nodes=_number(_inner(queue, "resources_max").get("nodect")) or len(nodes) or None,
                cores_per_node=min(cores, default=None),
                memory_per_node=min(memory, default=None),
                gpus_per_node=min(gpus) if gpus and len(gpus) == len(nodes) else None,
            )
            for name, queue in queues.items()
            if queue.get("queue_type", "Execution") == "Execution"
        ]

    def account_query(self, user: str) -> tuple[str, ...] | None:  # noqa: ARG002  the contract's signature
        """Return None: PBS Pro does not know who may charge what."""
        return None

    def parse_accounts(self, output: str, user: str) -> list[str]:  # noqa: ARG002
        """Return no accounts."""
        return []


def _tables(output: str, key: str) -> dict[str, Mapping[str, Any]]:
    try:
        found = json.loads(output)
    except (ValueError, RecursionError):
        return {}
    inner = found.get(key) if isinstance(found, Mapping) else None
    return {k: v for k, v in inner.items() if isinstance(v, Mapping)} if isinstance(inner, Mapping) else {}


def _inner(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = table.get(key)
    return found if isinstance(found, Mapping) else {}


def _resources(node: Mapping[str, Any]) -> Mapping[str, Any]:
    return _inner(node, "resources_available")


def _longest(queue: Mapping[str, Any]) -> str | None:
    found = re.fullmatch(r"(?:(\d{1,6}):)?(\d{1,3}):(\d{1,2})", str(_inner(queue, "resources_max").get("walltime")))
    if not found:
        return None
    hours, minutes, rest = (int(part or 0) for part in found.groups())
    return clock(hours * 3600 + minutes * 60 + rest)


def _number(value: object) -> int | None:
    found = re.fullmatch(r"\d{1,12}", str(value), re.ASCII)
    return int(found.group()) if found else None


def _gigabytes(value: object) -> int | None:
    found = re.fullmatch(r"(\d{1,18})(b|kb|mb|gb|tb)", str(value).lower(), re.ASCII)
    if not found:
        return None
    power: int = ("b", "kb", "mb", "gb", "tb").index(found.group(2))
    return int(int(found.group(1)) * 1024**power // 10**9)


PBSPRO = PBSPro()
