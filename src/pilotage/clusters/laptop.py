"""A laptop behind a firewall, and what it reaches its cluster by: two sshd on the head, and one on each node.

The laptop has a network with the head alone, and of the head it reaches two ports: at 22 is an sshd without
``GatewayPorts``, at 2222 one with it. Keys are made for the cluster and are nowhere else. No host is asked for by ssh
without its key being known: ``ssh head``, ``ssh head-gateway`` and ``ssh node1`` ask nothing, on the laptop (where the
last goes by way of the head), on the head and on the nodes.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from pilotage.clusters import hosts
from pilotage.clusters.hosts import Host
from pilotage.clusters.surroundings import address, cable, hosts_file, up
from pilotage.paths import private_folder

LAPTOP = "laptop"
LINK = "198.51.100"  # for documentation, as the cluster's own network is
HEAD_THERE, OWN = f"{LINK}.1", f"{LINK}.2"
DOORS = {22: "no", 2222: "clientspecified"}
"""Ports of the head's sshd, and what each has for GatewayPorts."""
HOMES = {"cluster": "/home/cluster", "laptop": "/home/laptop"}
"""Where users are at home: on the head and the nodes, and on the laptop."""
NEEDS = ("openssh-server", "openssh-client", "nftables", "iproute2")

SERVER = """\
AuthorizedKeysFile .ssh/authorized_keys
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UsePAM no
AcceptEnv *
MaxStartups 500
MaxSessions 500
Subsystem sftp internal-sftp
"""
ANYWHERE = """\
Host head-gateway
  HostName head
  Port 2222
Host *
  User root
  StrictHostKeyChecking yes
"""
FROM_LAPTOP = """\
Host node*
  ProxyJump head
"""
# Nothing is refused aloud, as by the firewalls that people are behind.
FIREWALL = """\
table inet laptop
delete table inet laptop
table inet laptop {
    chain input {
        type filter hook input priority 0; policy accept;
        iifname "laptop" tcp dport { 22, 2222 } accept
        iifname "laptop" drop
    }
    chain output {
        type filter hook output priority 0; policy accept;
        oifname "laptop" tcp sport { 22, 2222 } accept
        oifname "laptop" drop
    }
    chain forward {
        type filter hook forward priority 0; policy accept;
        iifname "laptop" drop
        oifname "laptop" drop
    }
}
"""
START = """\
set -eu
mkdir -p -m 755 /run/sshd
pid=/run/sshd/{port}.pid
[ ! -e "$pid" ] || ! kill -0 "$(cat "$pid")" 2>/dev/null || exit 0
rm -f "$pid"
/usr/sbin/sshd -f /etc/ssh/sshd_config -h {folder}/ssh/{name} -E {folder}/log/sshd-{name}-{port}.log \\
    -o Port={port} -o GatewayPorts={gateway} -o PidFile="$pid"
tries=0
until [ -s "$pid" ]; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || {{ echo "sshd has not started: see {folder}/log/sshd-{name}-{port}.log" >&2; exit 1; }}
    sleep 0.05
done
"""


def configure(folder: Path, names: Sequence[str], roots: Sequence[Path]) -> None:
    """Write the keys, the homes, and what is laid over ``/etc``.

    Parameters
    ----------
    folder: of the cluster.
    names: of its hosts, the head's first, without the laptop.
    roots: where packages are unpacked; the programs that make keys may be there alone.
    """
    own, common = folder / "laptop/etc", folder / "etc"
    for etc, home in ((own, HOMES["laptop"]), (common, HOMES["cluster"])):
        (etc / "ssh").mkdir(mode=0o755, parents=True, exist_ok=True)
        (etc / "passwd").write_text(accounts(Path("/etc/passwd").read_text(), home))
    (own / "hosts").write_text(f"127.0.0.1 localhost\n{HEAD_THERE} head\n")
    (common / "hosts").write_text(hosts_file(names))
    (common / "ssh/sshd_config").write_text(SERVER)
    (folder / "firewall").write_text(FIREWALL)
    _keys(folder / "ssh", [*names, *HOMES], roots)
    for whose in HOMES:
        _home(folder, whose, names)


def accounts(machine: str, home: str) -> str:
    """Return a ``/etc/passwd`` where root is at home in ``home`` and sshd has its user."""
    lines = [line.split(":") for line in machine.splitlines()]
    for fields in lines:
        if fields[0] == "root":
            fields[5] = home
    if not any(fields[0] == "sshd" for fields in lines):
        lines.append(["sshd", "x", "65533", "65534", "", "/run/sshd", "/usr/sbin/nologin"])
    return "".join(":".join(fields) + "\n" for fields in lines)


def join(head: Host, laptop: Host, folder: Path) -> None:
    """Give the laptop its network, with the head alone, and put the firewall between them first."""
    head.run(["nft", "-f", str(folder / "firewall")])
    cable(head, laptop, LAPTOP, f"ip link set {LAPTOP} up")
    head.run(["sh", "-c", up(LAPTOP, HEAD_THERE)])
    laptop.run(["sh", "-c", up("eth0", OWN)])


def begin(host: Host, folder: Path, ports: Sequence[int]) -> None:
    """Start sshd on a host where it does not run; returns when it answers."""
    for port in ports:
        words = {"port": port, "gateway": DOORS[port], "folder": folder, "name": host.name}
        host.run(["sh", "-c", START.format(**words)])


def _keys(folder: Path, names: Sequence[str], roots: Sequence[Path]) -> None:
    """Make a key for each host, and one for the people of each home."""
    private_folder(folder)
    known = [str(path) for root in roots if (path := root / "usr/bin/ssh-keygen").exists()]
    program = known[0] if known else shutil.which("ssh-keygen") or "ssh-keygen"
    for name in names:
        if not (folder / name).exists():
            what = ["-t", "ed25519", "-N", "", "-C", f"{name} of pilotage cluster", "-f", str(folder / name)]
            hosts.run([program, "-q", *what])


def _home(folder: Path, whose: str, names: Sequence[str]) -> None:
    """Make a home, where its people's key, and whom they know and trust, are; what is there stays as it is."""
    home = folder / "home" / whose / Path(HOMES[whose]).name
    config = home / ".ssh/config"
    if config.exists():  # the last that is written
        return
    for path in (home, home / ".ssh"):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    public = {name: (folder / "ssh" / f"{name}.pub").read_text() for name in (*names, *HOMES)}
    (home / ".ssh/id_ed25519").touch(mode=0o600)
    (home / ".ssh/id_ed25519").write_text((folder / "ssh" / whose).read_text())
    (home / ".ssh/id_ed25519.pub").write_text(public[whose])
    (home / ".ssh/known_hosts").write_text(
        "".join(f"{','.join(_known_as(number, name))} {public[name]}" for number, name in enumerate(names))
    )
    if whose == "cluster":
        (home / ".ssh/authorized_keys").write_text("".join(public[name] for name in HOMES))
    config.write_text(FROM_LAPTOP + ANYWHERE if whose == "laptop" else ANYWHERE)


def _known_as(number: int, name: str) -> list[str]:
    """Return the names and addresses under which a host is reached."""
    if number:
        return [name, address(number)]
    names = [name, address(0), HEAD_THERE]
    return [*names, *(f"[{one}]:2222" for one in names)]
