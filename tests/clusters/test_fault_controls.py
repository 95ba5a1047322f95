"""Each protection is needed: the test of a fault fails without it, for the reason that it is there for."""

import sys
from pathlib import Path

import pytest

from clusters import batch_faults as faults
from clusters.cluster_run import Controller, wait_for

pytestmark = pytest.mark.slow  # minutes on a busy machine: make test-clusters runs it

WITHOUT = Path(__file__).parents[1] / "faults" / "without.py"


def hasty(run, **patience):
    """Wait for less than the tests do for what will not come."""
    run.patience |= {"told": 10.0, "left": 6.0, **patience}
    return run


def test_without_the_ledger_nobody_tells_that_a_block_was_cancelled(control, table):
    with pytest.raises(AssertionError, match="'was cancelled by others' is told"):
        faults.block_is_cancelled(hasty(control(without="ledger")))
    table.control(faults.CANCELLED, "the ledger", "nobody is told")


def test_without_the_guard_children_outlive_a_block(control, table):
    with pytest.raises(AssertionError, match=r"no process left; there is .*sleep 600"):
        faults.block_is_cancelled(hasty(control(without="guard", children=True)))
    table.control(faults.CANCELLED, "the node guard", "what tasks have started stays on the node")


@pytest.mark.slow
def test_without_a_word_to_the_interchange_a_lost_block_is_waited_for(control, table, slurm):
    run = control(*faults.TWO_NODES, without="ended")
    with pytest.raises(AssertionError, match=r"no end; \d tasks have not begun"):
        faults.node_is_killed(hasty(run, told=15.0, end=45.0), slurm)
    words = "its tasks wait for heartbeats, two minutes"
    table.control(faults.KILLED, "telling the interchange of lost blocks", words)


def test_without_patience_a_node_that_is_cut_off_is_given_up(control, table, slurm):
    settings = ("--set", "executor.heartbeat_period=1", "--set", "executor.heartbeat_threshold=3")
    run = hasty(control(*faults.TWO_NODES, *settings, count=40), left=20.0)
    with pytest.raises(AssertionError, match="nothing ran twice"):
        faults.node_is_cut_off(run, slurm)
    words = "what runs there runs a second time elsewhere"
    table.control(faults.CUT_OFF, "patience (3 s are allowed for)", words)


def test_with_parsls_heartbeats_nobody_tells_of_a_node_that_is_cut_off_for_long(control, table, slurm):
    run = hasty(control(*faults.TWO_NODES, "--set", "executor.heartbeat_period=30", count=60), told=15.0)
    with pytest.raises(AssertionError, match="'nothing has been heard of"):
        faults.node_is_given_up(run, slurm)
    words = "nobody is told before Slurm notices"
    table.control(faults.CUT_OFF_FOR_LONG, "a heartbeat every 5 s (Parsl's 30 s)", words)


def test_without_the_ledger_nobody_tells_of_a_frozen_controller(control, table, slurm):
    with pytest.raises(AssertionError, match="'slurm does not answer' is told"):
        faults.controller_is_frozen(hasty(control(*faults.ONE_BLOCK, count=40, without="ledger")), Controller(slurm))
    table.control(faults.FROZEN, "the ledger", "nobody is told")


UNTOLD = "nobody is told while the run goes on"


@pytest.mark.parametrize("what", faults.REFUSED)
def test_without_the_watch_over_blocks_nobody_tells_of_a_refusal(control, table, what):
    """Parsl's provider has the scheduler's words too; they end in a file."""
    setting, reason = faults.REFUSED[what]
    with pytest.raises(AssertionError, match=r"is told; \[\]"):
        faults.submission_is_refused(hasty(control("--set", setting, without="watch"), told=6.0), reason)
    table.control(f"{what} that Slurm does not have", "the watch over blocks", UNTOLD)


def test_without_the_watch_over_blocks_nobody_tells_of_an_account(control_accounted, table):
    run = hasty(control_accounted("--set", "account=nope", without="watch"), told=6.0)
    with pytest.raises(AssertionError, match=r"is told; \[\]"):
        faults.submission_is_refused(run, "Invalid account")
    table.control("an account that Slurm does not have", "the watch over blocks", UNTOLD)


def test_without_the_history_nobody_tells_who_has_cancelled_a_block(control_accounted, table):
    run = hasty(control_accounted(without="history"))
    with pytest.raises(AssertionError, match=r"by others, root: ' is told; .*was cancelled by others: CANCELLED"):
        faults.block_is_cancelled(run, "was cancelled by others, root: ")
    words = "that others have cancelled it is told, and not who"
    table.control(f"{faults.CANCELLED}, with accounting", "asking sacct", words)


@pytest.mark.parametrize("what", faults.NEVER)
def test_without_the_ledger_what_can_never_run_waits_for_ever(control, table, what):
    setting, reason = faults.NEVER[what]
    with pytest.raises(AssertionError, match=r"is told; \[\]"):
        faults.submission_is_refused(hasty(control("--set", setting, without="ledger"), told=6.0), reason)
    words = "the job waits for ever, and nobody is told"
    table.control(f"{what} that Slurm accepts and will never start", "the ledger", words)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_without_a_drain_period_tasks_are_cut_at_the_walltime(control, table):
    run = control(*faults.TWO_MINUTES, "--set", "executor.drain_period=100000", count=60, seconds=6)
    with pytest.raises(AssertionError, match="is told"):
        faults.walltime_is_reached(run)
    run.end()
    assert len(run.began()) > run.count, "what ran at its end ran twice"
    table.control(faults.WALLTIME, "the drain period", "what runs at its end is cut off, and runs again")


def test_without_the_journal_the_job_of_a_killed_driver_stays(control, table):
    with pytest.raises(AssertionError, match="no job left; there is"):
        faults.driver_is_killed(hasty(control(count=200, without="journal")))
    table.control(faults.DRIVER, "the journal", "its job stays in the queue")


def test_without_the_journal_the_job_of_parsls_own_provider_stays(control, table):
    run = hasty(control(count=200, config=faults.PARSLS, without="journal"))
    with pytest.raises(AssertionError, match="no job left; there is"):
        faults.driver_is_killed(run)
    table.control(faults.DRIVER_OF_PARSLS, "the journal", "its job stays in the queue")


def test_without_the_sweep_the_job_of_a_killed_supervisor_stays(control, table):
    run = hasty(control("--detach", count=200))
    with pytest.raises(AssertionError, match="no job left; there is"):
        faults.supervisor_is_killed(run, sys.executable, WITHOUT, "sweep")
    assert run.again("clean").returncode == 0
    table.control(faults.SUPERVISOR, "the sweep", "its job goes on until its walltime")


@pytest.mark.slow
def test_without_the_ledger_a_late_submission_is_a_ghost(control, table, slurm):
    controller = Controller(slurm)
    controller.freeze()
    run = hasty(control(*faults.ONE_BLOCK, without="ledger"))
    with pytest.raises(AssertionError):  # whether the run ends first, or another block is asked for
        faults.submission_is_late(run, controller, seconds=12)
    wait_for(run.jobs, "a ghost")
    assert run.record()["state"] == "failed"
    table.control(faults.GHOST, "the ledger", "the run fails, and the job is there all the same")


@pytest.mark.slow
def test_without_a_second_submission_a_block_waits_for_a_job_that_never_comes(control, table, fake_sbatch):
    run = hasty(control(*faults.ONE_BLOCK, env=fake_sbatch(faults.HANGS), without="again"), told=15.0)
    with pytest.raises(AssertionError, match="'is submitted once more' is told"):
        faults.submission_is_lost(run)
    assert run.began() == []
    assert run.jobs("--states=all") == []
    table.control(faults.HANGING, "submitting it once more", "the run waits for a job that never comes")


@pytest.mark.slow
def test_without_looking_on_a_job_that_is_later_than_the_next_stays(control, table, fake_sbatch):
    late = fake_sbatch(faults.SUBMITS_LATE)
    run = hasty(control(*faults.ONE_BLOCK, env=late, count=60, seconds=2, without="twice"), told=15.0)
    with pytest.raises(AssertionError, match="no job left; there is"):
        faults.submission_is_later_than_the_next(run)
    assert len(run.jobs("--states=all")) == 2
    words = "both run, and one stays when the run is over"
    table.control(faults.HANGING_AND_LATE, "looking on for the first job's name", words)


def test_with_parsls_word_for_held_blocks_are_asked_for_without_end(control, table):
    run = control(*faults.ON_HOLD, without="pending")
    with pytest.raises(AssertionError, match="no block is asked for in its place"):
        faults.block_is_held(run)
    table.control(faults.HELD, "calling it PENDING towards Parsl", "another block is asked for each time")
