"""Slurm as it is asked about itself: nodes, accounts, and what sbatch would say to a script."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pilotage.hosts.base import Completed
from pilotage.schedulers.base import whole_number
from pilotage.schedulers.inquiry import Named, Nodes, WithoutDetails, words
from pilotage.schedulers.slurm import gpus_in, of_clusters, walltime

# Of `man sinfo`, NODE STATE CODES: those that take no jobs until somebody does something.
OUT = frozenset(
    {"down", "drain", "drained", "draining", "drng", "error", "fail", "failg", "failing", "futr", "inval", "unk"}
)
SPEECH = re.compile(r"^\s*(?:sbatch: )?(?:error: |allocation failure: )+", re.MULTILINE)


class SlurmInquiry(WithoutDetails):
    """Slurm by sinfo, sacctmgr, scontrol and ``sbatch --test-only``.

    Parameters
    ----------
    clusters: which clusters are asked, as for ``--clusters``; this host's own where not given.
    """

    name = "slurm"

    def __init__(self, clusters: str | None = None) -> None:
        self._clusters = clusters

    def version_command(self) -> tuple[str, ...]:
        """Return the question for the version."""
        return ("sinfo", "--version")

    def parse_version(self, answer: Completed) -> str:
        """Return the version."""
        found = re.search(r"\d+\.\d+\S*", answer.stdout, re.ASCII)
        return found.group() if answer.ok and found else ""

    def nodes_commands(self) -> tuple[tuple[str, ...], ...]:
        """Return the question for nodes, one line a kind."""
        return (
            (
                "sinfo",
                *of_clusters(self._clusters),
                "--noheader",
                "--all",
                "--exact",
                "--format=%P|%D|%c|%m|%G|%t|%f|%N",
            ),
        )

    def parse_nodes(self, outputs: Sequence[str]) -> list[Nodes]:
        """Return the nodes of each partition."""
        rows = [line.split("|") for line in outputs[0].splitlines()] if outputs else []
        return [_nodes([part.strip() for part in row]) for row in rows if len(row) == 8 and row[0].strip("* ")]

    def named(self, user: str) -> tuple[Named, ...]:
        """Return accounts and qos, which need accounting, and reservations."""
        where = (f"cluster={self._clusters}",) if self._clusters else ()
        show = ("sacctmgr", "--noheader", "--parsable2", "show", "associations", f"user={user}", *where)
        return (
            Named("account", (*show, "format=account"), _lines),
            Named("qos", (*show, "format=qos"), _listed),
            Named(
                "reservation",
                ("scontrol", *of_clusters(self._clusters), "--oneliner", "show", "reservation"),
                _reservations,
            ),
        )

    def limits_command(self, qos: str) -> tuple[str, ...]:
        """Return the question for the limits of a QOS."""
        show = ("sacctmgr", "--noheader", "--parsable2", "show", "qos", f"name={qos}")
        return (*show, "format=name,maxwall,maxtresperjob")

    def parse_limits(self, answer: Completed) -> tuple[str | None, int | None]:
        """Return the longest walltime (HH:MM:SS) and the most nodes that a QOS gives to a job, None where any."""
        rows = [line.split("|") for line in answer.stdout.splitlines()] if answer.ok else []
        fields = next((row for row in rows if len(row) == 3), ["", "", ""])
        nodes = re.search(r"\bnode=(\d+)", fields[2], re.ASCII)
        return walltime(fields[1]), int(nodes.group(1)) if nodes else None

    def trial_command(self, script: str) -> tuple[str, ...] | None:
        """Return the trial, which says when the job would start."""
        return ("sbatch", "--test-only", script)

    def parse_trial(self, answer: Completed) -> str:
        """Return why sbatch would refuse."""
        if answer.ok:
            return ""
        return words(Completed(answer.argv, answer.exit_code, answer.stdout, SPEECH.sub("", answer.stderr)))


def _nodes(fields: list[str]) -> Nodes:
    partition, count, cores, memory, gres, state, features, names = fields
    plain = re.sub(r"[^a-z]+$", "", state.lower())  # idle~, down*, ...
    megabytes = whole_number(memory.removesuffix("+")) or 0
    return Nodes(
        queue=partition.rstrip("*"),
        count=whole_number(count) or 0,
        cores=whole_number(cores.removesuffix("+")),
        memory=megabytes // 1024 or None,  # a node whose memory nobody configured has 1 M
        gpus=gpus_in(gres) or 0,
        usable=plain not in OUT,
        state=state,
        names=names,
        features=frozenset(part for part in features.split(",") if part not in ("", "(null)")),
    )


def _lines(answer: Completed) -> list[str] | None:
    """Return the lines of an answer; a cluster without accounting answers with an error."""
    if not answer.ok:
        return None
    return list(dict.fromkeys(line.strip() for line in answer.stdout.splitlines() if line.strip()))


def _listed(answer: Completed) -> list[str] | None:
    rows = _lines(answer)
    return None if rows is None else list(dict.fromkeys(name for row in rows for name in row.split(",") if name))


def _reservations(answer: Completed) -> list[str] | None:
    if not answer.ok:
        return None
    return re.findall(r"^ReservationName=(\S+)", answer.stdout, re.MULTILINE)
