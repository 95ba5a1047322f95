"""Every process of a run, struck by every signal, at every moment."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from fault_run import STOP_AND_KILL, FaultRun, strike, until
from matrix import MOMENTS, SIGNALS, TARGETS

TIMES = int(os.environ.get("PILOTAGE_MATRIX_TIMES", "1"))
KILLS = ("SIGKILL", STOP_AND_KILL)
INTERCHANGE_ENDS = "interchange has ended"


def expected(target, what, moment):
    """Return the states in which a run may end."""
    over = {"finished"} if moment == "shutdown" else set()  # it may have ended before it heard
    early = {"lost"} if moment == "start" else set()  # a Python that has just started hears nothing
    if target in ("manager", "worker"):
        return {"finished"}
    if target == "interchange":
        return {"failed"} | over
    if target == "view":
        return {"cancelled"} | over if what == "SIGINT" else {"finished"}
    if target == "driver":
        return {"failed"} if what in KILLS else {"failed", "cancelled"}
    if what == "SIGHUP":
        return {"finished"} | early
    return {"lost"} | over if what in KILLS else {"cancelled"} | early | over


def try_fault(run, target, what, moment):
    """Do one thing to one run, check all that must come of it, and return it in words."""
    run.start()
    process = run.reach(moment, target)
    assert process is not None, f"there is no {target}"
    run.remember()
    strike(process, what)
    if target == "interchange" and moment != "shutdown":
        run.ends(5)
        assert INTERCHANGE_ENDS in run.told(), run.told()
    elif "finished" in expected(target, what, moment):
        until(lambda: run.is_over() or (target == "supervisor" and not run.supervisor()), "an end", 90)
    if target == "supervisor":
        run.pilotage("ps")
    run.is_gone()
    state = run.is_clean()
    assert state in expected(target, what, moment), (state, run.record(), run.told())
    if state == "finished":
        run.is_right()
        return state
    run.resumes()
    run.is_clean()
    return f"{state}; resumed"


def judge(run, target, what, moment, matrix):
    """Return what is wrong, or None; either way it stands in the matrix."""
    try:
        with matrix.trial(target, what, moment) as trial:
            trial.came = try_fault(run, target, what, moment)
    except AssertionError as error:
        return f"{target} {what} at {moment}: {error}"
    finally:
        run.end()
    return None


OFTEN = ("driver", "supervisor")
OFTEN_BY = ("SIGTERM", "SIGKILL")
"""What each run of the tests tries, mid-run; other targets, signals and moments take too long for that."""


def cases():
    found = []
    for target in TARGETS:
        for moment in MOMENTS:
            often = OFTEN_BY if moment == "mid-run" and target in OFTEN else ()
            rest = tuple(what for what in SIGNALS if what not in often)
            found.append(pytest.param(target, moment, rest, marks=pytest.mark.slow, id=f"{target}-{moment}"))
            if often:
                found.append(pytest.param(target, moment, often, id=f"{target}-{moment}-often"))
    return found


@pytest.mark.timeout(180 * TIMES)
@pytest.mark.parametrize(("target", "moment", "signals"), cases())
def test_each_signal(target, moment, signals, tmp_path, pilotage, matrix):
    # A supervisor's own view would end what it leaves, and the next command must be able to do so.
    detached = ("--detach",) if target == "supervisor" else ()
    with ThreadPoolExecutor(len(signals)) as pool:
        tried = []
        for what in signals * TIMES:
            run = FaultRun(tmp_path / f"{len(tried)}", pilotage)
            run.options = (*run.options, *detached)
            tried.append(pool.submit(judge, run, target, what, moment, matrix))
    wrong = [problem for future in tried if (problem := future.result())]
    assert not wrong, "\n".join(wrong)
