"""MLflow's page for the tests: the real one, installed once for whoever runs them, or the stand-in."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

from pilotage.errors import PilotageError
from pilotage.perf import page_environment
from program import PROGRAM

CACHE = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))  # every test has a home of its own
STAND_IN = Path(__file__).parent / "stand_in_mlflow.py"
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def real(monkeypatch):
    """Let the page be MLflow's own; installs it the first time, and skips the test where that cannot be."""
    monkeypatch.setenv("XDG_CACHE_HOME", CACHE)
    try:
        return page_environment.python(print)
    except PilotageError as error:
        pytest.skip(f"MLflow's page cannot be installed: {error.message}")


def stand_in(monkeypatch, folder):
    """Let the page be the stand-in."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setenv("STAND_IN_WORKERS", str(folder / "workers"))
    place = page_environment.folder()
    python = place / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -P {STAND_IN} "$@"\n')
    python.chmod(0o755)
    (place / "ready").touch()
    return python


def workers(folder):
    """Return the stand-in's workers that are there."""
    numbers = [int(line) for line in (folder / "workers").read_text().split()]
    return [number for number in numbers if _runs(number)]


def _runs(number):
    try:
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Started:
    """``pilotage perf ui`` in the background; its words go to a file."""

    def __init__(self, pilotage, folder, *arguments, **env):
        self.words = folder / "words"
        with self.words.open("w") as words:
            self.process = subprocess.Popen(
                [PROGRAM, "perf", "ui", "--no-open", *arguments],
                env=pilotage.env(**env),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=words,
                text=True,
                start_new_session=True,
            )

    def url(self):
        """Wait for the address, and return it."""
        line = self.process.stdout.readline().strip()
        assert line.startswith("http://127.0.0.1:"), (line, self.words.read_text())
        return line

    def wait_for(self, text, limit=60):
        end = time.monotonic() + limit
        while text not in self.words.read_text():
            assert time.monotonic() < end, f"{text!r} never came: {self.words.read_text()}"
            time.sleep(0.05)

    def ends(self, limit=30):
        """Return the exit code."""
        try:
            return self.process.wait(limit)
        finally:
            self.process.stdout.close()

    def guard(self):
        """Return the process between the command and MLflow."""
        found = psutil.Process(self.process.pid).children()
        return next(one for one in found if "pilotage.perf.kept" in one.cmdline())


def status(url, path="/health"):
    """Return the HTTP status of an address; None where nothing listens."""
    try:
        with OPENER.open(url + path, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def gone(pilotage, limit=20):
    """Wait until nothing is left of the command; return what is."""
    end = time.monotonic() + limit
    while (left := pilotage.left_behind()) and time.monotonic() < end:
        time.sleep(0.05)
    lines = []
    for one in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            lines.append(" ".join(one.cmdline()))
    return lines


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
