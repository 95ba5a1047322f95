"""From a laptop that reaches only the login host's sshd: programs, by each way there is."""

import json
import sys
import time

import pytest

from pilotage.events import Events
from pilotage.journal import Journal
from program import PROGRAM

SITE = """
[site.lab]
scheduler = "slurm"
login = "{login}"
python = "{python}"
run_folder = "{folder}"
nodes_per_block = 2
max_workers_per_node = 1
walltime = "00:10:00"
exclusive = false
{more}
"""
HOSTS = """
import parsl, time
@parsl.python_app
def where(number):
    import os, time
    time.sleep(0.2)
    return os.uname().nodename
with parsl.load():
    found = [where(number) for number in range(40)]
    print(sorted({one.result() for one in found}))
"""


@pytest.fixture
def laptop_site(laptop):
    """Write the laptop's site `lab`."""

    def write(login="head", more="", folder="/home/cluster/runs"):
        text = SITE.format(login=login, python=sys.executable, folder=folder, more=more)
        laptop.place(".config/pilotage/pilotage.toml", text)

    return write


def nothing_is_left(laptop):
    end = time.monotonic() + 20
    while found := left(laptop):
        assert time.monotonic() < end, found
        time.sleep(0.5)
    return True


def left(laptop):
    """Return what is left on either side."""
    found = laptop.run("ls", "-A", "/home/cluster/runs", host="head").stdout.split()
    found = [name for name in found if name != "code"]  # which runs share
    found += laptop.jobs()
    entries = laptop.outside(f"{laptop.home}/.local/state/pilotage/runs").glob("*/journal.jsonl")
    return found + [line for path in entries for line in open_entries(path)]


def open_entries(path):
    return list(Journal(path).open_entries())


@pytest.mark.parametrize(
    ("login", "reach", "expected"),
    [("head", "auto", "relay"), ("head-gateway", "auto", "gateway"), ("head", "node", "node")],
)
def test_tasks_run_on_every_node(laptop, laptop_site, login, reach, expected):
    laptop_site(login, f'reach = "{reach}"')
    laptop.place("hosts.py", HOSTS)
    assert "No such file" in laptop.run("ls", f"{laptop.home}/hosts.py", host="head").stderr
    done = laptop.pilotage("run", "--site", "lab", "hosts.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['node1', 'node2']\n"
    (way,) = [event["detail"] for event in events_of(laptop) if event["kind"] == "way"]
    assert way["reach"] == expected
    assert nothing_is_left(laptop)


def events_of(laptop):
    (path,) = laptop.outside(f"{laptop.home}/.local/state/pilotage/runs").glob("*/events.jsonl")
    return Events(path).read()[0]


def test_a_pool_of_hosts(laptop):
    text = f'[site.pool]\nscheduler = "ssh"\nhosts = ["node1", "node2"]\npython = "{sys.executable}"\n'
    text += 'run_folder = "/tmp/runs"\nmax_workers_per_node = 1\ninit_blocks = 2\n'
    laptop.place(".config/pilotage/pilotage.toml", text)
    laptop.place("hosts.py", HOSTS)
    done = laptop.pilotage("run", "--site", "pool", "hosts.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['node1', 'node2']\n"
    for node in ("node1", "node2"):
        assert laptop.run("ls", "-A", "/tmp/runs", host=node).stdout == ""
    assert nothing_is_left(laptop)


TWO_SITES = """
import parsl
from parsl import python_app

@python_app(executors=["batch"])
def on_batch(number):
    import os
    return os.uname().nodename, number

@python_app(executors=["pool"])
def on_pool(pair):
    import os
    return os.uname().nodename, pair[1] + 1

with parsl.load():
    pairs = [on_pool(on_batch(number)) for number in range(20)]
    print(sum(pair.result()[1] for pair in pairs), sorted({pair.result()[0] for pair in pairs}))
    print(sorted({on_batch(number).result()[0] for number in range(8)} - {"node1", "node2"}))
"""
POOL = """
[site.pool]
scheduler = "ssh"
hosts = ["node1", "node2"]
python = "{python}"
run_folder = "/tmp/runs"
max_workers_per_node = 1
init_blocks = 2
"""


@pytest.mark.slow
def test_a_workflow_on_a_cluster_and_a_pool(laptop, laptop_site):
    laptop_site("head", POOL.format(python=sys.executable))
    laptop.place("two.py", TWO_SITES)
    assert "No such file" in laptop.run("ls", f"{laptop.home}/two.py", host="head").stderr
    done = laptop.pilotage("run", "--site", "batch=lab", "--site", "pool=pool", "two.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith(f"{sum(range(1, 21))} ['node")
    assert done.stdout.splitlines()[1] == "[]"
    ways = [event["detail"]["login"] for event in events_of(laptop) if event["kind"] == "way"]
    assert sorted(ways) == ["head", "node1", "node2"]
    assert nothing_is_left(laptop)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("login", "reach"), [("head", "relay"), ("head-gateway", "gateway"), ("head", "node")])
def test_tutorial_and_census(laptop, laptop_site, examples, login, reach):
    laptop_site(login, f'reach = "{reach}"\ninit_blocks = 1')
    script = ["sh", examples / "run_all", PROGRAM]
    done = laptop.run(*script, env={"SITE": "lab", "MPLCONFIGDIR": f"{laptop.home}/matplotlib"}, timeout=800)
    assert done.returncode == 0, done.stdout + done.stderr
    assert laptop.outside(f"{laptop.home}/results/census/census.csv").exists()
    assert nothing_is_left(laptop)


@pytest.mark.slow
@pytest.mark.parametrize(("login", "reach", "way"), [("head", "auto", "relay"), ("head-gateway", "auto", "gateway")])
def test_check_proves_the_path_from_a_compute_node(laptop, laptop_site, login, reach, way):
    laptop_site(login, f'reach = "{reach}"\nlauncher = {{ class = "srun" }}\npartition = "debug"')
    done = laptop.pilotage("check", "lab", "--submit", "--json")
    (report,) = json.loads(done.stdout)["sites"]
    found = {one["probe"]: one for one in report["findings"]}
    assert not [one for one in found.values() if one["status"] == "failed"], done.stdout
    assert found["reach"]["message"].startswith(f"{way}: on {login}, ")
    assert found["login"]["message"] == "root on head: nothing is asked"
    assert found["block"]["message"] == "started and ended; 2 nodes connected"
    assert found["node-folder"]["status"] == "ok"
    assert found["node-route"]["message"].startswith("a connection takes ")
    assert found["managers"]["message"] == "on node1, node2"
    assert found["trial"]["status"] == "ok"
    assert nothing_is_left(laptop)


def test_check_says_what_the_nodes_do_not_see(laptop, laptop_site):
    laptop_site(more='partition = "debgu"')
    done = laptop.pilotage("check", "lab", "--json", "--set", "run_folder=/tmp/runs")
    assert done.returncode == 1
    (report,) = json.loads(done.stdout)["sites"]
    failed = {one["probe"]: one for one in report["findings"] if one["status"] == "failed"}
    assert set(failed) == {"login-shared", "queue"}
    assert "nodes do not see it" in failed["login-shared"]["message"]
    assert failed["queue"]["hint"].startswith("did you mean 'debug'?")
    assert laptop.run("ls", "/tmp/runs", host="head").returncode != 0
    assert nothing_is_left(laptop)
