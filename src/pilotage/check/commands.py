"""The scheduler's programs, and the launcher's."""

from __future__ import annotations

from pilotage.assembly.configs import refuse_without_kubernetes
from pilotage.check.asked import inquiry_of
from pilotage.check.context import Context
from pilotage.check.finding import Finding, failed, ok, skipped, warning
from pilotage.check.probe import Cost, Probe, probe
from pilotage.errors import PilotageError
from pilotage.schedulers import scheduler
from pilotage.schedulers.inquiry import words
from pilotage.sites.models import BatchSite, BlockSite, KubernetesSite, LocalSite, ParslSite
from pilotage.sites.plan import launcher

PROGRAMS = {
    "AprunLauncher": "aprun",
    "Flux": "flux",
    "GnuParallelLauncher": "parallel",
    "JsrunLauncher": "jsrun",
    "MPICH": "mpiexec",
    "MpiExecLauncher": "mpiexec",
    "MpiRunLauncher": "mpirun",
    "Mpiexec": "mpiexec",
    "OpenMPI": "mpiexec",
    "PALS": "mpiexec",
    "Srun": "srun",
    "SrunLauncher": "srun",
    "SrunMPILauncher": "srun",
}
"""The program that each launcher, ours or Parsl's, starts managers with."""
FIRST_NODE_ONLY = {"SimpleLauncher", "SingleNodeLauncher", "Unlaunched", "WrappedLauncher"}
MPI_PROGRAMS = {"srun": "srun", "aprun": "aprun", "flux": "flux"}
"""The program of each ``mpi.launcher``; all others are an mpiexec."""
HOMES = {"slurm": "Slurm", "pbspro": "PBS", "gridengine": "Grid Engine", "flux": "Flux"}


@probe
class Commands(Probe):
    """The scheduler's programs are on the PATH, and say their version."""

    name = "commands"
    cost = Cost.MACHINE
    needs = ("login",)

    def applies(self, context: Context) -> bool:
        """Apply to batch sites."""
        return isinstance(context.site, BatchSite) and inquiry_of(context) is not None

    def run(self, context: Context) -> Finding:
        """Look for each, and ask one for the version."""
        known, asked = scheduler(context.site.scheduler), inquiry_of(context)
        missing = [program for program in known.commands if not context.host.has(program)]
        name = HOMES.get(known.name, known.name)
        if missing:
            return failed(
                f"not on the PATH: {', '.join(missing)}",
                hint=f"put {name}'s programs on the PATH of shells there that are not interactive (~/.bashrc)"
                if context.is_far
                else f"run this on a login host of the site, or put {name}'s programs on the PATH",
                where=context.key("scheduler"),
                command=f"command -v {' '.join(known.commands)}",
            )
        if asked is None:
            return ok(", ".join(known.commands))
        command = asked.version_command()
        answer = context.run(*command)
        version = asked.parse_version(answer)
        if not version:
            return warning(
                f"{command[0]} does not say its version: {words(answer)}",
                hint=f"is it {name}'s? others have programs of that name",
                command=" ".join(command),
            )
        return ok(f"{name} {version}: {', '.join(known.commands)}", command=" ".join(command))


@probe
class Kubernetes(Probe):
    """Parsl's provider finds how a cluster is reached."""

    name = "kubernetes"
    cost = Cost.MACHINE
    needs = ("configuration", "address")

    def applies(self, context: Context) -> bool:
        """Apply to sites on Kubernetes."""
        return isinstance(context.site, KubernetesSite)

    def run(self, context: Context) -> Finding:
        """Make the provider."""
        command = "kubectl cluster-info"
        try:
            refuse_without_kubernetes(context.resolved)
        except PilotageError as error:
            hint = error.hint or "run this where kubectl reaches the cluster, or set KUBECONFIG"
            return failed(error.message, hint=hint, where=error.where, command=command)
        return ok("how to reach the cluster is known; whether it answers was not asked", command=command)


@probe
class Launcher(Probe):
    """The launcher starts a manager on each node, and its program is there."""

    name = "launcher"
    cost = Cost.MACHINE
    needs = ("configuration", "commands")

    def applies(self, context: Context) -> bool:
        """Apply to sites with a launcher."""
        site = context.blocks
        own = isinstance(site, ParslSite) and not site.launcher  # the provider's default, whatever that is
        return site is not None and not own and launcher(site) is not None

    def run(self, context: Context) -> Finding:
        """Compare the launcher with the number of nodes, and look for its program."""
        site = context.blocks
        call = None if site is None else launcher(site)
        if site is None or call is None:
            return skipped("there is no launcher")
        where = context.key("launcher", "class") if site.launcher else context.key("launcher")
        if site.mpi is not None:  # the manager is on the first node, and what starts ranks comes to the others
            starts = MPI_PROGRAMS.get(site.mpi.launcher, "mpiexec")
            return _program(context, site, f"MPI by {site.mpi.launcher}", starts, context.key("mpi", "launcher"))
        if site.nodes_per_block > 1 and call.name in FIRST_NODE_ONLY and not isinstance(site, LocalSite):
            return failed(
                f"{call.name} starts managers on the first of {site.nodes_per_block} nodes only: the others stay idle",
                hint=f'launcher = {{ class = "{_for_many(site)}" }}',
                where=where,
            )
        program = PROGRAMS.get(call.name)
        if program is None:
            return ok(f"{call.name} needs no program")
        return _program(context, site, call.name, program, where)


def _program(context: Context, site: BlockSite, name: str, program: str, where: str) -> Finding:
    command = f"command -v {program}"
    if context.host.has(program):
        return ok(f"{name}: {program} is there", command=command)
    if site.worker_init.strip():
        return skipped(f"{program} is not on the PATH here; worker_init may bring it on the nodes", command=command)
    return failed(
        f"{name} needs {program}, which is not on the PATH",
        hint=f'bring it on the nodes with worker_init, such as worker_init = "module load {program}"',
        where=where,
        command=command,
    )


def _for_many(site: BlockSite) -> str:
    return {"slurm": "srun", "flux": "flux"}.get(site.scheduler, "mpiexec")
