"""A stand-alone Parsl config module for a site: what a user takes along who leaves pilotage."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib import metadata
from typing import Any

from pilotage.assembly.calls import make, prepared
from pilotage.assembly.configs import Target, executor_call, is_elsewhere, keeps_tails, machine, python_outside
from pilotage.assembly.rendering import machine_for_rendering
from pilotage.errors import UnsupportedError
from pilotage.sites.catalogue import Resolved
from pilotage.sites.environments import BUILT, PYTHON
from pilotage.sites.models import BlockSite, FluxSite, KubernetesSite
from pilotage.sites.plan import MPI_LAUNCHERS, OUR_LAUNCHERS, Call, launcher, plan


def export(resolved: Resolved) -> str:
    """Return the source of a Python module with ``fresh_config()`` and ``config`` for the site.

    Every argument of provider, launcher and executor equals that of ``pilotage.config``; what Parsl lacks is named
    in the module's head. Raises UnsupportedError for schedulers that Parsl has no provider for.
    """
    site = resolved.site
    if (reason := site.needs_pilotage) is not None:
        hint = f"pilotage site show {resolved.name} --script shows what it would start"
        if isinstance(site, FluxSite):
            hint += (
                "; under Parsl alone, `flux alloc -N NODES` and in it a LocalProvider whose launcher is"
                ' WrappedLauncher("flux run -N NODES -n NODES --exclusive")'
            )
        raise UnsupportedError(
            f"a site of scheduler {site.scheduler!r} has no stand-alone Parsl config: {reason}",
            where=resolved.place("scheduler"),
            hint=hint,
        )
    interface = site.interface if isinstance(site, BlockSite) and not site.address else None
    here = machine_for_rendering(resolved, None) if interface else machine(resolved)
    planned = plan(resolved, resolved.name, here)
    _refuse_mpi_of_ours(resolved)
    call = executor_call(planned, here.python)
    if interface:  # looked up where the config is loaded, which need not be this machine
        found = Call("parsl.addresses.address_by_interface", {"ifname": interface})
        call = replace(call, arguments={**call.arguments, "address": found})
    if isinstance(site, BlockSite) and isinstance(site.environment, BUILT):  # which Parsl alone does not make
        call = _started_by(call, python_outside(resolved) if is_elsewhere(site) else sys.executable)
    executor = prepared(_with_parsls_launcher(call, resolved), resolved)
    body = Call("parsl.config.Config", {"executors": [executor], **planned.config})
    imports = sorted(_imports(body))
    lines = [
        *_head(resolved),
        "",
        *(f"from {module} import {name}" for module, name in imports),
        "",
        "",
        "def fresh_config():",
        '    """Return a new Config; Parsl\'s executors can be used only once."""',
        f"    return {_source(body, 4)}",
        "",
        "",
        "config = fresh_config()",
    ]
    return "\n".join(lines) + "\n"


def _started_by(call: Call, python: str) -> Call:
    command = str(call.arguments["launch_cmd"]).replace(PYTHON, shlex.quote(python), 1)
    return replace(call, arguments={**call.arguments, "launch_cmd": command})


def _refuse_mpi_of_ours(resolved: Resolved) -> None:
    site = resolved.site
    if isinstance(site, BlockSite) and site.mpi and site.mpi.launcher not in MPI_LAUNCHERS:
        raise UnsupportedError(
            f"Parsl's MPIExecutor cannot start MPI programs with {site.mpi.launcher}",
            where=resolved.place("mpi", "launcher"),
            hint=f"it knows {', '.join(MPI_LAUNCHERS)}; its mpiexec is that of MPICH",
        )


def _with_parsls_launcher(call: Call, resolved: Resolved) -> Call:
    """Return the executor's call with the launcher of Parsl's that comes nearest to ours."""
    provider = call.arguments.get("provider")
    launcher = provider.arguments.get("launcher") if isinstance(provider, Call) else None
    if not isinstance(provider, Call) or not isinstance(launcher, Call) or launcher.module != OUR_LAUNCHERS:
        return call
    site = resolved.site
    nodes = site.nodes_per_block if isinstance(site, BlockSite) else 1
    try:
        nearest = make(launcher, resolved).parsls(site.scheduler, nodes)
    except UnsupportedError as error:
        raise UnsupportedError(
            f"no stand-alone Parsl config starts these managers: {error.message}",
            where=resolved.place("launcher", "class"),
            hint=error.hint,
        ) from error
    provider = replace(provider, arguments={**provider.arguments, "launcher": nearest})
    return replace(call, arguments={**call.arguments, "provider": provider})


def _head(resolved: Resolved) -> list[str]:
    missing = [f"- {text}" for text in _lost(resolved)]
    return [
        # Names and descriptions are anybody's text: in a comment of one line each they can do nothing.
        f"# Parsl configuration of the site {_in_a_comment(resolved.name)}, written by pilotage; it needs Parsl alone.",
        *([f"# {_in_a_comment(resolved.site.description)}"] if resolved.site.description else []),
        f"# Parsl: {metadata.version('parsl')}, Python: {sys.version_info.major}.{sys.version_info.minor}",
        "#",
        "# What pilotage does for this site and Parsl does not:",
        *(f"# {_in_a_comment(line)}" for line in missing),
    ]


def _in_a_comment(text: str) -> str:
    return " ".join(text.split()).encode("unicode_escape").decode()


def _lost(resolved: Resolved) -> list[str]:
    site = resolved.site
    lost = ["a private run folder for each run (here: runinfo/ in the current folder)"]
    if "initialize_logging" not in site.config and keeps_tails([Target(resolved.name, resolved=resolved)]):
        lost.append("logging that costs next to nothing until something fails (here: Parsl's full debug logs)")
    if isinstance(site, BlockSite) and site.uses_blocks:
        if site.engine.serializer == "cloudpickle":
            lost.insert(
                0,
                "engine: functions and classes of the script travel with the globals they use, and come back as"
                " the script's own classes",
            )
        if site.engine.coalesce and site.engine.serializer == "cloudpickle":
            lost.insert(1, "engine: calls that were measured to be short travel together")
        lost += [
            "the script's folder on the workers' import path, and the driver's folder as theirs",
            "an interchange that ends with the driver",
        ]
        if isinstance(site.environment, BUILT):
            lost.append(
                f"environment.kind = {site.environment.kind!r}: no environment is made for the workers (here: the"
                " Python that launch_cmd begins with, which has to have what they need)"
            )
        wrap = launcher(site)
        if site.mpi is not None:
            lost += [
                "mpi: waiting tasks whose nodes are not free are no danger, and Open MPI's mpiexec is known",
                *([f"mpi.options = {site.mpi.options!r}"] if site.mpi.options else []),
                "the interchange by absolute path",
            ]
        if wrap is not None and wrap.module == OUR_LAUNCHERS and wrap.name != "Unlaunched":
            lost.append("managers' commands that are quoted, and managers without the launcher's own MPI environment")
    lost.append("files and folders of tasks that are elsewhere (here: what Parsl's own staging brings)")
    if isinstance(site, KubernetesSite) and site.walltime:
        lost.append(f"walltime = {site.walltime!r}: Parsl's pods have no deadline")
    if isinstance(site, KubernetesSite) and site.context:
        lost.append(f"context = {site.context!r}: Parsl takes the kubeconfig's current context")
    return lost


def _imports(value: Any) -> set[tuple[str, str]]:
    if isinstance(value, Call):
        own = {(value.module, value.name)}
        return own.union(*(_imports(argument) for argument in value.arguments.values()))
    if isinstance(value, (list, tuple)):
        return set().union(*(_imports(item) for item in value))
    return set()


def _source(value: Any, indent: int) -> str:
    inner = " " * (indent + 4)
    closing = " " * indent
    if isinstance(value, Call):
        arguments = "".join(
            f"{inner}{name}={_source(argument, indent + 4)},\n" for name, argument in value.arguments.items()
        )
        return f"{value.name}(\n{arguments}{closing})" if arguments else f"{value.name}()"
    if isinstance(value, list) and any(isinstance(item, Call) for item in value):
        items = "".join(f"{inner}{_source(item, indent + 4)},\n" for item in value)
        return f"[\n{items}{closing}]"
    if isinstance(value, Mapping):
        return repr(dict(value))
    return repr(value)
