"""What goes wrong on a cluster, on a real one: no result is lost, the reason is told, and nothing stays behind."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from conftest import PROGRAM

SCRIPT = """
import sys
import parsl
from parsl import python_app

@python_app
def work(number, folder):
    import os, socket, time
    with open(f"{folder}/began", "a") as file:
        file.write(f"{number} {socket.gethostname()}\\n")
    time.sleep(float(os.environ.get("SECONDS_EACH", "0.5")))
    return number

with parsl.load():
    total = sum(future.result() for future in [work(number, sys.argv[1]) for number in range(int(sys.argv[2]))])
    print(total)
"""
SITE = ("--site", "slurm-lab", "--set", "engine.rerun_lost=5")


def wait_for(condition, what, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what}")


class Run:
    """A run on the login host."""

    def __init__(self, slurm, pilotage, folder, *arguments, count=24, seconds=0.5):
        self.folder = folder
        self._slurm = slurm
        self._pilotage = pilotage
        self.home = Path(os.environ["PILOTAGE_STATE"])
        (folder / "script.py").write_text(SCRIPT)
        (folder / "began").touch()
        script = ["script.py", "--", str(folder), str(count)]
        argv = [PROGRAM, "run", *SITE, *arguments, *script]
        self.count = count
        self.process = subprocess.Popen(
            slurm.host("head").command(list(map(str, argv)), str(folder)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=pilotage.env(SECONDS_EACH=str(seconds)),
        )

    @property
    def path(self):
        return next(iter((self.home / "runs").iterdir()))

    def began(self):
        return [line.split() for line in (self.folder / "began").read_text().splitlines() if line.count(" ") == 1]

    def on_node(self, node):
        return [number for number, host in self.began() if host == node]

    def on_head(self, *argv):
        return self._slurm.host("head").run(list(map(str, argv)))

    def jobs(self):
        return [line.split()[0] for line in self.on_head("squeue", "--noheader", "--format=%i %T").splitlines()]

    def events(self):
        try:
            lines = (self.path / "events.jsonl").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines if line]

    def told(self, pattern, seconds=15):
        """Wait until something is told."""
        return wait_for(
            lambda: [event for event in self.events() if re.search(pattern, event["message"])],
            f"an event of {pattern!r} among {[event['message'] for event in self.events()]}",
            seconds,
        )

    def end(self, timeout=120):
        out, err = self.process.communicate(timeout=timeout)
        return self.process.returncode, out, err

    def ends_right(self):
        code, out, err = self.end()
        assert (code, out.split()) == (0, [str(sum(range(self.count)))]), err
        self.left_nothing()

    def left_nothing(self):
        wait_for(lambda: not self.jobs(), f"no job left: {self.on_head('squeue')}", 20)
        wait_for(lambda: not self.processes(), f"no process left: {self.processes()}", 20)

    def processes(self):
        """Return what of this run is alive on any host: its folder is on the command lines."""
        name = self.path.name.encode()
        found = []
        for process in psutil.process_iter(["pid"]):
            try:
                if name in Path(f"/proc/{process.pid}/cmdline").read_bytes():
                    found.append(" ".join(process.cmdline())[:200])
            except (OSError, psutil.Error):
                continue
        return found


@pytest.fixture
def start(slurm, pilotage, tmp_path):
    """Starts a run; ends it after the test whatever happened, and repairs the cluster."""
    started = []

    def begin(*arguments, **options):
        started.append(Run(slurm, pilotage, tmp_path, *arguments, **options))
        return started[-1]

    yield begin
    for run in started:
        if run.process.poll() is None:
            run.process.terminate()
            run.process.communicate(timeout=30)
    slurm.up(2)
    slurm.host("head").run(["sh", "-c", "scancel --user=root; true"])


def test_a_block_that_is_cancelled_by_others(start):
    run = start()
    wait_for(lambda: len(run.began()) >= 4, "tasks run")
    run.on_head("scancel", run.jobs()[0])
    run.ends_right()
    assert run.began(), "something ran"


def test_a_node_that_is_killed(start, slurm):
    run = start("--set", "exclusive=true", "--set", "init_blocks=2")
    wait_for(lambda: run.on_node("node1") and run.on_node("node2"), "tasks on both nodes")
    slurm.host("node2").end()
    run.ends_right()


@pytest.mark.parametrize("seconds", [5, pytest.param(25, marks=pytest.mark.slow)])
def test_a_node_that_is_cut_off_and_comes_back(start, slurm, seconds):
    """For longer than Slurm waits, too: then it gives the node's job up, and another block does its work."""
    run = start("--set", "exclusive=true", "--set", "init_blocks=2", count=60)
    wait_for(lambda: run.on_node("node1") and run.on_node("node2"), "tasks on both nodes")
    slurm.host("head").run(["ip", "link", "set", "port2", "down"])
    try:
        time.sleep(seconds)  # the fault itself takes its time
    finally:
        slurm.host("head").run(["ip", "link", "set", "port2", "up"])
    run.ends_right()


def test_a_controller_that_is_frozen_and_goes_on(start, slurm):
    run = start(seconds=0.3)
    wait_for(lambda: len(run.began()) >= 2, "tasks run")
    head = psutil.Process(slurm.host("head").process)
    (controller,) = [
        child for child in head.children() if child.name() == "slurmctld-wlm" or "slurmctld" in child.name()
    ]
    controller.send_signal(signal.SIGSTOP)
    try:
        before = len(run.began())
        wait_for(lambda: len(run.began()) > before, "tasks go on while it is frozen")
    finally:
        controller.send_signal(signal.SIGCONT)
    run.ends_right()


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("partition=nope", "invalid partition specified: nope"),
        ("walltime=05:00:00", r"can never run: PENDING \(PartitionTimeLimit\)"),
        ("mem_per_node=900", "Memory specification can not be satisfied"),
        ("nodes_per_block=9", r"can never run: PENDING \(PartitionConfig\)"),
    ],
)
def test_what_slurm_refuses_is_told(start, setting, reason):
    run = start("--set", setting)
    run.told(reason)
    code, _, err = run.end()
    assert code == 1
    assert re.search(reason, err)
    run.left_nothing()


@pytest.mark.slow
def test_a_block_that_reaches_its_walltime(start):
    """It takes no new tasks before its end, and another block goes on."""
    run = start("--set", "walltime=00:02:00", "--set", "max_blocks=1", count=80, seconds=3)
    code, out, err = run.end(300)
    assert (code, out.split()) == (0, [str(sum(range(80)))]), err
    assert len(run.began()) == 80, "nothing ran twice: what had begun could end"
    run.left_nothing()


def test_a_driver_that_is_killed(start):
    run = start(count=200)
    wait_for(lambda: len(run.began()) >= 4, "tasks run")
    record = json.loads((run.path / "supervisor.json").read_text()) if (run.path / "supervisor.json").exists() else {}
    drivers = [p for p in psutil.process_iter() if _is_driver(p, run.path.name)]
    assert drivers, record
    drivers[0].kill()
    code, _, err = run.end()
    assert code in (128 + signal.SIGKILL, -signal.SIGKILL), "as the script ended"
    assert "not finished" in err
    run.left_nothing()


def _is_driver(process, name):
    try:
        words = process.cmdline()
    except psutil.Error:
        return False
    return any("pilotage.cli.driver" in word for word in words) and any(name in word for word in words)
