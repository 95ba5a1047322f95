"""Sites whose scheduler is on a login host: where their runs' folders are, and how their workers reach the driver."""

from __future__ import annotations

from collections.abc import Iterable

from pilotage.hosts import openssh
from pilotage.hosts.far import FarFolder
from pilotage.hosts.way import Way
from pilotage.sites.models import BatchSite, Site
from pilotage.sites.plan import Machine


def login_of(site: Site) -> str | None:
    """Return the login host of a site, None where its scheduler is asked on this machine."""
    return site.login if isinstance(site, BatchSite) else None


def way(site: Site, label: str, machine: Machine) -> Way | None:
    """Return the way from a site's nodes to this machine, None where the site has no login host; nothing is asked."""
    if not isinstance(site, BatchSite) or site.login is None:
        return None
    folder = FarFolder(openssh.host(site.login), site.run_folder, label)
    return Way(folder, machine.python, site.reach, site.inside_address, machine.address)


def connect(sites: Iterable[Site], *, ask: bool) -> None:
    """Connect with the login hosts of sites, where there is no connection; raises HostError, LoginError.

    Parameters
    ----------
    ask: whether a person may be asked for a passphrase or a second factor.
    """
    for login in dict.fromkeys(filter(None, map(login_of, sites))):
        openssh.host(login).connect(ask=ask)
