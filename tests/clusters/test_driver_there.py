"""From a laptop, a run whose driver is on the login host: the laptop may go away, and come back."""

import json
import subprocess
import sys
import time

import pytest

from clusters.test_forward import GET, SERVES, serving
from clusters.test_login import nothing_is_left
from program import PROGRAM

SITE = """
[site.lab]
scheduler = "slurm"
python = "{python}"
nodes_per_block = 2
max_workers_per_node = 1
walltime = "00:10:00"
exclusive = false
"""
SCRIPT = """
import os, time
import parsl
@parsl.python_app
def where(number):
    import os, time
    time.sleep(0.2)
    return os.uname().nodename
with parsl.load():
    found = [where(number) for number in range(20)]
    print(os.uname().nodename, sorted({one.result() for one in found}), flush=True)
    while not os.path.exists("go"):
        time.sleep(0.2)
print("over")
"""


@pytest.fixture
def head(laptop):
    """Where this machine has the home of the head; a store and a site file there are this test's own."""
    home = laptop.far()
    place = home / ".config/pilotage/pilotage.toml"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(SITE.format(python=sys.executable))
    yield home
    cable(laptop, "up")
    laptop.pilotage("cancel", "--now", "@last")
    place.unlink()


def cable(laptop, state):
    laptop.lab.host("head").run(["ip", "link", "set", "laptop", state])


def row(laptop, run):
    (found,) = [one for one in json.loads(laptop.pilotage("ps", "--json").stdout)["runs"] if one["id"] == run]
    return found


def awaited(look, wanted, seconds=120):
    end = time.monotonic() + seconds
    while (found := look()) != wanted:
        assert time.monotonic() < end, found
        time.sleep(0.5)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_goes_on_without_the_laptop(laptop, head):
    laptop.place("where.py", SCRIPT)
    assert "No such file" in laptop.run("ls", f"{laptop.home}/where.py", host="head").stderr
    before = {path.name for path in head.glob(".local/state/pilotage/runs/*")}
    python = ["--remote-python", sys.executable]
    done = laptop.pilotage("run", "--on", "head", *python, "--site", "lab", "--name", "far", "--json", "where.py")
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)["id"]
    cable(laptop, "down")
    assert row(laptop, run)["state"] == "unreachable"
    assert laptop.run("ssh", "-o", "ConnectTimeout=2", "head", "true").returncode == 255
    log = head / ".local/state/pilotage/runs" / run / "driver.log"
    awaited(lambda: log.exists() and log.read_text(), "head ['node1', 'node2']\n")  # it goes on meanwhile
    cable(laptop, "up")
    assert row(laptop, run)["state"] == "running"
    assert laptop.pilotage("logs", "far").stdout == "head ['node1', 'node2']\n"
    cancelled = laptop.pilotage("cancel", "far")
    assert cancelled.returncode == 0, cancelled.stderr
    assert laptop.pilotage("clean").returncode == 0
    assert list(head.glob(".pilotage/*")) == []
    again = laptop.pilotage("resume", "far")
    assert again.returncode == 0, again.stderr
    (folder,) = head.glob(".pilotage/on-*")
    (folder / "go").touch()
    follows = laptop.pilotage("logs", "-f", "@last")
    assert follows.stdout == "head ['node1', 'node2']\nover\n"
    newer = again.stdout.strip()
    found = row(laptop, newer)
    assert (found["state"], found["resumes"], found["tasks"]["reused"]) == ("finished", run, 20)
    assert laptop.pilotage("rm", run, newer).returncode == 0
    assert list(head.glob(".pilotage/*")) == []
    assert {path.name for path in head.glob(".local/state/pilotage/runs/*")} == before
    assert list(laptop.outside(laptop.home).glob(".local/state/pilotage/elsewhere/*")) == []
    assert laptop.run("squeue", "-h", host="head").stdout == ""
    assert nothing_is_left(laptop)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("head")
def test_a_server_on_a_node_of_a_run_there(laptop):
    """By two ways one after the other: a relay on the head, which reaches its nodes, and the head's sshd."""
    laptop.place("serves.py", SERVES)
    python = ["--remote-python", sys.executable]
    done = laptop.pilotage("run", "--on", "head", *python, "--site", "lab", "--name", "server", "serves.py")
    assert done.returncode == 0, done.stderr
    end = time.monotonic() + 120
    while not (nodes := serving(laptop)):
        assert time.monotonic() < end
        time.sleep(0.5)
    wrong = laptop.pilotage("forward", "server", "9999", "--node", nodes[0])
    assert wrong.returncode == 1
    assert f"{nodes[0]}: port 9999 cannot be reached: Connection refused" in wrong.stderr
    there = laptop.argv(PROGRAM, "forward", "server", "8888", "--node", nodes[0])
    with subprocess.Popen(there, env=laptop.command.env(), stdout=subprocess.PIPE, text=True) as forward:
        address = forward.stdout.readline().strip()
        assert laptop.run(sys.executable, "-c", GET, address).stdout == f"{nodes[0]}\n"
        assert laptop.pilotage("cancel", "--now", "server").returncode == 0
    assert laptop.run(sys.executable, "-c", GET, address).returncode
    assert laptop.pilotage("rm", "server").returncode == 0
    assert nothing_is_left(laptop)
