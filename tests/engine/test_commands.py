"""The commands that start Parsl's processes, through all of Parsl's and the shell's readings of them."""

import os
import shlex
import sys

import pytest
from parsl.executors import HighThroughputExecutor as Theirs

from pilotage.engine import commands
from pilotage.engine.commands import interchange_command, with_our_interchange, with_our_pool, worker_command
from pilotage.engine.executor import HighThroughputExecutor

PYTHONS = ["/usr/bin/python3", "/a folder/python", "/a{b}c/{}/python", "/it's/$HOME/`x`/python"]


def launched(kind, python, **more):
    made = kind(label="x", address="127.0.0.1", encrypted=False, launch_cmd=worker_command(python), **more)
    made.logconf_path = None
    made.worker_port = 5
    made.initialize_scaling()
    return shlex.split(made._get_launch_command("7"))


@pytest.mark.parametrize("python", PYTHONS)
def test_parsls_executor_takes_it(python):
    found = launched(Theirs, python)
    assert found[:4] == [python, "-P", "-m", "parsl.executors.high_throughput.process_worker_pool"]
    assert "--block_id=7" in found
    assert "--port=5" in found


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("folder", ["/plain", "/with space", "/a{b}{}c", "/it's"])
def test_ours_starts_the_pool_in_its_folder(python, folder):
    found = launched(HighThroughputExecutor, python, script_path=[folder, "/lib"], worker_cwd=folder)
    end = found.index("--")
    assert found[: end + 1] == [
        *(python, "-P", "-m", "pilotage.worker.pool", "--cwd", folder, "--path", folder, "--path", "/lib", "--")
    ]
    assert found[end + 1 :] == launched(Theirs, python)[4:]


def test_another_command_stays_as_it_is():
    assert with_our_pool("my_pool --port 5", "/x", ["/y"]) == "my_pool --port 5"
    assert with_our_interchange(["interchange.py"], 30) == ["interchange.py"]
    assert with_our_interchange(["nice", "python", "-m", commands.INTERCHANGE], 30)[-1] == commands.INTERCHANGE


def test_our_interchange_knows_its_driver():
    given = interchange_command("/p y")
    assert given == ["/p y", "-P", "-m", "parsl.executors.high_throughput.interchange"]
    assert with_our_interchange(given, 5) == [
        *("/p y", "-P", "-m", "pilotage.engine.interchange", "--driver", str(os.getpid()), "--heartbeat-period", "5")
    ]
    assert with_our_interchange(tuple(given), 5)[0] == "/p y"
    assert with_our_interchange(given, 5, 54321)[-2:] == ["--worker-port", "54321"]


def test_a_parsl_with_another_command(monkeypatch):
    monkeypatch.setattr(commands, "DEFAULT_LAUNCH_CMD", "other_pool {debug}")
    with pytest.raises(RuntimeError, match="has changed"):
        worker_command(sys.executable)
