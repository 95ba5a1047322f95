"""A pool of two hosts, reached from a laptop by way of a third: one of them goes, and servers on them are reached."""

import collections
import subprocess
import sys
import time

import pytest

from clusters.cluster_run import wait_for
from clusters.far_run import FarRun
from clusters.test_forward import GET, SERVES
from clusters.test_login import nothing_is_left
from pilotage.clusters.laptop import begin
from program import PROGRAM

SITE = f"""
[site.pool]
scheduler = "ssh"
hosts = ["node1", "node2"]
python = "{sys.executable}"
run_folder = "/tmp/runs"
max_workers_per_node = 1
"""
AWAY = """
table inet away {
    chain input { type filter hook input priority 0; tcp dport 22 drop; }
    chain output { type filter hook output priority 0; tcp sport 22 drop; }
}
"""


def folders(laptop):
    """Return the folders of runs that are left on the hosts; what runs share stays."""
    found = {node: laptop.run("ls", "-A", "/tmp/runs", host=node).stdout.split() for node in ("node1", "node2")}
    return {node: names for node, all_names in found.items() if (names := [one for one in all_names if one != "code"])}


@pytest.fixture
def start(laptop):
    """Starts a run of many calls on both hosts; in the end nothing of it may be left."""
    started = []

    def begin_run(**options):
        laptop.place(".config/pilotage/pilotage.toml", SITE)
        more = ["--set", "init_blocks=2", "--set", "engine.rerun_lost=5"]
        started.append(FarRun(laptop, *more, site="pool", count=200, seconds=0.3, pause=0.05, **options))
        run = started[-1].runs()
        wait_for(lambda: nodes(run).keys() == {"node1", "node2"}, "both hosts work", 60)
        return run

    yield begin_run
    for run in started:
        run.stop()
        assert not folders(laptop)


def nodes(run):
    """Return how many calls each host has begun."""
    path = run.laptop.far(f"{run.folder}/ran")
    lines = path.read_text().splitlines() if path.exists() else []
    return collections.Counter(line.split()[1] for line in lines)


def ends_right(run):
    """Every call has its result; those that ran twice are few: each host had one, and what it held was not begun."""
    out, err = run.process.communicate(timeout=run.end)
    assert run.process.returncode == 0, err
    assert out == f"{sum(range(run.count))}\n", err
    ran = collections.Counter(run.ran())
    assert len(ran) == run.count + 1
    assert sum(ran.values()) - len(ran) <= 1, [one for one, times in ran.items() if times > 1]


@pytest.fixture
def cut(laptop):
    """Lets no SSH through to a host, as if it were off; it comes back in the end."""
    gone = []

    def drop(node):
        laptop.place("away", AWAY)
        host = laptop.lab.host(node)
        laptop.far("/home/cluster/away").write_text(AWAY)
        host.run(["nft", "-f", "/home/cluster/away"])
        gone.append(host)

    def back():
        while gone:
            gone.pop().run(["nft", "delete", "table", "inet", "away"])

    drop.back = back
    yield drop
    back()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_host_that_falls_silent_is_given_up_by_name_and_the_other_does_all(start, cut, laptop):
    run = start(without="patience")
    run.end = 240
    cut("node1")
    wait_for(lambda: run.process.poll() is not None, lambda: f"it ends: {run.words()}", run.end)
    ends_right(run)
    assert "the connection to node1 is lost" in run.told("connection-lost")
    assert "node1 has not answered" in run.told("block-failed")
    assert "on node1" in run.told("manager-silent")
    assert not any("node2 has not answered" in words for words in run.words())
    assert [entry.what.get("login") for entry in run.entries() if entry.kind == "remote_folder"] == ["node1"]
    cut.back()
    done = laptop.pilotage("clean", timeout=60)
    assert done.returncode == 0, done.stderr
    wait_for(lambda: not workers(laptop, "node1"), lambda: f"it is ended: {workers(laptop, 'node1')}", 30)
    run.nothing_is_left()


@pytest.mark.slow
def test_without_giving_it_up_the_run_waits_for_a_host_that_is_silent(start, cut):
    run = start()
    cut("node1")
    run.told("connection-lost", 120)
    time.sleep(30)
    assert run.process.poll() is None
    assert nodes(run)["node2"] > nodes(run)["node1"]


@pytest.mark.slow
def test_a_host_that_starts_anew_has_lost_its_block_and_gets_another(start, laptop):
    run = start()
    before = nodes(run)["node1"]
    laptop.run("sh", "-c", "pkill -KILL sshd; pkill -KILL -f /tmp/runs; pkill -KILL -f pilotage.worker", host="node1")
    time.sleep(2)
    begin(laptop.lab.host("node1"), laptop.lab.folder, [22])
    assert "node1" in run.told("block-failed", 60)
    ends_right(run)
    assert nodes(run)["node1"] >= before
    run.nothing_is_left()


def workers(laptop, node):
    return laptop.run("pgrep", "-f", "pilotage.worker", host=node).stdout.split()


@pytest.mark.slow
@pytest.mark.parametrize("where", ["0.0.0.0", "127.0.0.1"])
def test_a_server_on_a_host_of_a_pool_is_reached(laptop, where):
    laptop.place(".config/pilotage/pilotage.toml", SITE)
    laptop.place("serves.py", SERVES.replace("0.0.0.0", where))
    try:
        started = laptop.pilotage("run", "--detach", "--name", "server", "--site", "pool", "serves.py")
        assert started.returncode == 0, started.stderr
        assert laptop.run(sys.executable, "-c", GET, "http://node1:8888").returncode  # there is no direct way
        wait_for(lambda: is_serving(laptop), "it serves", 90)
        there = laptop.argv(PROGRAM, "forward", "server", "8888")
        with subprocess.Popen(there, env=laptop.command.env(), stdout=subprocess.PIPE, text=True) as forward:
            address = forward.stdout.readline().strip()
            got = laptop.run(sys.executable, "-c", GET, address).stdout
            laptop.pilotage("cancel", "--now", "server")  # by which the forward ends
        assert got == "node1\n"
        assert laptop.run(sys.executable, "-c", GET, address).returncode
        assert nothing_is_left(laptop)
        assert not folders(laptop)
    finally:
        laptop.pilotage("cancel", "--now", "server")


def is_serving(laptop):
    url = "http://127.0.0.1:8888"
    return laptop.run(sys.executable, "-c", GET, url, host="node1").returncode == 0
