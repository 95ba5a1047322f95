"""Flux."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from pilotage.errors import SiteValueError
from pilotage.schedulers.base import Block, Queue, WithoutAccounts, clock, seconds, whole_number
from pilotage.schedulers.rendering import given, given_count, one_line, render

SENTINEL = "#flux:"


class Flux(WithoutAccounts):
    """Flux by its commands; banks belong to flux-accounting, which users may not read everywhere."""

    name = "flux"
    commands: tuple[str, ...] = ("flux",)

    def render(self, block: Block) -> str:
        """Return the script for ``flux batch``.

        The job is an instance of Flux with one slot a node; a slot has the cores and GPUs that are asked for, or
        the whole node where ``exclusive`` is. The script runs on the first node: the command starts the others.
        """
        settings = block.settings
        options = [
            ("queue", given(settings, "queue")),
            ("bank", given(settings, "bank")),
            ("cores-per-slot", given_count(settings, "cores_per_node")),
            ("gpus-per-slot", given_count(settings, "gpus_per_node")),
            ("time-limit", f"{seconds(block.walltime)}s" if block.walltime else None),
        ]
        return render(
            "flux.sh.j2",
            block,
            options=[(option, argument) for option, argument in options if argument is not None],
            exclusive=given(settings, "exclusive"),
            scheduler_options=_one_sentinel(str(given(settings, "scheduler_options") or "")),
            value=directive_value,
            path=directive_path,
        )

    def queue_queries(self) -> tuple[tuple[str, ...], ...]:
        """Return the questions for queues and resources."""
        queues = "{queuem}|{submission}|{scheduling}|{limits.timelimit!F}|{limits.max.nnodes}"
        resources = "{queue}|{nnodes}|{ncores}|{ngpus}"
        return (
            ("flux", "queue", "list", "--no-header", f"--format={queues}"),
            ("flux", "resource", "list", "--states=all", "--no-header", f"--format={resources}"),
        )

    def parse_queues(self, outputs: Sequence[str]) -> list[Queue]:
        """Return the named queues; an instance may have none, and then a job names none.

        Flux tells sums: cores and GPUs of a node are their averages over a queue's nodes.
        """
        answers = [*outputs, "", ""]
        resources = [row for row in map(_resource, answers[1].splitlines()) if row is not None]
        found = {}
        for line in answers[0].splitlines():
            fields = [field.strip() for field in line.split("|")]
            name = fields[0].rstrip("*")
            if len(fields) == 5 and name:
                found[name] = _queue(name, fields, resources)
        return list(found.values())


def directive_value(value: object, key: str) -> str:
    """Return a value as flux reads it in a directive: in double quotes where it has a special character."""
    text = one_line(value, key)
    if re.fullmatch(r"[\w@%+=:,./-]+", text):
        return text
    if "'''" in text:
        raise SiteValueError(f"{key} {text!r} has three quotes in a row, which begin a text of several lines to Flux")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def directive_path(value: object, key: str) -> str:
    """Return the path of an output file for a directive; refuses one with ``{{``, a template to Flux."""
    text = one_line(value, key)
    if "{{" in text:
        raise SiteValueError(f"{key} {text!r} has '{{{{', which begins a template to Flux")
    return directive_value(text, key)


def duration(text: str) -> int | None:
    """Return Flux's duration (``90s``, ``1.5h``, ``2d``, a bare number of seconds) in seconds; None for ``inf``."""
    found = re.fullmatch(r"(\d{1,12}(?:\.\d{1,12})?)(ms|s|m|h|d)?", text, re.ASCII)
    if not found:
        return None
    return int(float(found.group(1)) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}[found.group(2) or "s"])


class _Resource(NamedTuple):
    queues: set[str]
    nodes: int
    cores: int
    gpus: int


def _one_sentinel(options: str) -> str:
    # Flux refuses a script whose directives begin in two ways, and all of "#flux:", "# flux:", "# FLUX:" are in use.
    return re.sub(r"^[^\w\n]*(?:flux|FLUX):", SENTINEL, options, flags=re.MULTILINE)


def _resource(line: str) -> _Resource | None:
    queues, *rest = line.split("|")
    counts = [whole_number(field) for field in rest]
    if len(counts) != 3 or None in counts:
        return None
    nodes, cores, gpus = (count or 0 for count in counts)
    return _Resource({queue.strip() for queue in queues.split(",")}, nodes, cores, gpus)


def _queue(name: str, fields: Sequence[str], resources: Sequence[_Resource]) -> Queue:
    mark, submission, scheduling, limit, most = fields
    # Resources without a queue's name are everybody's.
    own = [row for row in resources if name in row.queues] or [row for row in resources if row.queues == {""}]
    nodes, cores, gpus = (sum(column) for column in zip(*(row[1:] for row in own), strict=True)) if own else (0, 0, 0)
    longest = duration(limit)
    return Queue(
        name=name,
        default=mark.endswith("*"),
        available=submission == "enabled" and scheduling == "started",
        max_walltime=clock(longest) if longest else None,
        max_nodes=whole_number(most) or nodes or None,
        cores_per_node=(cores // nodes or None) if nodes else None,
        gpus_per_node=(gpus // nodes or None) if nodes else None,
    )


FLUX = Flux()
