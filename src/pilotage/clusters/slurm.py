"""A genuine Slurm cluster of several nodes on one Linux machine, without containers.

A head with munged and slurmctld and nodes with munged and slurmd, each a `Host` with a network of its own, joined by a
bridge in the head. They share the machine's files, and each has its own ``/tmp``, ``/run`` and ``/dev/shm``. The
programs are Debian's packages, laid over ``/usr`` on the hosts alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pilotage.clusters import hosts, packages
from pilotage.clusters.hosts import Host
from pilotage.errors import ClusterError, UnsupportedError
from pilotage.paths import storage, write_json

FOLDER = Path("/var/lib/pilotage/slurm-lab")
"""What the cluster keeps while it is up; `down` removes it."""
PACKAGES = ("slurm-wlm", "munge", "iproute2")
HEAD = "head"
NETWORK = "192.0.2"  # for documentation: no machine is there
MOST = 64
"""Nodes at most."""
PRIVATE = ("/tmp", "/run", "/dev/shm")  # noqa: S108  what every host has for itself
READY = 30.0
"""Seconds in which all nodes are ready for jobs."""

CONF = """\
ClusterName=slurm-lab
SlurmctldHost={head}({network}.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir=/run/slurm/spool
SlurmctldPidFile=/run/slurm/slurmctld.pid
SlurmdPidFile=/run/slurm/slurmd.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
ReturnToService=2
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
PropagateResourceLimits=NONE
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=2,bf_interval=2
KillWait=2
SlurmdTimeout=10
SlurmdParameters=config_overrides
NodeName=node[1-{nodes}] CPUs={cpus} RealMemory=4096
PartitionName=debug Nodes=ALL Default=YES MaxTime=1:00:00 DefMemPerCPU=512
"""
CGROUPS = "CgroupPlugin=cgroup/v1\n"  # or slurmd looks for a cgroup file system, and ends
PREPARE = """\
set -eu
{shares}mount -t sysfs -o ro sysfs /sys
for folder in {private}; do mount -t tmpfs -o mode=1777 tmpfs "$folder"; done
{moves}mount -t overlay -o ro,lowerdir={root}/usr:/usr overlay /usr
mount -t overlay -o ro,lowerdir={folder}/etc:/etc overlay /etc
mkdir -p -m 755 /run/munge /run/slurm /run/lock
echo {name} > /proc/sys/kernel/hostname
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
ip link set lo up
"""


class SlurmCluster:
    """The cluster of this machine.

    Parameters
    ----------
    folder: what it keeps while it is up.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self.folder = folder

    def up(self, nodes: int = 2, cpus: int = 4, share: Sequence[Path] = ()) -> bool:
        """Start it, or what of it is missing; returns whether anything was to be done.

        Parameters
        ----------
        nodes: compute nodes, node1 to nodeN.
        cpus: of each node; more than the machine has is fine.
        share: folders under ``/tmp``, ``/run`` or ``/dev/shm`` that the hosts are to see.

        Raises UnsupportedError where this machine cannot, ClusterError where something fails.
        """
        self._check(nodes)
        with self._locked():
            state = self._state()
            if state and (state["nodes"], state["cpus"]) != (nodes, cpus):
                raise ClusterError(
                    f"a cluster of {state['nodes']} nodes with {state['cpus']} CPUs is up",
                    hint="`pilotage cluster down` ends it",
                )
            root = _programs()
            if not state:
                for host in hosts.holders(self.folder):  # of one who was killed before the first was noted
                    host.end()
                state = {"nodes": nodes, "cpus": cpus, "share": _shared(share), "hosts": {}}
                self._write(state)
            missing = [name for name in self._names(nodes) if name not in self._hosts(state, up=True)]
            try:
                self._start(missing, state, root)
                self._wait(state)
            except BaseException:
                if len(missing) > nodes:  # it was not there at all before
                    self._down()
                raise
            return bool(missing)

    def down(self) -> bool:
        """End it and remove what it kept; returns whether there was anything."""
        with self._locked():
            found = self.folder.exists() or bool(hosts.holders(self.folder))
            if found:
                self._down()
        return found

    def host(self, name: str) -> Host:
        """Return a host that is up; raises ClusterError."""
        state = self._state()
        found = self._hosts(state, up=True) if state else {}
        if name not in found:
            if not found:
                raise ClusterError("no cluster is up", hint="start it with `pilotage cluster up slurm`")
            known = name in self._names(state["nodes"])
            what = f"{name} is down" if known else f"there is no host {name!r}"
            again = "`pilotage cluster up slurm` starts it again" if known else f"up: {', '.join(found)}"
            raise ClusterError(what, hint=again)
        return found[name]

    def status(self) -> dict[str, Any]:
        """Return its hosts and the nodes' states as Slurm has them; ``up`` is False where there is none."""
        state = self._state()
        found = self._hosts(state, up=True) if state else {}
        told: dict[str, Any] = {"up": HEAD in found, "hosts": [], "folder": str(self.folder)}
        if not state:
            return told
        words: dict[str, str] = {}
        if HEAD in found:
            with contextlib.suppress(ClusterError):
                lines = found[HEAD].run(["sinfo", "--noheader", "--Node", "--format=%N %T"], timeout=10).splitlines()
                words = dict(line.split(maxsplit=1) for line in lines)
        for number, name in enumerate(self._names(state["nodes"]), start=1):
            host = {"name": name, "address": f"{NETWORK}.{number}", "up": name in found, "slurm": words.get(name, "")}
            told["hosts"].append(host)
        return told

    def visible(self, folder: Path) -> Path:
        """Return a folder that all hosts see; raises ClusterError where they have another one of that name."""
        state, path = self._state(), folder.resolve()
        if _is_hidden(path) and not any(path.is_relative_to(shared) for shared in (state or {}).get("share", ())):
            raise ClusterError(
                f"the hosts have a {'/'.join(path.parts[:2])[1:]} of their own and do not see {path}",
                hint="work under another folder, or start the cluster with --share FOLDER",
            )
        return path

    @staticmethod
    def _names(nodes: int) -> list[str]:
        return [HEAD, *(f"node{number}" for number in range(1, nodes + 1))]

    def _check(self, nodes: int) -> None:
        instead = "`pilotage cluster up slurm --docker --dry-run` prints a compose file"
        if sys.platform != "linux":
            raise UnsupportedError("a cluster needs Linux's namespaces", hint=instead)
        if os.geteuid() != 0:
            raise UnsupportedError("only root may make the hosts of a cluster", hint=f"use sudo; or {instead}")
        for program in ("unshare", "nsenter", "setsid", "mount"):
            if shutil.which(program) is None:
                raise UnsupportedError(f"{program} is not installed", hint="it is in Debian's util-linux")
        if not 1 <= nodes <= MOST:
            raise ClusterError(f"{nodes} nodes: from 1 to {MOST} can be made")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one at a time change the cluster."""
        with storage(self.folder):
            lock = _lock(self.folder.with_suffix(".lock"))
        try:
            yield
        finally:
            if not self.folder.exists():
                self.folder.with_suffix(".lock").unlink(missing_ok=True)
                with contextlib.suppress(OSError):
                    self.folder.parent.rmdir()
            os.close(lock)

    def _state(self) -> Any:
        try:
            return json.loads((self.folder / "state.json").read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise ClusterError(f"the cluster's state cannot be read: {error}", where=str(self.folder)) from error

    def _write(self, state: Any) -> None:
        with storage(self.folder):
            self.folder.mkdir(mode=0o755, exist_ok=True)
            write_json(self.folder / "state.json", state)

    @staticmethod
    def _hosts(state: Any, *, up: bool) -> dict[str, Host]:
        found = {name: Host(name, known) for name, known in state["hosts"].items()}
        return {name: host for name, host in found.items() if host.is_up or not up}

    def _start(self, names: Sequence[str], state: Any, root: Path) -> None:
        if not names:
            return
        if HEAD in names:  # the bridge goes with it, and slurmctld's view of the nodes
            for host in self._hosts(state, up=True).values():
                host.end()
            names = self._names(state["nodes"])
        self._configure(state)
        for name in names:
            prepare = self.folder / f"{name}.sh"
            prepare.write_text(preparation(name, self.folder, root, [Path(path) for path in state["share"]]))
            host = hosts.start(name, prepare, self.folder / f"{name}.ready", self.folder / "log" / f"{name}.log")
            state["hosts"][name] = host.known
            self._write(state)
        found = self._hosts(state, up=True)
        for name in names:
            self._join(found[HEAD], found[name], self._names(state["nodes"]).index(name))
        for name in names:
            self._begin(found[name])

    def _configure(self, state: Any) -> None:
        with storage(self.folder):
            for name in ("log", "state", "etc/slurm"):
                (self.folder / name).mkdir(mode=0o755, parents=True, exist_ok=True)
            key = self.folder / "munge.key"
            if not key.exists():
                key.touch(mode=0o400)
                key.write_bytes(secrets.token_bytes(1024))
            (self.folder / "etc/hosts").write_text(hosts_file(self._names(state["nodes"])))
            (self.folder / "etc/slurm/slurm.conf").write_text(
                CONF.format(head=HEAD, network=NETWORK, folder=self.folder, nodes=state["nodes"], cpus=state["cpus"])
            )
            (self.folder / "etc/slurm/cgroup.conf").write_text(CGROUPS)

    @staticmethod
    def _join(head: Host, host: Host, number: int) -> None:
        address = f"{NETWORK}.{number + 1}/24"
        if host.name == head.name:
            script = f"ip link add lan type bridge && ip address add {address} dev lan && ip link set lan up"
            head.run(["sh", "-c", script])
            return
        # In the head's network, with the process numbers of the machine: so the other end can be put where it belongs.
        outside = ["nsenter", "--target", str(head.process), "--net", "--mount"]
        port = f"port{number}"
        script = (
            f"ip link delete {port} 2>/dev/null; ip link add {port} type veth peer name eth0 netns {host.process} "
            f"&& ip link set {port} master lan up"
        )
        hosts.run([*outside, "sh", "-c", script])
        host.run(["sh", "-c", f"ip address add {address} dev eth0 && ip link set eth0 up"])

    def _begin(self, host: Host) -> None:
        """Start the daemons of a host."""
        log = self.folder / "log"
        munged = ["munged", "--force", f"--key-file={self.folder}/munge.key", "--seed-file=/run/munge/seed"]
        munged += ["--socket=/run/munge/munge.socket.2", "--pid-file=/run/munge/munged.pid"]
        host.run([*munged, f"--log-file={log}/munged-{host.name}.log"])
        host.run(["slurmctld-wlm"] if host.name == HEAD else ["slurmd-wlm", "-N", host.name])

    def _wait(self, state: Any) -> None:
        """Wait until every node takes jobs."""
        head = self._hosts(state, up=True)[HEAD]
        deadline = time.monotonic() + READY
        words = ""
        while time.monotonic() < deadline:
            with contextlib.suppress(ClusterError):
                words = head.run(["sinfo", "--noheader", "--Node", "--format=%N %t"], timeout=10)
                states = [line.split()[1] for line in words.splitlines()]
                if len(states) == state["nodes"] and set(states) <= {"idle", "mix", "alloc"}:
                    return
            time.sleep(0.05)
        raise ClusterError(
            f"not all nodes were ready within {READY:g} s: {words.strip() or 'no answer from slurmctld'}",
            where=str(self.folder / "log"),
        )

    def _down(self) -> None:
        for host in hosts.holders(self.folder):
            host.end()
        with storage(self.folder):
            shutil.rmtree(self.folder, ignore_errors=not self.folder.exists())


def _lock(path: Path) -> int:
    """Return the descriptor of the lock at ``path``, held; whoever held it before may have removed the file."""
    while True:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue
        fcntl.flock(lock, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), path.stat()):
                return lock
        os.close(lock)


def preparation(name: str, folder: Path, root: Path, share: Sequence[Path]) -> str:
    """Return the shell script that makes a host's mounts.

    Parameters
    ----------
    root: where the packages are unpacked.
    share: folders that stay visible though their parents become the host's own.
    """
    # Hidden by a host's own /tmp, they wait where nothing is hidden.
    waiting = [(f"{folder}/share/{number}", path) for number, path in enumerate(share)]
    quoted = [(shlex.quote(place), shlex.quote(str(path))) for place, path in waiting]
    shares = "".join(f"mkdir -p {place}\nmount --rbind {path} {place}\n" for place, path in quoted)
    moves = "".join(f"mkdir -p {path}\nmount --move {place} {path}\n" for place, path in quoted)
    return PREPARE.format(name=name, folder=folder, root=root, private=" ".join(PRIVATE), shares=shares, moves=moves)


def hosts_file(names: Sequence[str]) -> str:
    """Return ``/etc/hosts`` of all hosts."""
    lines = ["127.0.0.1 localhost", *(f"{NETWORK}.{number} {name}" for number, name in enumerate(names, start=1))]
    return "\n".join(lines) + "\n"


def _shared(share: Sequence[Path]) -> list[str]:
    """Return the folders of ``share`` that a host would not see, and where Python and this package are."""
    wanted = [path.resolve() for path in (*share, Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[3])]
    found = {str(path) for path in wanted if _is_hidden(path)}
    return sorted(path for path in found if not any(path != other and path.startswith(other + "/") for other in found))


def _is_hidden(path: Path) -> bool:
    return any(path.is_relative_to(private) for private in PRIVATE)


def _programs() -> Path:
    root = packages.fetch(PACKAGES)
    # Debian's alternatives make these where packages are installed; slurmd looks for slurmstepd by this name.
    for name in ("slurmctld", "slurmd", "slurmstepd"):
        link = root / "usr/sbin" / name
        if not link.is_symlink() and (root / "usr/sbin" / f"{name}-wlm").exists():
            link.symlink_to(f"{name}-wlm")
    return root
