"""What a site would start, as text: nothing is asked, written or run.

Values that only a run knows appear as named placeholders: ``@run_dir@``, ``@job_name@``, ``@block_id@``,
``@address@``, ``@worker_port@``, ``@cwd@``, ``@script_dir@`` and ``@driver@``; for a site that is reached by SSH also
those of `reach`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pilotage.assembly.calls import make
from pilotage.assembly.configs import OURS, Target, executor_call, is_elsewhere, keeps_tails, machine, on_nodes
from pilotage.assembly.equipping import equipment
from pilotage.errors import SiteValueError
from pilotage.schedulers import scheduler
from pilotage.schedulers.base import Block
from pilotage.sites.catalogue import Resolved
from pilotage.sites.models import BatchSite, BlockSite, ParslSite, Site, SSHSite
from pilotage.sites.plan import Call, Machine, launcher, provider_settings

PLACEHOLDERS = (
    "@run_dir@",
    "@job_name@",
    "@block_id@",
    "@address@",
    "@worker_port@",
    "@cwd@",
    "@script_dir@",
    "@driver@",
)


@dataclass(frozen=True)
class Rendering:
    """What a site would start.

    ``script`` is the batch script or manifest, ``worker_command`` what starts one manager; both are None where a
    site starts nothing of its kind, and ``note`` says why.
    """

    scheduler: str
    script: str | None
    worker_command: str | None
    note: str | None = None


def render(
    resolved: Resolved, python: str | None = None, *, run_dir: str = "@run_dir@", job_name: str = "@job_name@"
) -> Rendering:
    """Return the batch script and worker command of a site, for any scheduler, with nothing of it installed.

    Parameters
    ----------
    resolved: the site.
    python: path of the workers' Python where the site does not say (default: the running one).
    run_dir, job_name: in the place of the placeholders.

    Raises SiteError where the site cannot be rendered.
    """
    site = resolved.site
    if not isinstance(site, BlockSite) or not site.uses_blocks:
        return Rendering(site.scheduler, None, None, "tasks run in threads of the driver: nothing is started")
    command = worker_command(resolved, site, python)
    if isinstance(site, ParslSite):
        note = f"{site.provider['class']} of Parsl writes its own script around the worker command"
        return Rendering(site.scheduler, None, command, note)
    if isinstance(site, SSHSite):  # each host has its own
        command = f"PILOTAGE_INTERCHANGE=127.0.0.1:@loopback_port@ {command}"
    wrap = launcher(site)
    wrapped = command if wrap is None else make(wrap, resolved)(command, 1, site.nodes_per_block, run_dir)
    settings = provider_settings(site)
    block = Block(
        name=job_name,
        command=wrapped,
        stdout=f"{run_dir}/{job_name}.stdout",
        stderr=f"{run_dir}/{job_name}.stderr",
        nodes=site.nodes_per_block,
        walltime=getattr(site, "walltime", None),
        worker_init=site.initialization,
        settings=settings,
    )
    try:
        script = scheduler(site.scheduler).render(block)
    except SiteValueError as error:  # a renderer does not know whose values it was given
        raise SiteValueError(error.message, where=resolved.place(), hint=error.hint) from error
    return Rendering(site.scheduler, script, command)


def worker_command(resolved: Resolved, site: BlockSite, python: str | None = None) -> str:
    """Return the command that starts one manager of the site, as Parsl's executor composes it."""
    from parsl.launchers import SimpleLauncher
    from parsl.providers import LocalProvider

    from pilotage.sites.plan import plan

    address = site.address or "@address@"
    here = machine_for_rendering(resolved, python)
    local_plan = plan(resolved, resolved.name, replace(here, address="127.0.0.1"))
    call = executor_call(local_plan, here.python)
    # The provider's part in the command is its number of nodes; a real one might ask the scheduler when made.
    stand_in = LocalProvider(nodes_per_block=site.nodes_per_block, launcher=SimpleLauncher())
    executor: Any = make(
        Call(
            OURS[call.target],
            {
                **call.arguments,
                "provider": stand_in,
                "script_path": ("@script_dir@",),
                "worker_cwd": "@cwd@",
                "driver": "@driver@",
                "environment": equipment(resolved, site),
                **on_nodes(replace(resolved, site=_with_literal_address(site)), site),
            },
            call.keys,
        ),
        resolved,
    )
    executor.all_addresses = {address}
    executor.worker_port = executor.worker_port or "@worker_port@"
    if is_elsewhere(site):
        executor.route, executor.worker_port = _Shown(site, address), None
    executor.run_dir, executor.prefix = "@run_dir@", "@environment@"
    executor.cert_dir = "@run_dir@/certificates" if executor.encrypted else None
    in_rings = "initialize_logging" not in site.config and keeps_tails([Target(resolved.name, resolved=resolved)])
    executor.logconf_path = "@run_dir@/log_config/log_config.pkl" if in_rings else None
    executor.initialize_scaling()
    return str(executor._get_launch_command("@block_id@")).strip()


class _Shown:
    """A way from workers to the driver as its other end is told to them, with nothing behind it.

    Its placeholders are those of `reach`.
    """

    def __init__(self, site: BlockSite, address: str) -> None:
        reach = site.reach if isinstance(site, BatchSite) else "pool"
        inside = (site.inside_address if isinstance(site, BatchSite) else None) or "@inside_address@"
        places = {
            "direct": (address, "@worker_port@"),
            "node": ("127.0.0.1", "@loopback_port@"),
            "pool": ("127.0.0.1", "@worker_port@"),
        }
        self._place = places.get(reach, (inside, "@port@"))
        host = site.inside_address if isinstance(site, BatchSite) else None
        self.options = ["--via", f"{host or '@login_host@'}:@loopback_port@"] if reach == "node" else []

    def open(self, port: int) -> tuple[str, str]:  # noqa: ARG002  a route's signature
        """Return what workers are told."""
        return self._place

    def close(self) -> None:
        """Do nothing."""


def machine_for_rendering(resolved: Resolved, python: str | None) -> Machine:
    """Return the machine's part without asking for addresses, which may not exist here."""
    return machine(replace(resolved, site=_with_literal_address(resolved.site)), python)


def _with_literal_address(site: Site) -> Site:
    given = (site.address if isinstance(site, BlockSite) else None) or "127.0.0.1"
    return site.model_copy(update={"address": given, "interface": None})
