"""The way from this machine to a node, as the kernel would take it."""

from __future__ import annotations

import re
import socket

from pilotage.check.asked import inquiry_of, nodes
from pilotage.check.context import Context
from pilotage.check.finding import Finding, ok, skipped, warning
from pilotage.check.network import address_of
from pilotage.check.probe import Cost, Probe, probe
from pilotage.sites.models import BatchSite


@probe
class Route(Probe):
    """This machine reaches a node from the address that workers are told."""

    name = "route"
    cost = Cost.SCHEDULER
    needs = ("scheduler", "queue", "address")

    def applies(self, context: Context) -> bool:
        """Apply to schedulers that name their nodes."""
        return isinstance(context.site, BatchSite) and inquiry_of(context) is not None

    def run(self, context: Context) -> Finding:
        """Look up one node's name, and ask the kernel from which address it would send there; nothing is sent."""
        if context.is_through:
            return skipped("nodes need not reach this machine: see reach")
        node = next((name for one in nodes(context) if one.usable and (name := first(one.names))), None)
        if node is None:
            return skipped("the scheduler names no node that could be looked up")
        command = f"ip route get $(getent hosts {node} | cut -d' ' -f1)"
        context.say(f"looking up {node}")
        try:
            there = socket.getaddrinfo(node, 9, type=socket.SOCK_DGRAM)[0]
            with socket.socket(there[0], socket.SOCK_DGRAM) as asked:
                asked.connect(there[4])
                source = asked.getsockname()[0]
        except OSError as error:
            return skipped(f"{node}: {error.strerror or error}; --submit finds out", command=command)
        address = address_of(context)
        if source != address:
            return warning(
                f"{node} is reached from {source}, and workers are told {address}",
                hint=f"--set address={source}, unless nodes reach {address} too",
                where=context.key("address"),
                command=command,
            )
        return ok(f"{node} is reached from {source}", command=command)


def first(names: str) -> str | None:
    """Return the first host of a list as schedulers write them (``node[01-10,20],head``), None where there is none."""
    match = re.match(r"([A-Za-z0-9._-]+)(?:\[(\d+)[^\]]*\]([A-Za-z0-9._-]*))?", names)
    return "".join(part or "" for part in match.groups()) if match else None
