"""Grid Engine's jobs: combinations of letters in the list, and records of the accounting file.

The facts are those of Son of Grid Engine 8.1, by its manual pages and its qacct.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from xml.etree import ElementTree

from pilotage.hosts.base import Completed
from pilotage.schedulers.base import whole_number
from pilotage.schedulers.batch import Observed, State, UnclearError, refusal

RAN = frozenset({0, 12, 13, 14, 15, 17, 24, 25, 30, 37, 100})
"""Values of ``failed`` with which the script has run and its exit status is its own (`man sge_status`)."""
AGAIN = frozenset({24, 25})
"""Values of ``failed`` of a record after which the job is started again."""
LIMIT, KILLED = 37, 100
CUT_OFF = ("failed receiving gdi", "message receive timeout")
"""What qsub says when it lost the qmaster in the middle: there may be a job."""


class GridEngineJobs:
    """Grid Engine by qsub, qstat, qacct and qdel."""

    name = "gridengine"
    place: Mapping[str, str] = {}

    def submit_command(self, script: str) -> tuple[str, ...]:
        """Return the submission, which prints the id alone."""
        return ("qsub", "-terse", script)

    def parse_submit(self, answer: Completed) -> str:
        """Return the job's id; a verifier of the site may have written other lines."""
        if not answer.ok:
            if any(phrase in answer.stderr for phrase in CUT_OFF):
                raise UnclearError(_words(answer, "qsub"))
            raise refusal(answer)
        found = re.findall(r"^(\d+)\s*$", answer.stdout, re.MULTILINE | re.ASCII)
        if not found:
            raise UnclearError(f"qsub said {answer.stdout.strip()!r}")
        return str(found[-1])

    def status_commands(self, ids: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        """Return the list of one's own jobs, which has their states, and the details, which have the errors."""
        return (("qstat", "-xml"), ("qstat", "-j", ",".join(ids)))

    def parse_status(self, answers: Sequence[Completed]) -> dict[str, Observed]:
        """Return the jobs that have not ended; the details may be missing, as where one of the jobs is over."""
        reasons = _reasons(answers[1].stdout) if len(answers) > 1 else {}
        found: dict[str, Observed] = {}
        for job in _listed(answers[0]):
            observed = _observed(job, reasons.get(job["JB_job_number"], ""))
            if observed is not None:
                found.setdefault(job["JB_job_number"], observed)  # running tasks are listed first
        return found

    def history_commands(self, ids: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        """Return one question a job: of several, qacct reads the first."""
        return tuple(("qacct", "-j", job) for job in ids)

    def parse_history(self, answers: Sequence[Completed]) -> dict[str, Observed]:
        """Return the jobs that have a record; it is written some seconds after the end, the first one's file too.

        The file may also be elsewhere, which looks the same.
        """
        found: dict[str, Observed] = {}
        for answer in answers:
            if not answer.ok:
                said = answer.stderr + answer.stdout
                if re.search(r"\bjob id \d+ not found|no jobs running since startup", said, re.ASCII):
                    continue
                raise UnclearError(_words(answer, "qacct"))
            for record in _records(answer.stdout):
                observed = _ended(record)
                number = whole_number(record.get("jobnumber"))
                if number is not None and observed is not None:
                    found[str(number)] = observed  # the last record is that of the last start
        return found

    def cancel_command(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Return the deletion, which goes on after a job that is not there."""
        return ("qdel", *ids)

    def is_gone(self, answer: Completed) -> bool:
        """Return whether qdel had nothing to object but that jobs do not exist."""
        lines = [line for line in (answer.stderr + "\n" + answer.stdout).splitlines() if line.strip()]
        # "ada has deleted job 5", "ada has registered the job 6 for deletion"
        lines = [line for line in lines if not re.search(r"\bhas (deleted|registered the) job", line)]
        return bool(lines) and all(re.match(r"denied: job .*does not exist", line.strip()) for line in lines)

    def list_command(self, user: str) -> tuple[str, ...]:
        """Return the question for names."""
        return ("qstat", "-u", user, "-xml")

    def parse_list(self, answer: Completed) -> dict[str, str]:
        """Return the names by id."""
        return {job["JB_job_number"]: job.get("JB_name", "") for job in _listed(answer)}


def _words(answer: Completed, command: str) -> str:
    said = " ".join(f"{answer.stderr} {answer.stdout}".split())
    return said if said and not answer.ok else f"{command}: exit code {answer.exit_code}, no answer to read"


def _listed(answer: Completed) -> list[dict[str, str]]:
    """Return the elements of each job in a list as XML; raises UnclearError where there is no whole list."""
    if not answer.ok:
        raise UnclearError(_words(answer, "qstat"))
    try:
        root = ElementTree.fromstring(answer.stdout)  # noqa: S314  the scheduler's own list
    except (ElementTree.ParseError, ValueError) as error:
        raise UnclearError(f"qstat: {error}") from error
    if root.tag != "job_info":
        raise UnclearError(f"qstat answers with <{root.tag}>")
    jobs = [{part.tag: (part.text or "").strip() for part in job} for job in root.iter("job_list")]
    return [job for job in jobs if whole_number(job.get("JB_job_number")) is not None]


def _observed(job: Mapping[str, str], reason: str) -> Observed | None:
    """Return what letters mean, of `man sge_status`; None for a job that is over and still listed."""
    letters = job.get("state", "")
    node = job.get("queue_name", "").rpartition("@")[2] if "@" in job.get("queue_name", "") else ""
    if letters.startswith("z"):
        return None
    if "E" in letters:  # until somebody clears the error
        return Observed(State.PENDING, f"{letters} ({reason})" if reason else letters, None, node, never=True)
    if "q" in letters:
        return Observed(State.HELD if "h" in letters else State.PENDING, letters)
    # Running, in transfer, suspended, or being deleted; of letters we do not know, a node says that it runs.
    running = bool(set(letters) & set("rtsST")) or bool(node)
    return Observed(State.RUNNING if running else State.PENDING, letters, None, node)


def _reasons(text: str) -> dict[str, str]:
    """Return the errors of jobs in details, which are lines ``error reason  1:  words`` under ``job_number:  7``."""
    found: dict[str, str] = {}
    number = ""
    for line in text.splitlines():
        if named := re.match(r"job_number:\s*(\d+)", line, re.ASCII):
            number = named.group(1)
        elif told := re.match(r"error reason\s+\d+:\s*(.*)", line, re.ASCII):
            found.setdefault(number, told.group(1).strip())
    return found


def _records(text: str) -> Iterable[dict[str, str]]:
    """Yield the records of an answer of qacct, without those of a parallel job's slave tasks."""
    for part in re.split(r"^=+\s*$", text, flags=re.MULTILINE):
        pairs = [line.split(None, 1) for line in part.splitlines()]
        record = {pair[0]: pair[1].strip() for pair in pairs if len(pair) == 2}
        if record.get("pe_taskid", "NONE") in ("NONE", "undefined"):
            yield record


def _ended(record: Mapping[str, str]) -> Observed | None:
    """Return how a job has ended; None where it is started again, or the record cannot be read."""
    failed, _, _ = record.get("failed", "").partition(":")
    problem, status = whole_number(failed), whole_number(record.get("exit_status", "").partition(" ")[0])
    if problem is None or status is None or problem in AGAIN:
        return None
    code, nodes = (status if problem in RAN else None), record.get("hostname", "")
    words = f"exit status {' '.join(record['exit_status'].split())}"
    if problem:
        words = f"failed {' '.join(record['failed'].split())}; {words}"
    if record.get("deleted_by", "NONE") not in ("NONE", "undefined"):
        return Observed(State.CANCELLED, f"{words}; deleted by {record['deleted_by']}", code, nodes)
    if problem == LIMIT or (problem and code is not None and _used_up(record)):
        return Observed(State.TIMEOUT, words, code, nodes)
    if problem == 0 and status == 0:
        return Observed(State.COMPLETED, words, 0, nodes)
    if problem == KILLED and code == 128 + 9:
        words += " (a job that was deleted looks the same)"
    return Observed(State.FAILED, words, code, nodes)


def _used_up(record: Mapping[str, str]) -> bool:
    """Return whether a job that was killed had its whole time: nothing else tells a limit from a deletion."""
    limit = re.search(r"\bh_rt=(?:(\d{1,6}):([0-5]?\d):)?(\d{1,9})\b", record.get("category", ""), re.ASCII)
    used = re.match(r"\d{1,12}(?:\.\d+)?", record.get("ru_wallclock", ""), re.ASCII)
    if not limit or not used:
        return False
    hours, minutes, rest = (int(part or 0) for part in limit.groups())
    return float(used.group()) >= hours * 3600 + minutes * 60 + rest
