"""The way from a cluster's nodes through its login host to a port of this machine's loopback, kept while it is wanted.

Nodes know one address and one port. What is behind them depends on what the login host's sshd allows:

- ``direct``: nothing: nodes reach this machine.
- ``gateway``: sshd listens at the login host's inside address (GatewayPorts yes or clientspecified).
- ``relay``: sshd listens at its loopback, and a small relay of ours at the inside address.
- ``node``: sshd listens at its loopback, and each node brings that to its own over an SSH connection to the login host.

All of it goes over the one shared connection: no second factor is asked for. Where that connection is lost it is made
anew, with the same port there, and workers find what they knew.
"""

from __future__ import annotations

import contextlib
import select
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from pilotage import events, journal, steps
from pilotage.errors import HostError, LoginError
from pilotage.hosts.far import FarFolder
from pilotage.hosts.openssh import LOOPBACK, OpenSSHHost
from pilotage.worker import processes, relay

Reach = Literal["auto", "direct", "gateway", "relay", "node"]
LOOK = 0.5
"""Seconds between two looks at whether the connection is there."""
AGAIN = 2.0
"""Seconds between two tries to make it anew."""
BEGIN = 20.0
"""Seconds that a relay has to listen."""
TOLD = 30.0
"""Seconds after which it is told why it cannot be made anew."""
STALE = 10.0
"""Seconds that sshd may take to give up the port of a connection that is gone."""

CLAIM = (
    'note=$1; mine=$PPID; while [ "${mine:-0}" -gt 1 ]; do '
    'case "$(cat "/proc/$mine/comm" 2>/dev/null)" in sshd*) break;; esac; '
    'mine=$(sed -n "s/^PPid:[^0-9]*//p" "/proc/$mine/status" 2>/dev/null); done; '
    '[ "${mine:-0}" -gt 1 ] || exit 0; '
    'if [ -r "$note" ]; then old=$(cat "$note"); '
    'case "$(cat "/proc/$old/comm" 2>/dev/null)" in sshd*) [ "$old" != "$mine" ] && kill "$old" 2>/dev/null;; '
    "esac; fi; "
    'echo "$mine" > "$note"'
)
"""For ``sh -c``: end the sshd of our connection before this one, which has not noticed its end and keeps the port.

Ours is found among those that this descends from: between the two are a shell and what watches the time.
"""
TRY = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3).close()"
ADDRESSES = (
    "import os, socket, subprocess as s; "
    "mine = os.environ.get('SSH_CONNECTION', '0 0 0 0').split()[2]; "
    "found = s.run(['hostname', '-I'], capture_output=True, text=True).stdout.split(); "
    "others = [a for a in found if a != mine and '.' in a and not a.startswith(('127.', '169.254.', '172.17.'))]; "
    "print(*(others + [mine]))"
)
"""Prints the host's addresses, first those by which nobody has come from outside."""


class Way:
    """See the module.

    Parameters
    ----------
    folder: the run's folder on the login host.
    python: path of a Python there.
    reach: the arrangement; ``auto`` takes ``gateway`` where that works, else ``relay``.
    inside: the login host's address for its nodes; found where it is not given.
    here: this machine's address, where nodes reach it directly.
    nodes_connect: whether the workers of ``node`` are on other hosts than this one.

    ``wants_person`` is whether the connection is lost and only a person can make it anew, by `pilotage login`.
    """

    def __init__(
        self,
        folder: FarFolder,
        python: str,
        reach: Reach = "auto",
        inside: str | None = None,
        here: str = LOOPBACK,
        *,
        nodes_connect: bool = True,
    ) -> None:
        self.nodes_connect = nodes_connect
        self.folder = folder
        self.reach: Reach = reach
        self.inside = inside
        self._host: OpenSSHHost = folder.host
        self._python = python
        self._here = here
        self._to = 0
        self._port = 0
        self._listens: tuple[str, int] | None = None
        self._relay: subprocess.Popen[bytes] | None = None
        self._relay_key = ""
        self._key = ""
        self._master: Mapping[str, Any] | None = None
        self.wants_person = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_shared(self) -> bool:
        """Whether all nodes come by one connection: where one of them is heard, another could be."""
        return self.reach != "node"

    @property
    def is_up(self) -> bool:
        """Whether the connection is there, as far as this machine knows."""
        return self.reach == "direct" or (self._master is not None and processes.is_alive(self._master))

    def open(self, port: int) -> tuple[str, int]:
        """Make the way to ``port`` of this machine's loopback; return the address and port that workers are told.

        Raises HostError where there is none.
        """
        with steps.doing(self.folder.label, f"connecting with {self._host.destination}"):
            self._host.connect()
        if self.reach == "direct":
            return self._here, port
        self._to = port
        with steps.doing(self.folder.label, f"opening the way by {self._host.destination}") as step:
            self._claim()
            address = self._arrange(step)
        words = f"workers reach this machine by {self._host.destination} ({self.reach}), at {address}:{self._port}"
        events.tell("way", words, login=self._host.destination, reach=self.reach, address=address, port=self._port)
        self._stop.clear()
        self._thread = threading.Thread(target=self._keep, name=f"way-{self._host.destination}", daemon=True)
        self._thread.start()
        return address, self._port

    @property
    def place(self) -> tuple[str, int] | None:
        """The address and port on the login host that workers were told, None where they know none there."""
        return (self.inside, self._port) if self._listens is not None and self.inside and self.reach != "node" else None

    @property
    def options(self) -> list[str]:
        """What our start of the pool is told: where each node connects by itself, with whom."""
        if self.reach != "node" or not self.nodes_connect:
            return []
        return ["--via", f"{self.inside or self._host.identity().host}:{self._port}"]

    def close(self) -> None:
        """Give up the way; the run's folder there stays."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(30)
            self._thread = None
        self._end_relay()
        if self._listens is not None:
            address, port = self._listens
            self._host.cancel_forward(port, self._to, address)
            self._listens = None
        journal.ended(self._key, "closed")
        self._key = ""

    def _arrange(self, step: steps.Step) -> str:
        opening = f"opening the way by {self._host.destination}"
        self._key = journal.intend("tunnel", **self._host.place, to=self._to)
        if self.reach == "node":
            step.now(f"{opening} (node)" if self.nodes_connect else opening)
            self._listen(LOOPBACK)
            self._port = self._listened
            return LOOPBACK
        self.inside = self.inside or self._inside()
        step.now(f"{opening} ({'relay' if self.reach == 'relay' else 'gateway'})")
        if self.reach != "relay" and self._is_gateway(self.inside):
            self.reach = "gateway"
            self._port = self._listened
        elif self.reach == "gateway":
            raise HostError(
                f"its sshd does not listen at {self.inside} for us",
                where=self._host.destination,
                hint='its GatewayPorts is "no" there, or it has no such address: reach = "relay" or "node"',
            )
        else:
            self.reach = "relay"
            step.now(f"{opening} (relay)")
            self._listen(LOOPBACK)
            self._port = self._start_relay()
        return self.inside

    @property
    def _listened(self) -> int:
        if self._listens is None:
            raise RuntimeError("nothing listens")
        return self._listens[1]

    def _listen(self, address: str, port: int = 0) -> None:
        port = self._host.forward(port, self._to, address)
        self._listens = address, port
        master = self._host.master()
        self._master = None if master is None else processes.identity(master)
        journal.identify(self._key, address=address, port=port)

    def _is_gateway(self, inside: str) -> bool:
        try:
            self._listen(inside)
        except HostError:
            return False
        if self._host.run([self._python, "-c", TRY, inside, str(self._listened)], timeout=20).ok:
            return True
        self._host.cancel_forward(self._listened, self._to, inside)
        self._listens = None
        return False

    def _inside(self) -> str:
        done = self._host.run([self._python, "-c", ADDRESSES], timeout=20)
        if not done.ok or not done.stdout.split():
            raise HostError(
                f"does not say its addresses: {done.stderr.strip().splitlines()[-1:] or done.exit_code}",
                where=self._host.destination,
                hint=f"is {self._python} a Python there? --set inside_address=IP says what nodes call the login host",
            )
        return done.stdout.split()[0]

    def _claim(self) -> None:
        self._host.run(["sh", "-c", CLAIM, "sh", f"{self.folder.there}/sshd.pid"])

    def _start_relay(self, port: int = 0) -> int:
        if not self.folder.there:
            raise RuntimeError("the folder is not there")
        there = f"{self.folder.there}/relay.py"
        self._host.send(Path(relay.__file__), there)
        inside = self.inside or LOOPBACK
        self._relay_key = journal.intend("process", role="relay", name=self._host.destination)
        process = self._host.session([self._python, "-I", there, inside, str(port), str(self._listened)])
        journal.identify(self._relay_key, **processes.identity(process.pid))
        self._relay = process
        said = _line(process, BEGIN)
        if not said.startswith("listening "):
            self._end_relay()
            raise HostError(
                f"the relay does not listen at {inside}: {said or 'no answer'}", where=self._host.destination
            )
        return int(said.split()[1])

    def _end_relay(self) -> None:
        process, self._relay = self._relay, None
        if process is None:
            return
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
        journal.ended(self._relay_key, "closed")

    # Keeping

    def _keep(self) -> None:
        while not self._stop.wait(LOOK):
            if not self.is_up:
                self._heal("the connection to {} is lost; it is made anew", self._reconnect)
            elif self._relay is not None and self._relay.poll() is not None:
                self._heal("the relay on {} has ended; it is started anew", self._relay_again)

    def _heal(self, words: str, again: Callable[[], None]) -> None:
        name, begun = self._host.destination, time.monotonic()
        events.tell("connection-lost", words.format(name), "warning", login=name)
        told = ""
        while not self._stop.is_set():
            try:
                again()
            except LoginError as error:
                told = self._tell_once(told, f"{name} wants a person: {error.message}; run `pilotage login {name}`")
                self.wants_person = True
                while not self._stop.wait(LOOK) and not self._host.is_connected():
                    pass
                self.wants_person = False
            except (HostError, OSError) as error:
                if time.monotonic() - begun > TOLD:
                    told = self._tell_once(told, f"{name} cannot be reached: {error}")
                self._stop.wait(AGAIN)
            else:
                seconds = time.monotonic() - begun
                events.tell("connection-back", f"the connection to {name} is back after {seconds:.1f} s", login=name)
                return

    @staticmethod
    def _tell_once(told: str, words: str) -> str:
        if words != told:
            events.tell("connection-away", words, "warning")
        return words

    def _reconnect(self) -> None:
        self._end_relay()
        self._host.connect()
        if self._stop.is_set():  # that took long, and nobody waits for the way any more
            return
        self._claim()
        address, port = self._listens or (LOOPBACK, 0)
        until = time.monotonic() + STALE
        while True:
            try:
                self._listen(address, port)
                break
            except HostError:
                if time.monotonic() > until or self._stop.wait(LOOK):
                    raise
        if self.reach == "relay":
            self._port = self._start_relay(self._port)

    def _relay_again(self) -> None:
        self._end_relay()
        self._start_relay(self._port)


def _line(process: subprocess.Popen[bytes], patience: float) -> str:
    """Return the first line that a program writes, else what it says of why there is none."""
    out, err = process.stdout, process.stderr
    if out is None or err is None:
        return ""
    ready, _, _ = select.select([out], [], [], patience)
    said = out.readline().decode(errors="replace").strip() if ready else ""
    if said:
        return said
    ready, _, _ = select.select([err], [], [], 1)
    lines = (err.read1(4096) if ready else b"").decode(errors="replace").strip().splitlines()  # type: ignore[attr-defined]
    return lines[-1] if lines else ""
