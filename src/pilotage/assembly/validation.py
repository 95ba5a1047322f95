"""Checking sites as far as it goes without starting anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pilotage.assembly.calls import check, find, make
from pilotage.assembly.configs import executor_call
from pilotage.assembly.rendering import machine_for_rendering, render, worker_command
from pilotage.errors import PilotageError
from pilotage.sites import overrides
from pilotage.sites.catalogue import Catalogue, Resolved
from pilotage.sites.models import BlockSite
from pilotage.sites.plan import Call, plan


@dataclass(frozen=True)
class Report:
    """What was found of one site: an error, or None."""

    name: str
    error: PilotageError | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the report for ``--json``."""
        return {
            "site": self.name,
            "ok": self.error is None,
            "error": self.error and self.error.as_dict(),
        }


def validate_sites(catalogue: Catalogue, names: Sequence[str], assignments: Sequence[str] = ()) -> list[Report]:
    """Return a report for each of ``names`` (all sites when empty)."""
    return [_validate(catalogue, name, assignments) for name in names or catalogue.names()]


def _validate(catalogue: Catalogue, name: str, assignments: Sequence[str]) -> Report:
    try:
        resolved = catalogue.resolve(name, overrides.parse(assignments, name))
        check_arguments(resolved)
        render(resolved)
    except PilotageError as error:
        return Report(name, error)
    return Report(name)


def check_arguments(resolved: Resolved) -> None:
    """Check every argument that a site passes to Parsl against the constructors; raises SiteError.

    Launchers are made, since they are pure; providers are only checked by signature, since some of Parsl's ask the
    scheduler or read credentials when they are made.
    """
    planned = plan(resolved, resolved.name, machine_for_rendering(resolved, None))
    for call in (executor_call(planned, "python"), planned.provider):
        if call is not None:
            check(call, find(call, resolved), resolved)
            wrapped = call.arguments.get("launcher")
            if isinstance(wrapped, Call):
                make(wrapped, resolved)
    site = resolved.site
    if isinstance(site, BlockSite) and site.uses_blocks:
        worker_command(resolved, site)  # makes the executor, which asks nothing
    config = Call("parsl.config.Config", planned.config, {key: ("config", key) for key in planned.config_keys})
    make(config, resolved)
