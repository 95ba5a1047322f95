"""A script that imports its own package, from the laptop to nodes that do not see its folder."""

import sys

import pytest

from pilotage.events import Events

SITES = f"""
[site.lab]
scheduler = "slurm"
login = "head"
python = "{sys.executable}"
run_folder = "/home/cluster/runs"
nodes_per_block = 2
max_workers_per_node = 1
walltime = "00:10:00"
exclusive = false

[site.pool]
scheduler = "ssh"
hosts = ["node1", "node2"]
python = "{sys.executable}"
run_folder = "/tmp/runs"
max_workers_per_node = 1
init_blocks = 2
"""
SCRIPT = """
import parsl
from own.deep.sums import double

@parsl.python_app
def work(number):
    import os, time
    import own.deep.sums
    time.sleep(0.2)
    return os.uname().nodename, double(number), os.path.isfile(own.deep.sums.__file__)

with parsl.load():
    found = [one.result() for one in [work(number) for number in range(20)]]
    nodes, numbers, there = zip(*found)
    print(sorted(set(nodes)), sum(numbers), all(there))
"""
SUMS = "def double(number):\n    return 2 * number\n"


@pytest.fixture
def work(laptop):
    """Place the script and its package beside each other; return the run's command and what it has told of the code."""
    laptop.place(".config/pilotage/pilotage.toml", SITES)
    laptop.place("mine/script.py", SCRIPT)
    laptop.place("mine/own/__init__.py", "")
    laptop.place("mine/own/deep/__init__.py", "")
    laptop.place("mine/own/deep/sums.py", SUMS)
    return laptop


def run(laptop, site, *words):
    return laptop.pilotage("run", "--site", site, *words, "mine/script.py")


def told(laptop):
    newest = sorted(laptop.outside(f"{laptop.home}/.local/state/pilotage/runs").glob("2*"))[-1]
    return [one["detail"] for one in Events(newest / "events.jsonl").read()[0] if one["kind"] == "code"]


NODES = "['node1', 'node2']"


@pytest.fixture(params=["lab", "pool"])
def site(request, work):
    """A site; what was sent to its hosts goes in the end."""
    yield request.param
    hosts, folder = (["head"], "/home/cluster/runs") if request.param == "lab" else (["node1", "node2"], "/tmp/runs")
    for host in hosts:
        left = work.run("ls", "-A", folder, host=host).stdout.split()
        work.run("rm", "-rf", f"{folder}/code", host=host)
        assert left in ([], ["code"])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_its_package_is_imported_on_the_nodes(work, site):
    hosts = 1 if site == "lab" else 2
    data = work.outside(f"{work.home}/mine/data/big.bin")
    data.parent.mkdir()
    with data.open("wb") as file:
        file.truncate(200 << 20)
    work.place("mine/.pilotageignore", "data/\n")

    done = run(work, site, "--no-sync")
    assert done.returncode == 1
    assert "ModuleNotFoundError: No module named 'own'" in done.stderr
    assert told(work) == []

    done = run(work, site)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{NODES} 380 True\n"
    first = told(work)
    assert [one["files"] for one in first] == [3] * hosts
    assert all(0 < one["bytes"] < 10_000 for one in first)

    done = run(work, site)
    assert done.stdout == f"{NODES} 380 True\n", done.stderr
    assert [(one["files"], one["bytes"]) for one in told(work)] == [(0, 0)] * hosts

    work.place("mine/own/deep/sums.py", SUMS.replace("2", "3"))
    done = run(work, site)
    assert done.stdout == f"{NODES} 570 True\n", done.stderr
    assert [one["files"] for one in told(work)] == [1] * hosts
