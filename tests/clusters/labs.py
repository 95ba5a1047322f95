"""Clusters of a test's own, and what they may not leave on the machine."""

import contextlib
import os
import re
import shutil
import sys
import tempfile
import uuid
from pathlib import Path

import psutil
import pytest

from pilotage.clusters import hosts
from pilotage.clusters.laptop import HOMES
from program import PROGRAM

CACHE = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))  # every test has a home of its own
PLACES = ("/etc", "/etc/default", "/run", "/var/lib", "/var/spool", "/var/log", "/usr/bin", "/usr/sbin", "/usr/lib")
THEIRS = re.compile("slurm|munge|mysql|mariadb|sge|grid|exim|^q[a-z]+$")


def reason():
    """Return why no cluster can be started here, None where it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "a cluster's hosts need Linux and root"
    if not all(map(shutil.which, ("apt-get", "dpkg-deb", "unshare", "nsenter"))):
        return "a cluster's programs come from Debian's packages"
    return None


def machine():
    """Return what a cluster must leave as it was: interfaces, mounts, users, and files that its programs would make."""
    return {
        "interfaces": sorted(psutil.net_if_addrs()),
        "mounts": _mounts(),
        "users": [Path(f"/etc/{name}").read_text() for name in ("passwd", "group")],
        "files": [
            f"{place}/{name}"
            for place in PLACES
            if Path(place).is_dir()
            for name in sorted(os.listdir(place))
            if THEIRS.search(name)
        ],
    }


def _mounts():
    """Return the machine's mounts but those of temporary folders, which other tests make and remove meanwhile."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if not line.split()[4].startswith(f"{tempfile.gettempdir()}/")]


def namespaces(pids):
    """Return the namespaces of processes, but those that they share with this one."""
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            found |= {os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("net", "uts", "pid", "ipc", "mnt")}
    return found - {os.readlink(f"/proc/self/ns/{kind}") for kind in ("net", "uts", "pid", "ipc", "mnt")}


def in_namespaces(wanted):
    """Return the processes that are in any of some namespaces."""
    return [pid for pid in psutil.pids() if namespaces([pid]) & wanted]


@contextlib.contextmanager
def kept(pids):
    """Keep the host names' namespaces of processes, and give them; others would get the numbers of what is gone."""
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(open(f"/proc/{pid}/ns/uts")) for pid in pids]
        found = {os.readlink(f"/proc/self/fd/{file.fileno()}") for file in files}
        yield found - {os.readlink("/proc/self/ns/uts")}


@contextlib.contextmanager
def started(kind, share, nodes=2, **options):
    """Start a cluster in a folder of its own; in the end nothing of it may be left."""
    if why := reason():
        pytest.skip(why)
    before = machine()
    parent = Path(f"/var/lib/pilotage-test-{uuid.uuid4().hex[:8]}")
    lab = kind(parent / kind.kind, **options)
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        patch.setenv("XDG_CACHE_HOME", CACHE)
        held = set()
        try:
            lab.up(nodes, share=share)
            yield lab
            held = stack.enter_context(kept(host.process for host in hosts.holders(lab.folder)))
            assert held, "the cluster was there to the end"
        finally:
            lab.down()
        assert in_namespaces(held) == []
    assert not parent.exists(), "the cluster has left files"
    after = machine()
    assert after == before, {what: (before[what], after[what]) for what in after if after[what] != before[what]}


class Laptop:
    """The laptop outside a cluster, with a home there for one test; see the fixture `laptop`.

    Parameters
    ----------
    lab: a cluster that is up and has one.
    command: what runs programs (`program.Command`).
    """

    def __init__(self, lab, command):
        self.lab = lab
        self.command = command
        self.home = f"{HOMES['laptop']}/{uuid.uuid4().hex[:8]}"
        self.outside(self.home).mkdir(mode=0o700)

    def outside(self, path):
        """Return where this machine has a path in the laptop's /home."""
        return self.lab.folder / "home/laptop" / Path(path).relative_to("/home")

    def far(self, path=HOMES["cluster"]):
        """Return where this machine has a path in the /home of the head and the nodes."""
        return self.lab.folder / "home/cluster" / Path(path).relative_to("/home")

    def place(self, name, text):
        """Write a file in the home; returns its path on the laptop."""
        path = f"{self.home}/{name}"
        self.outside(path).parent.mkdir(parents=True, exist_ok=True)
        self.outside(path).write_text(text)
        return path

    def argv(self, *argv, host="laptop", folder=None):
        """Return what runs a command in the home on the laptop, or on another host in its home."""
        home = self.home if host == "laptop" else HOMES["cluster"]
        alone = ["env", "-u", "PILOTAGE_STATE", f"HOME={home}", *map(str, argv)]
        return self.lab.host(host).command(alone, str(folder or home))

    def run(self, *argv, host="laptop", folder=None, **options):
        """Run a command there to its end (`program.Command.run`)."""
        return self.command.run(self.argv(*argv, host=host, folder=folder), **options)

    def pilotage(self, *arguments, **options):
        """Run pilotage on the laptop."""
        return self.run(PROGRAM, *arguments, **options)

    def jobs(self):
        """Return the lines of the scheduler's queue, whoever's jobs they are."""
        if self.lab.kind == "gridengine":
            return self.run("qstat", "-u", "*", host="head").stdout.splitlines()[2:]
        return self.run("squeue", "-h", host="head").stdout.splitlines()

    def running(self):
        """Return the processes of all hosts by their number here, with their command lines, but for sshd that wait."""
        held = namespaces(host.process for host in hosts.holders(self.lab.folder))
        found = {}
        for pid in in_namespaces(held):
            with contextlib.suppress(psutil.Error):
                found[pid] = " ".join(psutil.Process(pid).cmdline())
        return {pid: line for pid, line in found.items() if "sshd" not in line or "[listener]" not in line}
