"""Grid Engine."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pilotage.errors import SiteValueError
from pilotage.schedulers.base import Block, Queue, WithoutAccounts, whole_number
from pilotage.schedulers.rendering import given, one_line, render


class GridEngine(WithoutAccounts):
    """Grid Engine by its commands; its projects are a matter of the site's policy."""

    name = "gridengine"
    # qsub and qstat alone would also be PBS.
    commands: tuple[str, ...] = ("qsub", "qstat", "qdel", "qconf", "qhost")

    def render(self, block: Block) -> str:
        """Return the script for qsub.

        A block of several nodes needs a parallel environment, whose name and shape are the site's own: the
        ``scheduler_options`` ask for it (``#$ -pe NAME SLOTS``).

        A job that no queue can ever run is to be refused, or it would wait for ever without a word. Where resources
        are asked for in ``scheduler_options`` it is not: such may be load values, which the check does not know.
        """
        options = str(given(block.settings, "scheduler_options") or "")
        return render(
            "gridengine.sh.j2",
            block,
            checked=not re.search(r"^#\$(?:.*\s)?-(?:l|w)\s", options, re.MULTILINE),
            queue=given(block.settings, "queue"),
            value=directive_value,
            path=directive_path,
        )

    def queue_queries(self) -> tuple[tuple[str, ...], ...]:
        """Return the questions for queues and hosts."""
        return (("qconf", "-sql"), ("qhost",))

    def parse_queues(self, outputs: Sequence[str]) -> list[Queue]:
        """Return the queues; cores and memory are those of the smallest host.

        No queue is the default one; every installation begins with ``all.q``, which stands for it.
        """
        answers = [*outputs, "", ""]
        hosts = list(_hosts(answers[1]))
        cores = _least(whole_number(host.get("NCPU", "")) for host in hosts)
        memory = _least(_gigabytes(host.get("MEMTOT", "")) for host in hosts)
        names = dict.fromkeys(line.strip() for line in answers[0].splitlines())
        return [
            Queue(name=name, default=name == "all.q", cores_per_node=cores, memory_per_node=memory)
            for name in names
            if name and not re.search(r"\s", name)  # a sentence is an error's, not a queue
        ]


def directive_value(value: object, key: str) -> str:
    """Return a value for a directive, in double quotes where it has spaces.

    Grid Engine drops quotes inside a value and all that follows a ``#``: values with either are refused.
    """
    text = one_line(value, key)
    if bad := re.search(r"[\"'#\\]", text):
        raise SiteValueError(f"{key} {text!r} has {bad.group()!r}, which a directive of Grid Engine cannot hold")
    return f'"{text}"' if re.search(r"\s", text) else text


def directive_path(value: object, key: str) -> str:
    """Return the path of an output file; refuses what Grid Engine reads as a host, a list or a variable."""
    text = one_line(value, key)
    if bad := re.search(r"[:,$]", text):
        raise SiteValueError(f"{key} {text!r} has {bad.group()!r}, which is no part of a path to Grid Engine")
    return directive_value(text, key)


def _hosts(table: str) -> Iterable[dict[str, str]]:
    """Yield the rows of qhost by its headings; releases differ in how many columns there are."""
    headings: list[str] = []
    for line in table.splitlines():
        fields = line.split()
        if fields[:1] == ["HOSTNAME"]:
            headings = fields
        elif len(fields) == len(headings):
            yield dict(zip(headings, fields, strict=True))


def _least(values: Iterable[int | None]) -> int | None:
    return min((value for value in values if value), default=None)


def _gigabytes(text: str) -> int | None:
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([MGT])", text, re.ASCII)
    return int(float(found.group(1)) * {"M": 1 / 1024, "G": 1, "T": 1024}[found.group(2)]) if found else None


GRID_ENGINE = GridEngine()
