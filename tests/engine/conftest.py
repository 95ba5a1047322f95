"""Scripts with an executor of ours."""

import os
import signal
import subprocess
import sys

import pytest

HEAD = """
import os, sys, threading
from concurrent.futures import Future
import parsl
from parsl import python_app, bash_app
from parsl.config import Config
from parsl.executors.threads import ThreadPoolExecutor
from parsl.providers import LocalProvider
from pilotage.engine.commands import interchange_command, worker_command
from pilotage.engine.executor import HighThroughputExecutor

def executor(**changes):
    arguments = dict(
        label="htex", address="127.0.0.1", encrypted=False, max_workers_per_node=1, heartbeat_period=1,
        heartbeat_threshold=4, provider=LocalProvider(init_blocks=1, max_blocks=1), launch_cmd=worker_command(sys.executable),
        interchange_launch_cmd=interchange_command(sys.executable),
    )
    return HighThroughputExecutor(**(arguments | changes))

def load(*executors, **options):
    made = executors or (executor(),)
    return parsl.load(Config(list(made), strategy_period=0.1, **options))
"""  # noqa: E501  a script


@pytest.fixture
def run(project, pilotage):
    """Run a script after HEAD; returns its stdout."""

    def start(text, **options):
        (project / "script.py").write_text(HEAD + text)
        done = pilotage.run([sys.executable, "script.py"], **options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return start


@pytest.fixture
def start(project, pilotage):
    """Start a script after HEAD in a session of its own, and wait for its first line."""
    started = []

    def begin(text):
        (project / "script.py").write_text(HEAD + text)
        process = subprocess.Popen(
            [sys.executable, "script.py"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=pilotage.env(),
        )
        started.append(process)
        assert process.stdout.readline() == "ready\n", process.communicate()[1]
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
