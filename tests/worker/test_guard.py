"""The node guard ends with its manager, or the run, everything that came from it."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pilotage.worker import processes

PROGRAM = """
import subprocess, sys, time
sys.path.insert(0, {source!r})
from pilotage.worker import guard, processes

{before}

def manager():
    # Three children that try to get away: a session of its own, a double fork, one without environment and deaf.
    subprocess.Popen(["sleep", "300"], start_new_session=True)
    subprocess.run(["sh", "-c", "setsid sleep 301 >/dev/null 2>&1 &"])
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(300)"
    subprocess.Popen(["env", "-i", sys.executable, "-c", deaf], start_new_session=True)
    print("ready", flush=True)
    {then}

guard.guarded(manager, {driver}, {interchange}, holder={holder})
"""
SOURCE = str(Path(__file__).parents[2] / "src")


class Guarded:
    """A guard as a process, and everything that came from it."""

    def __init__(self, then="time.sleep(300)", driver=None, interchange=(), before="", holder=None):
        text = PROGRAM.format(
            source=SOURCE, then=then, driver=driver, interchange=interchange, before=before, holder=holder
        )
        self.process = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self.process.stdout.readline() == b"ready\n"
        self.tree = self.children()

    def children(self):
        end = time.monotonic() + 20
        while time.monotonic() < end:
            found = psutil.Process(self.process.pid).children(recursive=True)
            if len([p for p in found if "sleep" in " ".join(p.cmdline())]) >= 3:
                return found
            time.sleep(0.02)
        raise AssertionError("the children did not start")

    def left(self, patience=10):
        """Kill what is left of the tree, and return its numbers; zombies are nobody's business."""
        _, left = psutil.wait_procs(self.tree, timeout=patience)
        found = []
        for process in left:
            try:
                found += [process.pid] if process.status() != psutil.STATUS_ZOMBIE else []
                process.kill()
            except psutil.NoSuchProcess:
                continue
        return found


@pytest.fixture
def guarded():
    made = []

    def make(**options):
        made.append(Guarded(**options))
        return made[-1]

    yield make
    for one in made:
        if one.process.poll() is None:
            one.process.kill()
        one.process.wait()
        one.left()
        one.process.stdout.close()
        one.process.stderr.close()


@pytest.mark.parametrize(("then", "code"), [("sys.exit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 137)])
def test_the_managers_end_ends_everything(guarded, then, code):
    one = guarded(then="import time; time.sleep(1)\n    " + then)
    assert one.process.wait(20) == code
    assert one.left() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_everything(guarded, number):
    one = guarded()
    one.process.send_signal(number)
    assert one.process.wait(20) == 128 + signal.SIGTERM
    assert one.left() == []


def test_a_stopped_manager_ends_too(guarded):
    one = guarded()
    for process in one.tree:
        process.suspend()
    one.process.terminate()
    one.process.wait(20)
    assert one.left() == []


@pytest.mark.parametrize("pidfd", [True, False])
def test_the_drivers_end_ends_everything(guarded, pidfd):
    before = "" if pidfd else "processes.open_watch = lambda pid: None"
    with subprocess.Popen(["sleep", "300"]) as driver:
        one = guarded(driver=processes.identity(driver.pid), before=before)
        time.sleep(1.2)  # two looks
        assert one.process.poll() is None
        driver.kill()
    one.process.wait(20)
    assert one.left() == []
    assert f"the driver (process {driver.pid}) has ended".encode() in one.process.stderr.read()


def test_the_end_of_a_driver_before_the_guard_counts(guarded):
    with subprocess.Popen(["true"]) as driver:
        known = processes.identity(driver.pid)
    text = PROGRAM.format(
        source=SOURCE, then="time.sleep(300)", driver={**known, "start": "1"}, interchange=(), before="", holder=None
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, timeout=30)
    assert b"has ended: ending everything" in done.stderr


def test_the_end_of_what_has_started_the_container_ends_everything(guarded):
    with subprocess.Popen(["sleep", "300"]) as runtime:
        one = guarded(driver=processes.identity(os.getpid()), holder=processes.identity(runtime.pid))
        time.sleep(1.2)
        assert one.process.poll() is None
        runtime.kill()
    one.process.wait(20)
    assert one.left() == []
    assert f"what has started the container (process {runtime.pid}) has ended".encode() in one.process.stderr.read()


@pytest.mark.slow
def test_a_container_with_process_numbers_of_its_own_says_nothing_of_its_holder(guarded):
    one = guarded(holder={**processes.identity(os.getpid()), "start": "1", "boot": "another"})
    time.sleep(1.2)
    assert one.process.poll() is None


def test_elsewhere_a_port_where_nobody_listens_any_more_is_the_end(guarded):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        known = {**processes.identity(os.getpid()), "host": "another"}
        one = guarded(driver=known, interchange=[("127.0.0.1", port)], before="guard.ASK_EVERY = 0.3")
        for _ in range(3):
            server.accept()[0].close()
        assert one.process.poll() is None
    one.process.wait(30)
    assert one.left() == []
    assert f"nobody listens at 127.0.0.1:{port}".encode() in one.process.stderr.read()


@pytest.mark.slow
def test_elsewhere_a_port_that_never_answered_says_nothing(guarded):
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        known = {**processes.identity(os.getpid()), "host": "another"}
        place = reserved.getsockname()
        one = guarded(driver=known, interchange=[place], before="guard.ASK_EVERY = 0.1")
        time.sleep(2)
        assert one.process.poll() is None


def test_without_the_guard_they_get_away(guarded):
    """The control: the manager's end alone leaves what called setsid."""
    one = guarded(then="time.sleep(1)", before="processes.end_descendants = lambda *a, **k: []")
    one.process.wait(20)
    assert one.left(1) != []
