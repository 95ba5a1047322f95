"""Batch jobs in the journal: written down before they are submitted, and ended from the entry alone."""

from __future__ import annotations

import getpass
from typing import ClassVar

from pilotage import journal
from pilotage.errors import PilotageError
from pilotage.hosts.local import LocalHost
from pilotage.schedulers import jobs

TIMEOUT = 30.0


class JournalledJobs:
    """Mixin for Parsl's ClusterProvider: each job is in the journal before it is submitted."""

    scheduler_name: ClassVar[str]

    def submit(self, command: str, tasks_per_node: int, job_name: str = "parsl.auto") -> str | None:
        """Submit a block; see Parsl's. The job's name begins with the run's id, by which it is found without an id."""
        name = journal.job_name(job_name)
        key = journal.intend("batch_job", scheduler=self.scheduler_name, name=name)
        job_id: str | None = super().submit(command, tasks_per_node, name)  # type: ignore[misc]
        if job_id:
            journal.identify(key, job_id=str(job_id))
        else:
            journal.ended(key, "refused")
        return job_id


def end(entry: journal.Entry) -> str | None:
    """Cancel a job, found by its name where it has no id yet; return None when it is gone, else why it is not."""
    scheduler = str(entry.what["scheduler"])
    host = LocalHost()
    try:
        ids = [str(entry.id["job_id"])] if entry.id else _named(host, scheduler, str(entry.what["name"]))
        if not ids:
            return None
        answer = host.run(jobs.cancel_command(scheduler, ids), timeout=TIMEOUT)
    except (PilotageError, OSError) as error:
        return f"{scheduler} cannot be asked from here: {error}"
    words = (answer.stderr + answer.stdout).strip()
    if answer.ok or jobs.is_gone(scheduler, words):
        return None
    return words or f"{scheduler} refused with exit code {answer.exit_code}"


def _named(host: LocalHost, scheduler: str, name: str) -> list[str]:
    answer = host.run(jobs.list_command(scheduler, getpass.getuser()), timeout=TIMEOUT)
    if not answer.ok:
        raise OSError(answer.stderr.strip() or f"the list of jobs failed with exit code {answer.exit_code}")
    return [job_id for job_id, found in jobs.parse_list(scheduler, answer.stdout).items() if found.startswith(name)]
