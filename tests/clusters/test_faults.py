"""What goes wrong on a cluster, on a real one: no result is lost, the reason is told, and nothing stays behind."""

import pytest

from clusters import batch_faults as faults
from clusters.cluster_run import Controller


def test_a_block_that_is_cancelled_by_others(start, table):
    with table.trial(faults.CANCELLED) as row:
        row.hears(faults.block_is_cancelled(start(children=True)))
        row.outcome = "another block does its work"


@pytest.mark.slow
def test_a_node_that_is_killed(start, table, slurm):
    with table.trial(faults.KILLED) as row:
        for message in faults.node_is_killed(start(*faults.TWO_NODES), slurm):
            row.hears(message)
        row.outcome = "another block does its work as soon as Slurm gives the node up (here after 10 s)"


@pytest.mark.slow
def test_a_node_that_is_cut_off_and_comes_back(start, table, slurm):
    with table.trial(faults.CUT_OFF) as row:
        faults.node_is_cut_off(start(*faults.TWO_NODES, count=40), slurm)
        row.told.append("nothing: managers may be silent for 11 s")
        row.outcome = "it goes on where it was; nothing runs twice"


@pytest.mark.slow
def test_a_node_that_is_cut_off_for_longer_than_slurm_waits(start, table, slurm):
    with table.trial(faults.CUT_OFF_FOR_LONG) as row:
        for message in faults.node_is_given_up(start(*faults.TWO_NODES, count=60), slurm):
            row.hears(message)
        row.outcome = "another block does its work; when the node is back, what is left there is ended"


@pytest.mark.slow
def test_a_controller_that_is_frozen_and_started_anew(start, table, slurm):
    with table.trial(faults.FROZEN) as row:
        row.hears(faults.controller_is_frozen(start(*faults.ONE_BLOCK, count=40), Controller(slurm)))
        row.outcome = "tasks go on; the block is known again afterwards"


@pytest.mark.parametrize("what", faults.REFUSED)
def test_what_slurm_refuses_is_told(start, table, what):
    setting, reason = faults.REFUSED[what]
    with table.trial(f"{what} that Slurm does not have") as row:
        row.hears(faults.submission_is_refused(start("--set", setting), reason))
        row.outcome = "the run fails with this reason"


@pytest.mark.parametrize("what", faults.NEVER)
def test_what_can_never_run_is_told(start, table, what):
    setting, reason = faults.NEVER[what]
    with table.trial(f"{what} that Slurm accepts and will never start") as row:
        row.hears(faults.submission_is_refused(start("--set", setting), reason))
        row.outcome = "the job is cancelled, the run fails with this reason"


def test_an_account_that_does_not_exist(start_accounted, table):
    with table.trial("an account that Slurm does not have") as row:
        run = start_accounted("--set", "account=nope")
        row.hears(faults.submission_is_refused(run, "Invalid account"))
        row.outcome = "the run fails with this reason"


@pytest.mark.slow
def test_who_has_cancelled_a_block(start_accounted, table):
    """Only the accounting knows."""
    with table.trial(f"{faults.CANCELLED}, with accounting") as row:
        row.hears(faults.block_is_cancelled(start_accounted(), "was cancelled by others, root: "))
        row.outcome = "another block does its work"


@pytest.mark.slow
def test_a_block_that_is_held(start, table):
    with table.trial(faults.HELD) as row:
        row.hears(faults.block_is_held(start(*faults.ON_HOLD)))
        row.outcome = "it waits, and runs once it is released"


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_block_that_reaches_its_walltime(start, table):
    with table.trial(faults.WALLTIME) as row:
        row.hears(faults.walltime_is_reached(start(*faults.TWO_MINUTES, count=60, seconds=6)))
        row.outcome = "it takes no new tasks near its end, another block goes on; nothing runs twice"


def test_a_driver_that_is_killed(start, table):
    with table.trial(faults.DRIVER) as row:
        row.told.append(faults.driver_is_killed(start(count=200, children=True)))
        row.outcome = "its job is cancelled at once; `pilotage resume` goes on"


def test_a_driver_that_is_killed_with_parsls_own_provider(start, table):
    with table.trial(faults.DRIVER_OF_PARSLS) as row:
        row.told.append(faults.driver_is_killed(start(count=200, config=faults.PARSLS)))
        row.outcome = "its job is cancelled at once"


@pytest.mark.slow
def test_a_supervisor_that_is_killed(start, table):
    with table.trial(faults.SUPERVISOR) as row:
        row.told.append(faults.supervisor_is_killed(start("--detach", count=200, children=True)))
        row.outcome = "the next command of pilotage cancels its job"


@pytest.mark.slow
def test_a_submission_that_is_late(start, table, slurm):
    """sbatch is ended for it, and the job is there all the same."""
    with table.trial(faults.GHOST) as row:
        controller = Controller(slurm)
        controller.freeze()
        for message in faults.submission_is_late(start(*faults.ONE_BLOCK), controller):
            row.hears(message)
        row.outcome = "the job that turns up is taken on as the block"


@pytest.mark.slow
def test_a_submission_that_is_lost(start, table, fake_sbatch):
    with table.trial(faults.HANGING) as row:
        row.hears(faults.submission_is_lost(start(*faults.ONE_BLOCK, env=fake_sbatch(faults.HANGS))))
        row.outcome = "the block is submitted once more, under the same name"


@pytest.mark.slow
def test_a_submission_that_is_later_than_the_next(start, table, fake_sbatch):
    with table.trial(faults.HANGING_AND_LATE) as row:
        run = start(*faults.ONE_BLOCK, env=fake_sbatch(faults.SUBMITS_LATE), count=60, seconds=2)
        for message in faults.submission_is_later_than_the_next(run):
            row.hears(message)
        row.outcome = "the second is cancelled"
