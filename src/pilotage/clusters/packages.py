"""Debian packages without installing them: fetched by apt, unpacked into a folder of their own.

Installing would start services, make users and leave files all over the machine. Hosts of a cluster see the folder's
``usr`` laid over the machine's.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pilotage.errors import ClusterError, UnsupportedError
from pilotage.paths import cache_folder, storage

TIMEOUT = 600
"""Seconds for a command of apt's."""


def cache() -> Path:
    """Return the folder of what was fetched: ``$XDG_CACHE_HOME/pilotage/packages`` or the default."""
    return cache_folder() / "packages"


def fetch(names: Sequence[str]) -> Path:
    """Return the folder into which ``names`` and what they need are unpacked; fetched where they are not there yet.

    What the machine has installed itself is left out. Raises UnsupportedError where there is no apt, ClusterError where
    apt fails.
    """
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise UnsupportedError(
            "this machine has no apt-get, from which a cluster's programs would come",
            hint="use Debian or Ubuntu, or `pilotage cluster up slurm --docker`",
        )
    root = cache() / hashlib.blake2b("\n".join([_release(), *sorted(names)]).encode(), digest_size=8).hexdigest()
    if root.is_dir():
        return root
    with storage(root):
        root.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root.parent, prefix="fetching-") as work:
            archives, unpacked = Path(work) / "archives", Path(work) / "root"
            (archives / "partial").mkdir(parents=True)
            unpacked.mkdir(mode=0o755)
            _download(names, archives)
            for archive in sorted(archives.glob("*.deb")):
                _run(["dpkg-deb", "--extract", str(archive), str(unpacked)])
            try:
                unpacked.rename(root)
            except OSError:  # another has fetched the same meanwhile
                if not root.is_dir():
                    raise
    return root


def purge() -> None:
    """Remove everything that was fetched."""
    with storage(cache()):
        shutil.rmtree(cache(), ignore_errors=True)


def _download(names: Sequence[str], archives: Path) -> None:
    # Nothing is installed, so that nobody has to be kept from installing: no lock is taken.
    options = ["-o", f"Dir::Cache::archives={archives}/", "-o", "Debug::NoLocking=1", "-o", "Acquire::Retries=3"]
    command = ["apt-get", "--yes", "--download-only", "--no-install-recommends", *options, "install", *names]
    try:
        _run(command)
    except ClusterError:
        _run(["apt-get", "update"])  # its lists are missing or old
        _run(command)


def _run(argv: Sequence[str]) -> None:
    env = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"{argv[0]} has not ended within {TIMEOUT} s", where=" ".join(argv)) from error
    if done.returncode:
        words = (done.stderr or done.stdout).strip()
        raise ClusterError(f"{argv[0]} failed: {words}", where=" ".join(argv))


def _release() -> str:
    try:
        return Path("/etc/os-release").read_text()
    except OSError:
        return ""
