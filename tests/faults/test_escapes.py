"""Children that call setsid, fork twice, erase their environment or ignore SIGTERM are gone with the run.

The script starts one of each kind itself, a python_app does, and a bash_app does.
"""

import pytest
from escaping import adopted, driver_is_killed, manager_is_killed, prepared, supervisor_is_killed
from fault_run import OPTIONS, QUICK, escapees


def test_when_the_driver_is_killed(fault_run):
    run = prepared(fault_run)
    driver_is_killed(run)
    assert run.is_clean() == "failed"


@pytest.mark.slow
def test_when_the_run_is_cancelled(fault_run):
    run = prepared(fault_run)
    done = run.pilotage("cancel", "@last")
    assert done.returncode == 0, done.stderr
    run.is_gone()
    assert run.is_clean() == "cancelled"


def test_when_the_manager_is_killed(fault_run):
    run = prepared(fault_run)
    manager_is_killed(run)
    assert escapees(run.here)  # the script's own stay as long as it does
    (run.here / "go").touch()
    assert run.ends() == "finished"
    run.is_gone()
    assert "went on" in run.output()
    assert run.is_clean() == "finished"


@pytest.mark.slow
def test_when_the_supervisor_is_killed(fault_run):
    run = prepared(fault_run, options=(*OPTIONS, *QUICK, "--detach"))
    adopted(run)
    supervisor_is_killed(run)
    assert run.is_clean() == "lost"
