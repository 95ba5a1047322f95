"""A script that is right on threads is right on worker processes: the habits of ``habits.py`` on both."""

import os
import sys
from pathlib import Path

import habits
import pytest
import rarer_habits

HABITS = habits.HABITS | rarer_habits.RARER
FILES = habits.FILES | rarer_habits.FILES
STOCK_PASSES = habits.STOCK_PASSES | rarer_habits.STOCK_PASSES_RARER


@pytest.fixture
def prepare(project, tmp_path):
    """Write a habit's script into another folder than the current one; returns its path."""
    folder = tmp_path / "scripts"

    def write(habit, load=habits.LOAD):
        for name, content in FILES.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content)
        (project / "data.txt").write_text("content")
        (folder / "script.py").write_text(habits.script(*HABITS[habit]).replace(habits.LOAD, load))
        return folder / "script.py"

    return write


@pytest.fixture
def run(prepare, pilotage):
    """Run a habit under ``pilotage run``; returns whether it is right, and what it says."""

    def start(habit, *options):
        done = pilotage("run", prepare(habit), *options, timeout=60)
        return (done.returncode, done.stdout) == (0, "right\n"), done.stderr

    return start


@pytest.fixture
def run_alone(prepare, pilotage):
    """Run a habit under ``python``, with its Config in the script; returns whether it is right, and what it says."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # stock Parsl looks there for its programs

    def start(habit, load):
        done = pilotage.run([sys.executable, prepare(habit, load)], env={"PATH": path}, timeout=60)
        return (done.returncode, done.stdout) == (0, "right\n"), done.stderr

    return start


def on_both():
    """Yield each habit with each site; of those that are right anyhow, or rare, most are left to the whole suite."""
    for number, habit in enumerate(HABITS):
        yield pytest.param(habit, "threads", marks=[pytest.mark.slow] if number % 4 else [])
        yield pytest.param(
            habit, "laptop", marks=[pytest.mark.slow] if number % 3 and habit in rarer_habits.RARER else []
        )


@pytest.mark.parametrize(("habit", "site"), list(on_both()))
def test_habit(habit, site, run):
    right, errors = run(habit, "--site", site)
    assert right, errors


# A quarter of the control shows that the tests above can fail; make test-all runs the whole.
CONTROL = [
    pytest.param(habit, marks=() if number % 4 == 0 and habit in habits.HABITS else pytest.mark.slow)
    for number, habit in enumerate(HABITS)
]


@pytest.mark.parametrize("habit", CONTROL)
def test_with_parsls_serializer_the_same_fail_that_fail_under_parsl(habit, run):
    """The control: without our serializer these habits fail, so the tests above can."""
    right, errors = run(habit, "--site", "laptop", "--set", "engine.serializer=parsl")
    assert right == (habit in STOCK_PASSES), errors


OURS = """
import sys
from parsl.config import Config
from pilotage.engine.commands import interchange_command, worker_command
from pilotage.engine.executor import HighThroughputExecutor
parsl.load(Config([HighThroughputExecutor(
    address="127.0.0.1", encrypted=False, max_workers_per_node=2,
    launch_cmd=worker_command(sys.executable), interchange_launch_cmd=interchange_command(sys.executable),
)], strategy_period=0.1))
import atexit; atexit.register(parsl.dfk().cleanup)
"""
STOCK = """
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
parsl.load(Config([HighThroughputExecutor(address="127.0.0.1", encrypted=False)], strategy_period=0.1))
import atexit; atexit.register(parsl.dfk().cleanup)
"""


@pytest.mark.slow
@pytest.mark.parametrize("habit", HABITS)
def test_with_a_config_in_the_script(habit, run_alone):
    """Our executor needs nothing of ``pilotage run``."""
    right, errors = run_alone(habit, OURS)
    assert right, errors


@pytest.mark.slow
@pytest.mark.parametrize("habit", HABITS)
def test_stock_parsl_fails_where_our_control_does(habit, run_alone):
    """Parsl alone, as it comes, under ``python``: what the control above stands for."""
    right, errors = run_alone(habit, STOCK)
    assert right == (habit in STOCK_PASSES), errors
