"""A script that is right on threads is right on worker processes: the habits of ``habits.py`` on both."""

import json
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


ALONE = list(HABITS)[::12]
"""Habits that each run of the tests starts as scripts of their own; the whole suite does so with all of them."""


def alone():
    return [pytest.param(habit, marks=[] if habit in ALONE else pytest.mark.slow) for habit in HABITS]


@pytest.mark.parametrize("habit", alone())
@pytest.mark.parametrize("site", [pytest.param("threads", marks=pytest.mark.slow), "laptop"])
def test_habit(habit, site, run):
    right, errors = run(habit, "--site", site)
    assert right, errors


@pytest.mark.slow
@pytest.mark.parametrize("habit", HABITS)
def test_with_parsls_serializer_the_same_fail_that_fail_under_parsl(habit, run):
    """The control: without our serializer these habits fail, so the tests above can."""
    right, errors = run(habit, "--site", "laptop", "--set", "engine.serializer=parsl")
    assert right == (habit in STOCK_PASSES), errors


# Each habit is a __main__ of its own, and has its part before the load done before it.
TOGETHER = """
import json, os, sys, traceback, types
import parsl

def do(name, part):
    module = sys.modules["__main__"] = made[name]
    try:
        exec(compile(part, __file__, "exec", dont_inherit=True), vars(module))
    except BaseException:
        wrong[name] = traceback.format_exc()

with open(os.path.join(os.path.dirname(__file__), "habits.json")) as file:
    habits = json.load(file)
made = {name: types.ModuleType("__main__") for name in habits}
wrong = {}
for name, (before, _) in habits.items():
    made[name].__file__ = __file__
    do(name, before)
parsl.load()
for name, (_, after) in habits.items():
    if name not in wrong:
        do(name, after)
print(json.dumps(wrong))
"""


@pytest.fixture
def run_together(prepare, pilotage):
    """Run all habits in one run; returns what is wrong with those that are not right."""

    def start(*options):
        path = prepare(next(iter(HABITS)))
        path.write_text(TOGETHER)
        parts = {habit: habits.script(*HABITS[habit]).split(habits.LOAD) for habit in HABITS}
        (path.parent / "habits.json").write_text(json.dumps(parts))
        done = pilotage("run", path, *options)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return start


@pytest.mark.parametrize("site", ["threads", "laptop"])
def test_all_habits_in_one_run(site, run_together):
    assert run_together("--site", site) == {}


def test_with_parsls_serializer_they_fail_in_one_run(run_together):
    """The control of those in one run; what passes alone may meet there what others have left on its worker."""
    right = set(HABITS) - set(run_together("--site", "laptop", "--set", "engine.serializer=parsl"))
    assert right <= STOCK_PASSES
    assert "a closure" in right


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
