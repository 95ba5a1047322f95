"""A laptop outside a cluster: what it sees, what it reaches, and that nobody asks it anything."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from clusters.labs import in_namespaces, machine, namespaces
from pilotage.clusters import hosts
from pilotage.clusters.gridengine import GridEngineCluster
from pilotage.clusters.laptop import DOORS, accounts, begin
from pilotage.clusters.slurm import SlurmCluster
from pilotage.errors import ClusterError

CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 3).close()
except OSError as error:
    sys.exit(type(error).__name__ if error.errno is None else error.strerror)
"""
LISTEN = """
import socket, sys
with socket.create_server((sys.argv[1], int(sys.argv[2]))):
    print("listens", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def listener(laptop, pilotage):
    """Starts what accepts connections at an address of a host."""
    started = []

    def listen(host, address, port):
        argv = laptop.argv(sys.executable, "-c", LISTEN, address, port, host=host)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        process = subprocess.Popen(argv, env=pilotage.env(), **pipes)
        started.append(process)
        assert process.stdout.readline() == "listens\n"

    yield listen
    for process in started:
        process.communicate()


@pytest.fixture
def connect(laptop):
    """Connects from one host to an address; returns what is in the way."""

    def tried(host, address, port):
        return laptop.run(sys.executable, "-c", CONNECT, address, port, host=host).stderr.strip()

    return tried


def test_homes_and_temporary_folders_are_its_own(laptop):
    path = laptop.place("only here.txt", "mine\n")
    assert laptop.run("cat", path).stdout == "mine\n"
    for host in ("head", "node1", "node2"):
        assert "No such file" in laptop.run("cat", path, host=host).stderr
    assert not Path(path).exists()
    assert laptop.run("sh", "-c", "echo shared > ~/seen", host="head").returncode == 0
    assert laptop.run("cat", "/home/cluster/seen", host="node2").stdout == "shared\n"
    assert laptop.far("/home/cluster/seen").read_text() == "shared\n"
    assert "No such file" in laptop.run("cat", "/home/cluster/seen").stderr
    laptop.run("sh", "-c", "touch /tmp/mine /run/mine /dev/shm/mine")
    for path in ("/tmp/mine", "/run/mine", "/dev/shm/mine"):
        assert laptop.run("test", "-e", path).returncode == 0
        assert laptop.run("test", "-e", path, host="head").returncode == 1
        assert not Path(path).exists()


def test_it_has_no_scheduler(laptop):
    assert "No such file" in laptop.run("sbatch", "--version").stderr
    assert laptop.run("sbatch", "--version", host="head").returncode == 0
    assert laptop.run("test", "-e", "/etc/slurm").returncode == 1


def test_of_the_head_it_reaches_ssh_alone(laptop, listener, connect):
    for port in (22, 2222):
        assert connect("laptop", "198.51.100.1", port) == ""
    listener("head", "0.0.0.0", 5000)
    assert connect("node1", "192.0.2.1", 5000) == "", "who may, reaches it"
    assert connect("head", "198.51.100.1", 5000) == ""
    assert connect("laptop", "198.51.100.1", 5000) == "TimeoutError"
    # Slurm's own ports answer the nodes.
    assert connect("node1", "192.0.2.1", 6817) == ""
    assert connect("laptop", "198.51.100.1", 6817) == "TimeoutError"


def test_nothing_leads_to_it(laptop, listener, connect):
    listener("laptop", "0.0.0.0", 5001)
    assert connect("laptop", "198.51.100.2", 5001) == ""
    assert connect("head", "198.51.100.2", 5001) == "TimeoutError"
    assert connect("node1", "198.51.100.2", 5001) == "Network is unreachable"


def test_no_route_between_laptop_and_nodes(laptop, listener, connect):
    listener("node1", "0.0.0.0", 5002)
    assert connect("node2", "192.0.2.2", 5002) == ""
    assert connect("laptop", "192.0.2.2", 5002) == "Network is unreachable"
    for address in ("192.0.2.1", "192.0.2.2"):
        assert "unreachable" in laptop.run("ip", "route", "get", address).stderr
    assert "unreachable" in laptop.run("ip", "route", "get", "198.51.100.2", host="node1").stderr
    # Nor does the head pass on what somebody sends there all the same.
    routes = [("laptop", "192.0.2.0/24", "198.51.100.1"), ("node1", "198.51.100.0/24", "192.0.2.1")]
    head = laptop.lab.host("head")
    forwards = head.run(["cat", "/proc/sys/net/ipv4/ip_forward"]).strip()
    try:
        head.run(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])
        for host, network, way in routes:
            laptop.lab.host(host).run(["ip", "route", "add", network, "via", way])
        assert connect("laptop", "192.0.2.2", 5002) == "TimeoutError"
        # Without the firewall it would: the head is no barrier by itself.
        head.run(["nft", "delete", "table", "inet", "laptop"])
        assert connect("laptop", "192.0.2.2", 5002) == ""
    finally:
        for host, network, way in routes:
            laptop.lab.host(host).run(["ip", "route", "delete", network, "via", way])
        head.run(["sh", "-c", f"echo {forwards} > /proc/sys/net/ipv4/ip_forward"])
        head.run(["nft", "-f", str(laptop.lab.folder / "firewall")])
    assert connect("laptop", "198.51.100.1", 6817) == "TimeoutError"


@pytest.mark.parametrize(
    ("host", "name", "there"),
    [
        ("laptop", "head", "head"),
        ("laptop", "head-gateway", "head"),
        ("laptop", "198.51.100.1", "head"),
        ("laptop", "node1", "node1"),
        ("laptop", "node2", "node2"),
        ("head", "node1", "node1"),
        ("node1", "head", "head"),
        ("node1", "192.0.2.1", "head"),
        ("node1", "head-gateway", "head"),
        ("node2", "node1", "node1"),
    ],
)
def test_ssh_asks_nothing(laptop, host, name, there):
    done = laptop.run("ssh", "-o", "BatchMode=yes", name, "hostname; pwd", host=host)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{there}\n/home/cluster\n", "")


def test_files_are_copied(laptop):
    path = laptop.place("a b", "text\n")
    assert laptop.run("scp", "-q", path, "head:copied").stderr == ""
    assert laptop.far("/home/cluster/copied").read_text() == "text\n"


def test_a_wrong_host_key_is_refused(laptop):
    key = (laptop.far() / ".ssh/id_ed25519.pub").read_text()  # a key, but not of the head
    known = laptop.place("known_hosts", f"head {key}")
    done = laptop.run("ssh", "-o", f"UserKnownHostsFile={known}", "head", "true")
    assert done.returncode == 255
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in done.stderr


@pytest.mark.parametrize(("door", "binds"), [("head", "127.0.0.1"), ("head-gateway", "192.0.2.1")])
def test_gateway_ports(laptop, listener, connect, door, binds):
    """Whether a reverse forward is where the nodes reach it."""
    listener("laptop", "127.0.0.1", 5003)
    socket = f"{laptop.home}/socket"
    forward = ["-M", "-S", socket, "-f", "-N", "-o", "ExitOnForwardFailure=yes", "-R", "192.0.2.1:5004:127.0.0.1:5003"]
    # The master holds what it has inherited, so that its words go nowhere.
    assert laptop.run("sh", "-c", 'exec "$@" > /dev/null 2>&1', "-", "ssh", *forward, door).returncode == 0
    try:
        heard = laptop.run("ss", "-Hltn", "sport = :5004", host="head").stdout
        assert f"{binds}:5004" in heard
        if binds == "127.0.0.1":
            assert connect("node1", "192.0.2.1", 5004) == "Connection refused"
            assert connect("head", "127.0.0.1", 5004) == ""
        else:
            assert connect("node1", "192.0.2.1", 5004) == ""
    finally:
        laptop.run("ssh", "-S", socket, "-O", "exit", door)


def test_an_sshd_that_was_ended_is_started_again(laptop):
    head = laptop.lab.host("head")
    head.run(["sh", "-c", "kill $(cat /run/sshd/22.pid); while ss -Hltn | grep -q ':22 '; do sleep 0.05; done"])
    assert "Connection refused" in laptop.run("ssh", "head", "true").stderr
    assert laptop.run("ssh", "head-gateway", "true").returncode == 0
    begin(head, laptop.lab.folder, [22])
    begin(head, laptop.lab.folder, [22])
    assert laptop.run("ssh", "head", "true").returncode == 0


def test_this_checkout_runs_there(laptop):
    script = laptop.place("hello.py", "import os\nprint(os.environ['HOME'])\n")
    done = laptop.pilotage("run", script, "--site", "threads", timeout=120)
    assert (done.returncode, done.stdout) == (0, f"{laptop.home}\n"), done.stderr
    assert laptop.outside(f"{laptop.home}/.local/state/pilotage/runs").is_dir()
    assert not laptop.far("/home/cluster/.local/state").exists()


def test_it_is_one_of_the_hosts(laptop):
    told = laptop.lab.status()
    assert [host["name"] for host in told["hosts"]] == ["head", "node1", "node2", "laptop"]
    assert told["hosts"][-1] == {"name": "laptop", "address": "198.51.100.2", "up": True, "scheduler": ""}
    assert laptop.lab.up(2) is False
    with pytest.raises(ClusterError, match="have a /home of their own"):
        laptop.lab.visible(Path("/home/somebody"))
    other = SlurmCluster(laptop.lab.folder)
    with pytest.raises(ClusterError, match="with 2 nodes of 4 CPUs and a laptop"):
        other.up(2)


@pytest.mark.parametrize("kind", [SlurmCluster, GridEngineCluster])
def test_it_is_started_again_and_leaves_nothing(cluster_folder, kind):
    before = machine()
    cluster = kind(cluster_folder, laptop=True)
    try:
        assert cluster.up(1) is True
        held = namespaces(host.process for host in hosts.holders(cluster_folder))
        key = (cluster_folder / "home/laptop/laptop/.ssh/id_ed25519").read_text()
        for name in ("laptop", "node1", "head"):
            cluster.host(name).end()
            if name != "head":
                with pytest.raises(ClusterError, match=f"{name} is down") as caught:
                    cluster.host(name)
                assert "--laptop" in caught.value.hint
            assert cluster.up(1) is True
            held |= namespaces(host.process for host in hosts.holders(cluster_folder))
            for far in ("head", "head-gateway", "node1"):
                cluster.host("laptop").run(["ssh", far, "true"])
        assert (cluster_folder / "home/laptop/laptop/.ssh/id_ed25519").read_text() == key
        assert machine() == before
    finally:
        cluster.down()
    assert in_namespaces(held) == []
    assert not cluster_folder.exists()
    assert machine() == before


def test_by_the_command(pilotage, cluster_folder):
    env = {"PILOTAGE_CLUSTERS": str(cluster_folder.parent)}
    try:
        up = pilotage("cluster", "up", "slurm", "--nodes", "1", "--laptop", "--json", env=env)
        assert up.returncode == 0, up.stderr
        assert json.loads(up.stdout)["options"] == {"laptop": True}
        done = pilotage("cluster", "exec", "laptop", "ssh", "node1", "hostname", env=env, cwd="/")
        assert (done.returncode, done.stdout) == (0, "node1\n"), done.stderr
        rows = [line.split() for line in pilotage("cluster", "status", env=env).stdout.splitlines()[1:]]
        assert rows[-1] == ["slurm", "laptop", "198.51.100.2", "up"]
    finally:
        assert pilotage("cluster", "down", env=env).stdout == "slurm: ended\n"


@pytest.mark.parametrize("arguments", [["kind"], ["slurm", "--docker"]])
def test_not_in_containers(pilotage, arguments):
    done = pilotage("cluster", "up", *arguments, "--laptop", "--dry-run")
    assert (done.returncode, "--laptop is for" in done.stderr) == (2, True)


def test_accounts():
    machine = "root:x:0:0:root:/root:/bin/bash\nme:x:1000:1000::/home/me:/bin/sh\n"
    sshd = "sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n"
    expected = "root:x:0:0:root:/home/laptop:/bin/bash\nme:x:1000:1000::/home/me:/bin/sh\n" + sshd
    assert accounts(machine, "/home/laptop") == expected
    assert accounts(machine + sshd, "/home/laptop") == expected
    assert sorted(DOORS) == [22, 2222]


CONDA = "conda() {{ PATH={bin}:$PATH; }}\n"
TWO_POOLS = """
import parsl, pilotage, socket
from parsl import python_app

def where():
    import socket
    return socket.gethostname()

one, two = (python_app(executors=[label])(where) for label in ("one", "two"))
parsl.load()
print(one().result(), two().result())
"""
FAILOVER = """
import parsl, pilotage
from parsl import python_app

@pilotage.fallback("one", "two")
@python_app
def where():
    import socket
    return socket.gethostname()

parsl.load()
print({future.result() for future in [where() for _ in range(5)]})
"""


@pytest.fixture
def pools(laptop):
    """Writes an executors.json on the laptop and imports it; its hosts have what stands in for conda there."""
    conda = laptop.far("/home/cluster/conda/etc/profile.d/conda.sh")
    conda.parent.mkdir(parents=True, exist_ok=True)
    conda.write_text(CONDA.format(bin=Path(sys.executable).parent))

    def imported(**hosts):
        keys = {"CONDA_DIR": "~/conda", "CONDA_ENV": "any", "WORKER_PORT_1": 55000, "RUN_DIR": "/home/cluster/runs"}
        source = laptop.place("executors.json", json.dumps({label: {**keys, **host} for label, host in hosts.items()}))
        done = laptop.pilotage("site", "import", source)
        assert done.returncode == 0, done.stderr
        return [word for label in hosts for word in ("--site", f"{label}={label}")]

    yield imported
    assert not list(laptop.far().glob("runs/*")), "a run's folder is left"


def test_imported_pools_run(laptop, pools):
    sites = pools(one={"POOL": "node1"}, two={"POOL": "p", "HOST_IP": "198.51.100.1", "HOST_USER": "root"})
    done = laptop.pilotage("run", laptop.place("two.py", TWO_POOLS), *sites)
    assert (done.returncode, done.stdout) == (0, "node1 head\n"), done.stderr


def test_calls_of_a_pool_whose_workers_do_not_start_go_on_at_the_next(laptop, pools):
    sites = [*pools(one={"POOL": "node1"}, two={"POOL": "node2"}), "--set", "one:worker_init=exit 3"]
    done = laptop.pilotage("run", laptop.place("failover.py", FAILOVER), *sites)
    assert (done.returncode, done.stdout) == (0, "{'node2'}\n"), done.stderr
    assert "go on at 'two'" in done.stderr
