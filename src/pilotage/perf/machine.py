"""The driver's machine, its load, and the state of git: what a number depends on besides what is measured."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
import time
from pathlib import Path

import psutil

from pilotage import system
from pilotage.perf.record import Load, Machine, Revision

STAT = Path("/proc/stat")
CPUINFO = Path("/proc/cpuinfo")
GIT_TIMEOUT = 20.0
BUSY, SAMPLE, LONGEST_SETTLING = 0.25, 0.2, 10.0
"""Part of the CPU time in use from which a session waits, the seconds that are looked at, and the longest wait."""


def machine() -> Machine:
    """Return what this machine is, as far as it matters; its name only as a short hash."""
    quota = system.cgroup_cpus()
    memory = psutil.virtual_memory().total
    usable = system.usable_memory()
    return Machine(
        id=hashlib.sha256(platform.node().encode()).hexdigest()[:8],
        cpu=cpu_model(),
        cores=os.cpu_count() or 1,
        usable_cores=system.usable_cores(),
        memory_bytes=memory,
        cgroup_cpus=quota,
        cgroup_memory_bytes=usable if usable < memory else None,
        kernel=platform.release(),
        system=f"{platform.system()} {platform.machine()}",
    )


def cpu_model() -> str:
    """Return the processor's name."""
    try:
        lines = CPUINFO.read_text(errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


class LoadWatch:
    """How busy the machine is before a session, and how much of its time its host takes during it."""

    def __init__(self) -> None:
        self._before = _ticks()
        self._load = Load(before=_load_averages(), busy_before=None)

    def settle(self, patience: float = LONGEST_SETTLING) -> None:
        """Wait until the machine has come to rest from what was before, at most ``patience`` seconds."""
        end = time.monotonic() + patience
        while True:
            earlier = _ticks()
            time.sleep(SAMPLE)
            self._load.busy_before = _part(earlier, _ticks(), idle=True)
            if (self._load.busy_before or 0) < BUSY or time.monotonic() >= end:
                break
        self._load.before = _load_averages()
        self._before = _ticks()

    def done(self) -> Load:
        """Return the load before, and the part that was stolen since."""
        return self._load.model_copy(update={"steal": _part(self._before, _ticks(), idle=False)})


def _load_averages() -> list[float] | None:
    try:
        return [round(value, 2) for value in os.getloadavg()]
    except OSError:
        return None


def _ticks() -> list[int] | None:
    """Return the CPU time of all cores by use: user, nice, system, idle, iowait, irq, softirq, steal."""
    try:
        with STAT.open(encoding="ascii") as file:
            return [int(field) for field in file.readline().split()[1:9]]
    except (OSError, ValueError):
        return None


def _part(before: list[int] | None, after: list[int] | None, *, idle: bool) -> float | None:
    if before is None or after is None:
        return None
    spent = [late - early for early, late in zip(before, after, strict=True)]
    total = sum(spent)
    if total <= 0:
        return None
    part = 1 - (spent[3] + spent[4]) / total if idle else spent[7] / total
    return round(min(max(part, 0.0), 1.0), 4)


def versions() -> dict[str, str]:
    """Return the versions of what a benchmark runs on."""
    found = {"python": platform.python_version(), "implementation": platform.python_implementation()}
    for package in ("pilotage", "parsl", "dill", "cloudpickle", "pyzmq", "typeguard"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def revisions(here: Path) -> dict[str, Revision]:
    """Return the git state of pilotage's own checkout, where it runs from one, and of the folder ``here``."""
    found = {"pilotage": revision(Path(__file__).parent), "here": revision(here)}
    return {name: state for name, state in found.items() if state is not None}


def revision(folder: Path) -> Revision | None:
    """Return the state of the git checkout that ``folder`` is tracked in, None where there is none."""
    # A package inside a virtual environment lies in somebody's checkout without being part of it.
    if _git(folder, "ls-files", "--error-unmatch", ".") is None:
        return None
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return None
    return Revision(
        commit=commit,
        branch=_git(folder, "symbolic-ref", "--short", "-q", "HEAD") or None,
        dirty=bool(_git(folder, "status", "--porcelain", "--untracked-files=no")),
        date=_git(folder, "show", "-s", "--format=%cI", "HEAD") or None,
    )


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=GIT_TIMEOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
