"""How workers of a site that is reached by SSH come to the driver, as text: nothing is asked or made.

Values that only a run knows are placeholders, as in `rendering`; besides those there: ``@socket@`` of the shared
connection, ``@run_folder@`` on the login host, ``@inside_address@`` of that host, ``@port@`` that workers are told,
``@loopback_port@`` of the login host that leads to the driver, and ``@node_port@`` of a node's loopback.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from pilotage.assembly.configs import python_outside
from pilotage.sites.catalogue import Resolved
from pilotage.sites.models import BatchSite, SSHSite

ORDER = {"auto": ("gateway", "relay"), "gateway": ("gateway",), "relay": ("relay",), "node": ("node",)}
"""The ways that each ``reach`` tries, in this order."""
WORDS = {
    "direct": "workers connect with this machine's address themselves",
    "gateway": "the login host's sshd listens at its inside address (GatewayPorts clientspecified or yes)",
    "relay": "sshd listens at the login host's loopback, and a small relay of ours at its inside address",
    "node": "sshd listens at the login host's loopback, and each node connects with that host by SSH",
    "pool": "each host's sshd listens at that host's loopback",
}


@dataclass(frozen=True)
class Reach:
    """One way: what it is called, what it is in words, and the commands that make it, each with where it runs."""

    name: str
    words: str
    commands: tuple[tuple[str, str], ...]


def reaches(resolved: Resolved) -> list[Reach]:
    """Return the ways that are tried for a site, in order; none for one that is not reached by SSH."""
    site = resolved.site
    if isinstance(site, SSHSite):
        own = "@host@"
        return [Reach("pool", WORDS["pool"], (_connect(own), _forward(own, "127.0.0.1", "@loopback_port@")))]
    if not isinstance(site, BatchSite) or site.login is None:
        return []
    if site.reach == "direct":
        return [Reach("direct", WORDS["direct"], (_connect(site.login),))]
    python = python_outside(resolved)
    return [Reach(name, WORDS[name], _commands(name, site, site.login, python)) for name in ORDER[site.reach]]


def _commands(name: str, site: BatchSite, login: str, python: str) -> tuple[tuple[str, str], ...]:
    inside = site.inside_address or "@inside_address@"
    if name == "gateway":
        return (_connect(login), _forward(login, inside, "@port@"))
    loopback = _forward(login, "127.0.0.1", "@loopback_port@")
    if name == "relay":
        relay = f"{shlex.quote(python)} -I @run_folder@/relay.py {inside} @port@ @loopback_port@"
        return (_connect(login), loopback, ("on the login host", relay))
    host = site.inside_address or "@login_host@"
    own = f"ssh -N -L 127.0.0.1:@node_port@:127.0.0.1:@loopback_port@ {host}"
    return (_connect(login), loopback, ("on each node", own))


def _connect(host: str) -> tuple[str, str]:
    return "here", f"ssh -f -N -o ControlMaster=yes -o ControlPath=@socket@ {host}"


def _forward(host: str, address: str, port: str) -> tuple[str, str]:
    command = f"ssh -O forward -o ControlPath=@socket@ -R {address}:{port}:127.0.0.1:@worker_port@ {host}"
    return "here", command


def in_short(resolved: Resolved) -> str:
    """Return the ways in lines for people that are comments in TOML and in a shell; empty where there are none."""
    ways = enumerate(reaches(resolved))
    return "".join(f"# {'else by' if number else 'reach: by'} {one.name}: {one.words}\n" for number, one in ways)


def as_comments(resolved: Resolved) -> str:
    """Return the ways with their commands, as comments of a shell; empty where there are none."""
    lines = []
    for number, one in enumerate(reaches(resolved)):
        lines.append(f"{'else ' if number else ''}{one.name}: {one.words}")
        lines += [f"  {where}: {command}" for where, command in one.commands]
    return "".join(f"# {line}\n" for line in lines)


def as_data(resolved: Resolved) -> list[dict[str, object]]:
    """Return the ways for ``--json``."""
    return [
        {
            "reach": one.name,
            "words": one.words,
            "commands": [{"where": where, "command": command} for where, command in one.commands],
        }
        for one in reaches(resolved)
    ]
