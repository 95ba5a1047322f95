"""Each protection is needed: the test that shows it fails without it, for the reason that it is there for."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from escaping import adopted, driver_is_killed, manager_is_killed, prepared, supervisor_is_killed
from fault_run import INTERCHANGE, OPTIONS, QUICK, SCRIPT, children, escapees, is_alive, strike, until, words

from pilotage.worker import ring, tails

HERE = Path(__file__).parent
DETACHED = (*OPTIONS, *QUICK, "--detach")
DEAF = "from pilotage.engine.executor import HighThroughputExecutor\n"
DEAF += "HighThroughputExecutor._interchange_is_gone = lambda self: False\n"


def without(protection):
    """Return the program with a protection of its own, or of its supervisor, switched off."""
    return [sys.executable, HERE / "without.py", protection]


def hasty(run):
    """Wait for less than the tests do for what will not come: with its protection it comes within a second or two."""
    run.patience = 4
    return run


def within(protection):
    """Return an environment in which a protection of a driver's processes is switched off."""
    return {"PYTHONPATH": str(HERE / "within"), "FAULTS_WITHOUT": protection}


@pytest.mark.slow
def test_without_the_subreaper_orphans_outlive_the_driver(fault_run):
    run = hasty(prepared(fault_run, program=without("subreaper")))
    with pytest.raises(AssertionError, match=r"nothing left; there is .*sleep 600"):
        driver_is_killed(run)
    assert "script.all" in escapees(run.here)


@pytest.mark.slow
def test_without_the_guard_children_of_apps_outlive_the_manager(fault_run):
    run = hasty(prepared(fault_run, env=within("guard")))
    with pytest.raises(AssertionError, match="nothing of the apps left; there is"):
        manager_is_killed(run, "guard")  # the first process of the pool is the manager itself
    assert not run.is_over()


@pytest.mark.slow
def test_without_the_sweep_a_killed_supervisor_leaves_everything(fault_run):
    run = hasty(prepared(fault_run, options=DETACHED))
    with pytest.raises(AssertionError, match="nothing left; there is"):
        supervisor_is_killed(run, *without("sweep"))
    assert run.journal()


@pytest.mark.slow
def test_without_the_journal_an_orphan_outlives_a_killed_supervisor(fault_run):
    run = hasty(prepared(fault_run, options=DETACHED, program=without("adoption")))
    with pytest.raises(AssertionError, match="orphans in the journal"):
        adopted(run, 5)
    with pytest.raises(AssertionError, match=r"nothing left; there is .*sleep 600"):
        supervisor_is_killed(run)
    assert "script.all" in escapees(run.here)


def interchange_is_killed(run):
    run.start()
    strike(run.reach("mid-run", "interchange"), "SIGKILL")
    assert run.ends(5) == "failed"


def test_a_dead_interchange_is_noticed(fault_run):
    interchange_is_killed(fault_run())


@pytest.mark.slow
def test_without_noticing_a_dead_interchange_the_run_hangs(fault_run):
    with pytest.raises(AssertionError, match="not within 5 s: an end; running"):
        interchange_is_killed(fault_run(DEAF + SCRIPT))


# Without a supervisor: a script under plain Python that takes its config from us.

PLAIN = """
import time, parsl, pilotage
from parsl import python_app

@python_app
def double(number):
    return 2 * number

with parsl.load(pilotage.config("laptop", max_workers_per_node=1)):
    print(double(1).result(), flush=True)
    try:
        time.sleep(120)
    except KeyboardInterrupt:
        print("went on with", double(21).result(), flush=True)
"""


@pytest.fixture
def plain(project, pilotage):
    """Start `PLAIN` in a process group of its own; return the process and its interchange when it has workers."""
    started, interchanges = [], []  # the title that Parsl gives an interchange erases its mark

    def start(**env):
        (project / "plain.py").write_text(PLAIN)
        with open("out", "wb") as out:
            process = subprocess.Popen(
                [sys.executable, "plain.py"], stdout=out, stderr=out, env=pilotage.env(**env), process_group=0
            )
        started.append(process)
        until(lambda: Path("out").read_text(), "a result")
        (interchange,) = [one for one in children(psutil.Process(process.pid)) if INTERCHANGE in words(one)]
        interchanges.append(interchange)
        return process, interchange

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
    for one in [*pilotage.left_behind(), *filter(is_alive, interchanges)]:
        one.kill()


def driver_alone_is_killed(process, interchange):
    process.kill()
    process.wait()
    until(lambda: not is_alive(interchange), "an end of the interchange", 10)


def only_rings_are_left(pilotage, rings):
    """A config that Parsl loads is no run: no command sweeps it. The next driver here removes its rings in an hour."""
    until(lambda: not pilotage.left_behind(), lambda: f"nothing left: {pilotage.left_behind()}", 10)
    [folder] = rings()
    left = tails.rings(folder)
    assert sorted(ring.read(path).about["name"] for path in left) == ["interchange", "parsl"]
    for path in left:
        os.utime(path, (1, 1))
    tails.remove_stale()
    until(lambda: not rings(), "an end of the rings")  # or a driver of another test has begun on them
    [collected] = Path(os.environ["PILOTAGE_STATE"]).glob("runs/*/parsl/000/parsl.tail.log")
    assert "Starting DataFlowKernel" in collected.read_text()


def test_the_interchange_ends_with_its_driver(plain, pilotage, rings):
    driver_alone_is_killed(*plain())
    only_rings_are_left(pilotage, rings)


@pytest.mark.slow
def test_without_its_watch_the_interchange_outlives_its_driver(plain, pilotage, rings):
    process, interchange = plain(**within("watch"))
    with pytest.raises(AssertionError, match="not within 10 s: an end of the interchange"):
        driver_alone_is_killed(process, interchange)
    interchange.kill()
    until(lambda: not is_alive(interchange), "an end of the interchange")
    only_rings_are_left(pilotage, rings)


def group_is_interrupted(process):
    os.killpg(process.pid, signal.SIGINT)
    process.wait(60)
    assert "went on with 42" in Path("out").read_text()


@pytest.mark.slow
def test_a_script_may_go_on_after_ctrl_c(plain):
    group_is_interrupted(plain()[0])


@pytest.mark.slow
def test_without_its_own_session_ctrl_c_ends_the_interchange(plain):
    process, interchange = plain(**within("session"))
    with pytest.raises(AssertionError, match="went on with 42"):
        group_is_interrupted(process)
    assert not is_alive(interchange)
