"""From a laptop that reaches only the login host's sshd: programs, by each way there is."""

import sys

import pytest

SITE = """
[site.lab]
scheduler = "slurm"
login = "{login}"
python = "{python}"
run_folder = "/home/cluster/runs"
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
def site(laptop):
    """Write the laptop's site."""

    def write(login="head", more=""):
        laptop.place(".config/pilotage/pilotage.toml", SITE.format(login=login, python=sys.executable, more=more))

    return write


def left(laptop):
    """Return what is left on either side."""
    found = laptop.run("ls", "-A", "/home/cluster/runs", host="head").stdout.split()
    found += laptop.run("squeue", "-h", host="head").stdout.splitlines()
    entries = laptop.outside(f"{laptop.home}/.local/state/pilotage/runs").glob("*/journal.jsonl")
    return found + [line for path in entries for line in open_entries(path)]


def open_entries(path):
    from pilotage.journal import Journal

    return list(Journal(path).open_entries())


@pytest.mark.parametrize(("login", "reach"), [("head", "relay"), ("head-gateway", "gateway")])
def test_tasks_run_on_every_node(laptop, site, login, reach):
    site(login)
    laptop.place("hosts.py", HOSTS)
    assert "No such file" in laptop.run("ls", f"{laptop.home}/hosts.py", host="head").stderr
    done = laptop.pilotage("run", "--site", "lab", "hosts.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['node1', 'node2']\n"
    assert left(laptop) == []
