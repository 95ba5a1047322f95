"""The environment of MLflow's page: the full MLflow, of which pilotage itself needs a tenth, in a cache of its own."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from pilotage.errors import PilotageError
from pilotage.paths import cache_folder, private_folder, storage
from pilotage.perf import kept

VERSION = "3.17.2"
"""Of MLflow, where none is installed here: a store's tables must be of the version that shows them."""
PACKED, UNPACKED = "200 MB", "620 MB"


class PageError(PilotageError):
    """MLflow's page cannot be installed or started."""


def version() -> str:
    """Return the version of MLflow that is installed here, and whose tables the default store has."""
    for name in ("mlflow-skinny", "mlflow"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return VERSION


def folder() -> Path:
    """Return where the environment is, or will be."""
    return cache_folder() / "mlflow" / f"{version()}-py{sys.version_info.major}.{sys.version_info.minor}"


def python(say: Callable[[str], None]) -> Path:
    """Return the environment's interpreter; on first use the environment is made. Raises PageError, StorageError.

    Parameters
    ----------
    say: told how the installation goes on.
    """
    place = folder()
    ready, interpreter = place / "ready", place / "bin" / "python"
    with storage(place):
        private_folder(place.parent)
        if ready.exists():
            return interpreter
        with _lock(place.parent / "lock", say):
            if not ready.exists():  # another may have made it while we waited
                shutil.rmtree(place, ignore_errors=True)  # of one who was stopped in the middle
                _install(place, say)
                ready.touch()
    return interpreter


@contextlib.contextmanager
def _lock(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another process that installs MLflow")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _install(place: Path, say: Callable[[str], None]) -> None:
    wanted = f"mlflow=={version()}"
    say(f"installing {wanted} for its page, once: about {PACKED} to fetch, {UNPACKED} in {place}")
    interpreter = str(place / "bin" / "python")
    _run([sys.executable, "-m", "venv", str(place)], say)
    pip = [interpreter, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar=off"]
    _run([*pip, wanted], say)
    say("MLflow is installed")


def _run(argv: list[str], say: Callable[[str], None]) -> None:
    """Run a step of the installation; it ends with us."""
    # An environment of the caller's own must not be what is installed into.
    env = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH", "PIP_TARGET")}
    guard = kept.start(argv, env=env, cwd="/", output=subprocess.PIPE)
    assert guard.stdout is not None  # noqa: S101  it is a pipe
    lines: list[str] = []
    try:
        for line in guard.stdout:
            lines.append(line.rstrip())
            if progress := _progress(line):
                say(progress)
        code = guard.wait()
    finally:
        stop(guard)
        guard.stdout.close()
    if code:
        said = [line for line in lines if line.startswith("ERROR")] or lines[-3:]
        raise PageError(
            f"MLflow cannot be installed: {' '.join(said)}",
            where=" ".join(argv),
            hint="on Debian, apt install python3-venv" if "ensurepip" in " ".join(lines) else "is there a network?",
        )


def _progress(line: str) -> str:
    """Return what a line of pip's says to a person, or nothing."""
    if match := re.match(r"\s*(Downloading|Using cached) (\S+)(?: \((.*)\))?", line):
        name = match[2].rpartition("/")[2].split("-")[0]
        return f"  {'fetching' if match[1] == 'Downloading' else 'has'} {name} ({match[3] or '?'})"
    return "  unpacking ..." if line.startswith("Installing collected packages") else ""


def stop(guard: subprocess.Popen[str]) -> None:
    """End a process of `kept` with all that came from it."""
    if guard.poll() is None:
        guard.terminate()
    guard.wait()
