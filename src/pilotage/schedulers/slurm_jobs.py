"""Slurm's jobs: states, reasons, and what it says of those it has forgotten.

Where a site sends jobs to several clusters, each of them counts its own: there the id of a job is ``7;name``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from pilotage.hosts.base import Completed
from pilotage.schedulers.batch import NoHistoryError, Observed, State, UnclearError, refusal, together

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
ASKED, ASKED_LATER = "%i|%T|%r|%N", "JobIDRaw,State,ExitCode,NodeList,Reason"
ALLOCATIONS = ("--allocations", "--noheader", "--parsable2")
GONE = ("Invalid job id", "already completing or completed")
CUT_OFF = (
    *("Socket timed out", "Zero Bytes were transmitted", "Unexpected message received", "Message receive failure"),
    *("(send failure)", "(receive failure)", "(shutdown failure)"),
)
"""What sbatch says when it lost the controller in the middle: there may be a job."""


class SlurmJobs:
    """Slurm by sbatch, squeue, sacct and scancel.

    Parameters
    ----------
    clusters: the clusters that jobs are sent to, as for ``--clusters``.
    """

    name = "slurm"

    def __init__(self, clusters: str | None = None) -> None:
        self._clusters = clusters or ""
        self.place: Mapping[str, str] = {"clusters": clusters} if clusters else {}

    def submit_command(self, script: str) -> tuple[str, ...]:
        """Return the submission; the cluster is in the script."""
        return ("sbatch", "--parsable", script)

    def parse_submit(self, answer: Completed) -> str:
        """Return the job's id."""
        if not answer.ok:
            if any(phrase in answer.stderr for phrase in CUT_OFF):
                raise UnclearError(" ".join(answer.stderr.split()))
            raise refusal(answer)
        found = re.search(r"^(\d+)(?:;(\S+))?\s*$", answer.stdout, re.MULTILINE | re.ASCII)
        if not found:
            raise UnclearError(f"sbatch said {answer.stdout.strip()!r}")
        return _id(found.group(1), found.group(2) or self._clusters)

    def status_commands(self, ids: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        """Return one question a cluster, which knows jobs that ended a few minutes ago too."""
        return tuple(
            (
                "squeue",
                *self._where(some),
                "--noheader",
                "--states=all",
                f"--jobs={_numbers(some)}",
                f"--format={ASKED}",
            )
            for some in together(ids)
        )

    def parse_status(self, answers: Sequence[Completed]) -> dict[str, Observed]:
        """Return the jobs that squeue lists; it refuses where it knows none of them."""
        found = {}
        for answer in answers:
            if not answer.ok:
                if "Invalid job id specified" in answer.stderr:
                    continue
                raise UnclearError(" ".join(answer.stderr.split()) or f"squeue: exit code {answer.exit_code}")
            for job, rest in _rows(answer):
                if rest.count("|") == 2:
                    found[job] = _listed(*rest.split("|"))
        return found

    def history_commands(self, ids: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        """Return one question a cluster to the accounting."""
        return tuple(
            ("sacct", *self._where(some), *ALLOCATIONS, f"--jobs={_numbers(some)}", f"--format={ASKED_LATER}")
            for some in together(ids)
        )

    def parse_history(self, answers: Sequence[Completed]) -> dict[str, Observed]:
        """Return the jobs that have ended; the database may be late with it, so that others are not told of."""
        return {job: observed for answer in answers for job, observed in _history(answer).items()}

    def detail_command(self, job: str) -> tuple[str, ...]:
        """Return the question for all that is known of a job that squeue lists."""
        return ("scontrol", *self._where([job]), "--oneliner", "show", "job", _numbers([job]))

    def parse_detail(self, answer: Completed) -> int | None:
        """Return the batch script's exit code, None where it is not said."""
        found = re.search(r"\bExitCode=(\d+:\d+)", answer.stdout, re.ASCII)
        return _exit_code(found.group(1)) if answer.ok and found else None

    def cancel_command(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Return the cancellation, of jobs of one cluster."""
        return ("scancel", *self._where(ids), *(job.partition(";")[0] for job in ids))

    def is_gone(self, answer: Completed) -> bool:
        """Return whether scancel had nothing to say but that it knows of no such jobs."""
        lines = [line for line in (answer.stderr + "\n" + answer.stdout).splitlines() if line.strip()]
        return bool(lines) and all(any(word in line for word in GONE) for line in lines)

    def list_command(self, user: str) -> tuple[str, ...]:
        """Return the question for names."""
        headings = () if "," in self._clusters else ("--noheader",)  # among them is whose jobs follow
        return ("squeue", *self._where(), *headings, f"--user={user}", "--format=%i|%j")

    def parse_list(self, answer: Completed) -> dict[str, str]:
        """Return the names by id."""
        if not answer.ok:
            raise UnclearError(" ".join(answer.stderr.split()) or f"squeue: exit code {answer.exit_code}")
        return dict(_rows(answer))

    def _where(self, ids: Sequence[str] = ()) -> tuple[str, ...]:
        """Return the option that names the cluster of jobs, all of one; without jobs, all clusters of the site."""
        clusters = (ids[0].partition(";")[2] if ids else "") or self._clusters
        return (f"--clusters={clusters}",) if clusters else ()


def _id(number: str, cluster: str) -> str:
    """Return a job's id, with its cluster where that is known and one."""
    return f"{number};{cluster}" if cluster and "," not in cluster else number


def _numbers(ids: Sequence[str]) -> str:
    return ",".join(job.partition(";")[0] for job in ids)


def _rows(answer: Completed) -> Iterator[tuple[str, str]]:
    """Yield the id and the rest of each line ``7|rest``; the jobs of a cluster follow a line that names it."""
    cluster = next((word.partition("=")[2] for word in answer.argv if word.startswith("--clusters=")), "")
    for line in answer.stdout.splitlines():
        number, bar, rest = line.partition("|")
        if bar and number.isdecimal():
            yield _id(number, cluster), rest
        elif cluster and line.startswith("CLUSTER: "):
            cluster = line.removeprefix("CLUSTER: ").strip()


def _history(answer: Completed) -> dict[str, Observed]:
    if not answer.ok:
        words = " ".join(f"{answer.stderr} {answer.stdout}".split()) or f"sacct: exit code {answer.exit_code}"
        absent = answer.exit_code == 127 or "accounting storage is disabled" in words
        raise NoHistoryError(words) if absent else UnclearError(words)
    found = {}
    for job, rest in _rows(answer):
        parts = rest.split("|")
        if len(parts) != 4:
            continue
        words, code, nodes, reason = parts
        state = STATE_OF.get(words.split()[0] if words.split() else "")
        if state is not None and state.final:
            by = words.partition(" by ")[2] if state is State.CANCELLED else ""
            found[job] = Observed(state, _said(words, reason), _exit_code(code), _nodes(nodes), by=by)
    return found


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
