"""Hosts without a scheduler: a block is one manager on one host, started and ended over SSH.

Each host has a connection, a folder of the run, a way for its workers and a ledger of its own. A host that does not
answer is passed over while there is another, and told; what ran on it is given up when it has not answered for long.
"""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from parsl.jobs.states import JobState, JobStatus
from parsl.providers.base import ExecutionProvider
from parsl.providers.errors import SubmitException
from parsl.utils import RepresentationMixin

from pilotage import events, journal
from pilotage.errors import BuildError, HostError, PilotageError, UnsupportedError
from pilotage.hosts import openssh
from pilotage.hosts.far import Carried, Equipment, FarFolder
from pilotage.hosts.openssh import LOOPBACK
from pilotage.hosts.transfer import packed
from pilotage.hosts.way import Way
from pilotage.providers.batch import STATES, BlockStatus
from pilotage.providers.ledger import Ledger
from pilotage.schedulers import batch, scheduler
from pilotage.schedulers.base import Block
from pilotage.schedulers.batch import RefusedError

ANYWHERE = "/@pilotage@"
"""Stands for the run's folder on whichever host a command will run on."""
DEAD = 300.0
"""Seconds without an answer after which a host's block is given up."""
AGAIN = 60.0
"""Seconds for which a host that did not answer is passed over."""
AT_ONCE = 8
"""Hosts that are made ready at the same time: from ten on, a jump host's sshd refuses some (its MaxStartups)."""
UNFIT = (HostError, BuildError, UnsupportedError)
"""What is wrong with one host, and need not be with another."""


@dataclass
class Member:
    """One host of a pool."""

    name: str
    folder: FarFolder
    way: Way
    ledger: Ledger
    block: str | None = None
    away: float | None = None
    port: int = 0
    refused: bool = False
    is_equipped: bool = False
    sent: set[str] = field(default_factory=set)


class Pool:
    """The hosts of a pool, as a route and a folder for the executor, and a supply of hosts for the provider.

    Parameters
    ----------
    hosts: as ssh knows them.
    base: the folder there in which the run's is made.
    python: path of a Python there.
    label: the executor's.
    """

    def __init__(self, hosts: Sequence[str], base: str, python: str, label: str) -> None:
        self.members = [_member(name, base, python, label, number) for number, name in enumerate(hosts)]
        self.folder = Everywhere()
        self._port = 0
        self._lock = threading.Lock()

    def open(self, port: int) -> tuple[str, int]:
        """Note the port; each host has its own way to it, which is made when a block is started there."""
        self._port = port
        return LOOPBACK, port

    def close(self) -> None:
        """Give up the ways and remove the folders of all hosts."""
        threads = [threading.Thread(target=self._close, args=(member,)) for member in self.members]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    @staticmethod
    def _close(member: Member) -> None:
        try:
            try:
                member.way.close()
            finally:
                member.folder.end()
        except HostError as error:  # the journal has it: whoever ends the run tries again
            events.tell("remote-folder-left", f"the run's folder is left for now: {error}", login=error.where)

    def take(self) -> Member:
        """Return a host that is free and answers, made ready; raises one of `UNFIT` where there is none."""
        now = time.monotonic()
        problem: PilotageError = HostError("every host has its block already, or a Python that does not fit")
        for member in sorted(self.members, key=lambda one: one.away or 0.0):
            with self._lock:
                if (
                    member.refused
                    or member.block is not None
                    or (member.away is not None and now - member.away < AGAIN)
                ):
                    continue
                if member.port and not member.way.is_up:
                    problem = HostError(f"the connection to {member.name} is lost")
                    continue
                member.block = ""
            try:
                self._prepare(member)
            except UNFIT as error:
                member.block, member.away, problem = None, time.monotonic(), error
                events.tell("host-away", f"{member.name} is passed over: {error.message}", "warning", host=member.name)
                continue
            except BaseException:  # such as a full disk here: it is free all the same
                member.block = None
                raise
            member.away = None
            return member
        raise problem

    def _prepare(self, member: Member) -> None:
        if not member.folder.there:
            member.folder.begin(self.folder.here)
        for here, archive in list(self.folder.sent.items()):
            if here not in member.sent:
                member.folder.deliver(archive, here)
                member.sent.add(here)
        if not member.is_equipped:
            member.folder.code, member.folder.environment = self.folder.code, self.folder.environment
            member.folder.bring()
            member.is_equipped = True
        if not member.port:
            _, member.port = member.way.open(self._port)


class Everywhere:
    """Stands for the run's folder on each of the hosts: what is sent to it goes to every host that has a block."""

    def __init__(self) -> None:
        self.here = Path()
        self.sent: dict[str, bytes] = {}
        self.code: Carried | None = None
        self.environment: Equipment | None = None

    def begin(self, here: Path) -> str:
        """Note the folder here that it mirrors."""
        self.here = here
        return ANYWHERE

    def bring(self) -> None:
        """Do nothing: a host gets it with its block."""

    def path(self, here: str | Path) -> str:
        """Return where a path is there, with a word in the place of what differs; see `FarFolder.path`."""
        if not Path(here).is_relative_to(self.here):
            return str(here)
        return f"{ANYWHERE}/{Path(here).relative_to(self.here)}"

    def send(self, here: str | Path, source: Path | None = None) -> str:
        """Keep a file or folder for all hosts, as it is now; ``source`` is where it is, if not in its place."""
        self.sent[str(here)] = packed(source or Path(here))
        return self.path(here)

    def end(self) -> None:
        """Do nothing: each host's own is ended with its way."""


def _member(name: str, base: str, python: str, label: str, number: int) -> Member:
    folder = FarFolder(openssh.host(name), base, label, number)
    return Member(name, folder, Way(folder, python, "node", nodes_connect=False), Ledger(batch("ssh"), folder.host))


class PoolProvider(ExecutionProvider, RepresentationMixin):
    """Blocks on the hosts of a pool, one on each.

    Parameters
    ----------
    hosts: as ssh knows them.
    run_folder: folder there in which the run's is made.
    worker_init: shell lines before the manager is started.

    The others are those of all providers of Parsl; ``max_blocks`` is at most the number of hosts.
    """

    keeps_journal: ClassVar[bool] = True
    at_once: ClassVar[int] = AT_ONCE

    def __init__(
        self,
        hosts: Sequence[str],
        run_folder: str = "~/.pilotage",
        nodes_per_block: int = 1,
        init_blocks: int = 1,
        min_blocks: int = 0,
        max_blocks: int = 1,
        parallelism: float = 1,
        worker_init: str = "",
    ) -> None:
        self.hosts = list(hosts)
        self.run_folder = run_folder
        self.nodes_per_block = nodes_per_block
        self.init_blocks = min(init_blocks, len(self.hosts))
        self.min_blocks = min(min_blocks, len(self.hosts))
        self.max_blocks = min(max_blocks, len(self.hosts))
        self.parallelism = parallelism
        self.worker_init = worker_init
        self.script_dir: str | None = None
        self.settings: Mapping[str, Any] = {}
        self.pool: Pool | None = None
        self.resources: dict[object, dict[str, Any]] = {}
        self._members: dict[str, Member] = {}

    @property
    def label(self) -> str:
        """What Parsl calls it."""
        return "ssh"

    def submit(self, command: str, tasks_per_node: int, job_name: str = "parsl.auto") -> str:  # noqa: ARG002
        """Start a manager on a host that is free; return the block's handle. Raises SubmitException."""
        if self.pool is None:
            raise RuntimeError("a pool's provider runs under the executor of a site")
        name = f"{journal.job_name(job_name)}.{time.time():.6f}"
        script = (Path(self.script_dir or ".") / name).absolute()
        member = None
        try:
            member = self.pool.take()
            there = member.folder.path(script)
            script.write_text(self._script(command, member, name, there), encoding="utf-8")
            member.folder.send(script)
            handle = member.ledger.submit(there, name)
        except (*UNFIT, RefusedError) as error:
            if member is not None:
                member.block = None
            raise SubmitException(name, f"no host takes it: {error}") from error
        handle = f"{member.name} {handle}"
        member.block = handle
        self._members[handle] = member
        status = BlockStatus(JobState.RUNNING, stdout_path=f"{script}.stdout", stderr_path=f"{script}.stderr")
        self.resources[handle] = {"job_id": handle, "status": status}
        return handle

    def _script(self, command: str, member: Member, name: str, there: str) -> str:
        command = command.replace(ANYWHERE, shlex.quote(member.folder.there))
        block = Block(
            name=name,
            command=f"PILOTAGE_INTERCHANGE={LOOPBACK}:{member.port} {command}",
            stdout=f"{there}.stdout",
            stderr=f"{there}.stderr",
            nodes=1,
            worker_init=self.worker_init,
            settings={**self.settings, "hosts": [member.name]},
        )
        return scheduler("ssh").render(block)

    def status(self, job_ids: Sequence[object]) -> list[JobStatus]:
        """Return the states of blocks."""
        return [self._look(str(job)) for job in job_ids]

    def _look(self, handle: str) -> JobStatus:
        member, resource = self._members[handle], self.resources[handle]
        before: BlockStatus = resource["status"]
        if before.terminal:
            return before
        paths = {"stdout_path": before.stdout_path, "stderr_path": before.stderr_path}
        if self._is_dead(member):
            words = f"{member.name}: {member.name} has not answered for {DEAD / 60:.0f} minutes"
            status = BlockStatus(JobState.FAILED, words, None, **paths)
        elif not member.way.is_up:  # whoever asks would wait for it, and the blocks of other hosts with it
            return before
        else:
            (observed,) = member.ledger.look([handle.rpartition(" ")[2]])
            words = f"{member.name}: {observed.words}"
            status = BlockStatus(STATES[observed.state], words, observed.exit_code, **paths)
        resource["status"] = status
        if status.terminal:
            member.block = None
            for path in filter(None, paths.values() if member.way.is_up else ()):
                member.folder.fetch(path)
        return status

    @staticmethod
    def _is_dead(member: Member) -> bool:
        if member.way.is_up or member.way.wants_person:
            member.away = None
            return False
        member.away = time.monotonic() if member.away is None else member.away
        return time.monotonic() - member.away > DEAD

    def cancel(self, job_ids: Sequence[object]) -> list[bool]:
        """End blocks; return for each whether it has ended."""
        jobs = [str(job) for job in job_ids]
        done: dict[str, bool] = {}

        def end(job: str) -> None:
            done[job] = self._cancel(job)

        threads = [threading.Thread(target=end, args=(job,)) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.status(jobs)
        return [done.get(job, False) for job in jobs]

    def _cancel(self, handle: str) -> bool:
        member = self._members[handle]
        (ended,) = member.ledger.cancel([handle.rpartition(" ")[2]])
        if ended:
            member.block = None
        return ended

    def pass_over(self, handle: object) -> bool:
        """Take no more the host of a block, on which no workers can start; return whether there are others."""
        self._members[str(handle)].refused = True
        return self.pool is not None and not all(member.refused for member in self.pool.members)

    @property
    def status_polling_interval(self) -> float:  # type: ignore[override]  # Parsl takes either
        """Seconds between polls."""
        return min((member.ledger.interval for member in self._members.values()), default=1.0)
