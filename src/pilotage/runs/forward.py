"""Reaches a server that a task of a run has started, on the node where it runs, from this machine.

Where the node's site has a login host, over the run's shared connection; where this machine reaches the node by itself,
through a small relay in this very process. Either is in the run's journal before it is there, and ends with the run.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from pilotage import journal
from pilotage.errors import HostError, StorageError, UsageError
from pilotage.hosts.openssh import LOOPBACK, OpenSSHHost
from pilotage.hosts.openssh import host as login_host
from pilotage.journal import Journal
from pilotage.paths import RunFolder
from pilotage.runs.order import Order
from pilotage.runs.record import RunRecord, read_json
from pilotage.runs.store import is_live, values_of
from pilotage.sites.models import BatchSite, LocalSite, Site, SSHSite
from pilotage.worker import processes
from pilotage.worker.relay import Relay

LOOK = 0.5
"""Seconds between two looks at the run and at the connection."""
REFUSAL = 2.0
"""Seconds within which a login host has said that nobody listens on a node."""
HINT = (
    "does the server run there, and on this port? One that listens at its node's loopback alone cannot be reached: "
    "bind it to 0.0.0.0 or to the node's address"
)


class Server(NamedTuple):
    """Where a server is: the node, its port, and by which host it is reached, None where this machine does so itself.

    ``addresses`` are what the node is called from there.
    """

    node: str
    port: int
    login: str | None
    addresses: Sequence[str]

    @property
    def is_here(self) -> bool:
        """Whether it is on this machine."""
        return self.login is None and self.node == processes.host()


def server(folder: RunFolder, port: int, node: str | None) -> Server:
    """Return where a server of a run is; raises UsageError where the run is over or has not just one node.

    Parameters
    ----------
    folder: the run's.
    port: of the server.
    node: on which it is; the one that the run has when None.
    """
    values = values_of(folder)
    if not is_live(values):
        raise UsageError(f"run {folder.id} is over, and its servers with it")
    sites = _sites(folder)
    known = {str(one["node"]): str(one["executor"]) for one in read_json(folder.progress).get("nodes", [])}
    if not known and sites and all(isinstance(site, LocalSite) for site in sites.values()):
        known = {str(values["owner"]["host"]): next(iter(sites))}
    if node is None:
        node = _only(folder, sorted(known))
    label = known.get(node, next(iter(sites)) if len(sites) == 1 else "")
    return _reached(sites.get(label), node, port)


def _sites(folder: RunFolder) -> dict[str, Site]:
    try:
        targets = Order.read(folder).targets
    except (OSError, ValueError, KeyError):  # of a Python process of the user's
        return {}
    return {target.label: target.resolved.site for target in targets if target.resolved is not None}


def _only(folder: RunFolder, nodes: Sequence[str]) -> str:
    if len(nodes) == 1:
        return nodes[0]
    if not nodes:
        raise UsageError(f"run {folder.id} has no node yet that is known", hint="--node NODE says where the server is")
    raise UsageError(f"run {folder.id} has {len(nodes)} nodes: {', '.join(nodes)}", hint=f"--node {nodes[0]}")


def _reached(site: Site | None, node: str, port: int) -> Server:
    if isinstance(site, SSHSite):
        names = {name.rpartition("@")[2].partition(".")[0]: name for name in site.hosts}
        if member := names.get(node.partition(".")[0]) or (site.hosts[0] if len(site.hosts) == 1 else None):
            return Server(node, port, member, (LOOPBACK, node))
        raise UsageError(f"{node} is none of the pool's hosts", hint=f"they are {', '.join(site.hosts)}")
    login = site.login if isinstance(site, BatchSite) else None
    is_here = login is None and node == processes.host()
    return Server(node, port, login, (LOOPBACK if is_here else node,))


def forward(
    folder: RunFolder,
    to: Server,
    local: int | None,
    ready: Callable[[int], None],
    *,
    ask: bool = False,
    say: Callable[[str], None],
) -> None:
    """Bring a port of this machine's loopback to a server until a signal or the end of the run.

    Parameters
    ----------
    folder: the run's.
    to: where the server is.
    local: port of this machine; the server's number, or any that is free, when None.
    ready: told the port once the server is reached.
    ask: whether a person may be asked for what a login host wants.
    say: told what a person should know.

    Raises HostError where the server cannot be reached, UsageError where the port of this machine is taken.
    """
    port = local_port(local, to.port)
    before, journal.current = journal.current, Journal(folder.journal)
    try:
        with stopped_by_signals() as stop:
            if to.login is None:
                _relayed(folder, to, port, ready, stop)
            else:
                _Brought(folder, to, to.login, port, say).keep(ready, stop, ask=ask)
    except OSError as error:
        raise StorageError(f"the run's journal cannot be written: {error.strerror}", where=str(folder.path)) from error
    finally:
        journal.current = before


def check_answers(to: Server) -> None:
    """Raise HostError where a server that this machine reaches by itself is not there."""
    try:
        socket.create_connection((to.addresses[0], to.port), 5).close()
    except OSError as error:
        raise _unreached(to, error.strerror or str(error)) from error


def local_port(wanted: int | None, like: int) -> int:
    """Return a port of this machine's loopback that is free now; raises UsageError where ``wanted`` is not."""
    for port in (like, 0) if wanted is None else (wanted,):
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind((LOOPBACK, port))
            except (OSError, OverflowError):
                continue
            return int(tried.getsockname()[1])
    raise UsageError(f"port {wanted} of this machine cannot be had", hint="leave --local out, or give another")


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """Have signals that end a command set an event instead."""
    stop = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(folder: RunFolder, stop: threading.Event, look: Callable[[], None] = lambda: None) -> None:
    """Wait until we are told to stop or the run is over."""
    while not stop.wait(LOOK) and is_live(RunRecord(folder.path).values):
        look()


@contextmanager
def _in_journal() -> Iterator[None]:
    """Have this process in the run's journal, so that it ends with the run, whatever state it is in."""
    key = journal.intend("process", role="forward")
    journal.identify(key, **processes.identity(os.getpid()))
    try:
        yield
    finally:
        journal.ended(key, "ended")


def _relayed(folder: RunFolder, to: Server, port: int, ready: Callable[[int], None], stop: threading.Event) -> None:
    check_answers(to)
    with _in_journal(), socket.create_server((LOOPBACK, port)) as listener:
        lifetime, ours = os.pipe()
        relay = threading.Thread(target=Relay(listener, to.port, lifetime, to.addresses[0]).run, daemon=True)
        relay.start()
        try:
            ready(port)
            _wait(folder, stop)
        finally:
            os.close(ours)
            relay.join(5)
            os.close(lifetime)


class _Brought:
    """A port of ours that a login host brings to a server, made anew where their connection is."""

    def __init__(self, folder: RunFolder, to: Server, login: str, port: int, say: Callable[[str], None]) -> None:
        self._folder, self._to, self._port, self._say = folder, to, port, say
        self._host: OpenSSHHost = login_host(login)
        self._address = ""
        self._key = ""
        self._master: dict[str, object] = {}
        self._is_lost = False

    def keep(self, ready: Callable[[int], None], stop: threading.Event, *, ask: bool) -> None:
        self._host.connect(ask=ask)
        try:
            with _in_journal():
                self._begin(stop)
                ready(self._port)
                _wait(self._folder, stop, self._look)
        finally:
            self._end()
            self._host.leave()

    def _begin(self, stop: threading.Event) -> None:
        for address in self._to.addresses:
            self._listen(address)
            if answers(self._port, REFUSAL) or stop.is_set():
                return
            self._end()
        raise _unreached(self._to, f"{self._host.destination} cannot connect with it")

    def _listen(self, address: str) -> None:
        name = f"{self._to.node}:{self._to.port}"
        told = {"port": self._port, "to": self._to.port, "address": address}
        self._key = self._key or journal.intend("tunnel", **self._host.place, brings=True, name=name, **told)
        self._address = address
        self._host.bring(self._port, self._to.port, address)
        self._master = processes.identity(self._host.master() or 0)

    def _look(self) -> None:
        if processes.is_alive(self._master):
            return
        if not self._is_lost:
            self._say(f"the connection to {self._host.destination} is lost; it is made anew")
        self._is_lost = True
        try:
            self._host.connect()
            self._listen(self._address)
        except HostError:  # it is tried again: a person may log in meanwhile
            return
        self._is_lost = False
        self._say(f"the connection to {self._host.destination} is back")

    def _end(self) -> None:
        if self._address:
            self._host.cancel_bringing(self._port, self._to.port, self._address)
        journal.ended(self._key, "closed")
        self._address = self._key = ""


def answers(port: int, patience: float) -> bool:
    """Return whether a connection to a port of our loopback lasts: one that leads nowhere is closed at once."""
    try:
        with socket.create_connection((LOOPBACK, port), patience) as tried:
            ready, _, _ = select.select([tried], [], [], patience)
            return not ready or bool(tried.recv(1))
    except OSError:
        return False


def _unreached(to: Server, reason: str) -> HostError:
    return HostError(f"port {to.port} cannot be reached: {reason}", where=to.node, hint=HINT)
