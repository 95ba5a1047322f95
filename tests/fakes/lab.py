"""A fake scheduler for tests: its commands on a PATH, its switches, its nodes, and the end of it all."""

import contextlib
import json
import os
import shlex
import signal
import sys
import time
from pathlib import Path

import psutil

from fakes import flux, pbs
from fakes.machine import SWITCHES, Machine, create, end_session, session_of
from pilotage.hosts.base import Completed
from pilotage.hosts.local import LocalHost

PROGRAM = Path(__file__).with_name("program.py")
FAKES = {"pbspro": ("pbs", pbs), "flux": ("flux", flux)}
COMMANDS = {"pbspro": ("qsub", "qstat", "qdel", "pbsnodes"), "flux": ("flux",)}


class Lab:
    """A fake of ``scheduler`` in ``folder``, which must not be there yet."""

    def __init__(self, scheduler, folder, **changes):
        self.scheduler = scheduler
        name, module = FAKES[scheduler]
        self.folder = folder / "state"
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        create(self.folder, **{**module.INITIAL, **changes})
        self.machine = Machine(self.folder, module.Rules())
        for command in COMMANDS[scheduler]:
            words = [sys.executable, "-E", "-s", "-S", str(PROGRAM), name, str(self.folder), command]
            (self.bin / command).write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
            (self.bin / command).chmod(0o755)

    @property
    def path(self):
        """The PATH on which the commands are found first."""
        return f"{self.bin}:{os.environ['PATH']}"

    def switch(self, **switches):
        """Change what the scheduler does; see `machine.SWITCHES`."""
        assert set(switches) <= set(SWITCHES), switches
        part = self.folder / "switches.part"
        part.write_text(json.dumps({**self.machine.switches, **switches}))
        part.replace(self.folder / "switches.json")

    def run(self, argv, *, timeout=30, folder=None, given=None, environment=None):
        """Run a command where this scheduler is; see `pilotage.hosts.base.Host`."""
        shell = f"cd {shlex.quote(str(folder or '/'))} && exec env PATH={shlex.quote(self.path)}"
        more = [f"{name}={value}" for name, value in (environment or {}).items()]
        words = f"{shell} {shlex.join([*more, *map(str, argv)])}"
        if given is not None:
            words = f"printf %s {shlex.quote(given)} | ({words})"
        done = LocalHost().run(["sh", "-c", words], timeout=timeout)
        return Completed(tuple(argv), done.exit_code, done.stdout, done.stderr)

    def has(self, program):
        return (self.bin / program).exists()

    def fail(self, node):
        """Let a node die with all that runs on it."""
        with self.machine.locked() as state:
            state["nodes"][node]["up"] = False
            lost = [job for job in state["jobs"].values() if self._is_on(job, node)]
        for job in lost:
            self.machine.ask(job["id"], "node")

    def repair(self, node):
        with self.machine.locked() as state:
            state["nodes"][node]["up"] = True

    @staticmethod
    def _is_on(job, node):
        return job["state"] in ("R", "E", "RUN") and any(name == node for name, _ in job["placed"])

    def nodes_of(self, job):
        """Return the names of the nodes that a job has or had."""
        with self.machine.locked() as state:
            return [name for name, _ in state["jobs"][job].get("placed", ())]

    def processes(self):
        """Return the processes of jobs that are there, those that have left their session included."""
        found = []
        sessions = set()
        with contextlib.suppress(FileNotFoundError):
            jobs = json.loads((self.folder / "state.json").read_text())["jobs"]
            sessions = {job["session"] for job in jobs.values() if job.get("session")}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                inside = str(self.folder) in process.environ().get("TMPDIR", "")
                if (inside or session_of(process.pid) in sessions) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def close(self):
        """End what is left of it; return what was left of jobs that had ended."""
        with self.machine.locked() as state:
            states = [job["state"] for job in state["jobs"].values()]
            sessions = [job["session"] for job in state["jobs"].values() if job.get("session")]
        left = [] if any(word in self._open_states() for word in states) else self.processes()
        words = [" ".join(process.cmdline())[:200] for process in left]
        (self.folder / "closed").touch()
        for session in sessions:
            end_session(session, signal.SIGKILL)
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()
        end = time.monotonic() + 10
        while self._attendants() and time.monotonic() < end:
            time.sleep(0.02)
        assert not self._attendants(), "somebody still waits for a job"
        return words

    def _open_states(self):
        return ("Q", "R", "E", "H", "W", "SCHED", "RUN", "DEPEND")

    def _attendants(self):
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if str(PROGRAM) in process.cmdline() and str(self.folder) in process.cmdline():
                    found.append(process)
        return found
