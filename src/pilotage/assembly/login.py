"""Sites that are reached by SSH: their hosts, where their runs' folders are, how their workers reach the driver."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from pilotage import steps
from pilotage.assembly.configs import Target, targets
from pilotage.errors import HostError, LoginError, UnsupportedError, UsageError
from pilotage.hosts import openssh
from pilotage.hosts.far import FarFolder
from pilotage.hosts.way import Way
from pilotage.sites.catalogue import Catalogue
from pilotage.sites.models import BatchSite, Site, SSHSite
from pilotage.sites.plan import Machine


def hosts_of(site: Site) -> list[str]:
    """Return the hosts that a site is reached by over SSH: its login host, those of a pool, or none."""
    if isinstance(site, SSHSite):
        return list(site.hosts)
    return [site.login] if isinstance(site, BatchSite) and site.login is not None else []


def without_code(chosen: Sequence[Target]) -> list[str]:
    """Return the assignments by which nothing of the script is sent to those sites of a run that are elsewhere."""
    return [f"{target.label}:sync=false" for target in _far(chosen)]


def with_names(chosen: Sequence[Target], names: Sequence[str]) -> list[str]:
    """Return the assignments by which of the script just what is named is sent to those sites that are elsewhere.

    Raises UsageError where there are none.
    """
    far = _far(chosen)
    if not far:
        raise UsageError("--sync is for sites reached by SSH, and none of these is", hint="workers see the folder here")
    return [f"{target.label}:sync={json.dumps(names, ensure_ascii=False)}" for target in far]


def check_names(chosen: Sequence[Target], folder: Path, where: str | None = None) -> None:
    """Raise UsageError where a name in the ``sync`` of a site stands for nothing, from the script's folder."""
    for target in chosen:
        resolved = target.resolved
        sync = getattr(resolved.site, "sync", None) if resolved is not None else None
        if resolved is not None and isinstance(sync, list):
            from pilotage.environments.naming import named

            named(sync, folder, where or resolved.place("sync"))


def _far(chosen: Sequence[Target]) -> list[Target]:
    return [target for target in chosen if target.resolved is not None and hosts_of(target.resolved.site)]


def hosts_called(name: str, assignments: Sequence[str], catalogue: Catalogue) -> list[str]:
    """Return the hosts of the site ``name``, or the host of that name where there is no such site."""
    if name in catalogue.names():
        resolved = targets(name, assignments, catalogue)[0].resolved
        found = hosts_of(resolved.site) if resolved is not None else []
        if not found:
            hint = 'login = "user@host" in the site gives it one; or name a host: pilotage login user@host'
            raise UnsupportedError(f"the site {name!r} is not reached by SSH", hint=hint)
        return found
    if assignments:
        raise UsageError(f"--set is for a site, and there is no site {name!r}")
    if name.startswith("-") or len(name.split()) != 1:
        raise UsageError(f"{name!r} is no host")
    return [name]


def way(site: Site, label: str, machine: Machine) -> Way | None:
    """Return the way from a site's nodes to this machine, None where the site has no login host; nothing is asked."""
    if not isinstance(site, BatchSite) or site.login is None:
        return None
    folder = FarFolder(openssh.host(site.login), site.run_folder, label)
    return Way(folder, machine.python, site.reach, site.inside_address, machine.address)


def connect(sites: Mapping[str, Site], *, ask: bool) -> None:
    """Connect with the hosts of sites, where there is no connection; raises HostError, LoginError.

    Parameters
    ----------
    sites: by label.
    ask: whether a person may be asked for a passphrase or a second factor.
    """
    for label, site in sites.items():
        names = hosts_of(site)
        if isinstance(site, SSHSite):
            _connect_pool(label, names, ask=ask)
        elif names:
            _connect(label, names[0], ask=ask)


def _connect(label: str, name: str, *, ask: bool) -> None:
    host = openssh.host(name)
    if not host.is_connected():
        with steps.doing(label, f"connecting with {name}"):
            host.connect(ask=ask)


def _connect_pool(label: str, names: Sequence[str], *, ask: bool) -> None:
    """Connect with one host of a pool, and with all where that takes a person; one that is away is no error.

    Whoever lets us in without a question is not waited for before a block is wanted there.
    """
    problems, person = [], False
    for name in names:
        problem = _problem(label, name, ask=person)
        if isinstance(problem, LoginError) and ask and not person:
            person, problem = True, _problem(label, name, ask=True)
        if problem is not None:
            problems.append(problem)
        elif not person:
            return
    if len(problems) == len(names):
        raise problems[0]


def _problem(label: str, name: str, *, ask: bool) -> HostError | None:
    try:
        _connect(label, name, ask=ask)
    except HostError as error:
        return error
    return None
