"""What a site is: one model for each scheduler, told apart by the key ``scheduler``.

Field names are Parsl's own where Parsl has one, and the scheduler's native word for the rest. Types are strict:
a walltime written without quotes is a TOML time and is refused rather than guessed at.
"""

from __future__ import annotations

import ipaddress
import json
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, field_validator, model_validator

from pilotage.errors import did_you_mean
from pilotage.sites.base import Absolute, Line, Model
from pilotage.sites.environments import BUILT, Container, Environment, activation
from pilotage.sites.machines import NEAREST
from pilotage.sites.staging import Staging

LAUNCHERS = {
    "srun": "Srun",
    "openmpi": "OpenMPI",
    "mpich": "MPICH",
    "pals": "PALS",
    "mpiexec": "Mpiexec",
    "flux": "Flux",
    "none": "Unlaunched",
}
"""Launchers of ours by the name that a site gives them, and their classes."""

SCHEDULERS = ("local", "slurm", "pbspro", "gridengine", "flux", "kubernetes", "ssh", "parsl")

Walltime = Annotated[
    str,
    StringConstraints(pattern=r"^\d{1,4}:[0-5]\d:[0-5]\d$"),
    Field(description="Wall time of one block, HH:MM:SS.", examples=["01:00:00"]),
]


class App(Model):
    """What holds for the calls of one app; what is not given holds as for all."""

    coalesce: bool | None = None
    """Whether its calls may travel together."""
    rerun_lost: int | None = Field(None, ge=0)
    """Times that a call of it which may have begun is sent again free of charge; for apps that may run twice."""


class Engine(Model):
    """How calls travel to the workers."""

    serializer: Literal["cloudpickle", "parsl"] = "cloudpickle"
    """``cloudpickle`` makes a script that is right on threads right here; ``parsl`` is Parsl's own way."""
    coalesce: bool = True
    """Whether calls that were measured to be short travel together."""
    rerun_lost: int = Field(default=0, ge=0)
    """Times that a call which may have begun is sent again free of charge when its worker or node was lost."""
    relax_collector: bool | None = None
    """Whether Python's garbage collector looks less often in the driver; when not given, in ``pilotage run`` only."""
    apps: dict[str, App] = Field(default_factory=dict)
    """What holds for single apps, by the name of their function."""
    logs: Literal["tail", "full"] = "tail"
    """``tail`` keeps warnings, and the newest lines of Parsl's log where something failed; ``full`` all of it."""


AFFINITIES = ("none", "block", "alternating", "block-reverse")


class Workers(Model):
    """The workers of a node, and what each of them has to itself."""

    max_workers_per_node: int | None = Field(default=None, ge=1)
    """Workers on one node at most."""
    cores_per_worker: float = Field(default=1.0, gt=0)
    """Cores a worker has to itself."""
    mem_per_worker: float | None = Field(default=None, gt=0)
    """Memory a worker needs, in GB."""
    accelerators: Annotated[int, Field(ge=0)] | Literal["auto"] | list[Line] = 0
    """Accelerators of a node: their number, ``auto`` for as many as a job asks for, or their ids. A number counts those
    that the scheduler gives to the job, whichever they are; ids are taken as they are.
    """
    gpus_per_worker: int = Field(default=1, ge=1)
    """Accelerators that each worker has."""
    workers_per_gpu: int = Field(default=1, ge=1)
    """Workers that share an accelerator."""
    cpu_affinity: Line = "none"
    """As the site's; or ``nearest``, the cores nearest to a worker's accelerators, on a known ``machine``."""
    machine: Line | None = None
    """A machine whose nodes are known: polaris, aurora, frontier, lumi, perlmutter."""

    @field_validator("cpu_affinity")
    @classmethod
    def _affinity(cls, value: str) -> str:
        return check_affinity(value, "nearest")

    @field_validator("machine")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None and value not in NEAREST:
            near = did_you_mean(value, NEAREST)
            known = f"known machines: {', '.join(sorted(NEAREST))}"
            raise ValueError(f"no machine {value!r} is known; {f'{near} ' if near else ''}{known}")
        return value

    def check(self) -> None:
        """Raise ValueError where values do not fit each other."""
        given = self.accelerators
        count = given if isinstance(given, int) else len(given) if isinstance(given, list) else None
        if self.gpus_per_worker > 1 and self.workers_per_gpu > 1:
            raise ValueError("gpus_per_worker and workers_per_gpu cannot both be more than 1")
        if self.workers_per_gpu > 1 and isinstance(given, list):
            raise ValueError("workers_per_gpu needs the number of accelerators, not their ids")
        if count is not None and count % self.gpus_per_worker:
            raise ValueError(f"{count} accelerators cannot be shared out with {self.gpus_per_worker} for each worker")
        if self.cpu_affinity == "nearest":
            if self.machine is None:
                known = ", ".join(sorted(NEAREST))
                raise ValueError(f'cpu_affinity = "nearest" needs a machine whose nodes are known: {known}')
            if (count or 0) > len(NEAREST[self.machine]):
                known = str(len(NEAREST[self.machine]))
                raise ValueError(f"{self.machine} has {known} accelerators a node, and {count} are given")
        self._check_affinity_list(count)

    def _check_affinity_list(self, count: int | None) -> None:
        # Parsl finds this out on the worker, where the message ends in a log that nobody reads.
        if not self.cpu_affinity.startswith("list:"):
            return
        lists = self.cpu_affinity.count(":")
        on_gpus = (count or 0) * self.workers_per_gpu // self.gpus_per_worker
        workers = min(filter(None, (self.max_workers_per_node, on_gpus)), default=None)
        if workers is not None and workers != lists:
            raise ValueError(f"cpu_affinity has {lists} core lists for {workers} workers on a node")


def check_affinity(value: str, *more: str) -> str:
    """Return a ``cpu_affinity``; raises ValueError where it is none of Parsl's nor of ``more``."""
    known = (*AFFINITIES, *more)
    if value not in known and not value.startswith("list:"):
        raise ValueError(f"expected {', '.join(known)} or list:CORES:CORES...")
    return value


class MPIPrograms(Model):
    """MPI programs on the nodes of a block, for apps that say ``parsl_resource_specification``."""

    launcher: Literal["srun", "mpiexec", "openmpi", "mpich", "pals", "aprun", "flux"] = "mpiexec"
    """What starts the ranks; ``mpiexec`` takes whichever the nodes have (Open MPI's, MPICH's, Intel's or PALS)."""
    max_workers_per_block: int | None = Field(default=None, ge=1)
    """MPI programs at once in a block; one for each node when not given."""
    options: Line = ""
    """More options of every start, such as ``--mpi=pmi2``."""


class Site(Model):
    """What every site has: one executor of Parsl and how it is reached."""

    scheduler: str
    description: str = ""
    """One line for ``pilotage site list``."""
    executor: dict[str, Any] = Field(default_factory=dict)
    """Anything else for the constructor of Parsl's executor."""
    config: dict[str, Any] = Field(default_factory=dict)
    """Anything for the constructor of ``parsl.Config``, such as ``retries``."""
    staging: Staging | None = None
    """How files and folders are brought to tasks and from them."""

    @property
    def uses_blocks(self) -> bool:
        """Whether workers are started in blocks (all sites but threads)."""
        return True

    @property
    def needs_pilotage(self) -> str | None:
        """Why Parsl alone cannot run its blocks, None where it can."""
        return None

    def values(self) -> dict[str, Any]:
        """Return all values that mean something for this site, defaults included, as JSON has them."""
        return self.model_dump(mode="json", exclude_none=True)


class BlockSite(Site):
    """A site whose workers run in blocks under Parsl's HighThroughputExecutor."""

    nodes_per_block: int = Field(1, ge=1)
    """Nodes in one block."""
    init_blocks: int = Field(1, ge=0)
    """Blocks asked for at the start."""
    min_blocks: int = Field(0, ge=0)
    """Blocks kept while idle."""
    max_blocks: int = Field(1, ge=0)
    """Blocks at most."""
    parallelism: float = Field(1.0, ge=0, le=1)
    """Worker slots per waiting task that scaling aims at, 0 to 1."""
    worker_init: str = ""
    """Shell lines run before the workers start, such as ``module load``."""
    python: Line | None = None
    """The workers' Python; the driver's own path when not given."""
    address: str | None = None
    """IP address at which workers reach the driver (a literal, not a name)."""
    interface: Line | None = None
    """Network interface of the driver's machine whose address the workers use; ``address`` wins."""
    max_workers_per_node: int | None = Field(None, ge=1)
    """Workers on one node at most."""
    cores_per_worker: float = Field(1.0, gt=0)
    """Cores a worker has to itself."""
    mem_per_worker: float | None = Field(None, gt=0)
    """Memory a worker needs, in GB."""
    cpu_affinity: Line = "none"
    """``none``, ``block``, ``alternating``, ``block-reverse`` or ``list:CORES:CORES...``, one list a worker."""
    available_accelerators: Annotated[int, Field(ge=0)] | list[Line] = 0
    """Number or ids of a node's accelerators; each worker is pinned to one. See ``workers`` for more."""
    workers: Workers = Field(default_factory=Workers)
    """The workers of a node in one table, with more that can be said of accelerators."""
    prefetch_capacity: int = Field(0, ge=0)
    """Tasks a manager may hold beyond those its workers run."""
    provider: dict[str, Any] = Field(default_factory=dict)
    """Anything else for the constructor of Parsl's provider."""
    launcher: dict[str, Any] = Field(default_factory=dict)
    """``class``, one of srun, openmpi, mpich, pals, mpiexec, flux, none or a launcher of ``parsl.launchers``, and
    arguments for its constructor."""
    mpi: MPIPrograms | None = None
    """MPI programs: a block has one manager, on its first node, and ``launcher`` and ``workers`` mean nothing."""
    engine: Engine = Field(default_factory=Engine)
    """How calls travel to the workers."""
    environment: Environment | None = None
    """What the workers' Python is, where it is not simply there: ``kind`` is one of same, venv, conda, container,
    modules, command.
    """

    @field_validator("address", "inside_address", check_fields=False)
    @classmethod
    def _literal(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                ipaddress.ip_address(value)
            except ValueError:
                raise ValueError(f"{value!r} is not an IP address; Parsl binds to it, so a name will not do") from None
        return value

    @field_validator("cpu_affinity")
    @classmethod
    def _affinity(cls, value: str) -> str:
        return check_affinity(value)

    @field_validator("launcher")
    @classmethod
    def _class_named(cls, value: dict[str, Any]) -> dict[str, Any]:
        if value and not isinstance(value.get("class"), str):
            raise ValueError('expected the key class, such as class = "srun"')
        name = value.get("class", "none")
        if name.islower() and "." not in name and name not in LAUNCHERS:  # Parsl's are in capitals
            near = did_you_mean(name, LAUNCHERS)
            known = f"one of {', '.join(LAUNCHERS)}, or a launcher of parsl.launchers"
            raise ValueError(f"no launcher {name!r}: {near + ' ' if near else ''}{known}")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> BlockSite:
        if self.min_blocks > self.max_blocks:
            raise ValueError(f"min_blocks ({self.min_blocks}) is more than max_blocks ({self.max_blocks})")
        if self.init_blocks > self.max_blocks:
            raise ValueError(f"init_blocks ({self.init_blocks}) is more than max_blocks ({self.max_blocks})")
        for name, inner in IN_WORKERS.items():
            if name in self.model_fields_set and inner in self.workers.model_fields_set:
                raise ValueError(f"{name} and workers.{inner} are the same thing, and both are given: leave one out")
        if self.environment is not None and self.python is not None:
            raise ValueError("python and environment both say what starts the workers: leave one out")
        if self.mpi is not None and isinstance(self.environment, Container):
            raise ValueError(
                "environment: what starts the ranks of MPI programs would be in the container, from where it reaches "
                "no other node: leave the workers outside, and start the program itself in it, as with "
                "`apptainer exec IMAGE PROGRAM`"
            )
        self.pool.check()
        return self

    @property
    def initialization(self) -> str:
        """The shell lines that are run before the workers start: what activates their Python, then ``worker_init``."""
        lines = activation(self.environment)
        return f"{lines}\n{self.worker_init}".rstrip("\n") if lines else self.worker_init

    @property
    def pool(self) -> Workers:
        """What holds for the workers of a node, whichever way it was given."""
        given = {inner: getattr(self, name) for name, inner in IN_WORKERS.items() if name in self.model_fields_set}
        return self.workers.model_copy(update=given)

    def values(self) -> dict[str, Any]:
        """Return all values that mean something for this site; one that can be in two places in the one it was in."""
        values = super().values()
        inner = self.workers.model_dump(mode="json", exclude_none=True, exclude_unset=True)
        values.pop("workers")
        doubled = {name for name, other in IN_WORKERS.items() if other in inner}
        return {name: value for name, value in values.items() if name not in doubled} | (
            {"workers": inner} if inner else {}
        )


IN_WORKERS = {
    "max_workers_per_node": "max_workers_per_node",
    "cores_per_worker": "cores_per_worker",
    "mem_per_worker": "mem_per_worker",
    "cpu_affinity": "cpu_affinity",
    "available_accelerators": "accelerators",
}
"""Keys of a site, by Parsl's names, that ``workers`` has too, and what they are called there."""


class LocalSite(BlockSite):
    """This machine: worker processes, or threads of the driver."""

    scheduler: Literal["local"]
    min_blocks: int = Field(1, ge=0)
    """Blocks kept while idle."""
    kind: Literal["processes", "threads"] = "processes"
    """``processes`` (HighThroughputExecutor) or ``threads`` (ThreadPoolExecutor)."""
    max_threads: int | None = Field(None, ge=1)
    """Threads, where ``kind`` is threads; one a core when not given."""

    @property
    def uses_blocks(self) -> bool:
        """Whether workers are started in blocks."""
        return self.kind == "processes"

    def values(self) -> dict[str, Any]:
        """Return the values in use: threads have none of those about blocks."""
        unused = set() if self.uses_blocks else set(BlockSite.model_fields) - set(Site.model_fields)
        return {name: value for name, value in super().values().items() if name not in unused}

    @model_validator(mode="after")
    def _threads_only(self) -> LocalSite:
        if self.kind == "processes" and self.max_threads is not None:
            raise ValueError('max_threads is for kind = "threads"; processes take max_workers_per_node')
        if self.kind == "threads" and (
            stray := sorted(self.model_fields_set & set(BlockSite.model_fields) - set(Site.model_fields))
        ):
            raise ValueError(f'kind = "threads" has no blocks or worker processes: remove {", ".join(stray)}')
        return self


def _sync(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        given = json.dumps(value if isinstance(value, str) else "model.py")
        raise ValueError(f"expected true, false, or a list of paths such as [{given}], got {value!r}")
    if not value:
        raise ValueError("the list names nothing: sync = false sends nothing")
    if any(not one or len(one.splitlines()) > 1 for one in value):
        raise ValueError("one of the paths is empty, or of several lines")
    return value


Sync = Annotated[bool | Annotated[list[Line], Field(min_length=1)], BeforeValidator(_sync)]
LOGIN_ONLY = {"run_folder", "reach", "inside_address", "sync"}
"""Keys that only a site with a login host has."""


class BatchSite(BlockSite):
    """A site whose blocks are batch jobs."""

    login: Line | None = None
    """Login host as ssh knows it, such as ``user@host``, where the scheduler's commands are not on this machine."""
    run_folder: Absolute = "~/.pilotage"
    """Folder on the login host in which runs have theirs; compute nodes must see it."""
    reach: Literal["auto", "direct", "gateway", "relay", "node"] = "auto"
    """How workers reach a driver that is not on the login host: over a port at which its sshd listens for the nodes
    (``gateway``), a ``relay`` on it, an SSH connection of each ``node`` to it, or ``direct``. ``auto`` takes the first
    of gateway and relay that works.
    """
    inside_address: str | None = None
    """IP address that compute nodes call the login host by; found when not given."""

    sync: Sync = True
    """Whether the script's own modules are sent to the login host; compute nodes import them from there. A list of
    paths and patterns, from the script's folder, sends just those: ``["model.py", "mypackage/", "data/*.csv"]``.
    """

    walltime: Walltime = "00:30:00"
    """Wall time of one block, HH:MM:SS."""
    scheduler_options: str = ""
    """Whole directive lines for the head of the batch script."""

    @property
    def needs_pilotage(self) -> str | None:
        """That Parsl lacks what it takes, where the scheduler is on a login host."""
        return None if self.login is None else "Parsl no longer reaches a scheduler over SSH"

    def values(self) -> dict[str, Any]:
        """Return the values in use: without a login host none of those about one."""
        unused = set() if self.login is not None else LOGIN_ONLY
        return {name: value for name, value in super().values().items() if name not in unused}

    @model_validator(mode="after")
    def _login_only(self) -> BatchSite:
        stray = sorted(LOGIN_ONLY & self.model_fields_set)
        if self.login is None and stray:
            raise ValueError(f"{', '.join(stray)}: only a site with login has that")
        if self.login is not None and self.login.startswith("-"):
            raise ValueError(f"login = {self.login!r} is no host")
        return self


class SlurmSite(BatchSite):
    """Slurm."""

    scheduler: Literal["slurm"]
    partition: Line | None = None
    account: Line | None = None
    qos: Line | None = None
    constraint: Line | None = None
    clusters: Line | None = None
    reservation: Line | None = None
    cores_per_node: int | None = Field(None, ge=1)
    mem_per_node: int | None = Field(None, ge=1)
    """Memory asked for on each node, in GB."""
    gpus_per_node: int | None = Field(None, ge=1)
    gres: Line | None = None
    exclusive: bool = True
    """Whether nodes are not shared with other jobs."""


class PBSProSite(BatchSite):
    """PBS Pro or OpenPBS."""

    scheduler: Literal["pbspro"]
    queue: Line | None = None
    account: Line | None = None
    cpus_per_node: int = Field(1, ge=1)
    """``ncpus`` of each chunk of ``select``."""
    select_options: Line = ""
    """Appended to each chunk of ``select``, such as ``ngpus=4``."""


class GridEngineSite(BatchSite):
    """Grid Engine (Son of Grid Engine, Altair)."""

    scheduler: Literal["gridengine"]
    queue: Line | None = None


class FluxSite(BatchSite):
    """Flux."""

    scheduler: Literal["flux"]
    queue: Line | None = None
    bank: Line | None = None
    cores_per_node: int | None = Field(None, ge=1)
    gpus_per_node: int | None = Field(None, ge=1)
    exclusive: bool = True
    """Whether nodes are not shared with other jobs."""

    @property
    def needs_pilotage(self) -> str | None:
        """That Parsl lacks what it takes."""
        return "Parsl has no provider whose blocks are Flux jobs"


class KubernetesSite(BlockSite):
    """Kubernetes: a block is a Job."""

    scheduler: Literal["kubernetes"]
    image: Line
    """Container image with the driver's Python, Parsl and pilotage."""
    namespace: Line = "default"
    context: Line | None = None
    """Context of the kubeconfig; the current one when not given."""
    walltime: Walltime | None = None
    """Deadline of one block, HH:MM:SS."""
    init_cpu: float = Field(1.0, gt=0)
    max_cpu: float = Field(2.0, gt=0)
    init_mem: Line = "250Mi"
    max_mem: Line = "500Mi"
    extra_requests: dict[str, str] = Field(default_factory=dict)
    extra_limits: dict[str, str] = Field(default_factory=dict)
    user_id: Line | None = None
    group_id: Line | None = None
    run_as_non_root: bool = False
    secret: Line | None = None
    """Secret with the registry's credentials."""
    persistent_volumes: list[Annotated[list[Line], Field(min_length=2, max_length=2)]] = Field(default_factory=list)
    """Pairs of claim and mount path."""
    service_account_name: Line | None = None
    annotations: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _image_is_it(self) -> KubernetesSite:
        if isinstance(self.environment, BUILT):
            raise ValueError(f"environment: {self.environment.kind!r} is none of a pod's, whose Python is in its image")
        return self


class SSHSite(BlockSite):
    """A pool of hosts without a scheduler, one manager each."""

    scheduler: Literal["ssh"]
    hosts: list[Line] = Field(min_length=1)
    """Hosts as ssh knows them, such as ``user@node1``; a block is one of them, ``max_blocks`` all when not given."""
    run_folder: Absolute = "~/.pilotage"
    """Folder on each host in which runs have theirs."""
    sync: Sync = True
    """Whether the script's own modules are sent to the hosts; a list of paths and patterns, from the script's folder,
    sends just those: ``["model.py", "mypackage/", "data/*.csv"]``.
    """

    @property
    def needs_pilotage(self) -> str | None:
        """That Parsl lacks what it takes."""
        return "Parsl no longer reaches hosts over SSH"

    @model_validator(mode="before")
    @classmethod
    def _all_of_them(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("hosts"), list) and values["hosts"]:
            return {"max_blocks": len(values["hosts"]), **values}
        return values

    @model_validator(mode="after")
    def _one_each(self) -> SSHSite:
        if self.nodes_per_block != 1:
            raise ValueError(f"a block is one host: nodes_per_block is {self.nodes_per_block}")
        if self.mpi is not None:
            raise ValueError("mpi: MPI programs need a scheduler's nodes")
        if self.max_blocks > len(self.hosts):
            raise ValueError(f"max_blocks ({self.max_blocks}) is more than there are hosts ({len(self.hosts)})")
        for host in self.hosts:
            if host.startswith("-") or not host or len(host.split()) != 1:
                raise ValueError(f"{host!r} is no host")
        if len(set(self.hosts)) < len(self.hosts):
            raise ValueError("a host is there twice")
        return self


class ParslSite(BlockSite):
    """Any other provider of Parsl, by its class (LSF, HTCondor, Torque, clouds)."""

    scheduler: Literal["parsl"]
    provider: dict[str, Any]
    """``class``, such as ``parsl.providers.LSFProvider``, and arguments for its constructor."""

    @field_validator("provider")
    @classmethod
    def _provider_named(cls, value: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(value.get("class"), str):
            raise ValueError('expected the key class, such as class = "LSFProvider"')
        return value


MODELS: dict[str, type[Site]] = {
    "local": LocalSite,
    "slurm": SlurmSite,
    "pbspro": PBSProSite,
    "gridengine": GridEngineSite,
    "flux": FluxSite,
    "kubernetes": KubernetesSite,
    "ssh": SSHSite,
    "parsl": ParslSite,
}
