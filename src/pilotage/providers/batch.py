"""Blocks as batch jobs that a `Ledger` looks after, under the settings of one of Parsl's providers."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from parsl.jobs.states import JobState, JobStatus
from parsl.providers.errors import SubmitException

from pilotage import journal
from pilotage.errors import HostError
from pilotage.hosts.local import LocalHost
from pilotage.providers.ledger import Ledger
from pilotage.schedulers import batch
from pilotage.schedulers.batch import Batch, Observed, RefusedError, State

if TYPE_CHECKING:
    from pilotage.hosts.far import FarFolder

STATES = {
    State.PENDING: JobState.PENDING,
    # Parsl's strategy does not count a block that is HELD, and would ask for another one each time.
    State.HELD: JobState.PENDING,
    State.RUNNING: JobState.RUNNING,
    State.COMPLETED: JobState.COMPLETED,
    State.FAILED: JobState.FAILED,
    State.TIMEOUT: JobState.TIMEOUT,
    State.CANCELLED: JobState.CANCELLED,
    State.LOST: JobState.MISSING,
}
_MAKING = threading.Lock()


class BlockStatus(JobStatus):
    """Parsl's status of a block; ``held`` is what Parsl is not told: that it waits for somebody to release it."""

    held = False


class LedgerJobs:
    """Mixin for Parsl's ClusterProvider: its jobs are in a ledger, and by that in the journal."""

    scheduler_name: ClassVar[str]
    keeps_journal: ClassVar[bool] = True
    script_dir: str | None
    nodes_per_block: int
    launcher: Any
    cmd_timeout: int
    resources: dict[object, dict[str, Any]]
    far: FarFolder | None = None
    """Where scripts and logs are, and whose host runs the scheduler's commands, where that is a login host."""
    _ledger: Ledger | None = None

    def batch(self) -> Batch:
        """Return the scheduler's commands."""
        return batch(self.scheduler_name)

    @property
    def ledger(self) -> Ledger:
        """What became of the jobs."""
        with _MAKING:  # blocks are started on one thread, and looked at on another
            if self._ledger is None:
                host = LocalHost() if self.far is None else self.far.host
                self._ledger = Ledger(self.batch(), host, timeout=max(self.cmd_timeout, 10))
            return self._ledger

    def submit(self, command: str, tasks_per_node: int, job_name: str = "parsl.auto") -> str:
        """Submit a block and return the job's handle; raises SubmitException with the scheduler's words.

        The job's name begins with the run's id, by which it is found without an id of its own.
        """
        name = f"{journal.job_name(job_name)}.{time.time():.6f}"
        script = (Path(self.script_dir or ".") / name).absolute()
        there = str(script) if self.far is None else self.far.path(script)
        folder, out, err = str(Path(there).parent), f"{there}.stdout", f"{there}.stderr"
        wrapped = self.launcher(command, tasks_per_node, self.nodes_per_block, folder)
        configs: Mapping[str, Any] = {
            "submit_script_dir": folder,
            "tasks_per_node": tasks_per_node,
            "user_script": wrapped,
            "job_stdout_path": out,
            "job_stderr_path": err,
        }
        self._write_submit_script("", str(script), name, configs)
        try:
            if self.far is not None:
                self.far.send(script)
            handle = self.ledger.submit(there, name)
        except RefusedError as error:
            raise SubmitException(name, f"{self.scheduler_name} refused it: {error}") from error
        except HostError as error:
            raise SubmitException(name, f"its script was not sent: {error}") from error
        status = BlockStatus(JobState.PENDING, stdout_path=f"{script}.stdout", stderr_path=f"{script}.stderr")
        self.resources[handle] = {"job_id": handle, "status": status}
        return handle

    def status(self, job_ids: Sequence[object]) -> list[JobStatus]:
        """Return the states of jobs, with the scheduler's words."""
        found = self.ledger.look([str(job) for job in job_ids])
        return [self._noted(job, observed) for job, observed in zip(job_ids, found, strict=True)]

    def cancel(self, job_ids: Sequence[object]) -> list[bool]:
        """Cancel jobs; return for each whether it is cancelled or had ended."""
        done = self.ledger.cancel([str(job) for job in job_ids])
        self.status(job_ids)
        return done

    @property
    def status_polling_interval(self) -> float:
        """Seconds between polls."""
        return self.ledger.interval

    def _noted(self, job: object, observed: Observed) -> JobStatus:
        resource = self.resources[job]
        before: JobStatus = resource["status"]
        paths = {"stdout_path": before.stdout_path, "stderr_path": before.stderr_path}
        status = BlockStatus(STATES[observed.state], observed.words, observed.exit_code, **paths)
        status.held = observed.state is State.HELD
        if self.far is not None and status.terminal and not before.terminal:
            for path in filter(None, paths.values()):  # what it has written says why, as far as it can be had now
                self.far.fetch(path)
        resource["status"] = status
        return status

    def _write_submit_script(
        self, template: str, script_filename: str, job_name: str, configs: Mapping[str, Any]
    ) -> None:
        raise NotImplementedError
