"""From a site to the constructor calls of Parsl that it stands for, as data.

A plan is what a stand-alone Parsl config says: `assembly` makes the objects, `export` writes the module, and the
renderers take the settings. Nothing here imports Parsl.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pilotage.errors import SiteValueError
from pilotage.sites.catalogue import Resolved
from pilotage.sites.models import (
    IN_WORKERS,
    LAUNCHERS,
    BlockSite,
    FluxSite,
    GridEngineSite,
    KubernetesSite,
    LocalSite,
    MPIPrograms,
    ParslSite,
    PBSProSite,
    SlurmSite,
    SSHSite,
)
from pilotage.sites.workers import pool

HTEX = "parsl.executors.HighThroughputExecutor"
MPI = "parsl.executors.MPIExecutor"
THREADS = "parsl.executors.ThreadPoolExecutor"
MPI_LAUNCHERS = {"srun": "srun", "aprun": "aprun", "mpiexec": "mpiexec", "mpich": "mpiexec"}
"""Of a site's ``mpi.launcher``, what is Parsl's ``mpi_launcher``; the others are only ours."""


@dataclass(frozen=True)
class Call:
    """A constructor by its dotted path, and keyword arguments that may be calls themselves.

    ``keys`` says which key of the site each argument came from, so that a refusal can name its place.
    """

    target: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The class's name."""
        return self.target.rpartition(".")[2]

    @property
    def module(self) -> str:
        """The module that the class is imported from."""
        return self.target.rpartition(".")[0]


@dataclass(frozen=True)
class Plan:
    """What one site asks of Parsl: its executor (provider and launcher inside), and arguments of the Config."""

    executor: Call
    config: Mapping[str, Any]
    config_keys: Mapping[str, tuple[str, ...]]

    @property
    def provider(self) -> Call | None:
        """The provider's call, or None on threads."""
        found = self.executor.arguments.get("provider")
        return found if isinstance(found, Call) else None


@dataclass(frozen=True)
class Machine:
    """What a plan takes from the driver's machine."""

    python: str
    cores: int
    address: str
    gpus: int = 0


SHARED = ("nodes_per_block", "init_blocks", "min_blocks", "max_blocks", "parallelism", "worker_init")
BATCH = (*SHARED, "walltime", "scheduler_options")
HEARTBEAT = 5
"""Seconds between two heartbeats of a manager on another host: that nothing is heard of a node is told after twice."""
OUTLASTS = 900
"""Seconds without a heartbeat that workers and interchange bear, where a broken connection may be between them."""
PROVIDERS: dict[type[BlockSite], tuple[str, tuple[str, ...]]] = {
    LocalSite: ("parsl.providers.LocalProvider", SHARED),
    SlurmSite: (
        "parsl.providers.SlurmProvider",
        (
            *BATCH,
            "partition",
            "account",
            "qos",
            "constraint",
            "clusters",
            "cores_per_node",
            "mem_per_node",
            "gpus_per_node",
            "gres",
            "exclusive",
        ),
    ),
    PBSProSite: (
        "parsl.providers.PBSProProvider",
        (*BATCH, "queue", "account", "cpus_per_node", "select_options"),
    ),
    GridEngineSite: ("parsl.providers.GridEngineProvider", (*BATCH, "queue")),
    FluxSite: (
        "pilotage.providers.flux.FluxProvider",
        (*BATCH, "queue", "bank", "cores_per_node", "gpus_per_node", "exclusive"),
    ),
    KubernetesSite: (
        "parsl.providers.KubernetesProvider",
        (
            *SHARED,
            "image",
            "namespace",
            "init_cpu",
            "max_cpu",
            "init_mem",
            "max_mem",
            "extra_requests",
            "extra_limits",
            "user_id",
            "group_id",
            "run_as_non_root",
            "secret",
            "service_account_name",
            "annotations",
        ),
    ),
    SSHSite: ("pilotage.providers.pool.PoolProvider", (*SHARED, "hosts", "run_folder")),
}
RENDERED_ONLY: dict[type[BlockSite], tuple[str, ...]] = {SlurmSite: ("reservation",)}
"""Settings that Parsl's provider has no argument for, and our script a line; see `_in_parsls_words`."""
DEFAULT_LAUNCHERS: dict[type[BlockSite], str] = {SlurmSite: "srun", FluxSite: "flux"}
OUR_LAUNCHERS = "pilotage.providers.launchers"
OURS_ALONE = {"executors", "run_dir"}
"""Arguments of ``parsl.Config`` that no site can give."""
WORKERS = ("max_workers_per_node", "cores_per_worker", "mem_per_worker", "cpu_affinity", "available_accelerators")
"""Arguments of Parsl's executor that say what workers a node has."""


def plan(resolved: Resolved, label: str, machine: Machine) -> Plan:
    """Return what ``resolved`` asks of Parsl under the executor label ``label``.

    Raises SiteValueError where a table names an argument that has a key of its own.
    """
    site = resolved.site
    if isinstance(site, BlockSite) and site.uses_blocks:
        executor = (_mpi if site.mpi else _htex)(resolved, site, label, machine)
    else:
        executor = _threads(resolved, label, machine)
    # A fast strategy loop only sets how soon blocks are asked for: providers are polled at their own interval.
    local = isinstance(site, LocalSite)
    config: dict[str, Any] = {
        "strategy": "simple" if local else "htex_auto_scale",
        "strategy_period": 0.1 if local else 0.5,
        "exit_mode": "wait",
        "usage_tracking": 0,
    }
    for key in sorted(OURS_ALONE & set(site.config)):
        where = resolved.place("config", key)
        raise SiteValueError(f"{key!r} is made for each run", where=where, hint="leave it out of the site")
    config.update(site.config)
    return Plan(executor, config, {key: ("config", key) for key in site.config})


def provider_settings(site: BlockSite) -> dict[str, Any]:
    """Return the settings of the site's provider by Parsl's names, ``[site.X.provider]`` included."""
    settings = _known_settings(site)
    settings.update({name: getattr(site, name) for name in RENDERED_ONLY.get(type(site), ())})
    settings.update({key: value for key, value in site.provider.items() if key != "class"})
    return settings


def _known_settings(site: BlockSite) -> dict[str, Any]:
    if type(site) in PROVIDERS:
        settings = {name: getattr(site, name) for name in PROVIDERS[type(site)][1]}
    elif isinstance(site, ParslSite):
        # Other providers have other defaults, and some lack some of these: only what the user wrote is passed.
        settings = {name: getattr(site, name) for name in SHARED if name in site.model_fields_set}
    else:  # rendered only: everything the model has beyond the executor's part
        own = set(type(site).model_fields) - set(BlockSite.model_fields)
        settings = {name: getattr(site, name) for name in (*SHARED, *sorted(own))}
    if "worker_init" in settings or site.initialization:
        settings["worker_init"] = site.initialization
    if isinstance(site, KubernetesSite):
        settings["persistent_volumes"] = [tuple(pair) for pair in site.persistent_volumes]
    return settings


def _in_parsls_words(site: BlockSite, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings for Parsl's provider: what it has no argument for is a line of ``scheduler_options``."""
    if not isinstance(site, SlurmSite) or site.reservation is None:
        return dict(settings)
    quoted = site.reservation.replace("\\", "\\\\").replace('"', '\\"')
    lines = [settings["scheduler_options"].strip("\n"), f'#SBATCH --reservation="{quoted}"']
    return {**settings, "scheduler_options": "\n".join(line for line in lines if line)}


def launcher(site: BlockSite) -> Call | None:
    """Return the launcher's call, or None where Parsl's provider takes none."""
    if isinstance(site, KubernetesSite | SSHSite):
        return None
    if site.mpi is not None:  # one manager, which starts what runs on the other nodes
        return Call(f"{OUR_LAUNCHERS}.{LAUNCHERS['none']}")
    table = dict(site.launcher)
    given = str(table.pop("class", _usual_launcher(site)))
    ours = f"{OUR_LAUNCHERS}.{LAUNCHERS[given]}" if given in LAUNCHERS else given
    return _call(ours, "parsl.launchers", table, {key: ("launcher", key) for key in table})


def _usual_launcher(site: BlockSite) -> str:
    several = "mpiexec" if isinstance(site, PBSProSite) and site.nodes_per_block > 1 else "none"
    return DEFAULT_LAUNCHERS.get(type(site), several)


def _htex(resolved: Resolved, site: BlockSite, label: str, machine: Machine) -> Call:
    arguments: dict[str, Any] = {"label": label, "encrypted": True}
    keys: dict[str, tuple[str, ...]] = {}
    workers = pool(resolved, site, machine.gpus)
    for name in WORKERS:
        arguments[name] = getattr(workers, name)
        keys[name] = ("workers", IN_WORKERS[name]) if IN_WORKERS[name] in site.workers.model_fields_set else (name,)
    if isinstance(site, LocalSite) and workers.max_workers_per_node is None:
        arguments["max_workers_per_node"] = max(1, int(machine.cores / workers.cores_per_worker))
    _add_common(resolved, site, machine, arguments, keys)
    return Call(HTEX, arguments, keys)


def _mpi(resolved: Resolved, site: BlockSite, label: str, machine: Machine) -> Call:
    table = site.mpi or MPIPrograms()
    arguments: dict[str, Any] = {
        "label": label,
        "encrypted": True,
        "max_workers_per_block": table.max_workers_per_block or site.nodes_per_block,
        "mpi_launcher": MPI_LAUNCHERS.get(table.launcher, "mpiexec"),
    }
    keys: dict[str, tuple[str, ...]] = {
        "max_workers_per_block": ("mpi", "max_workers_per_block"),
        "mpi_launcher": ("mpi", "launcher"),
    }
    _add_common(resolved, site, machine, arguments, keys)
    return Call(MPI, arguments, keys)


def _add_common(
    resolved: Resolved,
    site: BlockSite,
    machine: Machine,
    arguments: dict[str, Any],
    keys: dict[str, tuple[str, ...]],
) -> None:
    arguments["prefetch_capacity"] = site.prefetch_capacity
    keys["prefetch_capacity"] = ("prefetch_capacity",)
    arguments["address"] = machine.address
    keys["address"] = ("address",)
    arguments["provider"] = _provider(resolved, site)
    if not isinstance(site, LocalSite):
        arguments["heartbeat_period"] = HEARTBEAT
        if isinstance(site, SSHSite) or getattr(site, "login", None):
            arguments["heartbeat_threshold"] = OUTLASTS
    if (walltime := getattr(site, "walltime", None)) and "drain_period" not in site.executor:
        arguments["drain_period"] = drain_period(walltime)
    _pass_on(resolved, "executor", site.executor, arguments, keys)


def drain_period(walltime: str) -> int | None:
    """Return the seconds after which a block takes no new tasks, None where it is too short to be worth it.

    A tenth of its walltime before its end, but half a minute at least and five minutes at most: what runs may end
    then, and another block takes its place.

    Parameters
    ----------
    walltime: HH:MM:SS.
    """
    hours, minutes, rest = map(int, walltime.split(":"))
    seconds = hours * 3600 + minutes * 60 + rest
    left = seconds - min(max(seconds // 10, 30), 300)
    return left if left >= 60 else None


def _threads(resolved: Resolved, label: str, machine: Machine) -> Call:
    site = resolved.site
    given = site.max_threads if isinstance(site, LocalSite) else None
    arguments: dict[str, Any] = {"label": label, "max_threads": given or machine.cores}
    keys: dict[str, tuple[str, ...]] = {"max_threads": ("max_threads",)}
    _pass_on(resolved, "executor", site.executor, arguments, keys)
    return Call(THREADS, arguments, keys)


def _provider(resolved: Resolved, site: BlockSite) -> Call:
    target = str(site.provider["class"]) if isinstance(site, ParslSite) else PROVIDERS[type(site)][0]
    arguments = _in_parsls_words(site, _known_settings(site))
    keys: dict[str, tuple[str, ...]] = {name: (name,) for name in arguments}
    extra = {key: value for key, value in site.provider.items() if key != "class"}
    _pass_on(resolved, "provider", extra, arguments, keys)
    wrapped = launcher(site)
    if wrapped is not None and (site.launcher or not isinstance(site, ParslSite)):
        arguments["launcher"] = wrapped
    return _call(target, "parsl.providers", arguments, keys)


def _call(given: str, package: str, arguments: dict[str, Any], keys: dict[str, tuple[str, ...]]) -> Call:
    return Call(given if "." in given else f"{package}.{given}", arguments, keys)


def _pass_on(
    resolved: Resolved,
    table: str,
    extra: Mapping[str, Any],
    arguments: dict[str, Any],
    keys: dict[str, tuple[str, ...]],
) -> None:
    hints = {"label": "the label is the site's name, or --site LABEL=SITE"}
    for name, value in extra.items():
        if name in type(resolved.site).model_fields or name in hints:
            raise SiteValueError(
                f"{name!r} is a key of the site itself",
                where=resolved.place(table, name),
                hint=hints.get(name, f"write it in [site.{resolved.name}]"),
            )
        arguments[name] = value
        keys[name] = (table, name)
