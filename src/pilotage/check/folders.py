"""The folder of runs: it can be written to, nodes see it, and its path survives what Parsl does with it."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from pilotage import paths
from pilotage.assembly.rendering import render
from pilotage.check.asked import is_only_node
from pilotage.check.context import Context
from pilotage.check.finding import Finding, failed, ok, skipped
from pilotage.check.probe import Cost, Probe, probe
from pilotage.errors import PilotageError, SiteValueError, StorageError
from pilotage.sites.models import BatchSite, BlockSite
from pilotage.sites.plan import OUR_LAUNCHERS, launcher

SHARED = frozenset(
    {
        *("nfs", "nfs4", "lustre", "gpfs", "mmfs", "beegfs", "beegfs_nodev", "cifs", "smb3", "ceph", "fuse.ceph"),
        *("fuse.sshfs", "fuse.glusterfs", "fuse.juicefs", "panfs", "pvfs2", "orangefs", "wekafs", "afs", "9p"),
        *("virtiofs", "vboxsf", "daos", "fuse.daos", "fuse.dfuse", "fuse.vast", "ocfs2", "gfs2"),
    }
)
"""Types of file systems that several machines have at once."""
IN_MEMORY = frozenset({"tmpfs", "ramfs", "devtmpfs"})
NODE_LOCAL = ("/tmp", "/var/tmp", "/dev/shm", "/run", "/local", "/localscratch", "/scratch/local", "/mnt/local")  # noqa: S108
"""Folders that by custom every node has for itself."""
MOUNTS = Path("/proc/self/mountinfo")


@dataclass(frozen=True)
class Mount:
    """A mounted file system: where, and its type."""

    point: Path
    kind: str


def mount_of(path: Path) -> Mount | None:
    """Return the mount that a path is on, None where the system does not say (it is not Linux)."""
    try:
        lines = MOUNTS.read_text(errors="replace").splitlines()
    except OSError:
        return None
    best: Mount | None = None
    for line in lines:
        before, _, after = line.partition(" - ")
        fields = before.split()
        if len(fields) < 5 or not after:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda found: chr(int(found.group(1), 8)), fields[4]))
        # A later line covers an earlier one of the same place.
        if path.is_relative_to(point) and (best is None or len(point.parts) >= len(best.point.parts)):
            best = Mount(point, after.split()[0])
    return best


def node_local(path: Path) -> str | None:
    """Return in words what makes a path one that each node has for itself, None where nothing does.

    A file system that somebody has mounted below ``/tmp`` is judged by its type alone.
    """
    return local_reason(path, mount_of(path), "this machine's memory")


def local_reason(path: Path, mount: Mount | None, memory: str) -> str | None:
    """Return the same of a path on any host, of which its mount is known; ``memory`` is what to call that host's."""
    if mount is not None and mount.kind in IN_MEMORY:
        return f"{mount.point} ({mount.kind}, {memory})"
    if mount is not None and mount.kind in SHARED:
        return None
    for folder in map(Path, NODE_LOCAL):
        if path.is_relative_to(folder) and (mount is None or folder.is_relative_to(mount.point)):
            return f"{folder}, which each machine has for itself"
    return None


def runs_folder() -> Path:
    """Return the folder of runs with links followed, as far as it is there."""
    return (paths.state_folder() / "runs").resolve()


@probe
class RunFolder(Probe):
    """A run's folder can be made and written to."""

    name = "run-folder"
    cost = Cost.MACHINE

    def run(self, context: Context) -> Finding:
        """Write a file, rename it, and read it again."""
        runs = paths.state_folder() / "runs"
        command = f"ls -ld {shlex.quote(str(runs))}"
        try:
            paths.private_folder(runs)
            path = paths.private_folder(context.folder) / "probe"
            paths.write_atomically(path, "written\n")
            if path.read_text(encoding="utf-8") != "written\n":
                hint = "set PILOTAGE_STATE to a folder on another file system"
                return failed(f"{runs} does not keep what is written", hint=hint, command=command)
            path.unlink()
        except StorageError as error:
            hint = error.hint or "set PILOTAGE_STATE to a folder that you may write to"
            return failed(f"{error.where}: {error.message}", hint=hint, command=command)
        except OSError as error:
            wrong = paths.storage_error(runs, error)
            hint = wrong.hint or "set PILOTAGE_STATE to a folder that you may write to"
            return failed(f"{wrong.where}: {wrong.message}", hint=hint, command=command)
        return ok(str(runs), command=command)


@probe
class RunFolderPath(Probe):
    """The path of a run's folder has no character that breaks the batch script or what a launcher writes."""

    name = "run-folder-path"
    cost = Cost.MACHINE
    needs = ("configuration", "run-folder", "login", "login-folder")

    def applies(self, context: Context) -> bool:
        """Apply to sites whose blocks are scripts with paths."""
        return isinstance(context.site, BatchSite)

    def run(self, context: Context) -> Finding:
        """Render a block with the path, and look for what a launcher leaves unquoted."""
        site = context.site
        folder = _far_folder(context) or str(paths.state_folder() / "runs")
        key = "run_folder" if context.is_far else "PILOTAGE_STATE"
        hint = f"set {key} to a folder with a plain path"
        try:
            render(context.resolved, run_dir=folder)
        except SiteValueError as error:
            return failed(error.message, hint=hint)
        except PilotageError as error:
            return skipped(error.message)
        call = launcher(site) if isinstance(site, BlockSite) else None
        plain = call is None or call.module == OUR_LAUNCHERS or call.name in ("SimpleLauncher", "SingleNodeLauncher")
        if not plain and call is not None and (bad := re.search(r"[\s$`\"\\*?\[]", folder)):
            found = "a space" if bad.group().isspace() else repr(bad.group())
            return failed(f"the run folder's path has {found}, which {call.name} does not quote: {folder}", hint=hint)
        return ok("nothing in it that a script would have to quote")


def _far_folder(context: Context) -> str | None:
    """Return the folder of runs on the login host, with links followed; None where there is no such host."""
    if not context.is_far:
        return None
    from pilotage.check.login import Folder, folder_on

    found = folder_on(context, next(iter(context.hosts)))
    return found.path if isinstance(found, Folder) else None


@probe
class SharedFolder(Probe):
    """Nodes see the run's folder: certificates, scripts and logs are in it."""

    name = "shared-folder"
    cost = Cost.MACHINE
    needs = ("run-folder",)

    def applies(self, context: Context) -> bool:
        """Apply to sites whose workers are on other machines."""
        return isinstance(context.site, BatchSite)

    def run(self, context: Context) -> Finding:
        """Judge by the type of the file system, as far as that tells."""
        if context.is_far:
            return skipped("nodes use the folder on the login host: see login-shared")
        folder = runs_folder()
        command = f"df -T {shlex.quote(str(folder))}"
        if reason := node_local(folder):
            if is_only_node(context):
                return ok("this machine is the only node", command=command)
            return failed(
                f"runs are kept in {folder}, on {reason}: nodes do not see it",
                hint="set PILOTAGE_STATE to a folder on a file system that login and compute nodes share",
                command=command,
            )
        mount = mount_of(folder)
        if mount is None:
            return skipped("this system does not tell types of file systems; --submit finds out", command=command)
        if mount.kind in SHARED:
            return ok(f"{mount.point} is {mount.kind}", command=command)
        return skipped(
            f"{mount.kind} does not tell whether nodes see it too; --submit finds out",
            command=command,
        )
