"""A script that is right on threads is right on worker processes: the habits of ``habits.py`` on both."""

import os
import sys
from pathlib import Path

import pytest
from habits import FILES, HABITS, LOAD, STOCK_PASSES, script


@pytest.fixture
def prepare(project, tmp_path):
    """Write a habit's script into another folder than the current one; returns its path."""
    folder = tmp_path / "scripts"

    def write(text):
        for name, content in FILES.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content)
        (project / "data.txt").write_text("content")
        (folder / "script.py").write_text(text)
        return folder / "script.py"

    return write


@pytest.fixture
def run(prepare, pilotage):
    def start(habit, *options):
        return pilotage("run", prepare(script(habit)), *options, timeout=60)

    return start


@pytest.mark.parametrize("site", ["threads", "laptop"])
@pytest.mark.parametrize("habit", HABITS)
def test_habit(habit, site, run):
    done = run(habit, "--site", site)
    assert (done.returncode, done.stdout) == (0, "right\n"), done.stderr


@pytest.mark.parametrize("habit", HABITS)
def test_with_parsls_serializer_the_same_fail_that_fail_under_parsl(habit, run):
    """The control: without our serializer these habits fail, so the tests above can."""
    done = run(habit, "--site", "laptop", "--set", "engine.serializer=parsl")
    right = (done.returncode, done.stdout) == (0, "right\n")
    assert right == (habit in STOCK_PASSES), done.stderr


STOCK = """
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
parsl.load(Config([HighThroughputExecutor(address="127.0.0.1", encrypted=False)], strategy_period=0.1))
import atexit; atexit.register(parsl.dfk().cleanup)
"""


@pytest.mark.slow
@pytest.mark.parametrize("habit", HABITS)
def test_stock_parsl_fails_where_our_control_does(habit, prepare, pilotage):
    """Parsl alone, as it comes, under ``python``: what the control above stands for."""
    path = prepare(script(habit).replace(LOAD, STOCK))
    done = pilotage.run([sys.executable, path], env={"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"})
    right = (done.returncode, done.stdout) == (0, "right\n")
    assert right == (habit in STOCK_PASSES), done.stderr
