"""The way from the nodes to the driver: its address, the route, and the port on which it listens."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket

import psutil

from pilotage.assembly.configs import machine
from pilotage.check.asked import is_only_node
from pilotage.check.context import Context
from pilotage.check.finding import Finding, failed, ok, skipped, warning
from pilotage.check.probe import Cost, Probe, probe
from pilotage.errors import PilotageError
from pilotage.sites.models import BatchSite

PORTS = (54000, 55000)
"""Parsl's range of ports for workers, where the site gives none; the end is not part of it."""
TRIED = 20
"""Ports of a range that are tried."""
FEW = 10
"""Free ports below which a second run on this machine may find none."""


def addresses() -> dict[str, str]:
    """Return the addresses of this machine, IPv4 and IPv6, with the name of the interface of each."""
    found = {}
    for name, known in psutil.net_if_addrs().items():
        for one in known:
            if one.family in (socket.AF_INET, socket.AF_INET6):
                found[one.address.partition("%")[0]] = name
    return found


def address_of(context: Context) -> str:
    """Return the address at which workers reach the driver; raises PilotageError."""
    return machine(context.resolved).address


@probe
class Address(Probe):
    """The address that workers are told is one of this machine, and one that other machines can mean."""

    name = "address"
    cost = Cost.MACHINE
    needs = ("configuration",)

    def applies(self, context: Context) -> bool:
        """Apply to sites whose workers connect to the driver."""
        return context.blocks is not None

    def run(self, context: Context) -> Finding:
        """Compare it with the addresses of the interfaces."""
        if context.is_through:
            return skipped("workers come through the site's hosts: see reach")
        try:
            address = address_of(context)
        except PilotageError as error:
            hint = error.hint or "give the address: --set address=IP"
            return failed(error.message, hint=hint, where=error.where, command="ip -brief address")
        known = addresses()
        site = context.blocks
        key = "interface" if site is not None and site.interface and not site.address else "address"
        where = context.key(key)
        others = ", ".join(f"{one} ({name})" for one, name in known.items() if _is_for_others(one))
        hint = f"this machine has {others or 'no address for other machines'}; set address or interface"
        if address not in known:
            message = f"{address} is no address of this machine: Parsl cannot listen there"
            return failed(message, hint=hint, where=where, command="ip -brief address")
        if isinstance(context.site, BatchSite) and not _is_for_others(address) and not is_only_node(context):
            kind = "loopback" if ipaddress.ip_address(address).is_loopback else "a link-local address"
            message = f"{address} is {kind}: on a node it means the node itself"
            return failed(message, hint=hint, where=where, command="ip -brief address")
        return ok(f"{address} ({known[address]})", command="ip -brief address")


def _is_for_others(address: str) -> bool:
    found = ipaddress.ip_address(address)
    return not (found.is_loopback or found.is_link_local or found.is_unspecified)


@probe
class Ports(Probe):
    """The driver can listen where its workers will connect."""

    name = "ports"
    cost = Cost.MACHINE
    needs = ("configuration", "address")

    def applies(self, context: Context) -> bool:
        """Apply to sites whose workers connect to the driver."""
        return context.blocks is not None

    def run(self, context: Context) -> Finding:
        """Bind, and let go again: the port of the site, or some of its range."""
        address, arguments = address_of(context), context.blocks.executor if context.blocks is not None else {}
        fixed = arguments.get("worker_port")
        where = context.key("executor", "worker_port" if fixed else "worker_port_range")
        if fixed:
            problem = bind(address, int(fixed))
            command = f"ss --listening --tcp --numeric 'sport = :{fixed}'"
            if problem is None:
                return ok(f"{fixed} is free on {address}", command=command)
            hint = "end what listens there, or give another worker_port"
            return failed(f"port {fixed} on {address}: {problem}", hint=hint, where=where, command=command)
        low, high = arguments.get("worker_port_range") or PORTS
        return _range(address, int(low), int(high), where)


def _range(address: str, low: int, high: int, where: str) -> Finding:
    command = f"ss --listening --tcp --numeric 'sport >= :{low} and sport < :{high}'"
    if high <= low:
        hint = "the end is not part of the range: (54000, 55000) are 1000 ports"
        return failed(f"worker_port_range ({low}, {high}) has no port", hint=hint, where=where)
    step = max((high - low) // TRIED, 1)
    problems = {port: bind(address, port) for port in range(low, high, step)}
    free = [port for port, problem in problems.items() if problem is None]
    if not free:
        problem = next(iter(problems.values()))
        hint = "end what listens there, or give another worker_port_range"
        words = f"no port from {low} to {high - 1} on {address}: {problem}"
        return failed(words, hint=hint, where=where, command=command)
    if len(free) * step < FEW and len(free) < len(problems):
        hint = "widen worker_port_range: each run on this machine takes one port"
        words = f"{len(free)} of {len(problems)} ports from {low} to {high - 1} are free on {address}"
        return warning(words, hint=hint, where=where, command=command)
    return ok(f"{low} to {high - 1} on {address} can be listened on", command=command)


def bind(address: str, port: int) -> str | None:
    """Return why nobody can listen on a port, None where one can."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as ZeroMQ does
        try:
            listener.bind((address, port))
            listener.listen(1)
        except OverflowError:
            return "there is no such port"
        except OSError as error:
            return {errno.EADDRINUSE: "in use", errno.EACCES: "only root may listen there"}.get(
                error.errno or 0, os.strerror(error.errno or 0)
            )
    return None
