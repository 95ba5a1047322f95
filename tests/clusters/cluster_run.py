"""A run on a cluster that something is done to: it is started on the login host, and judged by what is left of it."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

PROGRAM = Path(sys.executable).parent / "pilotage"
TOLD = 15.0
"""Seconds in which a person must hear of a fault, on a machine that has time: see `patience`."""
LEFT = 20.0
"""Seconds in which nothing of a run may be left."""
SITE = ("--site", "slurm-lab", "--set", "engine.rerun_lost=5")
WITHIN = Path(__file__).parent / "within"

# Each child is nobody's: the shell that starts it has ended, and it leads a session of its own.
SCRIPT = """
import sys
import parsl
from parsl import python_app

@python_app
def work(number, folder):
    import os, socket, subprocess, time
    with open(f"{folder}/began", "a") as file:
        file.write(f"{number} {socket.gethostname()}\\n")
    if os.environ.get("CHILDREN"):
        subprocess.run(["sh", "-c", "setsid sleep 600 >/dev/null 2>&1 </dev/null &"], check=True)
    time.sleep(float(os.environ["SECONDS_EACH"]))
    return number

with parsl.load():
    total = sum(future.result() for future in [work(number, sys.argv[1]) for number in range(int(sys.argv[2]))])
    print(total)
"""


def patience(seconds):
    """Return seconds for what takes processor time: more where many others want it too."""
    return seconds * max(1.0, os.getloadavg()[0] / (2 * (os.cpu_count() or 1)))


def wait_for(condition, what, seconds=60.0):
    """Return what ``condition`` returns, as soon as that is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() >= end:
            raise AssertionError(f"not within {seconds:g} s: {what() if callable(what) else what}")
        time.sleep(0.05)
    return found


class ClusterRun:
    """A run on the login host.

    Parameters
    ----------
    cluster: it runs there.
    pilotage: the fixture, by whose mark everything that came from the run is found.
    folder: seen by all hosts; the script writes there.
    arguments: of ``pilotage run``.
    count, seconds: tasks, and how long each takes.
    children: whether each task starts one that does all it can to stay.
    without: the protection that is switched off, see ``within``.
    env: more of the environment.
    config: a Parsl config's text, in the place of the site.
    """

    def __init__(
        self,
        cluster,
        pilotage,
        folder,
        *arguments,
        count=24,
        seconds=0.5,
        children=False,
        without="",
        env=None,
        config="",
    ):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.cluster = cluster
        self.pilotage = pilotage
        self.count = count
        self.patience = {"told": TOLD, "left": LEFT, "end": 120.0}
        self.struck = time.time()
        (folder / "script.py").write_text(SCRIPT)
        (folder / "began").touch()
        more = {"SECONDS_EACH": str(seconds), "PILOTAGE_STATE": str(folder / "state"), **(env or {})}
        if children:
            more["CHILDREN"] = "1"
        if without:
            more |= {"PYTHONPATH": str(WITHIN), "CLUSTERS_WITHOUT": without}
        self.env = pilotage.env(**more)
        (folder / "config.py").write_text(config)
        argv = [
            PROGRAM,
            "run",
            *(("--site", "./config.py") if config else SITE),
            *arguments,
            "script.py",
            "--",
            folder,
            count,
        ]
        self.process = subprocess.Popen(
            self.command(*argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.env,
        )

    def command(self, *argv):
        return self.cluster.host("head").command(list(map(str, argv)), str(self.folder))

    def on_head(self, *argv):
        """Run a command on the login host; return what it prints."""
        return self.cluster.host("head").run(list(map(str, argv)))

    def again(self, *arguments):
        """Run another command of pilotage on the login host."""
        return self.pilotage.run(self.command(PROGRAM, *arguments), env=self.env)

    # What is known of it

    @property
    def path(self):
        return wait_for(self._paths, "a run's folder")[0]

    def _paths(self):
        try:
            return [path for path in (self.folder / "state" / "runs").iterdir() if path.name[0] != "."]
        except FileNotFoundError:
            return []

    def record(self):
        return json.loads((self.path / "run.json").read_text())

    def began(self):
        return [line.split() for line in (self.folder / "began").read_text().splitlines() if line.count(" ") == 1]

    def on_node(self, node):
        return [number for number, host in self.began() if host == node]

    def jobs(self, *options):
        """Return the ids of its jobs, by the run's id in their names, or in their scripts' for a provider not ours.

        With ``--states=all`` those of other tests, which ended minutes ago, are listed too.
        """
        lines = self.on_head("squeue", "--noheader", "--format=%i %j %o", *options).splitlines()
        return [line.split()[0] for line in lines if self.path.name in line]

    def events(self):
        try:
            lines = (self.path / "events.jsonl").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines if line]

    def processes(self):
        """Return what of this run is alive on any host."""
        return [
            f"{process.pid} {' '.join(process.cmdline())[:200]}"
            for process in self.pilotage.left_behind()
            if process.pid != self.process.pid and _state(process) == str(self.folder / "state")
        ]

    def find(self, words):
        """Return its first process that has ``words`` on its command line."""
        name = self.path.name
        for process in self.pilotage.left_behind():
            try:
                said = " ".join(process.cmdline())
            except psutil.Error:
                continue
            if words in said and name in said:
                return process
        return None

    def program(self, name):
        """Return whether a program of this name runs for it."""
        return any(_name(process) == name for process in self.pilotage.left_behind())

    # What is done to it

    def loads(self):
        """Wait until the script has loaded Parsl: blocks are asked for now."""
        wait_for((self.path / "progress.json").exists, "progress")

    def runs(self, tasks=4):
        """Wait until some tasks have begun."""
        wait_for(lambda: len(self.began()) >= tasks, lambda: f"{tasks} tasks run; {self.heard()}")

    def strike(self, fault):
        """Do something to it; what is told is counted from then on."""
        fault()
        self.struck = time.time()

    # What must come of it

    def heard(self):
        return [event["message"] for event in self.events()]

    def told(self, pattern):
        """Wait until something is told that matches; return the words, and the seconds since the fault."""
        event = wait_for(
            lambda: next((event for event in self.events() if re.search(pattern, event["message"])), None),
            lambda: f"{pattern!r} is told; {self.heard()}",
            patience(self.patience["told"]),
        )
        return event["message"], event["at"] - self.struck

    def end(self):
        """Wait for its end; return exit code, stdout, stderr."""
        try:
            out, err = self.process.communicate(timeout=self.patience["end"])
        except subprocess.TimeoutExpired:
            left = self.count - len({number for number, _ in self.began()})
            raise AssertionError(f"no end; {left} tasks have not begun; {self.heard()}") from None
        return self.process.returncode, out, err

    def ends_right(self):
        """Hold that it ends with the right result and leaves nothing; return what it has said."""
        code, out, err = self.end()
        assert (code, out.split()) == (0, [str(sum(range(self.count)))]), err
        self.left_nothing()
        return err

    def left_nothing(self):
        wait_for(lambda: not self.jobs(), lambda: f"no job left; there is {self.jobs()}", self.patience["left"])
        wait_for(
            lambda: not self.processes(), lambda: f"no process left; there is {self.processes()}", self.patience["left"]
        )

    def stop(self):
        """End it, whatever has become of it: a view that ends leaves its run alone."""
        if self.process.poll() is None or self.processes():
            if self._paths() and (supervisor := self.find("pilotage.runs.supervisor")):
                supervisor.terminate()
                psutil.wait_procs([supervisor], timeout=30)
            for process in self.pilotage.left_behind():
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        self.process.communicate(timeout=30)


def _name(process):
    try:
        return process.name()
    except psutil.Error:
        return None


def _state(process):
    try:
        return process.environ().get("PILOTAGE_STATE")
    except psutil.Error:
        return None


class Controller:
    """The daemon of Slurm on the head."""

    def __init__(self, cluster):
        self._cluster = cluster

    def _process(self):
        head = psutil.Process(self._cluster.host("head").process)
        found = [child for child in head.children() if "slurmctld" in (_name(child) or "")]
        return found[0] if found else None

    def save(self):
        """Let it write down what it knows, which it does some seconds after a change.

        A job that was not written down as running is drained from its node when it is started anew.
        """
        now = time.time()
        head = self._cluster.host("head")
        job = head.run(["sbatch", "--hold", "--parsable", "--job-name=pilotage-nothing", "--wrap=true"]).strip()
        head.run(["scancel", job])
        path = self._cluster.folder / "state" / "job_state"
        wait_for(lambda: path.exists() and path.stat().st_mtime > now, "slurmctld's state written down")

    def freeze(self):
        self._process().send_signal(signal.SIGSTOP)

    def thaw(self):
        if process := self._process():
            process.send_signal(signal.SIGCONT)

    def restart(self):
        """Kill it, whatever it is at, and start it anew."""
        if process := self._process():
            process.kill()
            psutil.wait_procs([process], timeout=10)
            wait_for(lambda: self._process() is None, "an end of slurmctld")
        self._cluster.host("head").run(["slurmctld-wlm"])


def repair(cluster):
    """Bring a cluster into the state in which tests find it: all nodes there, no jobs."""
    Controller(cluster).thaw()
    # What it has drained over a job that it did not know; of other nodes it refuses that.
    cluster.host("head").run(["sh", "-c", "scontrol update NodeName=node1,node2 State=RESUME 2>/dev/null; true"])
    cluster.up(2)
    head = cluster.host("head")

    def idle():
        head.run(["sh", "-c", "scancel --quiet --user=root; true"])
        return not head.run(["squeue", "--noheader"])

    wait_for(idle, "an empty queue", 30)
