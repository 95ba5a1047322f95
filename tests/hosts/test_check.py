"""`pilotage check` of sites that are reached by SSH, with a real sshd and a stand-in for Slurm's commands."""

import json
import signal
import socket
import subprocess
import sys
import time

import pytest

from pilotage.hosts.openssh import OpenSSHHost
from program import PROGRAM

NODES = "debug|2|4|4096|(null)|idle|(null)|n[1-2]"
SLURM = {
    "sinfo": 'case "$*" in *--version*) echo "slurm 23.11.4";; '
    f'*--exact*) echo "{NODES}";; *) echo "debug*|up|1:00:00|2|4|4096|(null)";; esac',
    "sbatch": '[ "$1" = --test-only ] && grep -q "^#SBATCH --partition=debug" "$2" && echo "sbatch: would start" >&2',
    "squeue": "true",
    "scancel": "true",
    "srun": "true",
}
ON_PATH = "SetEnv PATH=TMP/slurm:/usr/bin:/bin"
LOGIN = """
[site.mine]
scheduler = "slurm"
login = "far"
partition = "debug"
python = "{python}"
run_folder = "{folder}/there/runs"
cores_per_node = 4
{more}
"""
POOL = """
[site.mine]
scheduler = "ssh"
hosts = [{hosts}]
python = "{python}"
run_folder = "{folder}/there/runs"
"""


@pytest.fixture
def check(server, user_file, pilotage, tmp_path):
    """Check a site of the host ``far``; return its findings by probe. Nothing may be left there."""
    (tmp_path / "slurm").mkdir()
    for name, script in SLURM.items():
        (tmp_path / "slurm" / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "slurm" / name).chmod(0o755)

    def run(text=LOGIN, more="", hosts='"far"', python=sys.executable, sets=()):
        user_file(text.format(python=python, folder=tmp_path, more=more, hosts=hosts))
        done = pilotage.ask("check", "mine", "--json", *[word for one in sets for word in ("--set", one)])
        (site,) = json.loads(done.stdout)["sites"]
        return {one["probe"]: one for one in site["findings"]}

    yield run
    assert not (tmp_path / "there").exists()


def bad(found):
    return {name for name, one in found.items() if one["status"] in ("failed", "warning")}


on_path = pytest.mark.parametrize("server", [ON_PATH], indirect=True)


@on_path
def test_a_login_host(check, tmp_path):
    found = check()
    assert bad(found) == {"login-shared"}, found
    assert found["login"]["message"].endswith(f" on {socket.gethostname()}: nothing is asked")
    assert found["login-folder"]["message"] == f"{tmp_path}/there/runs on far"
    assert " free" in found["login-space"]["message"]
    assert found["commands"]["message"].startswith("Slurm 23.11.4")
    assert found["python"]["message"].startswith(f"{sys.executable} on far: Python ")
    assert found["trial"] | {"seconds": 0, "command": ""} == {
        "probe": "trial",
        "status": "ok",
        "message": "would start",
        "hint": None,
        "where": None,
        "command": "",
        "seconds": 0,
    }
    for name in ("address", "route"):
        assert found[name]["status"] == "skipped"
        assert "see reach" in found[name]["message"]
    assert found["shared-folder"]["status"] == "skipped"
    assert found["reach"]["message"].startswith("relay: on far, a relay of ours listens for nodes at ")
    shared = found["login-shared"]
    assert "/tmp, which each machine has for itself: nodes do not see it" in shared["message"]
    assert "run_folder" in shared["hint"]


@pytest.mark.parametrize("server", [f"{ON_PATH}\nGatewayPorts clientspecified"], indirect=True)
def test_the_way_that_a_run_would_take(check):
    assert check(sets=["inside_address=127.0.0.2"])["reach"]["message"] == (
        "gateway: on far, its sshd listens for nodes at 127.0.0.2"
    )
    assert check(sets=["reach=relay", "inside_address=127.0.0.2"])["reach"]["message"] == (
        "relay: on far, a relay of ours listens for nodes at 127.0.0.2"
    )
    assert check(sets=["reach=node"])["reach"]["message"].startswith("node: on far, each node connects with ")
    assert check(sets=["reach=direct"])["reach"]["status"] == "skipped"


@on_path
def test_a_gateway_that_there_is_not(check):
    found = check(sets=["reach=gateway", "inside_address=127.0.0.2"])["reach"]
    assert found["status"] == "failed"
    assert "GatewayPorts" in found["hint"]
    assert "site.mine.reach" in found["where"]


@pytest.mark.parametrize("server", [f"{ON_PATH}\nAllowTcpForwarding no"], indirect=True)
def test_an_sshd_that_forwards_nothing(check):
    found = check()["reach"]
    assert found["status"] == "failed"
    assert "AllowTcpForwarding" in found["hint"]


@on_path
def test_a_host_that_wants_a_person(check, server):
    server.lock("open sesame")
    found = check()
    assert found["login"]["status"] == "failed"
    assert "pilotage login far" in found["login"]["hint"]
    assert "site.mine.login" in found["login"]["where"]
    assert {one["message"] for name, one in found.items() if name in ("python", "commands", "reach", "queue")} == {
        "login comes first"
    }
    assert bad(found) == {"login"}


def test_a_host_whose_key_is_not_known(check, server):
    (server.folder / "known_hosts").write_text("")
    found = check()["login"]
    assert (found["status"], found["message"]) == ("failed", "far: its host key is not the known one")
    assert "accept its key once" in found["hint"]


WELCOME = 'ForceCommand echo Welcome; eval "$SSH_ORIGINAL_COMMAND"'


@pytest.mark.parametrize("server", [f"{ON_PATH}\n{WELCOME}"], indirect=True)
def test_a_shell_that_talks_to_programs(check):
    found = check()["login"]
    assert (found["status"], found["message"]) == ("warning", "far says 'Welcome' to a program")


@on_path
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_check_that_is_killed_leaves_no_folder(check, server, pilotage, user_file, tmp_path, number):
    """Not in the middle of its look at the way back either, when it has made a run's folder there."""
    user_file(LOGIN.format(python=sys.executable, folder=tmp_path, more=""))
    process = subprocess.Popen(
        [PROGRAM, "check", "mine"], env=pilotage.env(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: list(tmp_path.glob("there/runs/*.check")) or process.poll() is not None)
        assert process.poll() is None
        process.send_signal(number)
        process.wait(30)
    finally:
        process.kill()
        process.wait()
    wait_for(lambda: not (tmp_path / "there").exists())
    pilotage.ask("login", "far", "--end")


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.01)


def test_commands_that_are_not_there(check):
    found = check()["commands"]
    assert found["status"] == "failed"
    assert ".bashrc" in found["hint"]


@on_path
def test_a_python_that_does_not_fit(check, tmp_path):
    found = check(python="/nowhere/python")
    assert found["python"]["message"] == "there is no /nowhere/python on far"
    assert found["reach"]["message"] == "python comes first"
    other = tmp_path / "python"
    other.write_text('#!/bin/sh\necho \'{"python": "2.7.1"}\'\n')
    other.chmod(0o755)
    found = check(python=other)["python"]
    assert found["message"].startswith(f"{other} on far is Python 2.7.1 (driver: ")
    assert found["status"] == "failed"


@on_path
def test_a_folder_that_cannot_be_made(check, tmp_path):
    (tmp_path / "file").write_text("")
    found = check(sets=[f"run_folder={tmp_path}/file/x"])["login-folder"]
    assert found["status"] == "failed"
    assert f"{tmp_path}/file/x on far cannot be written to: " in found["message"]
    assert "run_folder" in found["where"]


def test_a_folder_that_is_there_stays(check, tmp_path):
    (tmp_path / "kept" / "runs").mkdir(parents=True)
    assert check(POOL, sets=[f"run_folder={tmp_path}/kept/runs"])["reach"]["status"] == "ok"
    assert list((tmp_path / "kept").rglob("*")) == [tmp_path / "kept" / "runs"]


def test_a_pool(check):
    found = check(POOL)
    assert bad(found) == set(), found
    assert found["reach"]["message"] == "far: a port of its loopback"
    assert found["python"]["message"].startswith(f"{sys.executable} on far: Python ")
    assert "login-shared" not in found


def test_a_block_on_a_pool(check, pilotage, tmp_path):
    check(POOL)
    done = pilotage("check", "mine", "--submit", "--json")
    (site,) = json.loads(done.stdout)["sites"]
    found = {one["probe"]: one for one in site["findings"]}
    assert done.returncode == 0, found
    assert found["block"]["message"] == "started and ended; 1 node connected"
    assert found["node-versions"]["status"] == "ok"
    assert (found["node-folder"]["status"], found["node-route"]["status"]) == ("skipped", "skipped")
    assert "of its own" in found["node-folder"]["message"]
    assert found["round-trip"]["status"] == "ok"
    (tmp_path / "there" / "runs").rmdir()  # it stays, as after any run
    (tmp_path / "there").rmdir()


def test_a_pool_with_a_host_that_is_away(check):
    found = check(POOL, hosts='"far", "nobody@localhost.invalid"')
    assert bad(found) == {"login"}
    assert found["login"]["status"] == "warning"
    assert found["login"]["message"].startswith("1 of 2 hosts are passed over, nobody@localhost.invalid: ")
    assert found["reach"]["message"] == "far: a port of its loopback"
    assert check(POOL, hosts='"nobody@localhost.invalid"')["login"]["status"] == "failed"


def test_a_connection_that_was_there_stays(check, server):
    host = OpenSSHHost("far")
    host.connect()
    check(POOL)
    assert host.is_connected()
    host.close()
