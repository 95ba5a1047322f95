"""What a scheduler of batch jobs is asked and what its answers mean. Pure: commands as text, answers as text.

Nothing here decides what becomes of a job; `pilotage.providers.ledger` does.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pilotage.hosts.base import Completed

BY_US, BY_OTHERS = "cancelled by this run", "cancelled by others"
"""First words on a job that was cancelled."""
NOT_KNOWN = "does not know it any more"
"""What is said, after the scheduler's name, of a job that is LOST."""


class State(enum.Enum):
    """Where a job is; those from ``COMPLETED`` on are final."""

    PENDING = "pending"
    HELD = "held"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    LOST = "lost"

    @property
    def final(self) -> bool:
        """Whether a job in it will be in no other."""
        return self not in (State.PENDING, State.HELD, State.RUNNING)


@dataclass(frozen=True)
class Observed:
    """What a scheduler says of a job.

    ``words`` are the scheduler's own, state and reason; ``exit_code`` is the batch script's, 128 + n for signal n;
    ``nodes`` are names or a list of names as the scheduler writes it; ``never`` says that a job that waits will wait
    for ever, as far as the scheduler knows; ``by`` is who has cancelled it, a name or a user's number.
    """

    state: State
    words: str = ""
    exit_code: int | None = None
    nodes: str = ""
    never: bool = False
    by: str = ""


class RefusedError(Exception):
    """A scheduler has refused a job; the text is its own."""


class UnclearError(Exception):
    """A scheduler's answer cannot be used, or there was none: nothing is known that was not known before.

    Of a submission: the job may be there all the same.
    """


class NoHistoryError(UnclearError):
    """A scheduler keeps no history of its jobs, and will not say anything else the next time."""


class Batch(Protocol):
    """A scheduler of batch jobs, by its commands.

    ``place`` is what else `pilotage.schedulers.batch` must know to find the jobs again, and goes into the journal.
    """

    name: str
    place: Mapping[str, str]

    def submit_command(self, script: str) -> tuple[str, ...]:
        """Return what submits the batch script at the path ``script``."""

    def parse_submit(self, answer: Completed) -> str:
        """Return the id of the job that was submitted; raises RefusedError, UnclearError."""

    def status_commands(self, ids: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        """Return the questions for the states of jobs that may be there, all jobs in as few as possible."""

    def parse_status(self, answers: Sequence[Completed]) -> dict[str, Observed]:
        """Return what the answers say by job id; jobs that the scheduler does not know are left out.

        Raises UnclearError where the answers say nothing.
        """

    def history_commands(self, ids: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        """Return the questions for jobs that the scheduler does not list any more; none where it keeps no history."""

    def parse_history(self, answers: Sequence[Completed]) -> dict[str, Observed]:
        """Return what the answers say by job id, of jobs that have ended; raises UnclearError, NoHistoryError."""

    def cancel_command(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Return what cancels jobs, which are `together`."""

    def is_gone(self, answer: Completed) -> bool:
        """Return whether a refusal to cancel means that there is no such job (any more)."""

    def list_command(self, user: str) -> tuple[str, ...]:
        """Return the question for the names of a user's jobs that have not ended."""

    def parse_list(self, answer: Completed) -> dict[str, str]:
        """Return the names of jobs by id; raises UnclearError."""


def together(ids: Sequence[str]) -> list[list[str]]:
    """Return ids in groups that one command can name: after a semicolon stands whose they are, where that matters."""
    groups: dict[str, list[str]] = {}
    for job in ids:
        groups.setdefault(job.partition(";")[2], []).append(job)
    return list(groups.values())


def refusal(answer: Completed) -> Exception:
    """Return the error for a submission that has failed: without an answer in time the job may be there."""
    words = " ".join((answer.stderr or answer.stdout).split()) or f"exit code {answer.exit_code}"
    return UnclearError(words) if answer.exit_code == 124 else RefusedError(words)
