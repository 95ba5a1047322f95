"""What a host of a cluster has around it: its mounts, its names, and its place in the network."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from pilotage.clusters import hosts
from pilotage.clusters.hosts import Host

NETWORK = "192.0.2"  # for documentation: no machine is there
PRIVATE = ("/tmp", "/run", "/dev/shm")  # noqa: S108  what every host has for itself
HOME = "/home"
"""What the hosts have of their own, in common, where a laptop has another."""

PREPARE = """\
set -eu
{shares}mount -t sysfs -o ro sysfs /sys
for folder in {private}; do mount -t tmpfs -o mode=1777 tmpfs "$folder"; done
{home}{moves}mount -t overlay -o ro,lowerdir={programs}:/usr overlay /usr
mount -t overlay -o ro,lowerdir={etc}:/etc overlay /etc
mkdir -p -m 755 {run}
echo {name} > /proc/sys/kernel/hostname
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
ip link set lo up
"""


def preparation(
    name: str,
    folder: Path,
    roots: Sequence[Path],
    share: Iterable[Path],
    run: Iterable[str] = ("lock",),
    etc: Path | None = None,
    home: Path | None = None,
) -> str:
    """Return the shell script that makes a host's mounts.

    Parameters
    ----------
    roots: where packages are unpacked; what the first has counts.
    share: folders that stay visible though their parents become the host's own.
    run: names of folders in ``/run``.
    etc: what is laid over ``/etc``; without, it is in the cluster's folder.
    home: what ``/home`` is; without, the machine's.
    """
    # Hidden by a host's own /tmp, they wait where nothing is hidden.
    waiting = [(f"{folder}/share/{number}", path) for number, path in enumerate(share)]
    quoted = [(shlex.quote(place), shlex.quote(str(path))) for place, path in waiting]
    return PREPARE.format(
        name=name,
        etc=etc or folder / "etc",
        home=f"mount --rbind {shlex.quote(str(home))} {HOME}\n" if home else "",
        programs=":".join(f"{root}/usr" for root in roots),
        private=" ".join(PRIVATE),
        shares="".join(f"mkdir -p {place}\nmount --rbind {path} {place}\n" for place, path in quoted),
        moves="".join(f"mkdir -p {path}\nmount --move {place} {path}\n" for place, path in quoted),
        run=" ".join(f"/run/{one}" for one in run),
    )


def hosts_file(names: Sequence[str]) -> str:
    """Return ``/etc/hosts`` of all hosts."""
    lines = ["127.0.0.1 localhost", *(f"{address(number)} {name}" for number, name in enumerate(names))]
    return "\n".join(lines) + "\n"


def address(number: int) -> str:
    """Return the address of a host by its number; the head's is 0."""
    return f"{NETWORK}.{number + 1}"


def join(head: Host, host: Host, number: int) -> None:
    """Give a host its network: a bridge in the head, and a port of it for each other host."""
    if host.name == head.name:
        head.run(["sh", "-c", f"ip link add lan type bridge\n{up('lan', address(0))}"])
        return
    port = f"port{number}"
    cable(head, host, port, f"ip link set {port} master lan up")
    host.run(["sh", "-c", up("eth0", address(number))])


def cable(head: Host, host: Host, port: str, plug: str) -> None:
    """Lay a cable from ``port`` of the head, where the shell text ``plug`` plugs it in, to ``eth0`` of a host."""
    # In the head's network, with the process numbers of the machine: so the other end can be put where it belongs.
    outside = ["nsenter", "--target", str(head.process), "--net", "--mount"]
    add = f"ip link add {port} type veth peer name eth0 netns {host.process}"
    hosts.run([*outside, "sh", "-c", f"ip link delete {port} 2>/dev/null; {add} && {plug}"])


def up(device: str, own: str) -> str:
    """Return the shell text that gives a network device its address.

    Acknowledgements are not held back: slurmdbd and who talks to it write a message in two parts, and each would wait
    40 ms for the other to acknowledge the first. A command of sacctmgr takes a tenth of the time so.
    """
    here = f"local {own} dev {device} table local proto kernel scope host src {own}"
    there = f"{own.rpartition('.')[0]}.0/24 dev {device} proto kernel scope link src {own}"
    return f"""
ip address add {own}/24 dev {device} && ip link set {device} up &&
ip route change {here} quickack 1 && ip route change {there} quickack 1
"""


def shared(share: Iterable[Path], private: Sequence[str] = PRIVATE) -> list[str]:
    """Return the folders of ``share`` that a host would not see, and where Python and this package are."""
    wanted = [path.resolve() for path in (*share, Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[3])]
    found = {str(path) for path in wanted if is_hidden(path, private)}
    return sorted(path for path in found if not any(path != other and path.startswith(other + "/") for other in found))


def is_hidden(path: Path, private: Sequence[str] = PRIVATE) -> bool:
    """Return whether hosts have something of their own at ``path``."""
    return any(path.is_relative_to(one) for one in private)
