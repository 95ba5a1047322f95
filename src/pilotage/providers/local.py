"""Parsl's LocalProvider with our script, started and ended without the help of a shell's or ``ps``'s luck."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import psutil
from parsl.jobs.states import JobState, JobStatus
from parsl.providers import LocalProvider as ParslLocalProvider
from parsl.providers.errors import ScriptPathError

from pilotage import journal
from pilotage.schedulers import scheduler
from pilotage.schedulers.base import Block
from pilotage.worker import processes

# The exit code goes to a file because Parsl's status reads it there.
RUNNER = 'bash "$0" >"$0.out" 2>"$0.err"; echo $? >"$0.ec.part"; mv "$0.ec.part" "$0.ec"'


PATIENCE = 3.0
"""Seconds that a block has between SIGTERM and SIGKILL."""


class LocalProvider(ParslLocalProvider):
    """Blocks as process groups of this machine.

    Parsl's own puts the script's path unquoted into a shell line and asks ``ps`` for the group to kill; a folder
    with a space breaks the one, a small container without ``ps`` the other.
    """

    settings: Mapping[str, Any] = {}
    keeps_journal: ClassVar[bool] = True

    def submit(self, command: str, tasks_per_node: int, job_name: str = "parsl.localprovider") -> str:
        """Start a block in a process group of its own; return its job id, the group's id."""
        path = Path(self.script_dir or ".").absolute() / f"{job_name}.{time.time()}.sh"
        self._write(path, self.launcher(command, tasks_per_node, self.nodes_per_block, self.script_dir))
        key = journal.intend("process", role="block", name=job_name, group=True, run=journal.run_id())
        process = subprocess.Popen(
            ["/bin/bash", "-c", RUNNER, str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,
            env={**os.environ, "PILOTAGE_RUN": journal.run_id()},
        )
        journal.identify(key, **processes.identity(process.pid))
        job_id = str(process.pid)
        self.resources[job_id] = {
            "journal_key": key,
            "job_id": job_id,
            "status": JobStatus(JobState.RUNNING),
            "remote_pid": process.pid,
            "script_path": str(path),
            "process": process,
        }
        return job_id

    def status(self, job_ids: Sequence[object]) -> list[JobStatus]:
        """Return the state of each block."""
        for resource in self.resources.values():
            resource["process"].poll()  # an ended child that nobody waits for looks alive to Parsl
        states: list[JobStatus] = super().status(job_ids)
        return states

    @property
    def status_polling_interval(self) -> int:
        """Seconds between polls; asking a child of ours costs nothing."""
        return 1

    def cancel(self, job_ids: Sequence[object]) -> list[bool]:
        """End the blocks with their process groups; True for each, as Parsl's own."""
        for job in job_ids:
            self.resources[job]["cancelled"] = True
        groups = [self.resources[job]["process"] for job in job_ids]
        for number, patience in ((signal.SIGTERM, PATIENCE), (signal.SIGKILL, 0.0)):
            groups = [process for process in groups if _signal_group(process, number)]
            end = time.monotonic() + patience
            while groups and time.monotonic() < end:
                time.sleep(0.02)
                groups = [process for process in groups if _signal_group(process, 0)]
        for job in job_ids:
            if self.resources[job]["process"] not in groups:
                journal.ended(self.resources[job]["journal_key"], "cancelled")
        return [True] * len(job_ids)

    def _write(self, path: Path, command: str) -> None:
        block = Block(
            name=path.stem,
            command=command,
            stdout=f"{path}.out",
            stderr=f"{path}.err",
            nodes=self.nodes_per_block,
            worker_init=self.worker_init,
            settings=self.settings,
        )
        try:
            path.write_text(scheduler("local").render(block), encoding="utf-8")
            Path(f"{path}.ec").write_text("-")
        except OSError as error:
            raise ScriptPathError(str(path), error) from error


def _signal_group(process: subprocess.Popen[bytes], number: int) -> bool:
    """Send a signal to a block's process group; return whether there is anything left of it.

    Once the leader has ended and been waited for, its number may be another process's. As long as the group has
    members it is nobody's, so a process of that number means that the group is gone.
    """
    if process.poll() is not None and psutil.pid_exists(process.pid):
        return False
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return process.poll() is None or any(map(_is_alive, _members(process.pid)))


def _members(group: int) -> Iterator[int]:
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            if os.getpgid(pid) == group:
                yield pid


def _is_alive(pid: int) -> bool:
    """Return whether a process runs; one that has ended may keep its number until init looks, a second or more."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
