"""A real run that something is done to: it is started, its processes are found by who they are, and it is judged."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from pathlib import Path

import psutil

from pilotage.journal import Journal

PARTS = 20
ANSWER = f"answer {sum(number * number for number in range(PARTS))}"
FINAL = ("finished", "failed", "cancelled", "lost")
STOP_AND_KILL = "SIGSTOP, SIGKILL"
INTERCHANGE = "parsl: HTEX interchange"
"""The title that Parsl gives its interchange once it is up."""
STOPPED_FOR = 1.0
"""Seconds that a process is stopped before it is killed: what the others make of its silence is part of the fault."""

SCRIPT = f"""
import os, time, parsl
from parsl import python_app

HERE = os.path.dirname(os.path.abspath(__file__))

@python_app
def part(number, folder):
    import os, time
    with open(os.path.join(folder, "started"), "a") as file:
        file.write(f"{{number}}\\n")
    time.sleep(0.2)
    return number * number

with parsl.load():
    futures = [part(number, HERE) for number in range({PARTS})]
    total = 0
    for number, future in enumerate(futures):
        total += future.result()
        with open(os.path.join(HERE, "seen"), "a") as file:
            file.write(f"{{number}}\\n")
    print("leaving", flush=True)
    time.sleep(0.1)  # for the fault to come while all is there
print("answer", total)
"""

# Parsl asks a manager for a sign of life every 30 seconds by itself, and waits for 120.
OPTIONS = ("--site", "laptop", "--set", "max_workers_per_node=2", "--set", "config.retries=3")
QUICK = ("--set", "executor.heartbeat_period=1", "--set", "executor.heartbeat_threshold=4")


def until(condition, what, timeout=60, pause=0.05):
    """Return what ``condition`` returns, as soon as that is true; a busy machine has longer."""
    end = time.monotonic() + timeout * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    while not (found := condition()):
        if time.monotonic() >= end:
            raise AssertionError(f"not within {timeout} s: {what() if callable(what) else what}")
        time.sleep(pause)
    return found


def is_alive(process):
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def words(process):
    with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return process.cmdline()
    return []


def children(process, *, recursive=False):
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.children(recursive=recursive)
    return []


def by_number(pid):
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid)
    return None


def lines(path):
    with contextlib.suppress(FileNotFoundError):
        return path.read_text().splitlines()
    return []


def strike(process, what):
    """Send one signal, or stop a process for a while and kill it then."""
    with contextlib.suppress(psutil.NoSuchProcess):
        if what == STOP_AND_KILL:
            process.suspend()
            time.sleep(STOPPED_FOR)
            process.kill()
        else:
            process.send_signal(getattr(signal, what))


class FaultRun:
    """One run of a script in a folder of its own, with a state folder of its own.

    Parameters
    ----------
    folder: made for it; the script writes there.
    command: as the fixture ``pilotage`` gives; a new one with a mark of its own is made like it.
    script: a Parsl script.
    options: of ``pilotage run``.
    program: what to start in the place of the installed program.
    env: more of the environment.
    """

    def __init__(self, folder, command, script=SCRIPT, *, options=(*OPTIONS, *QUICK), program=None, env=None):
        folder.mkdir(parents=True, exist_ok=True)
        self.here = folder
        self.state_folder = Path((env or {}).get("PILOTAGE_STATE", folder / "state"))
        self.command = type(command)(uuid.uuid4().hex)
        self.env = {"PILOTAGE_STATE": str(self.state_folder), **(env or {})}
        self.program = program or [Path(sys.executable).parent / "pilotage"]
        self.options = options
        (folder / "script.py").write_text(script)
        self.patience = 10  # seconds
        self.known = {}
        self.launcher = None
        self.view = None

    def start(self, **streams):
        """Start ``pilotage run``, which is the view unless the options say --detach."""
        argv = [str(word) for word in (*self.program, "run", *self.options, "script.py")]
        with open(self.here / "stdout", "wb") as out, open(self.here / "stderr", "wb") as err:
            streams = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": err, **streams}
            self.launcher = subprocess.Popen(argv, cwd=self.here, env=self.command.env(**self.env), **streams)
        self.view = psutil.Process(self.launcher.pid)
        return self

    def pilotage(self, *arguments, timeout=120):
        """Run another command of pilotage beside it."""
        return self.command(*arguments, env=self.env, cwd=self.here, timeout=timeout)

    # What is known of it

    def run_folders(self):
        with contextlib.suppress(FileNotFoundError):
            return sorted(path for path in (self.state_folder / "runs").iterdir() if not path.name.startswith("."))
        return []

    def record(self, which=0):
        folders = self.run_folders()
        with contextlib.suppress(IndexError, OSError, ValueError):
            return json.loads((folders[which] / "run.json").read_text())
        return {}

    def output(self, which=0):
        """Return what the script wrote."""
        folders = self.run_folders()
        log = folders[which] / "driver.log" if len(folders) > which else self.here / "nothing"
        return "\n".join(lines(log)) or "\n".join(lines(self.here / "stdout"))

    def told(self):
        """Return all that the run says of itself, to people and in its events."""
        events = [line for folder in self.run_folders()[:1] for line in lines(folder / "events.jsonl")]
        return "\n".join([self.output(), *lines(self.here / "stderr"), *events])

    def seen(self):
        """Return the parts whose results have come back to the script."""
        return [int(line) for line in lines(self.here / "seen")]

    def started(self):
        """Return how often each part was begun."""
        return Counter(int(line) for line in lines(self.here / "started"))

    def journal(self, which=0):
        return Journal(self.run_folders()[which] / "journal.jsonl").open_entries()

    # Its processes

    def supervisor(self):
        owner = (self.record().get("owner") or {}).get("pid")
        if owner is not None and owner != self.launcher.pid:
            return by_number(owner)
        own = [child for child in children(self.view) if "pilotage.runs.supervisor" in " ".join(words(child))]
        return own[0] if own else None

    def find(self, target):
        """Return the first living process of a kind, or None.

        ``view``, ``supervisor``, ``driver``, ``interchange``, ``guard``, ``manager`` or ``worker``.
        """
        if target == "view":
            return self.view
        supervisor = self.supervisor()
        if supervisor is None or target == "supervisor":
            return supervisor
        found = {one.pid: (one, words(one)) for one in children(supervisor, recursive=True)}
        alike = [process for process, said in found.values() if self._kind(process, said, found) == target]
        return alike[0] if alike else None

    def _kind(self, process, said, found):
        if any("pilotage.cli.driver" in word for word in said):
            return "driver"
        if "pilotage.engine.interchange" in said or INTERCHANGE in said:
            return "interchange"
        # Each is forked by the one before, with the same words.
        forked, kinds = -1, ("guard", "manager", "fork server", "worker")
        with contextlib.suppress(psutil.NoSuchProcess):
            while "pilotage.worker.pool" in said:
                forked += 1
                process, said = found.get(process.ppid(), (None, []))
        return kinds[forked] if 0 <= forked < len(kinds) else ""

    def remember(self):
        """Take note of every process of the run: its descendants, and those with its mark."""
        supervisor = self.supervisor()
        found = [supervisor, *children(supervisor, recursive=True)] if supervisor is not None else []
        found += [*self.command.left_behind(), *escapees(self.here).values()]
        self.known.update({(one.pid, one.create_time()): one for one in found})

    def left(self, *, but=()):
        """Return the processes of the run that are alive."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self.remember()
        if self.launcher is not None:
            self.launcher.poll()
        return [one for one in self.known.values() if one not in but and is_alive(one)]

    def described(self, processes):
        return [f"{one.pid} {' '.join(words(one))[:120]}" for one in processes]

    # The moments

    def reach(self, moment, target):
        """Wait for a moment in the life of the run; return the process ``target`` as it is then.

        ``start``: it has just come to be. ``mid-run``: some parts are done. ``shutdown``: the script leaves its block.
        """
        if moment == "start":
            if target == "view":  # before it has a run, there is nothing to lose
                until(self.supervisor, "a supervisor", pause=0.005)
                return self.view
            return until(lambda: self.find(target), target, pause=0.005)
        until(lambda: len(self.seen()) >= 4, lambda: f"some parts done {self.told()}")
        process = self.find(target)
        if moment == "shutdown":
            until(lambda: "leaving" in self.output(), "the script leaves its block", pause=0.005)
        return process

    # What must come of it

    def is_over(self):
        return self.record().get("state") in FINAL

    def ends(self, timeout=90):
        """Wait for the end that the run's record tells; return its state."""
        until(self.is_over, lambda: f"an end; {self.record().get('state')}: {self.told()}", timeout)
        return self.record()["state"]

    def is_gone(self):
        """Wait until nothing of the run is alive."""
        until(lambda: not self.left(), lambda: f"nothing left; there is {self.described(self.left())}", self.patience)

    def is_clean(self):
        """Check that nothing is left, that the journal is empty, and that ``ps`` tells the state; return it."""
        listed = self.pilotage("ps", "--json")
        assert listed.returncode == 0, listed.stderr
        self.is_gone()
        for which, _ in enumerate(self.run_folders()):
            assert self.journal(which) == []
        states = {run["id"]: run["state"] for run in json.loads(listed.stdout)["runs"]}
        for which, folder in enumerate(self.run_folders()):
            assert states[folder.name] == self.record(which).get("state"), states
        return states[self.run_folders()[0].name]

    def is_right(self, which=0):
        assert ANSWER in self.output(which), self.output(which)

    def resumes(self):
        """Resume the run and check that it ends right, without doing again what was done."""
        seen = self.seen()
        before = self.started()
        done = self.pilotage("resume", self.run_folders()[0].name)
        assert done.returncode == 0, done.stderr
        assert ANSWER in done.stdout
        again = {number for number in seen if self.started()[number] > before[number]}
        assert not again, f"parts {sorted(again)} had finished and were done again"
        assert set(self.started()) == set(range(PARTS))

    def end(self):
        """End whatever is left, by pid: of a test that has failed, or of a control."""
        for process in self.left():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if self.launcher is not None:
            self.launcher.wait(10)
        with contextlib.suppress(AssertionError):
            until(lambda: not self.left(), "an end", 10)


def escapees(folder):
    """Return the processes that `ESCAPE` has started and that live, by name such as ``bash.setsid``."""
    found = {}
    for path in (folder / "pids").glob("[!.]*.*"):  # one that begins with a dot is not whole yet
        text = path.read_text().split()
        if text and (process := by_number(int(text[0]))) is not None and "sleep" in words(process):
            found[path.name] = process
    return found


# Each child writes its pid down, since some of them erase what they could be found by.
KINDS = ("setsid", "fork", "env", "ignore", "all")
ESCAPE = """
cd "$2" || exit 1
run='echo $$ > pids/.$0; mv pids/.$0 pids/$0; exec sleep 600'
deaf='trap "" TERM INT HUP;'
{
setsid sh -c "$run" $1.setsid &
(sh -c "$run" $1.fork &)
env -i PATH="$PATH" sh -c "$run" $1.env &
sh -c "$deaf $run" $1.ignore &
(env -i PATH="$PATH" setsid sh -c "$deaf $run" $1.all &)
} </dev/null >/dev/null 2>&1
"""
ESCAPING = """
import os, subprocess, sys, threading, time, parsl
from parsl import bash_app, python_app

HERE = os.path.dirname(os.path.abspath(__file__))

@python_app
def from_python(folder):
    import subprocess
    subprocess.run(["sh", folder + "/escape.sh", "python", folder], check=True)

@bash_app
def from_bash(folder):
    return f"sh {folder}/escape.sh bash {folder}"

@python_app
def wait_for(path):
    import os, time
    while not os.path.exists(path):
        time.sleep(0.05)
    return path

subprocess.run(["sh", HERE + "/escape.sh", "script", HERE], check=True)
with parsl.load():
    from_python(HERE).result()
    from_bash(HERE).result()
    print("ready", flush=True)
    wait_for(HERE + "/go").result()
print("went on")
"""
