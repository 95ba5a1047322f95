"""From sites to a ``parsl.Config``."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pilotage import paths, system
from pilotage.assembly.calls import find, make
from pilotage.assembly.data import data_of
from pilotage.assembly.equipping import equipment, python_of
from pilotage.errors import LabelError, SiteValueError, UnknownSiteError, UnsupportedError, UsageError
from pilotage.sites import overrides as site_overrides
from pilotage.sites.catalogue import Catalogue, Resolved
from pilotage.sites.environments import BUILT, Venv
from pilotage.sites.merge import Table
from pilotage.sites.models import BatchSite, BlockSite, KubernetesSite, LocalSite, Site, SSHSite
from pilotage.sites.plan import HTEX, MPI, Call, Machine, Plan, plan, provider_settings
from pilotage.sites.workers import pool
from pilotage.worker import accelerators

if TYPE_CHECKING:
    from parsl.config import Config
    from parsl.dataflow.dflow import DataFlowKernel
    from parsl.executors.base import ParslExecutor

    from pilotage.environments.code import Code

OURS = {
    "parsl.executors.HighThroughputExecutor": "pilotage.engine.executor.HighThroughputExecutor",
    "parsl.executors.MPIExecutor": "pilotage.engine.mpi.MPIExecutor",
    "parsl.providers.LocalProvider": "pilotage.providers.local.LocalProvider",
    "parsl.providers.SlurmProvider": "pilotage.providers.scripts.SlurmProvider",
    "parsl.providers.PBSProProvider": "pilotage.providers.scripts.PBSProProvider",
    "parsl.providers.GridEngineProvider": "pilotage.providers.scripts.GridEngineProvider",
}
"""Parsl's class and the subclass of it that a pilotage config uses in its place."""

SiteChoice = str | Mapping[str, str] | None
"""A site's name or a config file's path, several under labels, or None for the default site."""

run_config: Callable[[], Config] | None = None
"""In a driver of ``pilotage run``, makes the run's config: what `config` and `load` without a site mean there."""


folder_of_run: str | None = None
"""In a driver of ``pilotage run``, Parsl's run folder of the run, for every config that is made there."""


@dataclass(frozen=True)
class Target:
    """One ``label=site`` of a run: a site of the catalogue, or a file with a Parsl config."""

    label: str
    resolved: Resolved | None = None
    file: Path | None = None


def targets(
    site: SiteChoice, assignments: Sequence[str] = (), catalogue: Catalogue | None = None, **changes: Any
) -> list[Target]:
    """Return the sites of a run, resolved, with ``--set`` assignments and keyword changes applied.

    Raises SiteError where a site is wrong and LabelError where a label is.
    """
    catalogue = catalogue or Catalogue.load()
    chosen = dict(site) if isinstance(site, Mapping) else {"": catalogue.default_site if site is None else site}
    if not chosen or "" in chosen.values():
        raise UsageError("no site is given", hint=f"pilotage site list; the default is {catalogue.default_site!r}")
    unknown = site_overrides.labels(assignments) - {label or _label(name) for label, name in chosen.items()}
    if unknown:
        raise LabelError(f"--set names the label {sorted(unknown)[0]!r}, which this run does not have")
    found = []
    for given, name in chosen.items():
        label = given or _label(name)
        _check_label(label)
        if is_file(name):
            if assignments or changes:
                raise UsageError(
                    f"{name} is a Parsl config of its own, whose values cannot be set from outside",
                    hint="change the file, or make it a site",
                )
            found.append(Target(label, file=Path(name).absolute()))
        else:
            tables = [*site_overrides.parse(assignments, label), *site_overrides.from_mapping(changes)]
            found.append(Target(label, resolved=_resolved(catalogue, name, tables, default=site is None)))
    return found


def _resolved(catalogue: Catalogue, name: str, tables: Sequence[Table], *, default: bool) -> Resolved:
    try:
        return catalogue.resolve(name, tables)
    except UnknownSiteError as error:
        if default:
            raise UnknownSiteError(error.message, where=catalogue.place_of_default, hint=error.hint) from error
        raise


def check_before_start(chosen: Sequence[Target]) -> None:
    """Raise what would stop a run of ``chosen``, as far as it is known before the script has begun.

    Parsl's constructors are only asked where a site passes something to them, since that imports Parsl.
    """
    from pilotage.assembly.validation import check_arguments

    arguments: dict[str, Any] = {}
    set_by: dict[str, Resolved] = {}
    for target in chosen:
        if target.resolved is None:
            if target.file is not None and not target.file.is_file():
                from pilotage.assembly.files import missing

                raise missing(target.file)
            continue
        planned = plan(target.resolved, target.label, machine(target.resolved))
        _merge_config(arguments, set_by, planned, target.resolved)
        site = target.resolved.site
        if site.config or site.executor or (isinstance(site, BlockSite) and (site.provider or site.launcher)):
            check_arguments(target.resolved)
    for target in chosen:  # last: what is wrong with a site is wrong on every machine
        if target.resolved is not None:
            _require_commands(target.resolved)


def is_file(name: str) -> bool:
    """Return whether ``name`` means a Parsl config file rather than a site."""
    return name.endswith(".py") or "/" in name


def config(site: SiteChoice = None, /, *, run_dir: str | None = None, **overrides: Any) -> Config:
    """Return the ``parsl.Config`` of a site (or of several, under labels).

    Parameters
    ----------
    site: a site's name, the path of a Python file with ``config`` or ``fresh_config()``, or a mapping
        ``{label: site}``; the default site when not given.
    run_dir: Parsl's run folder; a new private one in the state folder when not given, which Parsl
        makes when the config is loaded.
    overrides: values of the site by key, as ``--set`` gives them; tables as dictionaries.

    Raises SiteError and its kin for a site that is wrong, StorageError for a run folder that cannot be made.
    """
    if site is None and run_config is not None and run_dir is None and not overrides:
        return run_config()
    return config_of(targets(site, **overrides), run_dir)


def config_of(
    chosen: Sequence[Target],
    run_dir: str | None = None,
    script_path: Sequence[str] = (),
    *,
    full_logs: bool = False,
) -> Config:
    """Return the ``parsl.Config`` of resolved targets; see `config`."""
    if len(chosen) == 1 and chosen[0].file is not None:
        from pilotage.assembly.files import config_from_file

        return config_from_file(chosen[0].file)
    executors: list[ParslExecutor] = []
    arguments: dict[str, Any] = {}
    set_by: dict[str, Resolved] = {}
    for target in chosen:
        if target.resolved is None:
            from pilotage.assembly.files import executor_from_file

            executors.append(executor_from_file(target.file or Path(), target.label))
            continue
        planned = plan(target.resolved, target.label, machine(target.resolved))
        executors.append(_executor(target.resolved, planned, script_path))
        _merge_config(arguments, set_by, planned, target.resolved)
    if not full_logs and keeps_tails(chosen):
        from pilotage.worker.logs import RingLogging

        arguments.setdefault("initialize_logging", RingLogging())
    from pilotage.engine.fallback import fallback
    from pilotage.engine.together import start_together

    start_together(executors)
    arguments["retry_handler"] = fallback()
    arguments["run_dir"] = run_dir or folder_of_run or str(paths.RunFolder.to_come().parsl)
    call = Call("parsl.config.Config", {**arguments, "executors": executors}, {k: ("config", k) for k in set_by})
    owner = next((t.resolved for t in chosen if t.resolved is not None), None)
    made: Config = make(call, owner if not set_by else next(iter(set_by.values())))
    return made


def keeps_tails(chosen: Sequence[Target]) -> bool:
    """Return whether Parsl's log is kept in rings, rather than in full.

    One that any of the sites wants in full is; and so is that of workers which need not have this package.
    """
    sites = [target.resolved.site if target.resolved is not None else None for target in chosen]
    return all(site is not None and not (isinstance(site, BlockSite) and site.engine.logs == "full") for site in sites)


def load(site: SiteChoice = None, /, **overrides: Any) -> DataFlowKernel:
    """Load a site's config into Parsl; see `config` for the arguments."""
    return load_config(config(site, **overrides))


def load_config(made: Config) -> DataFlowKernel:
    """Load a config of ours into Parsl, and let apps that name another label find its executor."""
    import parsl

    from pilotage.assembly.labels import redirect_labels
    from pilotage.staging.handing_on import hand_on

    try:
        dfk = parsl.load(made)
    except BaseException:
        end_started(made)
        raise
    redirect_labels(dfk)
    hand_on(dfk)
    return dfk


def end_started(made: Config) -> None:
    """End what a kernel has started that failed half-way, and has no clean-up of its own: interchanges and blocks."""
    for executor in made.executors:
        process = getattr(executor, "interchange_proc", None)
        if process is None or process.poll() is not None:
            continue
        with contextlib.suppress(Exception):  # of what has made the kernel fail, such as a full disk
            executor.shutdown()
        if process.poll() is None:
            process.kill()
            process.wait()


def machine(resolved: Resolved, python: str | None = None) -> Machine:
    """Return what the plan of ``resolved`` takes from this machine."""
    site = resolved.site
    own = python_of(site)
    visible = [len(ids) for ids in accelerators.given(os.environ).values()]
    return Machine(
        python=own or python or ("python3" if is_elsewhere(site) else sys.executable),
        cores=system.usable_cores(),
        address=_address(resolved),
        gpus=min(visible, default=system.accelerators()),
    )


def python_outside(resolved: Resolved) -> str:
    """Return a Python on the hosts that a site is reached by, for what is run outside of the workers' environment."""
    site = resolved.site
    if isinstance(site, BlockSite) and isinstance(site.environment, BUILT):
        return (site.environment.python if isinstance(site.environment, Venv) else None) or "python3"
    return machine(resolved).python


def is_elsewhere(site: Site) -> bool:
    """Return whether a site's workers are reached by SSH."""
    return isinstance(site, SSHSite) or (isinstance(site, BatchSite) and site.login is not None)


def _address(resolved: Resolved) -> str:
    site = resolved.site
    if is_elsewhere(site) and getattr(site, "reach", "") != "direct":
        return "127.0.0.1"  # the other end of the way is another's address
    if not isinstance(site, BlockSite) or site.address:
        return (isinstance(site, BlockSite) and site.address) or "127.0.0.1"
    if site.interface:
        found = system.interface_address(site.interface)
        if found is None:
            raise SiteValueError(
                f"this machine has no interface {site.interface!r} with an IPv4 address",
                where=resolved.place("interface"),
                hint="run the driver where it is (a login node), or give the address: --set address=IP",
            )
        return found
    return "127.0.0.1" if isinstance(site, LocalSite) else system.primary_address()


def executor_call(planned: Plan, python: str) -> Call:
    """Return the executor's call with the commands that start worker pools and interchange by absolute path.

    Parsl finds both by PATH, which fails in a virtual environment that is not activated.
    """
    if planned.executor.target not in (HTEX, MPI):
        return planned.executor
    from pilotage.engine.commands import interchange_command, worker_command

    commands: dict[str, Any] = {"launch_cmd": worker_command(python)}
    if planned.executor.target == HTEX:  # Parsl's MPIExecutor takes no list for it, and could start nothing else
        commands["interchange_launch_cmd"] = interchange_command(sys.executable)
    return replace(planned.executor, arguments={**commands, **planned.executor.arguments})


def _executor(resolved: Resolved, planned: Plan, script_path: Sequence[str]) -> ParslExecutor:
    site = resolved.site
    if isinstance(site, KubernetesSite):
        _require_kubernetes()
    call = executor_call(planned, machine(resolved).python)
    data = data_of(site)
    if call.target not in (HTEX, MPI) or not isinstance(site, BlockSite):
        storage = {} if "storage_access" in call.arguments else {"storage_access": data.storage()}
        data.hold_here()
        threads: ParslExecutor = make(replace(call, arguments={**call.arguments, **storage}), resolved)
        return threads
    from pilotage.providers.journaled import journaled

    provider_call = planned.provider
    if provider_call is None:
        raise TypeError(f"a plan with {call.name} has a provider")
    provider = make(ours(provider_call, resolved), resolved)
    if hasattr(type(provider), "settings"):
        provider.settings = {**_defaults(provider), **provider_settings(site)}
    journaled(provider)
    make(call, resolved, check_only=True)  # an argument that only our subclass knows is none of the site's
    engine = site.engine
    outside = replace(machine(resolved), python=python_outside(resolved))
    own = {
        "serializer": engine.serializer,
        "coalesce": engine.coalesce,
        "rerun_lost": engine.rerun_lost,
        "relax_collector": run_config is not None if engine.relax_collector is None else engine.relax_collector,
        "apps": {name: app.model_dump(exclude_none=True) for name, app in engine.apps.items()},
        "script_path": tuple(script_path),
        "provider": provider,
        "environment": equipment(resolved, site),
        **({} if "storage_access" in call.arguments else {"storage_access": data.storage()}),
        **_afar(resolved, site, str(call.arguments["label"]), outside, provider),
        **on_nodes(resolved, site),
    }
    made: ParslExecutor = make(replace(call, target=OURS[call.target], arguments={**call.arguments, **own}), resolved)
    return made


def ours(call: Call, resolved: Resolved) -> Call:
    """Return the call of our subclass in the place of Parsl's class, by whichever of its names a site calls it."""
    given = find(call, resolved)
    for theirs, own in OURS.items():
        module, _, name = theirs.rpartition(".")
        if getattr(importlib.import_module(module), name) is given:
            return replace(call, target=own)
    return call


def _defaults(provider: Any) -> dict[str, Any]:
    """Return what a provider's constructor takes where nothing is given; a site of its own has a value for each."""
    parameters = inspect.signature(type(provider)).parameters.values()
    return {one.name: one.default for one in parameters if one.default is not one.empty}


def _afar(resolved: Resolved, site: BlockSite, label: str, machine: Machine, provider: Any) -> dict[str, Any]:
    """Return the arguments of our executors for a site with a login host, to which its provider then turns."""
    if isinstance(site, SSHSite):
        from pilotage.providers.pool import Pool

        provider.pool = Pool(site.hosts, site.run_folder, machine.python, label)
        provider.pool.folder.code = _code(resolved, site.sync)
        return {"route": provider.pool, "worker_cwd": "~"}
    if getattr(site, "login", None) is None:
        return {}
    from pilotage.assembly.login import way

    found = way(site, label, machine)
    if found is None:
        return {}
    provider.far = found.folder
    found.folder.code = _code(resolved, getattr(site, "sync", False))
    return {"route": found, "worker_cwd": "~"}


def _code(resolved: Resolved, sync: bool | list[str]) -> Code | None:
    """Return what a site's ``sync`` lets travel of the script, None where nothing does."""
    from pilotage.environments.code import Code

    return Code(sync if isinstance(sync, list) else None, resolved.place("sync")) if sync else None


def on_nodes(resolved: Resolved, site: BlockSite) -> dict[str, Any]:
    """Return the arguments that our executors have beyond Parsl's and that reach the nodes."""
    verified: dict[str, Any] = {
        "verify": is_verified(site),
        "require": tuple(site.environment.require) if site.environment else (),
        "data": data_of(site).lines(),
    }
    if site.mpi is None:
        return {**verified, "workers_per_place": pool(resolved, site, machine(resolved).gpus).workers_per_place}
    from pilotage.engine.commands import interchange_command

    return {
        **verified,
        "mpi_program": site.mpi.launcher,
        "mpi_options": site.mpi.options,
        "interchange_launch_cmd": interchange_command(sys.executable),
    }


def is_verified(site: BlockSite) -> bool:
    """Return whether nodes are to look at their Python: where it may be another than the driver's, and sees the run."""
    if isinstance(site, LocalSite):
        wanted = site.environment is not None and (site.environment.require or site.environment.kind != "same")
        return bool(wanted) or python_of(site) not in (None, sys.executable)
    return isinstance(site, BatchSite | SSHSite)


def _require_commands(resolved: Resolved) -> None:
    """Raise UnsupportedError where the scheduler's commands are not on this machine."""
    name = resolved.site.scheduler
    if name not in ("slurm", "pbspro", "gridengine", "flux") or getattr(resolved.site, "login", None):
        return
    from pilotage.schedulers import scheduler

    missing = [command for command in scheduler(name).commands if shutil.which(command) is None]
    if missing:
        raise UnsupportedError(
            f"this machine has no {missing[0]}, so it cannot submit jobs of {resolved.name!r}",
            where=resolved.place("scheduler"),
            hint="run this on a login node of the site, where its scheduler's commands are on the PATH",
        )


def refuse_without_kubernetes(resolved: Resolved) -> None:
    """Raise a PilotageError where Parsl's provider cannot be made: it looks for how the cluster is reached."""
    _require_kubernetes()
    call = plan(resolved, resolved.name, machine(resolved)).provider
    if call is not None:
        make(call, resolved)


def _require_kubernetes() -> None:
    from pilotage.errors import MissingExtraError

    try:
        importlib.import_module("kubernetes")
    except ImportError as error:
        raise MissingExtraError(
            "Parsl's KubernetesProvider needs the package kubernetes", hint="pip install 'pilotage[kubernetes]'"
        ) from error


def _merge_config(arguments: dict[str, Any], set_by: dict[str, Resolved], planned: Plan, resolved: Resolved) -> None:
    for key, value in planned.config.items():
        given = key in planned.config_keys
        if given and key in set_by and arguments[key] != value:
            raise SiteValueError(
                f"{key} = {value!r}, but the site {set_by[key].name!r} of the same run has {arguments[key]!r}",
                where=resolved.place("config", key),
                hint=f"one Config serves all sites: --set config.{key}=...",
            )
        if given:
            set_by[key] = resolved
        elif key in set_by:
            continue
        elif key == "strategy_period" and key in arguments:
            value = min(value, arguments[key])
        elif key == "strategy" and arguments.get(key) == "htex_auto_scale":
            continue
        arguments[key] = value


def _label(name: str) -> str:
    return Path(name).stem if is_file(name) else name


def _check_label(label: str) -> None:
    # Parsl makes a folder of a label, and "all" and "_parsl_internal" mean something to it.
    if label in ("all", "_parsl_internal") or not label or not all(c.isalnum() or c in "._-" for c in label):
        raise LabelError(
            f"{label!r} cannot be an executor's label",
            hint="letters, digits, '.', '_' and '-'; not 'all' or '_parsl_internal'",
        )
