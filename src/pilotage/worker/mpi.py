"""MPI programs of tasks: the nodes of the job that each gets, and the command that starts its ranks there.

Parsl's manager and worker are given these in the place of their own. Parsl's scheduler of nodes looks for the next
waiting task by calling itself until one fits, and where none does it ends in a RecursionError that takes a finished
result with it; its mpiexec is MPICH's.
"""

from __future__ import annotations

import functools
import os
import pickle
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parsl.app.errors import RemoteExceptionWrapper
from parsl.executors.high_throughput import mpi_prefix_composer as parsls
from parsl.executors.high_throughput import mpi_resource_management as management
from parsl.serialize import serialize

POOL = "parsl.executors.high_throughput.process_worker_pool"
OURS = b"\x00pilotage "
"""First bytes of what the manager sends that is no result."""
PASSED = 32
"""Times that later tasks may go before one that waits for more nodes than are free."""
TIMEOUT = 30
"""Seconds for a question to a scheduler or to mpiexec."""
PROGRAMS = ("srun", "mpiexec", "openmpi", "mpich", "pals", "aprun", "flux")
"""What can start ranks; ``mpiexec`` is one of the three that come after it, whichever the node has."""


class NotEnoughNodesError(management.MPINodesUnavailable):
    """A task asks for more nodes than its block has."""

    def __str__(self) -> str:
        return f"the task asks for {self.requested} nodes, and a block has {self.available}"


@dataclass
class _Waiting:
    task: dict[str, Any]
    nodes: int
    passed: int = 0


class NodeScheduler(management.TaskScheduler):
    """Gives nodes of the job to tasks, in the order in which these came; smaller ones may use what is left over.

    Parameters
    ----------
    pending_task_q, pending_result_q: the manager's queues of tasks and messages.
    nodes: the job's nodes; asked for when not given.
    started: called when a task of several ranks is started.
    """

    def __init__(
        self,
        pending_task_q: Any,
        pending_result_q: Any,
        nodes: Sequence[str] | None = None,
        started: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(pending_task_q, pending_result_q)
        self._started = started
        self.nodes = list(nodes if nodes is not None else nodes_of_job(os.environ))
        self._free = list(self.nodes)
        self._held: dict[int, list[str]] = {}
        self._waiting: list[_Waiting] = []
        self._lock = threading.Lock()

    def put_task(self, task: dict[str, Any]) -> None:
        """Start a task, now or when its nodes are free."""
        wanted = int(task.get("context", {}).get("resource_spec", {}).get("num_nodes") or 0)
        if wanted > len(self.nodes):
            self.pending_result_q.put(_failed(task, NotEnoughNodesError(wanted, len(self.nodes))))
            return
        with self._lock:
            self._waiting.append(_Waiting(task, wanted))
            self._start()

    def get_result(self, block: bool = True, timeout: float | None = None) -> Any:
        """Return the next message for the driver; the nodes of a task that has ended go to others."""
        message = self.pending_result_q.get(block, timeout)
        if message is None or message.startswith(OURS):
            return message
        told = pickle.loads(message)
        if told["type"] == "result":
            with self._lock:
                back = set(self._held.pop(told["task_id"], ()))
                self._free = [node for node in self.nodes if node in back or node in self._free]
                self._start()
        return message

    def _start(self) -> None:
        left: list[_Waiting] = []
        for number, waiting in enumerate(self._waiting):
            fits = waiting.nodes <= len(self._free)
            if fits and not any(other.passed >= PASSED for other in left):
                for other in left:
                    other.passed += 1
                self._give(waiting)
            else:
                left.append(waiting)
            if not self._free:
                left += self._waiting[number + 1 :]
                break
        self._waiting = left

    def _give(self, waiting: _Waiting) -> None:
        if waiting.nodes:
            taken, self._free = self._free[: waiting.nodes], self._free[waiting.nodes :]
            self._held[waiting.task["task_id"]] = taken
            spec = waiting.task["context"]["resource_spec"]
            spec["MPI_NODELIST"] = ",".join(taken)
            if int(spec.get("num_ranks") or 1) > 1:
                self._started()
        self.pending_task_q.put(waiting.task)


def nodes_of_job(environ: Mapping[str, str]) -> list[str]:
    """Return the nodes of the batch job that this process is in, each once; of no job: this machine."""
    if hosts := environ.get("SLURM_JOB_NODELIST"):
        found = _answer(["scontrol", "show", "hostnames", hosts]).split()
    elif path := environ.get("PBS_NODEFILE"):
        found = Path(path).read_text().split()
    elif path := environ.get("PE_HOSTFILE"):
        found = [line.split()[0] for line in Path(path).read_text().splitlines() if line.strip()]
    elif "FLUX_URI" in environ:
        found = _answer(["flux", "hostlist", "--expand", "instance"]).split()
    else:
        found = ["localhost"]
    return list(dict.fromkeys(found))


def flavour(version: str) -> str | None:
    """Return whose mpiexec it is that answers ``--version`` so: ``openmpi``, ``mpich`` or ``pals``; None for others."""
    if any(word in version for word in ("Open MPI", "OpenRTE", "PRRTE")):
        return "openmpi"
    if "PALS" in version.upper():
        return "pals"
    return "mpich" if any(word in version for word in ("HYDRA", "Intel")) else None


@dataclass(frozen=True)
class Starter:
    """What starts the ranks of MPI programs on this node.

    program: one of `PROGRAMS`, but not ``mpiexec``.
    path: the program as it is started.
    options: more options of every start, as shell words.
    """

    program: str
    path: str
    options: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)

    def prefix(self, spec: Mapping[str, Any], hosts: Sequence[str]) -> str:
        """Return the words that come before an MPI program.

        Parameters
        ----------
        spec: ``num_ranks``, ``ranks_per_node`` and ``launcher_options`` of the task.
        hosts: its nodes.
        """
        ranks, each, nodes = int(spec["num_ranks"]), int(spec["ranks_per_node"]), ",".join(hosts)
        slots = ",".join(f"{host}:{each}" for host in hosts)
        words = {
            "srun": f"--ntasks {ranks} --ntasks-per-node {each} --nodes {len(hosts)} --nodelist {nodes}",
            "openmpi": f"-n {ranks} --host {slots} --map-by ppr:{each}:node",
            "mpich": f"-n {ranks} -ppn {each} -hosts {nodes}",
            "pals": f"-n {ranks} --ppn {each} --hosts {nodes}",
            "aprun": f"-n {ranks} -N {each} -L {nodes}",
            "flux": f"run -n {ranks} -N {len(hosts)} --requires=host:{nodes}",
        }[self.program]
        return " ".join(part for part in (self.path, words, self.options, spec.get("launcher_options", "")) if part)

    def variables_of(
        self,
        mpi_launcher: str,  # noqa: ARG002  one of the three that Parsl knows
        resource_spec: dict[str, Any],
        node_hostnames: list[str],
    ) -> dict[str, str]:
        """Return the environment of a task; stands for Parsl's ``compose_all``, whose arguments it has."""
        spec = {"launcher_options": "", **resource_spec}
        prefix = self.prefix(spec, node_hostnames)
        theirs = dict(
            compose(spec, node_hostnames)
            for compose in (
                parsls.compose_aprun_launch_cmd,
                parsls.compose_srun_launch_cmd,
                parsls.compose_mpiexec_launch_cmd,
            )
        )
        own = "MPIEXEC" if self.program in ("openmpi", "mpich", "pals") else self.program.upper()
        return {**theirs, **self.variables, f"PARSL_{own}_PREFIX": prefix, "PARSL_MPI_PREFIX": prefix}


def starter(program: str, options: str, tell: Callable[[str], object]) -> Starter:
    """Return what starts ranks here.

    Parameters
    ----------
    program: one of `PROGRAMS`.
    options: more options, as shell words.
    tell: told in words what may be wrong.
    """
    command = program if program in ("srun", "aprun", "flux") else "mpiexec"
    beside = Path(sys.executable).parent / command  # of an environment that is not activated, such as conda's
    path = command
    if shutil.which(command) is None and os.access(beside, os.X_OK):
        path = shlex.quote(str(beside))
    elif shutil.which(command) is None:
        tell(f"there is no {command} on the PATH of this node, with which MPI programs are to be started")
    if program == "mpiexec":
        found = flavour(_answer([shlex.split(path)[0], "--version"], fail=False))
        if found is None:
            tell("cannot tell whose mpiexec this node has, and take it for MPICH's: set mpi.launcher")
        program = found or "mpich"
    variables = {}
    if program == "openmpi" and os.geteuid() == 0:
        variables = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return Starter(program, path, options, variables)


def install(start: Starter, started: Callable[[], object]) -> None:
    """Let Parsl's manager, which has not run yet, and its workers, which have not been forked yet, take ours.

    Parameters
    ----------
    start: what starts ranks.
    started: called when a task of several ranks is started.
    """
    scheduler: Any = functools.partial(NodeScheduler, started=started)
    management.MPITaskScheduler = scheduler  # type: ignore[misc]
    parsls.compose_all = start.variables_of
    if (pool := sys.modules.get(POOL)) is not None:  # for the workers, and has its own name for it by now
        pool.compose_all = start.variables_of  # type: ignore[attr-defined]


def _failed(task: Mapping[str, Any], error: Exception) -> bytes:
    wrapped = serialize(RemoteExceptionWrapper(type(error), error, None))
    return pickle.dumps({"type": "result", "task_id": task["task_id"], "exception": wrapped})


def _answer(argv: Sequence[str], *, fail: bool = True) -> str:
    """Return what a command prints; raises RuntimeError with its words where it fails, unless ``fail`` is False."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        if fail:
            raise RuntimeError(f"{argv[0]} cannot be asked: {error}") from error
        return ""
    if done.returncode and fail:
        raise RuntimeError(f"{shlex.join(argv)} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout + done.stderr
