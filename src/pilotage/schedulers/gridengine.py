"""Grid Engine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from pilotage.schedulers.base import Block, Queue, render


class GridEngine:
    """Grid Engine by its commands."""

    name = "gridengine"
    # qsub and qstat alone would also be PBS.
    commands: tuple[str, ...] = ("qsub", "qstat", "qdel", "qconf", "qhost")

    def render(self, block: Block) -> str:
        """Return the script for qsub."""
        settings = {"queue": None, "scheduler_options": "", **block.settings}
        return render("gridengine.sh.j2", replace(block, settings=settings))

    def queue_queries(self) -> tuple[tuple[str, ...], ...]:
        """Return the questions for queues and hosts."""
        return (("qconf", "-sql"), ("qhost",))

    def parse_queues(self, outputs: Sequence[str]) -> list[Queue]:
        """Return the queues; cores are those of the smallest host."""
        names = outputs[0].split() if outputs else []
        cores = []
        for line in outputs[1].splitlines() if len(outputs) > 1 else ():
            fields = line.split()
            # HOSTNAME ARCH NCPU ...; a host that is down has a dash.
            if len(fields) > 2 and re.fullmatch(r"\d{1,9}", fields[2], re.ASCII):
                cores.append(int(fields[2]))
        return [Queue(name=name, default=name == "all.q", cores_per_node=min(cores, default=None)) for name in names]

    def account_query(self, user: str) -> tuple[str, ...] | None:  # noqa: ARG002  the contract's signature
        """Return None: Grid Engine's projects are a matter of the site's policy."""
        return None

    def parse_accounts(self, output: str, user: str) -> list[str]:  # noqa: ARG002
        """Return no accounts."""
        return []


GRID_ENGINE = GridEngine()
