"""Flux."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from pilotage.schedulers.base import Block, Queue, render, seconds


class Flux:
    """Flux by its commands."""

    name = "flux"
    commands: tuple[str, ...] = ("flux",)

    def render(self, block: Block) -> str:
        """Return the script for ``flux batch``; one slot a node, with the cores and GPUs that a node gives."""
        settings = {"exclusive": False, "scheduler_options": "", **block.settings}
        keys = {"queue": "queue", "bank": "bank", "cores_per_node": "cores-per-slot", "gpus_per_node": "gpus-per-slot"}
        options = [(option, settings[key]) for key, option in keys.items() if settings.get(key)]
        if block.walltime:
            options.append(("time-limit", f"{seconds(block.walltime)}s"))
        return render("flux.sh.j2", replace(block, settings=settings), options=options, slots=block.nodes)

    def queue_queries(self) -> tuple[tuple[str, ...], ...]:
        """Return the questions for queues and resources."""
        return (
            ("flux", "queue", "list", "--no-header", "--format={queuem}|{limits.timelimit!F}"),
            (
                "flux",
                "resource",
                "list",
                "--states=free,allocated",
                "--no-header",
                "--format={nnodes} {ncores} {ngpus}",
            ),
        )

    def parse_queues(self, outputs: Sequence[str]) -> list[Queue]:
        """Return the named queues; cores and GPUs are the average of a node."""
        nodes = cores = gpus = 0
        for line in outputs[1].splitlines() if len(outputs) > 1 else ():
            if found := re.fullmatch(r"\s*(\d{1,9})\s+(\d{1,9})\s+(\d{1,9})\s*", line, re.ASCII):
                nodes, cores, gpus = (
                    total + int(value) for total, value in zip((nodes, cores, gpus), found.groups(), strict=True)
                )
        queues = []
        for line in outputs[0].splitlines() if outputs else ():
            name, _, _ = line.partition("|")
            name = name.strip()
            if name.rstrip("*"):
                queues.append(
                    Queue(
                        name=name.rstrip("*"),
                        default=name.endswith("*"),
                        max_nodes=nodes or None,
                        cores_per_node=cores // nodes if nodes else None,
                        gpus_per_node=(gpus // nodes or None) if nodes else None,
                    )
                )
        return queues

    def account_query(self, user: str) -> tuple[str, ...] | None:  # noqa: ARG002  the contract's signature
        """Return None: banks belong to flux-accounting, which users may not read everywhere."""
        return None

    def parse_accounts(self, output: str, user: str) -> list[str]:  # noqa: ARG002
        """Return no accounts."""
        return []


FLUX = Flux()
