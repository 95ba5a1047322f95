"""Faults on a real cluster, each done to one run, with all that must come of it: for tests and their controls.

Each returns what was told of it.
"""

import time

from clusters.cluster_run import wait_for

CANCELLED = "a block is cancelled by others (`scancel`), mid-run"
KILLED = "a node is killed"
CUT_OFF = "a node is cut off for 5 s and comes back"
CUT_OFF_FOR_LONG = "a node is cut off until Slurm gives it up, and comes back"
FROZEN = "slurmctld is frozen, killed and started anew, mid-run"
WALLTIME = "the walltime is reached with tasks running"
DRIVER = "the driver is killed (SIGKILL)"
DRIVER_OF_PARSLS = "the driver is killed (SIGKILL), with a Parsl config and its SlurmProvider"
SUPERVISOR = "the supervisor is killed (SIGKILL)"
GHOST = "sbatch has no answer in time, and the job turns up later"
HANGING = "an sbatch that hangs, and no job turns up"
HANGING_AND_LATE = "an sbatch that hangs, and its job turns up when there is another"
HELD = "a block is held"

HANGS = "exec sleep 600"
SUBMITS_LATE = f'setsid sh -c "sleep 45; exec sbatch-of-slurm $*" sh "$@" >/dev/null 2>&1 </dev/null & {HANGS}'
"""Shell lines in the place of an sbatch."""

PARSLS = """
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.launchers import SrunLauncher
from parsl.providers import SlurmProvider

provider = SlurmProvider(partition="debug", launcher=SrunLauncher(), walltime="00:10:00", exclusive=False)
config = Config(executors=[HighThroughputExecutor(label="plain", address="192.0.2.1", provider=provider)])
"""

ONE_BLOCK = ("--set", "max_blocks=1")
TWO_NODES = ("--set", "exclusive=true", "--set", "init_blocks=2")
TWO_MINUTES = ("--set", "walltime=00:02:00", *ONE_BLOCK)
ON_HOLD = ("--set", "scheduler_options=#SBATCH --hold", *ONE_BLOCK)
REFUSED = {
    "a partition": ("partition=nope", "invalid partition specified: nope"),
    "memory": ("mem_per_node=900", "Memory specification can not be satisfied"),
}
NEVER = {
    "a walltime": ("walltime=05:00:00", r"can never run: PENDING \(PartitionTimeLimit\)"),
    "nodes": ("nodes_per_block=9", r"can never run: PENDING \(PartitionConfig\)"),
}


def block_is_cancelled(run, words="was cancelled by others"):
    run.runs()
    (job,) = run.jobs()[:1]
    run.strike(lambda: run.on_head("scancel", job))
    message = run.told(words)
    run.ends_right()
    return message


def node_is_killed(run, cluster):
    wait_for(lambda: run.on_node("node1") and run.on_node("node2"), "tasks on both nodes")
    run.strike(cluster.host("node2").end)
    messages = [run.told(r"nothing has been heard of .* on node2")]
    err = run.ends_right()
    run.patience["told"] = 5.0
    messages.append(run.told("NODE_FAIL"))
    assert "NODE_FAIL (NodeDown)" in err, "on the terminal of the run"
    return messages


def _cut_off(run, cluster, seconds, then=lambda: None):
    wait_for(lambda: run.on_node("node1") and run.on_node("node2"), "tasks on both nodes")
    head = cluster.host("head")
    run.strike(lambda: head.run(["ip", "link", "set", "port2", "down"]))
    try:
        end = time.monotonic() + seconds
        then()
        time.sleep(max(0.0, end - time.monotonic()))  # the fault itself takes its time
    finally:
        head.run(["ip", "link", "set", "port2", "up"])


def node_is_cut_off(run, cluster):
    _cut_off(run, cluster, 5)
    run.ends_right()
    assert len(run.began()) == run.count, "nothing ran twice"


def node_is_given_up(run, cluster):
    messages = []

    def given_up():
        messages.append(run.told(r"nothing has been heard of .* on node2"))
        run.patience["told"] = 60.0  # that is Slurm's time
        messages.append(run.told("NODE_FAIL"))
        shown = run.again("show", run.path.name).stdout
        assert "NODE_FAIL (NodeDown)" in shown, "to whoever looks from elsewhere"

    _cut_off(run, cluster, 0, given_up)
    run.ends_right()
    return messages


def controller_is_frozen(run, controller):
    run.runs(2)
    controller.save()
    run.strike(controller.freeze)
    before = len(run.began())
    wait_for(lambda: len(run.began()) > before, "tasks go on while it is frozen")
    message = run.told("slurm does not answer")
    controller.restart()
    run.ends_right()
    jobs = run.jobs("--states=all")
    assert len(jobs) == 1, f"the block is known again, and none was asked for in its place: {jobs}; {run.heard()}"
    return message


def submission_is_refused(run, reason):
    run.strike(run.loads)
    message = run.told(reason)
    code, _, err = run.end()
    assert code == 1
    assert reason.split("\\")[0] in err
    run.left_nothing()
    return message


def walltime_is_reached(run):
    run.patience |= {"end": 300.0, "told": 150.0}
    run.runs(1)
    message = run.told("as its walltime nears")
    run.ends_right()
    assert len(run.began()) == run.count, "nothing ran twice"
    return message


def driver_is_killed(run):
    run.runs()
    run.strike(run.find("pilotage.cli.driver").kill)
    code, _, err = run.end()
    assert code in (137, -9), "as the script ended"
    assert "not finished" in err
    run.left_nothing()
    return f"“{run.record()['reason']}”"


def supervisor_is_killed(run, *command):
    run.runs()
    supervisor = wait_for(lambda: run.find("pilotage.runs.supervisor"), "a supervisor")
    run.strike(supervisor.kill)
    said = run.again("ps") if not command else run.pilotage.run(run.command(*command, "ps"), env=run.env)
    assert said.returncode == 0, said.stderr
    run.left_nothing()
    assert run.record()["state"] == "lost"
    return f"“{run.record()['reason']}”"


def submission_is_late(run, controller, seconds=0.0):
    """The controller is frozen; ``seconds`` are for a run that does not tell when its submission is over."""
    run.strike(lambda: wait_for(lambda: run.program("sbatch"), "an sbatch"))
    messages = []
    if not seconds:
        messages.append(run.told("slurm does not answer"))
        messages.append(run.told("its submission had no answer"))
    time.sleep(seconds)
    controller.thaw()
    if not seconds:
        messages.append(run.told("is there though its submission had no answer"))
    run.ends_right()
    assert len(run.jobs("--states=all")) == 1, "one job, and no other"
    return messages


def submission_is_lost(run):
    """The first sbatch of the run `HANGS`."""
    run.strike(run.loads)  # sbatch is given ten seconds from now on
    run.told("its submission had no answer")
    run.patience["told"] *= 4
    message = run.told("is submitted once more")
    run.ends_right()
    assert len(run.jobs("--states=all")) == 1, "one job, and no other"
    return message


def submission_is_later_than_the_next(run):
    """The first sbatch of the run `SUBMITS_LATE`."""
    run.strike(run.loads)
    run.patience["told"] *= 6
    message = run.told("is submitted once more")
    run.ends_right()
    assert len(run.jobs("--states=all")) == 2, "the job that turned up is of this run"
    return [message, run.told("has turned up though its submission had no answer; it was cancelled")]


def block_is_held(run):
    run.strike(lambda: wait_for(run.jobs, "a job"))
    (job,) = run.jobs()[:1]
    end = time.monotonic() + 3
    while time.monotonic() < end:
        assert run.jobs() == [job], "no block is asked for in its place"
    message = run.told("is held")
    run.on_head("scontrol", "release", job)
    run.ends_right()
    return message
