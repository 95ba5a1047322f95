"""Grid Engine as it is asked about itself: queue instances, limits of a queue, and what ``qsub -w v`` says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from pilotage.hosts.base import Completed
from pilotage.schedulers.base import Queue, clock, whole_number
from pilotage.schedulers.inquiry import Named, Nodes, words

OUT = frozenset("uadsCDE")
"""Letters of a queue instance that takes no jobs: unreachable, alarm, disabled, suspended, by calendar, error."""
INSTANCE = re.compile(r"^(\S+)@(\S+)\s+[A-Z]+\s+\d+/\d+/(\d+)\s+\S+\s+\S+(?:\s+(\S+))?\s*$", re.ASCII)


class GridEngineInquiry:
    """Grid Engine by qstat, qconf and ``qsub -w v``."""

    name = "gridengine"

    def version_command(self) -> tuple[str, ...]:
        """Return the question for the version; it stands above the help."""
        return ("qstat", "-help")

    def parse_version(self, answer: Completed) -> str:
        """Return the version in the first line, such as ``SGE 8.1.9``."""
        found = re.match(r"\s*\S+\s+(\d+\.\d+\S*)", answer.stdout, re.ASCII)
        return found.group(1) if found else ""

    def nodes_commands(self) -> tuple[tuple[str, ...], ...]:
        """Return the question for queue instances."""
        return (("qstat", "-f", "-u", "nobody"),)

    def parse_nodes(self, outputs: Sequence[str]) -> list[Nodes]:
        """Return the queue instances; the cores are their slots."""
        found = []
        for line in outputs[0].splitlines() if outputs else ():
            if match := INSTANCE.match(line):
                queue, host, slots, state = match.groups()
                usable = not OUT & set(state or "")
                one = Nodes(queue=queue, count=1, cores=whole_number(slots), usable=usable, state=state or "")
                found.append(replace(one, names=host))
        return found

    def detail_command(self, queue: str) -> tuple[str, ...] | None:
        """Return the question for a queue's limits."""
        return ("qconf", "-sq", queue)

    def parse_detail(self, queue: Queue, answer: Completed) -> Queue:
        """Return the queue with the longest time that it gives to a job, on the host that gives most."""
        # "h_rt  01:00:00,[node1=INFINITY]", with a backslash at the end of each line but the last.
        text = answer.stdout.replace("\\\n", "") if answer.ok else ""
        found = re.search(r"^h_rt\s+(.+)$", text, re.MULTILINE)
        limits = [part.strip("[] ").rpartition("=")[2] for part in found.group(1).split(",")] if found else []
        times = [_seconds(limit) for limit in limits]
        known = [time for time in times if time is not None]
        return replace(queue, max_walltime=clock(max(known))) if known and len(known) == len(times) else queue

    def named(self, user: str) -> tuple[Named, ...]:  # noqa: ARG002  the contract's signature
        """Return the parallel environments, which ``scheduler_options`` ask for by ``-pe``."""
        return (Named("pe", ("qconf", "-spl"), _names),)

    def trial_command(self, script: str) -> tuple[str, ...] | None:
        """Return the trial: as if all slots were free, nothing is submitted."""
        return ("qsub", "-w", "v", script)

    def parse_trial(self, answer: Completed) -> str:
        """Return why no queue would take the script."""
        said = words(answer)
        if "found suitable queue" in said or "found possible assignment" in said:
            return ""
        return said


def _seconds(text: str) -> int | None:
    """Return ``HH:MM:SS`` or bare seconds as seconds, None for INFINITY."""
    if found := re.fullmatch(r"(\d{1,6}):(\d{1,2}):(\d{1,2})", text, re.ASCII):
        hours, minutes, rest = map(int, found.groups())
        return hours * 3600 + minutes * 60 + rest
    return whole_number(text)


def _names(answer: Completed) -> list[str] | None:
    if not answer.ok:  # "no parallel environment defined" is one too
        return [] if "no parallel environment" in answer.stderr + answer.stdout else None
    return [line.strip() for line in answer.stdout.splitlines() if line.strip() and " " not in line.strip()]
