"""Batch jobs in the journal, ended from the entry alone."""

from __future__ import annotations

import getpass

from pilotage import journal
from pilotage.errors import PilotageError
from pilotage.hosts.local import LocalHost
from pilotage.schedulers import batch
from pilotage.schedulers.batch import Batch, UnclearError

TIMEOUT = 30.0


def end(entry: journal.Entry) -> str | None:
    """Cancel a job, found by its name where it has no id yet; return None when it is gone, else why it is not."""
    name = str(entry.what["scheduler"])
    host, commands = LocalHost(), batch(name)
    try:
        ids = [str(entry.id["job_id"])] if entry.id else _named(host, commands, str(entry.what["name"]))
        if not ids:
            return None
        answer = host.run(commands.cancel_command(ids), timeout=TIMEOUT)
    except (PilotageError, OSError, UnclearError) as error:
        return f"{name} cannot be asked from here: {error}"
    if answer.ok or commands.is_gone(answer):
        return None
    return (answer.stderr + answer.stdout).strip() or f"{name} refused with exit code {answer.exit_code}"


def _named(host: LocalHost, commands: Batch, name: str) -> list[str]:
    answer = host.run(commands.list_command(getpass.getuser()), timeout=TIMEOUT)
    return [job_id for job_id, found in commands.parse_list(answer).items() if found.startswith(name)]
