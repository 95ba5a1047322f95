"""Launchers: what starts one manager on each node of a block.

Parsl's own put the manager's command into an unquoted here-document and a file in the current folder: a ``$`` in it is
expanded on the first node, and a space in a path breaks it. Here the command is one argument of ``bash -c``, quoted
once, and no file is written. What a launcher tells its processes about MPI is taken away from managers, or the MPI
programs of tasks would take themselves for ranks of it.
"""

from __future__ import annotations

import shlex
from typing import ClassVar

import typeguard
from parsl.launchers import SimpleLauncher
from parsl.launchers.base import Launcher

from pilotage.errors import UnsupportedError
from pilotage.sites.plan import Call

FORGET = (
    "'unset ${!PMI_@} ${!PMIX_@} ${!OMPI_COMM@} ${!OMPI_UNIVERSE_@} ${!OMPI_MCA_orte_@} ${!OMPI_MCA_ess@} "
    "${!OMPI_MCA_pmix@} ${!PRTE_@} MPI_LOCALRANKID MPI_LOCALNRANKS SLURM_LABELIO ${!SLURM_CPU_BIND@}\n"
    """exec bash -c "$1"'"""
)
"""Shell text, quoted, that runs its first argument without what says "you are a rank"."""

HOSTS = """\
# The job's nodes, in the scheduler's order, the first one first.
hosts=$(if [ -n "${SLURM_JOB_NODELIST:-}" ]; then scontrol show hostnames "$SLURM_JOB_NODELIST"
elif [ -n "${PBS_NODEFILE:-}" ]; then cat "$PBS_NODEFILE"
elif [ -n "${PE_HOSTFILE:-}" ]; then cut -d" " -f1 "$PE_HOSTFILE"
else uname -n; fi | awk '!seen[$0]++' | paste -sd, -)
"""
AS_ROOT = """\
[ "$(id -u)" != 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
"""


class PerNode(Launcher):
    """A launcher that runs the manager's command on each node.

    Parameters
    ----------
    overrides: more options for the launching program, as shell words.
    debug: unused; Parsl's launchers take it.
    """

    before: ClassVar[str] = ""
    """Shell lines before the launching program."""

    @typeguard.typechecked
    def __init__(self, overrides: str = "", debug: bool = True) -> None:
        super().__init__(debug=debug)
        self.overrides = overrides

    def start(self, per_node: int, nodes: int) -> str:
        """Return the program that starts ``per_node`` processes on each of ``nodes`` nodes, as shell words."""
        raise NotImplementedError

    def parsls(self, scheduler: str, nodes: int) -> Call:
        """Return the launcher of Parsl's that comes nearest; raises UnsupportedError where none will do."""
        raise NotImplementedError

    def __call__(self, command: str, tasks_per_node: int, nodes_per_block: int, script_dir: str = "") -> str:  # noqa: ARG002
        """Return the shell text that starts the managers of a block."""
        start = f"{self.start(tasks_per_node, nodes_per_block)} {self.overrides}".rstrip()
        return f"{self.before}{start} bash -c {FORGET} manager \\\n  {shlex.quote(command.strip())}\n"


class Srun(PerNode):
    """Slurm's srun. Tasks may use it too: the managers' step shares its nodes with others."""

    # A manager that ends must not end the others (--wait, --kill-on-bad-exit), nor be kept on one core (--cpu-bind).
    options: ClassVar[str] = "--mpi=none --cpu-bind=none --overlap --kill-on-bad-exit=0 --wait=0"

    def start(self, per_node: int, nodes: int) -> str:
        """Return the program; see `PerNode`."""
        return f"srun --nodes={nodes} --ntasks={per_node * nodes} --ntasks-per-node={per_node} --label {self.options}"

    def parsls(self, scheduler: str, nodes: int) -> Call:  # noqa: ARG002
        """Return Parsl's SrunLauncher with the same options."""
        return _call("SrunLauncher", "--ntasks-per-node=1", self.options, self.overrides)


class OpenMPI(PerNode):
    """mpiexec of Open MPI, which would start all managers on the first node."""

    before = HOSTS + AS_ROOT

    def start(self, per_node: int, nodes: int) -> str:
        """Return the program; see `PerNode`."""
        spread = f"--map-by ppr:{per_node}:node --bind-to none"
        return f'mpiexec -n {per_node * nodes} --host "$hosts" {spread}'

    def parsls(self, scheduler: str, nodes: int) -> Call:
        """Return Parsl's MpiExecLauncher with the same options."""
        return _mpiexec(scheduler, nodes, "--bind-to", "--map-by ppr:1:node", self.overrides)


class MPICH(PerNode):
    """mpiexec of MPICH (Hydra), and Intel's."""

    before = HOSTS

    def start(self, per_node: int, nodes: int) -> str:
        """Return the program; see `PerNode`."""
        return f'mpiexec -n {per_node * nodes} -ppn {per_node} -hosts "$hosts"'

    def parsls(self, scheduler: str, nodes: int) -> Call:
        """Return Parsl's MpiExecLauncher with the same options."""
        return _mpiexec(scheduler, nodes, "--bind-to", "-ppn 1", self.overrides)


class PALS(PerNode):
    """mpiexec of Cray PALS, which knows the nodes of the job itself.

    Parameters
    ----------
    cpu_bind: its ``--cpu-bind``.
    overrides, debug: see `PerNode`.
    """

    @typeguard.typechecked
    def __init__(self, cpu_bind: str = "none", overrides: str = "", debug: bool = True) -> None:
        super().__init__(overrides, debug)
        self.cpu_bind = cpu_bind

    def start(self, per_node: int, nodes: int) -> str:
        """Return the program; see `PerNode`."""
        return f"mpiexec -n {per_node * nodes} --ppn {per_node} --cpu-bind {shlex.quote(self.cpu_bind)}"

    def parsls(self, scheduler: str, nodes: int) -> Call:
        """Return Parsl's MpiExecLauncher with the same options."""
        if self.cpu_bind != "none":
            raise UnsupportedError(f"Parsl's MpiExecLauncher has no --cpu-bind {self.cpu_bind}")
        return _mpiexec(scheduler, nodes, "--cpu-bind", "--ppn 1", self.overrides)


class Mpiexec(PerNode):
    """Whatever mpiexec the node has: Open MPI's, MPICH's, Intel's, or that of Cray PALS; it is asked."""

    before = HOSTS + AS_ROOT

    def start(self, per_node: int, nodes: int) -> str:
        """Return the program; see `PerNode`."""
        return f"""\
case $(mpiexec --version 2>&1) in
*"Open MPI"* | *OpenRTE* | *PRRTE*) spread=(--host "$hosts" --map-by ppr:{per_node}:node --bind-to none) ;;
*PALS* | *pals*) spread=(--ppn {per_node} --cpu-bind none) ;;
*HYDRA* | *Intel*) spread=(-ppn {per_node} -hosts "$hosts") ;;
*) echo "cannot tell which mpiexec this is ($(command -v mpiexec || echo none is on the PATH)):" \\
  "set launcher.class to openmpi, mpich or pals" >&2; exit 127 ;;
esac
mpiexec -n {per_node * nodes} "${{spread[@]}}\""""

    def parsls(self, scheduler: str, nodes: int) -> Call:
        """Return Parsl's MpiExecLauncher for one node; for several it would have to know which mpiexec it is."""
        if nodes > 1:
            raise UnsupportedError(
                "Parsl's MpiExecLauncher cannot tell which mpiexec a node has",
                hint="name it: openmpi, mpich or pals",
            )
        return _mpiexec(scheduler, nodes, "--bind-to", self.overrides)


class Flux(PerNode):
    """``flux run`` in an instance of Flux; each manager has its whole node.

    Without ``--exclusive`` a manager would have one core of its node, and all its workers on it. Half a minute after
    the first task has ended Flux ends the others, unless told not to: here a manager that is lost is one manager.
    """

    def start(self, per_node: int, nodes: int) -> str:
        """Return the program; see `PerNode`."""
        options = "--exclusive --label-io --setopt=exit-timeout=none"
        return f"flux run --nodes={nodes} --ntasks={per_node * nodes} {options}"

    def parsls(self, scheduler: str, nodes: int) -> Call:  # noqa: ARG002
        """Raise UnsupportedError: Parsl has none."""
        raise UnsupportedError("Parsl has no launcher for Flux")


class Unlaunched(SimpleLauncher):
    """No launcher: one manager, on the block's first node."""

    def __call__(self, command: str, tasks_per_node: int, nodes_per_block: int, script_dir: str = "") -> str:  # noqa: ARG002
        """Return the command; Parsl's warns of blocks of several nodes, which are told of when managers are missing."""
        return command

    def parsls(self, scheduler: str, nodes: int) -> Call:  # noqa: ARG002
        """Return Parsl's SimpleLauncher."""
        return Call("parsl.launchers.SimpleLauncher")


def _call(name: str, *options: str, **arguments: str) -> Call:
    overrides = " ".join(option for option in options if option)
    return Call(f"parsl.launchers.{name}", {**arguments, **({"overrides": overrides} if overrides else {})})


def _mpiexec(scheduler: str, nodes: int, bind_cmd: str, *options: str) -> Call:
    if nodes > 1 and scheduler not in ("pbspro", "parsl"):
        raise UnsupportedError(
            f"Parsl's MpiExecLauncher takes the nodes from PBS_NODEFILE, which {scheduler} does not set",
            hint='launcher = { class = "srun" } where srun is' if scheduler == "slurm" else None,
        )
    return _call("MpiExecLauncher", *options, bind_cmd=bind_cmd)
