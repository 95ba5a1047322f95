"""A run from the laptop that something is done to on its way, judged by what it has done and what is left."""

import os
import subprocess

from clusters.cluster_run import WITHIN, wait_for
from pilotage.events import Events
from pilotage.journal import Journal
from program import PROGRAM

RUNS = "/home/cluster/runs"
SCRIPT = """
import os, sys, time
import parsl
from parsl import python_app

@python_app
def work(number, seconds, folder):
    import os, time
    path = f"{folder}/ran"
    line = f"{number} {os.uname().nodename}\\n".encode()
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line)
    os.close(file)
    time.sleep(seconds)
    return number

count, seconds, pause, folder = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
with parsl.load():
    assert work(-1, 0, folder).result() == -1
    open("begun", "w").close()
    found = []
    for number in range(count):
        found.append(work(number, seconds, folder))
        time.sleep(pause)
    print(sum(future.result() for future in found))
"""


class FarRun:
    """A run on the nodes of a cluster, whose driver is on its laptop.

    Parameters
    ----------
    laptop: `clusters.labs.Laptop`, with a site `lab` in its configuration.
    arguments: more of ``pilotage run``.
    count, seconds, pause: tasks, how long each takes, and how long after one the next is submitted.
    without: the protection that is switched off, see ``within``.
    """

    def __init__(self, laptop, *arguments, count=400, seconds=0.05, pause=0.02, without="", site="lab"):
        self.laptop = laptop
        self.count = count
        self.folder = f"/home/cluster/{os.path.basename(laptop.home)}"
        self.end = 150.0
        laptop.far(self.folder).mkdir()
        laptop.place("stream.py", SCRIPT)
        more = {"PYTHONPATH": str(WITHIN), "CLUSTERS_WITHOUT": without} if without else {}
        words = ["run", "--site", site, *arguments, "stream.py", "--", count, seconds, pause, self.folder]
        self.process = subprocess.Popen(
            laptop.argv(PROGRAM, *words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=laptop.command.env(**more),
        )

    def runs(self):
        """Wait until tasks are being submitted."""
        wait_for(lambda: self.laptop.outside(f"{self.laptop.home}/begun").exists() or self._over(), "it runs", 90)
        return self

    def _over(self):
        if self.process.poll() is not None:
            raise AssertionError(self.process.communicate()[1])

    @property
    def path(self):
        (found,) = self.laptop.outside(f"{self.laptop.home}/.local/state/pilotage/runs").iterdir()
        return found

    def events(self):
        return Events(self.path / "events.jsonl").read()[0]

    def told(self, kind, seconds=30.0):
        """Wait for an event; return its words."""
        found = wait_for(
            lambda: [event["message"] for event in self.events() if event["kind"] == kind],
            lambda: f"{kind} is told; {[event['message'] for event in self.events()]}",
            seconds,
        )
        return found[0]

    def ends_right(self):
        """Every task has its result, each ran once, and nothing is left on either side."""
        try:
            out, err = self.process.communicate(timeout=self.end)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"no end; {len(self.ran())} tasks ran of {self.count}; {self.words()}") from None
        assert self.process.returncode == 0, err
        assert out == f"{sum(range(self.count))}\n", err
        ran = self.ran()
        assert len(ran) == len(set(ran)), f"some ran twice: {sorted(one for one in set(ran) if ran.count(one) > 1)}"
        assert len(ran) == self.count + 1
        self.nothing_is_left()

    def words(self):
        return [event["message"] for event in self.events()]

    def ran(self):
        """Return the numbers of the tasks that ran, as often as they did."""
        path = self.laptop.far(f"{self.folder}/ran")
        return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []

    def nothing_is_left(self):
        wait_for(lambda: not self.left(), lambda: f"nothing is left: {self.left()}; {self.words()}", 30)

    def left(self):
        """Return what is left on either side; of processes the fixture sees to it."""
        found = [path.name for path in self.laptop.far(RUNS).glob("*") if path.name != "code"]  # which runs share
        found += self.laptop.jobs()
        return found + [str(entry) for entry in self.entries()]

    def entries(self):
        return Journal(self.path / "journal.jsonl").open_entries()

    def stop(self):
        """End it whatever has happened, and what it has left."""
        if self.process.poll() is None:
            self.laptop.pilotage("cancel", "--now", "@last", timeout=60)
            try:
                self.process.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.communicate()
        self.laptop.pilotage("clean", timeout=60)

    def master(self):
        """Return the process here that holds the connection."""
        running = self.laptop.running().items()
        found = [pid for pid, line in running if "[mux]" in line or "ControlMaster=yes" in line]
        assert len(found) == 1, list(running)
        (found,) = found
        return found
