"""The way from workers to a driver that is not among them: made as a run makes it, tried, and taken down."""

from __future__ import annotations

import contextlib
import shlex
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from pilotage.assembly.configs import python_outside
from pilotage.check.context import Context
from pilotage.check.finding import Finding, failed, listed, ok, skipped
from pilotage.check.login import WHEN_OVER, Folder, OnHosts, folder_on
from pilotage.check.probe import probe
from pilotage.errors import HostError
from pilotage.hosts.base import Completed
from pilotage.hosts.far import FarFolder
from pilotage.hosts.openssh import LOOPBACK, OpenSSHHost
from pilotage.hosts.way import Way
from pilotage.sites.models import BatchSite, Site

WORD = b"pilotage check\n"
ASK = (
    "import socket, sys; s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10); "
    "s.settimeout(10); print(s.makefile().readline().strip())"
)
"""Prints what is said at an address and port."""


@probe
class Reach(OnHosts):
    """Workers reach the driver through the site's hosts."""

    name = "reach"
    needs = ("login", "login-folder", "python")

    def run(self, context: Context) -> Finding:
        """Open the way to a port of ours, and ask on the host whether our word comes out of it."""
        site = context.site
        if isinstance(site, BatchSite) and site.reach == "direct":
            return skipped("nodes are to connect with this machine directly; --submit tries it")
        told = []
        with listening() as port:
            for name in context.reached:
                host = context.hosts[name]
                if not isinstance(host, OpenSSHHost):
                    return skipped(f"{name} is not reached by SSH")
                context.say(f"making a way from {name} to this machine")
                try:
                    told.append(_tried(context, name, host, port))
                except HostError as error:
                    return _no_way(context, name, error)
        return ok(listed(told))


def _no_way(context: Context, name: str, error: HostError) -> Finding:
    refused = "is refused" in error.message
    hint = "its sshd forwards no port (AllowTcpForwarding no?): ask its staff, or run the driver there"
    return failed(
        f"{name}: {error.message}",
        hint=hint if refused or not error.hint else error.hint,
        where=context.key("reach") if isinstance(context.site, BatchSite) else context.key("hosts"),
        command=f"ssh {shlex.quote(name)} -R 0:{LOOPBACK}:22 true",
    )


@contextlib.contextmanager
def _removed(site: Site, host: OpenSSHHost, found: Folder | Completed, folder: FarFolder) -> Iterator[None]:
    """Have a host remove a folder that is made there now, when we are through, or gone: no journal has it."""
    if not isinstance(found, Folder):
        yield
        return
    words = [getattr(site, "run_folder", ""), found.new, f"{found.path}/{folder.name}"]
    with host.session(["sh", "-c", WHEN_OVER, "sh", *words]) as process:
        try:
            yield
        finally:
            process.communicate()  # closes its input: by that it begins


def _tried(context: Context, name: str, host: OpenSSHHost, port: int) -> str:
    """Return how workers of a host come here; raises HostError where they do not."""
    site, python = context.site, python_outside(context.resolved)
    found = folder_on(context, name)
    folder = FarFolder(host, found.path if isinstance(found, Folder) else "~", "check")
    if isinstance(site, BatchSite):
        way = Way(folder, python, site.reach, site.inside_address)
    else:
        way = Way(folder, python, "node", nodes_connect=False)
    with tempfile.TemporaryDirectory() as here, _removed(site, host, found, folder):
        try:
            folder.begin(Path(here))
            address, opened = way.open(port)
            answer = host.run([python, "-c", ASK, address, str(opened)], timeout=30)
        finally:
            way.close()
            folder.end()
    if answer.stdout.strip() != WORD.decode().strip():
        last = (answer.stderr.strip() or f"nothing is heard at {address}:{opened}").splitlines()[-1]
        raise HostError(f"the way by {way.reach} leads nowhere: {last}", hint="try another reach: relay or node")
    return _words(context, name, way, address)


def _words(context: Context, name: str, way: Way, address: str) -> str:
    if not isinstance(context.site, BatchSite):
        return f"{name}: a port of its loopback"
    said = {
        "gateway": f"its sshd listens for nodes at {address}",
        "relay": f"a relay of ours listens for nodes at {address}",
        "node": f"each node connects with {way.inside or 'it'} by SSH; --submit tries that",
    }
    return f"{way.reach}: on {name}, {said[way.reach]}"


@contextlib.contextmanager
def listening() -> Iterator[int]:
    """Say our word to whoever connects with a port of the loopback, as long as this lasts."""
    with socket.create_server((LOOPBACK, 0)) as server:

        def say() -> None:
            with contextlib.suppress(OSError):  # the end
                while True:
                    connection, _ = server.accept()
                    with connection, contextlib.suppress(OSError):
                        connection.sendall(WORD)

        thread = threading.Thread(target=say, name="check-reach", daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(5)
