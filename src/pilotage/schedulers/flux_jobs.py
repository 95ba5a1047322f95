"""Flux's jobs: states, results and exceptions. The facts are flux-core 0.88's."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pilotage.hosts.base import Completed
from pilotage.schedulers.batch import NoHistoryError, Observed, State, UnclearError, refusal

# Of `man flux-jobs`, JOB STATUS.
STATES = {
    "NEW": State.PENDING,
    "DEPEND": State.PENDING,
    "PRIORITY": State.PENDING,
    "SCHED": State.PENDING,
    "RUN": State.RUNNING,
    "CLEANUP": State.RUNNING,
}
RESULTS = {
    "COMPLETED": State.COMPLETED,
    "FAILED": State.FAILED,
    "CANCELED": State.CANCELLED,
    "TIMEOUT": State.TIMEOUT,
}
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
GONE = ("unknown job id", "job is inactive")


class FluxJobs:
    """Flux by flux batch, flux jobs and flux cancel.

    A block is a ``flux batch``: an instance of Flux of its own on the block's nodes, whose script starts the managers
    with ``flux run``. ``flux submit`` would start the script once a task. Ids are decimal here, as ``flux jobs`` lists
    them beside the short form: the short form begins with a letter that not every locale can write.
    """

    name = "flux"
    place: Mapping[str, str] = {}

    def submit_command(self, script: str) -> tuple[str, ...]:
        """Return the submission; all that is asked for is in the script."""
        return ("flux", "batch", script)

    def parse_submit(self, answer: Completed) -> str:
        """Return the job's id in decimal."""
        if not answer.ok:
            raise refusal(answer)
        found = re.findall(rf"^\s*(?:(\d+)|[\u0192f]([{BASE58}]{{1,12}}))\s*$", answer.stdout, re.MULTILINE | re.ASCII)
        if not found:
            raise UnclearError(f"flux batch said {answer.stdout.strip()!r}")
        decimal, short = found[-1]
        return decimal or str(_number(short))

    def status_commands(self, ids: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        """Return one question, which knows jobs that have ended too until the instance purges them."""
        return (("flux", "jobs", "--json", *ids),)

    def parse_status(self, answers: Sequence[Completed]) -> dict[str, Observed]:
        """Return the jobs that Flux knows; it refuses where it knows none of them."""
        (answer,) = answers
        lines = [line for line in answer.stderr.splitlines() if line.strip()]
        if not answer.ok and lines and all(re.fullmatch(r"JobID \S+ unknown", line.strip()) for line in lines):
            return {}
        return {job: _observed(table) for job, table in _jobs(answer).items()}

    def history_commands(self, ids: Sequence[str]) -> tuple[tuple[str, ...], ...]:  # noqa: ARG002  the contract's
        """Return nothing to ask: an instance that has purged a job knows nothing of it."""
        return ()

    def parse_history(self, answers: Sequence[Completed]) -> dict[str, Observed]:  # noqa: ARG002
        """Raise NoHistoryError."""
        raise NoHistoryError("Flux has no history beside its list of jobs")

    def cancel_command(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Return the cancellation, which goes on after a job that has ended."""
        return ("flux", "cancel", *ids)

    def is_gone(self, answer: Completed) -> bool:
        """Return whether flux cancel had nothing to say but that jobs are unknown or over."""
        lines = [line for line in (answer.stderr + "\n" + answer.stdout).splitlines() if line.strip()]
        return bool(lines) and all(any(word in line for word in GONE) for line in lines)

    def list_command(self, user: str) -> tuple[str, ...]:
        """Return the question for names."""
        return ("flux", "jobs", "--json", f"--user={user}")

    def parse_list(self, answer: Completed) -> dict[str, str]:
        """Return the names by id."""
        return {job: str(table.get("name", "")) for job, table in _jobs(answer).items()}


def _number(short: str) -> int:
    """Return the number in base 58."""
    number = 0
    for digit in short:
        number = number * len(BASE58) + BASE58.index(digit)
    return number


def _jobs(answer: Completed) -> dict[str, Mapping[str, Any]]:
    """Return the jobs by decimal id: of one id, flux jobs writes the job itself, else a list of jobs."""
    try:
        whole = json.loads(answer.stdout) if answer.ok else None
    except (ValueError, RecursionError):
        whole = None
    jobs = whole.get("jobs", [whole]) if isinstance(whole, dict) else None
    if not isinstance(jobs, list) or not all(isinstance(job, dict) and isinstance(job.get("id"), int) for job in jobs):
        raise UnclearError(" ".join(answer.stderr.split()) or f"flux jobs: exit code {answer.exit_code}, no list")
    return {str(job["id"]): job for job in jobs}


def _observed(table: Mapping[str, Any]) -> Observed:
    word, nodes = str(table.get("state", "")), str(table.get("nodelist", ""))
    if word == "INACTIVE":
        result = str(table.get("result", ""))
        if result in RESULTS:
            return Observed(RESULTS[result], _said(result, table), _exit_code(table), nodes)
        word = f"{word} {result}".strip()
        if isinstance(success := table.get("success"), bool):
            return Observed(State.COMPLETED if success else State.FAILED, _said(word, table), _exit_code(table), nodes)
    # Of a state we do not know, nothing is known that would let us give the job up.
    state = STATES.get(word, State.RUNNING if nodes else State.PENDING)
    if state is State.PENDING and table.get("urgency") == 0:
        return Observed(State.HELD, f"{word} (urgency 0: held)", None, nodes)
    return Observed(state, _said(word, table), None, nodes)


def _said(word: str, table: Mapping[str, Any]) -> str:
    """Return a state with the exception that ended the job, such as a request that no node can satisfy."""
    exception = table.get("exception")
    if not isinstance(exception, dict) or exception.get("occurred") is not True:
        return word
    kind, note = str(exception.get("type", "")), str(exception.get("note", ""))
    return f"{word} ({kind}: {note})" if note else f"{word} ({kind})"


def _exit_code(table: Mapping[str, Any]) -> int | None:
    """Return the script's exit code; a job that never ran has a return code too, and no wait status."""
    code = table.get("returncode")
    if not isinstance(code, int) or not isinstance(table.get("waitstatus"), int):
        return None
    return code if code >= 0 else 128 - code
