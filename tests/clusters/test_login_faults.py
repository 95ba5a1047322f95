"""What breaks between a laptop and the nodes: nothing is lost, nothing runs twice, it is told, and nothing is left."""

import contextlib
import os
import re
import signal
import subprocess
import time

import psutil
import pytest

from clusters.cluster_run import WITHIN, wait_for
from clusters.far_run import SCRIPT, FarRun
from clusters.labs import namespaces
from clusters.test_login import laptop_site as laptop_site
from clusters.test_login import nothing_is_left
from pilotage.clusters.laptop import begin
from program import PROGRAM

pytestmark = pytest.mark.slow  # half a minute each, and minutes of quiet on the way: make test-clusters runs them


@pytest.fixture
def start(laptop, laptop_site):
    """Starts a run from the laptop by a door of the head; in the end nothing of it may be left."""
    started = []

    def begin(login="head", more="", **options):
        laptop_site(login, more)
        started.append(FarRun(laptop, **options))
        return started[-1].runs()

    yield begin
    for run in started:
        run.stop()


def lose_the_connection(run):
    os.kill(run.master(), signal.SIGKILL)


def restart_sshd(run, meanwhile=lambda: time.sleep(2)):
    """End the sshd of all doors with all their connections, and start them again after something else."""
    run.laptop.run("sh", "-c", "pkill -KILL -x sshd-session; pkill -KILL -x sshd", host="head")
    meanwhile()
    begin(run.laptop.lab.host("head"), run.laptop.lab.folder, [22, 2222])


def cut_the_cable(run, seconds):
    head = run.laptop.lab.host("head")
    head.run(["ip", "link", "set", "laptop", "down"])
    try:
        time.sleep(seconds)
    finally:
        head.run(["ip", "link", "set", "laptop", "up"])


def kill_the_relay(run):
    (relay,) = [pid for pid, line in run.laptop.running().items() if "relay.py" in line and "python" in line.split()[0]]
    os.kill(relay, signal.SIGKILL)


TAKE = """
import socket, sys
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("listening", flush=True)
sys.stdin.read()
"""


def take_the_port(run, seconds):
    """Let somebody else listen, for a while, where workers expect us, just when the connection is lost."""
    (way,) = [event["detail"] for event in run.events() if event["kind"] == "way"]
    argv = run.laptop.argv("python3", "-c", TAKE, way["address"], way["port"], host="head")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    begun = []

    def take():
        begun.append(subprocess.Popen(argv, **pipes))
        assert begun[0].stdout.readline() == "listening\n"

    try:
        restart_sshd(run, take)
        time.sleep(seconds)
    finally:
        for process in begun:
            process.communicate(timeout=10)


def both_work(run):
    """Wait until tasks have begun on both nodes."""

    def nodes():
        path = run.laptop.far(f"{run.folder}/ran")
        return {line.split()[1] for line in path.read_text().splitlines()} if path.exists() else set()

    wait_for(lambda: len(nodes()) == 2, "both nodes work", 60)


def kill_the_guard(run, node):
    """Kill the node guard, and with it the manager, while the block's other node goes on."""
    here = namespaces([run.laptop.lab.host(node).process])
    pools = {pid for pid, line in run.laptop.running().items() if "-m pilotage.worker.pool" in line}
    mine = [pid for pid in pools if namespaces([pid]) == here and "python" in psutil.Process(pid).name()]
    (guard,) = [pid for pid in mine if psutil.Process(pid).ppid() not in mine]
    os.kill(guard, signal.SIGKILL)


def cut_off(run, node, seconds):
    """Let nothing of the way through to one node."""
    (port,) = [event["detail"]["port"] for event in run.events() if event["kind"] == "way"]
    rules = f"""table inet cut {{
        chain input {{ type filter hook input priority 0; tcp sport {port} drop; }}
        chain output {{ type filter hook output priority 0; tcp dport {port} drop; }}
    }}"""
    run.laptop.far("/home/cluster/cut").write_text(rules)
    host = run.laptop.lab.host(node)
    host.run(["nft", "-f", "/home/cluster/cut"])
    try:
        time.sleep(seconds)
    finally:
        host.run(["nft", "delete", "table", "inet", "cut"])


def suspend_the_laptop(run, seconds):
    mine = namespaces([run.laptop.lab.host("laptop").process])
    stopped = [psutil.Process(pid) for pid in psutil.pids() if namespaces([pid]) == mine]
    for process in stopped:
        process.suspend()
    try:
        time.sleep(seconds)
    finally:
        for process in stopped:
            process.resume()
        os.kill(run.process.pid, signal.SIGCONT)  # nsenter stops with what it has started


@pytest.mark.parametrize("login", ["head", "head-gateway"])
def test_the_connection_is_lost(start, login):
    run = start(login)
    lose_the_connection(run)
    assert "the connection to" in run.told("connection-lost", 10)
    assert "is back after" in run.told("connection-back", 30)
    run.ends_right()


@pytest.mark.parametrize("what", ["connection", "sshd", "relay"])
def test_without_healing_what_is_lost_is_the_end(start, what):
    run = start(without="healing")
    run.end = 45
    {"connection": lose_the_connection, "sshd": restart_sshd, "relay": kill_the_relay}[what](run)
    with pytest.raises(AssertionError, match="no end"):
        run.ends_right()


def test_without_numbers_what_was_on_its_way_is_lost(start):
    run = start(without="numbers", count=800, pause=0.005, seconds=0.0)
    run.end = 60
    for _ in range(3):
        lose_the_connection(run)
        time.sleep(4)
    with pytest.raises(AssertionError):
        run.ends_right()


def test_sshd_is_restarted(start):
    run = start("head-gateway")
    restart_sshd(run)
    run.told("connection-back", 40)
    run.ends_right()


def test_the_cable_is_out_for_five_seconds_in_the_middle_of_a_stream(start):
    run = start(count=800)
    cut_the_cable(run, 5)
    run.ends_right()


def test_the_cable_is_out_for_twenty_seconds(start):
    run = start(count=800)
    cut_the_cable(run, 20)
    run.told("manager-silent", 30)
    run.ends_right()


@pytest.mark.timeout(700)
def test_the_cable_is_out_for_five_minutes(start):
    run = start(count=800)
    cut_the_cable(run, 300)
    run.told("connection-back", 90)
    run.end = 240
    run.ends_right()


def test_the_relay_is_killed(start):
    run = start()
    kill_the_relay(run)
    assert "the relay on head has ended" in run.told("connection-lost", 10)
    run.ends_right()


def test_the_port_was_taken_meanwhile(start):
    run = start("head-gateway")
    take_the_port(run, 40)
    assert re.search(r"port \d+ at 192.0.2.1 is refused", run.told("connection-away", 1))
    run.told("connection-back", 20)
    run.ends_right()


def test_who_tries_once_does_not_get_a_port_that_is_free_later(start):
    run = start("head-gateway", without="tries")
    run.end = 45
    take_the_port(run, 8)
    with pytest.raises(AssertionError, match="no end"):
        run.ends_right()


@pytest.mark.timeout(400)
def test_a_guard_is_killed_and_its_manager_is_missed_as_others_are_heard(start):
    """Nobody there can tell: its manager has ended with it, and the block goes on with the other node."""
    run = start(more="engine = { rerun_lost = 5 }", count=800)
    both_work(run)
    kill_the_guard(run, "node2")
    assert "on node2" in run.told("manager-silent", 30)
    assert "on node2 is given up" in run.told("manager-lost", 180)
    out, err = run.process.communicate(timeout=60)
    assert (run.process.returncode, out) == (0, f"{sum(range(run.count))}\n"), err
    assert len(set(run.ran())) == run.count + 1
    run.nothing_is_left()


@pytest.mark.timeout(600)
def test_without_missing_it_a_guard_that_is_killed_is_waited_for(start):
    run = start(more="engine = { rerun_lost = 5 }", count=800, without="absences")
    both_work(run)
    kill_the_guard(run, "node2")
    assert "on node2" in run.told("manager-silent", 30)
    run.end = 200  # with it, 180 s are enough
    with pytest.raises(AssertionError, match="no end"):
        run.ends_right()
    assert "manager-lost" not in {event["kind"] for event in run.events()}


@pytest.mark.timeout(400)
@pytest.mark.parametrize("login", ["head", "head-gateway"])
def test_one_node_is_cut_off_for_ninety_seconds(start, login):
    """The other is heard all the time."""
    run = start(login, count=800)
    both_work(run)
    cut_off(run, "node2", 90)
    assert "on node2" in run.told("manager-silent", 5)
    run.ends_right()
    assert "manager-lost" not in {event["kind"] for event in run.events()}


@pytest.mark.timeout(400)
def test_the_laptop_is_suspended_for_two_minutes(start):
    run = start(count=800)
    suspend_the_laptop(run, 120)
    run.end = 240
    run.ends_right()


@pytest.mark.timeout(400)
def test_with_less_patience_a_cable_that_was_out_has_cost_the_workers(start):
    run = start(more="executor = { heartbeat_threshold = 10 }", count=800, seconds=0.2)
    cut_the_cable(run, 20)
    run.end = 45
    with pytest.raises(AssertionError):
        run.ends_right()


@pytest.mark.timeout(400)
def test_with_parsls_patience_a_laptop_that_was_suspended_has_lost_its_workers(start):
    run = start(more="executor = { heartbeat_threshold = 30 }", count=800, seconds=0.2)
    suspend_the_laptop(run, 60)
    run.end = 60
    with pytest.raises(AssertionError):
        run.ends_right()


def test_the_far_disk_is_full(laptop, laptop_site):
    with small_disk(laptop, laptop_site) as run:
        laptop.run("sh", "-c", "head -c 1M /dev/zero >/home/cluster/small/full", host="head")
        done = run()
        assert done.returncode != 0
        assert "No space left on device" in done.stderr
        assert "Traceback" not in done.stderr
        assert laptop.run("ls", "-A", "/home/cluster/small", host="head").stdout == "full\n"
        assert run(CLUSTERS_WITHOUT="writing").returncode == 0, "who does not look sees nothing of it"
        laptop.run("rm", "/home/cluster/small/full", host="head")
        done = run()
        assert done.returncode == 0, f"it is that which made it fail: {done.stderr}"


@contextlib.contextmanager
def small_disk(laptop, laptop_site):
    """Let the runs' folder be on a disk of 512 KiB, which the head alone has; yields what runs a script there."""
    small = "mkdir -p /home/cluster/small && mount -t tmpfs -o size=512k tmpfs /home/cluster/small"
    laptop.run("sh", "-c", small, host="head")
    laptop_site("head-gateway", "init_blocks = 0", "/home/cluster/small")  # without a relay, which is sent, too
    laptop.place("a.py", "import parsl\nwith parsl.load():\n    pass\n")
    try:
        words = ("run", "--site", "lab", "--no-sync", "a.py")
        yield lambda **more: laptop.pilotage(*words, env={"PYTHONPATH": str(WITHIN), **more})
    finally:
        laptop.run("umount", "/home/cluster/small", host="head")


def test_a_host_key_that_is_not_the_known_one_is_refused(laptop, laptop_site):
    laptop_site("head")
    laptop.place("a.py", "import parsl\nwith parsl.load():\n    pass\n")
    known = "/home/laptop/.ssh/known_hosts"
    before, config = laptop.run("cat", known).stdout, laptop.outside("/home/laptop/.ssh/config")
    settings = config.read_text()
    try:
        swapped = before.replace("AAAAC3NzaC1lZDI1NTE5AAAAI", "AAAAC3NzaC1lZDI1NTE5AAAAJ")
        assert swapped != before
        laptop.outside(known).write_text(swapped)
        config.write_text(settings.replace("StrictHostKeyChecking yes", "StrictHostKeyChecking no"))
        takes_any = f"cp {known} ~/copy && exec ssh -o UserKnownHostsFile=$HOME/copy head true"
        assert laptop.run("sh", "-c", takes_any).returncode == 0, "ssh itself does as the settings say"
        done = laptop.pilotage("run", "--site", "lab", "a.py")
        assert done.returncode == 1
        assert "its host key is not the known one" in done.stderr
        assert laptop.run("cat", known).stdout == swapped, "nothing is accepted silently"
    finally:
        laptop.outside(known).write_text(before)
        config.write_text(settings)


def test_a_task_that_waits_for_its_block_hears_of_a_login_host_that_is_away(start):
    """Blocks are not given up, and none is asked for, while nobody can ask."""
    run = start(count=200)
    cut_the_cable(run, 8)
    wait_for(lambda: run.process.poll() is not None or run.ran(), "it goes on")
    run.ends_right()


def drivers(run):
    return [pid for pid, line in run.laptop.running().items() if "pilotage.cli.driver" in line]


def supervisors(run):
    return [pid for pid, line in run.laptop.running().items() if "pilotage.runs.supervisor" in line]


def test_the_driver_is_killed(start):
    run = start()
    for pid in drivers(run):
        os.kill(pid, signal.SIGKILL)
    run.process.communicate(timeout=60)
    run.nothing_is_left()


def views(run):
    """Return who shows the run; it would end what a supervisor that was killed has left."""
    running = run.laptop.running().items()
    (view,) = [pid for pid, line in running if " run --site lab " in line and not line.startswith("nsenter")]
    return [view]


def test_all_of_a_run_is_killed_and_the_next_command_ends_what_it_left(start):
    run = start()
    for pid in [*views(run), *supervisors(run), *drivers(run)]:
        os.kill(pid, signal.SIGKILL)
    run.process.communicate(timeout=60)
    assert run.laptop.jobs()
    run.laptop.pilotage("ps", timeout=60)
    run.nothing_is_left()


def test_driver_and_supervisor_are_killed_and_the_view_ends_what_they_left(start):
    run = start()
    for pid in [*supervisors(run), *drivers(run)]:
        os.kill(pid, signal.SIGKILL)
    _, err = run.process.communicate(timeout=60)
    assert "the run's supervisor was killed; ending what it left" in err
    run.nothing_is_left()


def test_a_run_that_is_cancelled_leaves_nothing(start):
    run = start()
    run.laptop.pilotage("cancel", "@last", timeout=60)
    run.process.communicate(timeout=60)
    run.nothing_is_left()


@pytest.mark.timeout(300)
def test_a_run_that_ends_while_its_login_host_is_away_is_ended_later(start):
    """What cannot be reached now stays in the journal, and a command that comes after ends it."""
    run = start()
    head = run.laptop.lab.host("head")
    head.run(["ip", "link", "set", "laptop", "down"])
    try:
        for pid in drivers(run):
            os.kill(pid, signal.SIGKILL)
        run.process.communicate(timeout=240)
        assert any(entry.kind == "remote_folder" for entry in run.entries())
    finally:
        head.run(["ip", "link", "set", "laptop", "up"])
    done = run.laptop.pilotage("clean", timeout=120)
    assert done.returncode == 0, done.stderr
    run.nothing_is_left()


def test_two_runs_share_a_connection_and_the_one_that_made_it_ends(laptop, laptop_site):
    """The other makes it anew, and goes on."""
    laptop_site("head", "")
    laptop.place("stream.py", SCRIPT)

    def begin(name, count):
        laptop.far(f"/home/cluster/{name}").mkdir()
        words = ["--set", "nodes_per_block=1", "stream.py", "--", count, 0.05, 0.02, f"/home/cluster/{name}"]
        argv = laptop.argv(PROGRAM, "run", "--site", "lab", *words)
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(argv, env=laptop.command.env(), **pipes)

    first = begin("first", 60)
    wait_for(lambda: laptop.outside(f"{laptop.home}/begun").exists() or first.poll() is not None, "it runs", 90)
    laptop.outside(f"{laptop.home}/begun").unlink()
    second = begin("second", 600)
    out, err = first.communicate(timeout=90)
    assert (first.returncode, out) == (0, f"{sum(range(60))}\n"), err
    out, err = second.communicate(timeout=150)
    assert (second.returncode, out) == (0, f"{sum(range(600))}\n"), err
    ran = laptop.far("/home/cluster/second/ran").read_text().splitlines()
    assert len(ran) == len({line.split()[0] for line in ran}) == 601
    assert nothing_is_left(laptop)
