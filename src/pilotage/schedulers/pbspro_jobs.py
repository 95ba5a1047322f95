"""PBS Pro's jobs: states, what their exit codes mean, and comments that say that a job will wait for ever.

The facts are OpenPBS 23's: ``qstat -F json`` answers for the first of several jobs only, so each job is a question of
its own; a job that has ended is refused without ``-x``, or unknown where the server keeps no history.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pilotage.hosts.base import Completed
from pilotage.schedulers.base import whole_number
from pilotage.schedulers.batch import NoHistoryError, Observed, State, UnclearError, refusal

# Of `man qstat`, job_state.
STATES = {
    "Q": State.PENDING,
    "T": State.PENDING,
    "W": State.PENDING,
    "M": State.PENDING,
    "H": State.HELD,
    "R": State.RUNNING,
    "B": State.RUNNING,
    "E": State.RUNNING,
    "S": State.RUNNING,
    "U": State.RUNNING,
}
ENDED = frozenset("FX")
NEVER, OVER_WALLTIME = "Can Never Run", "exceeded resource walltime"
"""What the scheduler and the node write in a job's comment."""
WALLTIME, NODE_LOST, DELETED_RUNNING = -29, -20, 256 + 15
"""Exit_status of a job that PBS has ended itself."""
DELETED, FINISHED = 91, 92
"""Substates of a job that was deleted, and of one that is over; the latter has no Exit_status if it never ran."""
NOT_THERE = ("unknown job id", "job has finished")
NO_HISTORY = "not configured to maintain job history"
CUT_OFF = ("communication failure", "end of file", "premature end of message", "protocol (asn.1) error")
"""What qsub says when it lost the server in the middle: there may be a job."""


class PBSProJobs:
    """PBS Pro and OpenPBS by qsub, qstat and qdel."""

    name = "pbspro"
    place: Mapping[str, str] = {}

    def submit_command(self, script: str) -> tuple[str, ...]:
        """Return the submission; all that is asked for is in the script."""
        return ("qsub", script)

    def parse_submit(self, answer: Completed) -> str:
        """Return the job's id, server and all; a hook of the site may have written other lines."""
        if not answer.ok:
            if _says(answer, CUT_OFF):
                raise UnclearError(_words(answer, "qsub"))
            raise refusal(answer)
        found = re.findall(r"^(\d+(?:\[\])?\.[\w.-]+)\s*$", answer.stdout, re.MULTILINE | re.ASCII)
        if not found:
            raise UnclearError(f"qsub said {answer.stdout.strip()!r}")
        return str(found[-1])

    def status_commands(self, ids: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        """Return one question a job: in JSON, qstat answers for the first one only."""
        return tuple(("qstat", "-f", "-F", "json", job) for job in ids)

    def parse_status(self, answers: Sequence[Completed]) -> dict[str, Observed]:
        """Return the jobs that have not ended; one answer that says nothing is taken for all."""
        return {job: _observed(table) for answer in answers for job, table in _jobs(answer).items()}

    def history_commands(self, ids: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        """Return one question a job."""
        return tuple(("qstat", "-x", "-f", "-F", "json", job) for job in ids)

    def parse_history(self, answers: Sequence[Completed]) -> dict[str, Observed]:
        """Return the jobs that have ended; a server that keeps no history says so of every job, running or not."""
        found = {}
        for answer in answers:
            if _says(answer, (NO_HISTORY,)):
                raise NoHistoryError(_words(answer, "qstat"))
            found.update({job: _observed(table) for job, table in _jobs(answer).items()})
        return {job: observed for job, observed in found.items() if observed.state.final}

    def cancel_command(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Return the deletion, which goes on after a job that is not there; a running job takes some seconds."""
        return ("qdel", *ids)

    def is_gone(self, answer: Completed) -> bool:
        """Return whether qdel had nothing to say but that jobs are unknown or over."""
        lines = [line.lower() for line in (answer.stderr + "\n" + answer.stdout).splitlines() if line.strip()]
        return bool(lines) and all(any(word in line for word in NOT_THERE) for line in lines)

    def list_command(self, user: str) -> tuple[str, ...]:  # noqa: ARG002  the contract's signature
        """Return the question for all jobs of all users: only there are names whole."""
        return ("qstat", "-f", "-F", "json")

    def parse_list(self, answer: Completed) -> dict[str, str]:
        """Return the names by id."""
        if answer.ok and isinstance(whole := _loaded(answer.stdout), dict) and "pbs_server" in whole:
            return {job: str(table.get("Job_Name", "")) for job, table in _tables(whole).items()}
        raise UnclearError(_words(answer, "qstat"))


def _jobs(answer: Completed) -> dict[str, Mapping[str, Any]]:
    """Return what is said of jobs; none where qstat has refused because they are unknown or over."""
    if _says(answer, NOT_THERE):
        return _tables(_loaded(answer.stdout))
    if answer.ok and (found := _tables(_loaded(answer.stdout))):
        return found
    raise UnclearError(_words(answer, "qstat"))


def _loaded(text: str) -> object:
    """Return what JSON says, None where it is none.

    Older releases wrote parts of a job's environment and arguments as no JSON, such as the number ``007`` and the
    escape ``\\,``: where that is so, both are left out.
    """
    for simplified in (str, _without_environment):
        try:
            return json.loads(simplified(text), strict=False)
        except (ValueError, RecursionError):
            continue
    return None


def _without_environment(text: str) -> str:
    text = re.sub(r'("Variable_List":\s*)\{.*?\n\s*\}', r"\1{}", text, flags=re.DOTALL)
    return re.sub(r'^\s*"Submit_arguments":.*,$', "", text, flags=re.MULTILINE)


def _tables(whole: object) -> dict[str, Mapping[str, Any]]:
    jobs = whole.get("Jobs") if isinstance(whole, dict) else None
    return {job: table for job, table in jobs.items() if isinstance(table, dict)} if isinstance(jobs, dict) else {}


def _observed(table: Mapping[str, Any]) -> Observed:
    word, comment = str(table.get("job_state", "")), str(table.get("comment", "")).strip()
    # qstat writes each CPU: "a/0*2+b/1".
    hosts = dict.fromkeys(part.partition("/")[0] for part in str(table.get("exec_host", "")).split("+"))
    nodes = ",".join(host for host in hosts if host)
    if word in ENDED:
        return _ended(table, word, comment, nodes)
    # Of a state we do not know, nothing is known that would let us give the job up.
    state = STATES.get(word, State.RUNNING if nodes else State.PENDING)
    never = state is State.PENDING and comment.startswith(NEVER)
    return Observed(state, _said(word, comment), None, nodes, never=never)


def _ended(table: Mapping[str, Any], word: str, comment: str, nodes: str) -> Observed:
    status, substate = _integer(table.get("Exit_status")), _integer(table.get("substate"))
    # 256 + n is signal n to the batch script's shell; below zero, PBS speaks and not the script.
    code = None if status is None or status < 0 else status - 128 if status > 256 else status
    if status == WALLTIME or OVER_WALLTIME in comment:
        return Observed(State.TIMEOUT, _said(word, comment or "over its wall time"), code, nodes)
    if substate == DELETED or status == DELETED_RUNNING:
        return Observed(State.CANCELLED, _said(word, comment or "deleted"), code, nodes)
    if status is None and substate == FINISHED:
        return Observed(State.CANCELLED, _said(word, comment or "deleted before it ran"), None, nodes)
    if status == 0:
        return Observed(State.COMPLETED, _said(word, comment), 0, nodes)
    told = {None: "no Exit_status", NODE_LOST: "Exit_status -20: a node was lost"}.get(status, f"Exit_status {status}")
    return Observed(State.FAILED, _said(word, f"{comment}; {told}" if comment else told), code, nodes)


def _integer(value: object) -> int | None:
    text = str(value)
    number = whole_number(text.removeprefix("-"))
    return None if number is None else -number if text.startswith("-") else number


def _said(word: str, comment: str) -> str:
    return f"{word} ({comment})" if comment else word


def _says(answer: Completed, phrases: Sequence[str]) -> bool:
    return any(phrase in answer.stderr.lower() for phrase in phrases)


def _words(answer: Completed, command: str) -> str:
    return (
        " ".join(answer.stderr.split()) or f"{command}: exit code {answer.exit_code}, {len(answer.stdout)} characters"
    )
