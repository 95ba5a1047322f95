"""Slurm's jobs: states, reasons, and what it says of those it has forgotten."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pilotage.hosts.base import Completed
from pilotage.schedulers.batch import NoHistoryError, Observed, State, UnclearError, refusal

# Of `man squeue`, JOB STATE CODES; COMPLETING comes before what the job has ended as.
STATES = {
    State.PENDING: ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "RESV_DEL_HOLD", "POWER_UP_NODE"),
    State.HELD: ("REQUEUE_HOLD", "SPECIAL_EXIT"),
    State.RUNNING: ("RUNNING", "COMPLETING", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED", "SUSPENDED"),
    State.COMPLETED: ("COMPLETED",),
    State.FAILED: ("FAILED", "NODE_FAIL", "BOOT_FAIL", "OUT_OF_MEMORY", "LAUNCH_FAILED", "RECONFIG_FAIL", "PREEMPTED"),
    State.TIMEOUT: ("TIMEOUT", "DEADLINE"),
    State.CANCELLED: ("CANCELLED", "REVOKED"),
}
STATE_OF = {word: state for state, words in STATES.items() for word in words}
HELD = frozenset({"JobHeldUser", "JobHeldAdmin"})
NEVER = frozenset(
    {
        *("PartitionTimeLimit", "PartitionNodeLimit", "PartitionConfig", "BadConstraints", "AccountNotAllowed"),
        *("QOSNotAllowed", "InvalidAccount", "InvalidQOS", "ReservationDeleted", "DependencyNeverSatisfied"),
        *("AssocMaxWallDurationPerJobLimit", "QOSMaxWallDurationPerJobLimit", "AssocMaxNodePerJobLimit"),
        *("QOSMaxNodePerJobLimit", "QOSMaxCpuPerJobLimit", "AssocMaxCpuPerJobLimit", "QOSMaxGRESPerJob"),
    }
)
"""Reasons for which a job waits until somebody changes it or the partition."""


class SlurmJobs:
    """Slurm by sbatch, squeue, sacct and scancel.

    Parameters
    ----------
    clusters: the clusters that jobs are sent to, as for ``--clusters``.
    """

    name = "slurm"

    def __init__(self, clusters: str | None = None) -> None:
        self._where = (f"--clusters={clusters}",) if clusters else ()

    def submit_command(self, script: str) -> tuple[str, ...]:
        """Return the submission; the cluster is in the script."""
        return ("sbatch", "--parsable", script)

    def parse_submit(self, answer: Completed) -> str:
        """Return the job's id."""
        if not answer.ok:
            raise refusal(answer)
        found = re.search(r"^(\d+)(?:;\S+)?\s*$", answer.stdout, re.MULTILINE | re.ASCII)
        if not found:
            raise UnclearError(f"sbatch said {answer.stdout.strip()!r}")
        return found.group(1)

    def status_commands(self, ids: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        """Return one question, which knows jobs that ended a few minutes ago too."""
        squeue = ("squeue", *self._where, "--noheader", "--states=all", f"--jobs={','.join(ids)}")
        return ((*squeue, "--format=%i|%T|%r|%N"),)

    def parse_status(self, answers: Sequence[Completed]) -> dict[str, Observed]:
        """Return the jobs that squeue lists; it refuses where it knows none of them."""
        (answer,) = answers
        if not answer.ok:
            if "Invalid job id specified" in answer.stderr:
                return {}
            raise UnclearError(" ".join(answer.stderr.split()) or f"squeue: exit code {answer.exit_code}")
        found = {}
        for line in answer.stdout.splitlines():
            parts = line.split("|")
            if len(parts) == 4 and parts[0].isdecimal():  # with --clusters, a line says whose jobs follow
                found[parts[0]] = _listed(*parts[1:])
        return found

    def history_commands(self, ids: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        """Return one question to the accounting."""
        sacct = ("sacct", *self._where, "--allocations", "--noheader", "--parsable2", f"--jobs={','.join(ids)}")
        return ((*sacct, "--format=JobIDRaw,State,ExitCode,NodeList,Reason"),)

    def parse_history(self, answers: Sequence[Completed]) -> dict[str, Observed]:
        """Return the jobs that have ended; the database may be late with it, so that others are not told of."""
        (answer,) = answers
        if not answer.ok:
            words = " ".join(f"{answer.stderr} {answer.stdout}".split()) or f"sacct: exit code {answer.exit_code}"
            absent = answer.exit_code == 127 or "accounting storage is disabled" in words
            raise NoHistoryError(words) if absent else UnclearError(words)
        found = {}
        for line in answer.stdout.splitlines():
            parts = line.split("|")
            if len(parts) != 5 or not parts[0].isdecimal():
                continue
            number, words, code, nodes, reason = parts
            state = STATE_OF.get(words.split()[0] if words.split() else "")
            if state is not None and state.final:
                found[number] = Observed(state, _said(words, reason), _exit_code(code), _nodes(nodes))
        return found

    def detail_command(self, job: str) -> tuple[str, ...]:
        """Return the question for all that is known of a job that squeue lists."""
        return ("scontrol", *self._where, "--oneliner", "show", "job", job)

    def parse_detail(self, answer: Completed) -> int | None:
        """Return the batch script's exit code, None where it is not said."""
        found = re.search(r"\bExitCode=(\d+:\d+)", answer.stdout, re.ASCII)
        return _exit_code(found.group(1)) if answer.ok and found else None

    def cancel_command(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Return the cancellation."""
        return ("scancel", *self._where, *ids)

    def is_gone(self, answer: Completed) -> bool:
        """Return whether scancel knows of no such job."""
        words = answer.stderr + answer.stdout
        return any(word in words for word in ("Invalid job id", "already completing or completed"))

    def list_command(self, user: str) -> tuple[str, ...]:
        """Return the question for names."""
        return ("squeue", *self._where, "--noheader", f"--user={user}", "--format=%i|%j")

    def parse_list(self, answer: Completed) -> dict[str, str]:
        """Return the names by id."""
        if not answer.ok:
            raise UnclearError(" ".join(answer.stderr.split()) or f"squeue: exit code {answer.exit_code}")
        parts = [line.split("|", 1) for line in answer.stdout.splitlines()]
        return {part[0]: part[1] for part in parts if len(part) == 2 and part[0].isdecimal()}


def _listed(word: str, reason: str, nodes: str) -> Observed:
    state = STATE_OF.get(word)
    if state is None:  # a newer Slurm's: nothing is known that would let us give the job up
        state = State.RUNNING if nodes else State.PENDING
    if state is State.PENDING and reason in HELD:
        state = State.HELD
    return Observed(state, _said(word, reason), None, nodes, never=state is State.PENDING and reason in NEVER)


def _said(word: str, reason: str) -> str:
    return word if reason in ("", "None", "(null)") else f"{word} ({reason})"


def _nodes(text: str) -> str:
    return "" if text == "None assigned" else text


def _exit_code(text: str) -> int | None:
    """Return the exit code in ``code:signal``."""
    code, _, number = text.partition(":")
    if not (code.isdecimal() and number.isdecimal()):
        return None
    return 128 + int(number) if int(number) else int(code)
