"""Batch jobs by their scheduler's own commands: how to list and to cancel them, and what a list says. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

CANCEL = {"slurm": ("scancel",), "pbspro": ("qdel",), "gridengine": ("qdel",)}


def cancel_command(scheduler: str, job_ids: Sequence[str]) -> tuple[str, ...]:
    """Return the argument list that cancels jobs; raises KeyError for a scheduler without batch jobs."""
    return (*CANCEL[scheduler], *job_ids)


def list_command(scheduler: str, user: str) -> tuple[str, ...]:
    """Return the argument list that lists a user's jobs with their names; raises KeyError as `cancel_command`."""
    return {
        "slurm": ("squeue", "--noheader", f"--user={user}", "--format=%i %j"),
        "pbspro": ("qstat", "-f", "-F", "json"),
        "gridengine": ("qstat", "-u", user, "-xml"),
    }[scheduler]


def parse_list(scheduler: str, output: str) -> dict[str, str]:
    """Return the names of jobs by id from what `list_command` printed; what cannot be read is left out."""
    if scheduler == "slurm":
        parts = [line.split(None, 1) for line in output.splitlines()]
        return {part[0]: part[1].strip() for part in parts if len(part) == 2}
    if scheduler == "pbspro":
        try:
            jobs = json.loads(output).get("Jobs", {})
        except ValueError:
            return {}
        return {job_id: str(job.get("Job_Name", "")) for job_id, job in jobs.items()}
    found = {}
    for block in re.findall(r"<job_list.*?</job_list>", output, re.DOTALL):
        number = re.search(r"<JB_job_number>(\d+)</JB_job_number>", block)
        name = re.search(r"<JB_name>([^<]*)</JB_name>", block)
        if number and name:
            found[number.group(1)] = name.group(1)
    return found


def is_gone(scheduler: str, output: str) -> bool:
    """Return whether a refusal to cancel means that there is no such job (any more)."""
    words = {
        "slurm": ("Invalid job id", "already completing or completed"),
        "pbspro": ("Unknown Job Id", "Job has finished"),
        "gridengine": ("does not exist",),
    }[scheduler]
    return any(word.lower() in output.lower() for word in words)
