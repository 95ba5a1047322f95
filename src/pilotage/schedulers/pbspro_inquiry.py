"""PBS Pro as it is asked about itself; it has no way to judge a script without taking it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pilotage.hosts.base import Completed
from pilotage.schedulers.base import whole_number
from pilotage.schedulers.inquiry import Named, Nodes, WithoutDetails
from pilotage.schedulers.pbspro import gigabytes, subtable, tables

OUT = frozenset({"down", "offline", "state-unknown", "stale", "unresolvable", "sleep", "provisioning", "maintenance"})


class PBSProInquiry(WithoutDetails):
    """PBS Pro by qstat and pbsnodes."""

    name = "pbspro"

    def version_command(self) -> tuple[str, ...]:
        """Return the question for the version."""
        return ("qstat", "--version")

    def parse_version(self, answer: Completed) -> str:
        """Return the version in ``pbs_version = 23.06.06``."""
        found = re.search(r"\d+\.\d+\S*", answer.stdout, re.ASCII)
        return found.group() if answer.ok and found else ""

    def nodes_commands(self) -> tuple[tuple[str, ...], ...]:
        """Return the question for nodes."""
        return (("pbsnodes", "-a", "-F", "json"),)

    def parse_nodes(self, outputs: Sequence[str]) -> list[Nodes]:
        """Return the nodes, equal ones together; a node without a queue of its own is everybody's."""
        kinds: dict[tuple[object, ...], list[str]] = {}
        for name, node in tables(outputs[0] if outputs else "", "nodes").items():
            if whole_number(subtable(node, "resources_available").get("ncpus")):
                kinds.setdefault(_kind(node), []).append(name)
        return [
            Nodes(
                queue=str(queue),
                count=len(names),
                cores=cores if isinstance(cores, int) else None,
                memory=memory if isinstance(memory, int) else None,
                gpus=gpus if isinstance(gpus, int) else 0,
                usable=not OUT & set(str(state).split(",")),
                state=str(state),
                names=",".join(names),
            )
            for (queue, cores, memory, gpus, state), names in kinds.items()
        ]

    def named(self, user: str) -> tuple[Named, ...]:  # noqa: ARG002  the contract's signature
        """Return nothing: PBS does not say who may charge what."""
        return ()

    def trial_command(self, script: str) -> tuple[str, ...] | None:  # noqa: ARG002
        """Return None: what qsub accepts is in the queue."""
        return None

    def parse_trial(self, answer: Completed) -> str:  # noqa: ARG002
        """Return nothing."""
        return ""


def _kind(node: Mapping[str, Any]) -> tuple[object, ...]:
    size = subtable(node, "resources_available")
    gpus = whole_number(size.get("ngpus")) or 0
    state = ",".join(part.strip() for part in str(node.get("state", "")).split(","))
    return str(node.get("queue", "")), whole_number(size.get("ncpus")), gigabytes(size.get("mem")), gpus, state
