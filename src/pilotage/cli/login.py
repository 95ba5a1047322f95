"""``pilotage login``."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from pilotage.cli.common import command_options, set_option
from pilotage.cli.completion import SiteName
from pilotage.output import Output

if TYPE_CHECKING:
    from pilotage.hosts.openssh import OpenSSHHost
    from pilotage.sites.catalogue import Catalogue


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name", metavar="SITE|HOST", type=SiteName())
@set_option
@click.option("--end", is_flag=True, help="End the connections instead.")
@command_options
def login(output: Output, name: str, assignments: tuple[str, ...], end: bool) -> None:
    """Connect with the hosts of a site (or with user@host) once, for all runs of the day.

    What a host asks for is asked on this terminal: a passphrase, a second factor. Runs that wait for the connection go
    on. It stays for 12 hours after its last use.
    """
    from pilotage.assembly.login import hosts_called
    from pilotage.errors import HostError
    from pilotage.hosts.openssh import A_DAYS_WORK, OpenSSHHost
    from pilotage.sites.catalogue import Catalogue

    catalogue = Catalogue.load()
    names = hosts_called(name, assignments, catalogue)
    rows: list[dict[str, Any]] = []
    for one in names:
        host = OpenSSHHost(one, stays=A_DAYS_WORK)
        try:
            rows.append(_end(output, host) if end else _begin(output, host))
        except HostError as error:
            if len(names) == 1:
                raise _unknown(error, name, catalogue) from error
            output.warn(" ".join(str(error).split()))
            rows.append(_row(one, error=error.as_dict()))
    output.data({"site": name if name in catalogue.names() else None, "hosts": rows})
    if any(row["error"] for row in rows):
        sys.exit(HostError.exit_code)


def _begin(output: Output, host: OpenSSHHost) -> dict[str, Any]:
    from pilotage.hosts.logins import log_in
    from pilotage.runs.record import iso

    found = log_in(host, ask=sys.stdin is not None and sys.stdin.isatty())
    now = "is connected" if found.made else "is connected already"
    stays = "the run that has made it ends it"
    until = None
    if found.until is not None:
        until = iso(found.until)
        stays = f"until {time.strftime('%A %H:%M', time.localtime(found.until))}, or 12 hours after its last use"
    if not output.as_json:
        output.text(f"{host.destination} {now}: {stays}")
    return _row(host.destination, connected=True, made=found.made, until=until)


def _end(output: Output, host: OpenSSHHost) -> dict[str, Any]:
    from pilotage.hosts.logins import log_out

    was = log_out(host)
    if not output.as_json:
        output.text(f"{host.destination}: {'the connection has ended' if was else 'there was no connection'}")
    return _row(host.destination)


def _row(host: str, **known: Any) -> dict[str, Any]:
    return {"host": host, "connected": False, "made": False, "until": None, "error": None, **known}


def _unknown(error: Exception, name: str, catalogue: Catalogue) -> Exception:
    """Return what to say of a name that is neither a site's nor a host's."""
    from pilotage.errors import UnknownSiteError, did_you_mean

    if name in catalogue.names() or "@" in name or "resolve hostname" not in str(error):
        return error
    hint = did_you_mean(name, catalogue.names()) or "pilotage site list shows all sites; a host is user@host"
    return UnknownSiteError(f"there is no site {name!r}, and no host of that name", hint=hint)
