"""Flux as it is asked about itself; ``flux batch --dry-run`` reads the directives, and asks no instance."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pilotage.hosts.base import Completed
from pilotage.schedulers.base import whole_number
from pilotage.schedulers.inquiry import Named, Nodes, WithoutDetails, words


class FluxInquiry(WithoutDetails):
    """Flux by its commands."""

    name = "flux"

    def version_command(self) -> tuple[str, ...]:
        """Return the question for the version, which needs no instance."""
        return ("flux", "version")

    def parse_version(self, answer: Completed) -> str:
        """Return the version of the commands."""
        found = re.search(r"^commands:\s*(\d+\.\d+\S*)", answer.stdout, re.MULTILINE | re.ASCII)
        return found.group(1) if answer.ok and found else ""

    def nodes_commands(self) -> tuple[tuple[str, ...], ...]:
        """Return the question for resources by state."""
        resources = "{queue}|{state}|{nnodes}|{ncores}|{ngpus}|{nodelist}"
        return (("flux", "resource", "list", "--no-header", f"--format={resources}"),)

    def parse_nodes(self, outputs: Sequence[str]) -> list[Nodes]:
        """Return the nodes by queue and state; Flux tells sums, so cores and GPUs are the average of a node."""
        found = []
        for line in outputs[0].splitlines() if outputs else ():
            fields = [field.strip() for field in line.split("|")]
            numbers = [whole_number(field) for field in fields[2:5]]
            if len(fields) != 6 or None in numbers or not numbers[0]:
                continue
            count, cores, gpus = (number or 0 for number in numbers)
            found += [
                Nodes(
                    queue=queue.strip(),
                    count=count,
                    cores=cores // count or None,
                    gpus=gpus // count,
                    usable=fields[1] in ("free", "allocated"),
                    state=fields[1],
                    names=fields[5],
                )
                for queue in fields[0].split(",")
            ]
        return found

    def named(self, user: str) -> tuple[Named, ...]:  # noqa: ARG002  the contract's signature
        """Return nothing: banks are flux-accounting's, which users may not read everywhere."""
        return ()

    def trial_command(self, script: str) -> tuple[str, ...] | None:
        """Return the trial."""
        return ("flux", "batch", "--dry-run", script)

    def parse_trial(self, answer: Completed) -> str:
        """Return what is wrong with the directives."""
        return "" if answer.ok else words(answer)
