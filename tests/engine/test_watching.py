"""What would be a silent hang is told once, with the words of whoever knows."""

import pytest
from parsl.executors.high_throughput.errors import VersionMismatch
from parsl.jobs.states import JobState, JobStatus

from pilotage import events
from pilotage.engine.silence import Silence
from pilotage.engine.verifying import Refusal, WorkersRefusedError
from pilotage.engine.watching import SILENT, BlockWatch
from pilotage.worker.expected import FIX, SAYS


@pytest.fixture
def told(tmp_path, monkeypatch):
    written = events.Events(tmp_path / "events.jsonl")
    monkeypatch.setattr(events, "current", written)
    return lambda: [(event["kind"], event["message"]) for event in written.read()[0]]


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_failed_block_is_told_once_with_its_last_words(told, tmp_path):
    (tmp_path / "err").write_text("line one\nconda: command not found\n")
    status = JobStatus(JobState.FAILED, "NonZeroExitCode", exit_code=127, stderr_path=str(tmp_path / "err"))
    watch = BlockWatch("cpu", None, list)
    watch.look({"0": status}, 1)
    watch.look({"0": status}, 1)
    words = "block 0 of cpu has failed (exit code 127): NonZeroExitCode; line one conda: command not found"
    assert told() == [("block-failed", words)]


@pytest.mark.parametrize(
    ("words", "how"),
    [
        ("Failed to start block 0: sbatch: error: invalid partition", "has come to nothing"),
        ("it can never run: PENDING (PartitionTimeLimit)", "has come to nothing"),
        ("slurm does not know it any more; last: RUNNING", "has vanished"),
    ],
)
def test_not_all_that_parsl_calls_missing_has_vanished(told, words, how):
    """It says so of every block that is over before a worker has connected, one that was refused too."""
    BlockWatch("cpu", None, list).look({"0": JobStatus(JobState.MISSING, words)}, 1)
    assert told() == [("block-failed", f"block 0 of cpu {how}: {words}")]


def test_a_block_that_ends_with_nothing_waiting_is_no_news(told):
    watch = BlockWatch("cpu", None, list)
    watch.look({"0": JobStatus(JobState.COMPLETED), "1": JobStatus(JobState.CANCELLED)}, 0)
    assert told() == []
    watch.look({"0": JobStatus(JobState.COMPLETED)}, 3)
    assert told() == [("block-ended", "block 0 of cpu has ended while 3 tasks wait")]


def test_what_a_block_waits_for_is_told_once_a_reason(told):
    watch = BlockWatch("cpu", None, list)
    for words in ("", "PENDING (Priority)", "PENDING (Resources)", "PENDING (Priority)", "PENDING (JobHeldUser)"):
        status = JobStatus(JobState.PENDING, words)
        status.held = "Held" in words
        watch.look({"0": status}, 1)
    assert [words for _, words in told()] == [
        "block 0 of cpu waits: PENDING (Priority)",
        "block 0 of cpu waits: PENDING (Resources)",
        "block 0 of cpu is held: PENDING (JobHeldUser)",
    ]


@pytest.mark.parametrize(("seconds", "kind"), [(300, "block-ended"), (500, "block-drained")])
def test_a_block_that_ends_as_its_walltime_nears_is_no_warning(told, seconds, kind):
    clock = Clock()
    watch = BlockWatch("cpu", 600.0, lambda: ["0"], clock, drain=540.0)
    watch.look({"0": JobStatus(JobState.RUNNING)}, 1)
    clock.now = seconds
    watch.look({"0": JobStatus(JobState.COMPLETED)}, 1)
    assert [one for one, _ in told()] == [kind]


@pytest.mark.parametrize("state", [JobState.CANCELLED, JobState.MISSING])
def test_a_block_that_others_have_cancelled_is_told(told, state):
    """Parsl says MISSING of one from which no worker has connected."""
    watch = BlockWatch("cpu", None, list)
    watch.look({"0": JobStatus(state, "cancelled by others, root: CANCELLED by 0")}, 1)
    watch.look({"1": JobStatus(JobState.CANCELLED, "cancelled by this run")}, 1)
    assert told() == [("block-cancelled", "block 0 of cpu was cancelled by others, root: CANCELLED by 0")]


def test_a_manager_that_is_not_heard_of_is_told(told):
    watch = BlockWatch("cpu", None, list)
    watch.silent(Silence("1", "node2", 11.4))
    watch.silent(Silence("1", "node2", 0.0))
    watch.silent(Silence("1", "node2", 118.0, given_up=True))
    assert told() == [
        ("manager-silent", "nothing has been heard of the manager of block 1 on node2 for 11 s"),
        ("manager-heard", "the manager of block 1 on node2 is heard again"),
        ("manager-lost", "the manager of block 1 on node2 is given up: nothing has been heard of it any more"),
    ]


@pytest.mark.parametrize("connects", [True, False])
def test_a_block_that_runs_for_a_minute_unconnected_is_told(told, connects):
    clock = Clock()
    asked = []

    def connected():
        asked.append(clock.now)
        return ["0"] if connects else []

    watch = BlockWatch("cpu", None, connected, clock)
    for clock.now in range(0, 200):
        watch.look({"0": JobStatus(JobState.RUNNING)}, 1)
    assert [kind for kind, _ in told()] == ([] if connects else ["nothing-connected"])
    assert min(asked) > SILENT / 2
    assert len(asked) == 1 if connects else len(asked) < 40  # the interchange is not asked at each look


def test_a_block_that_connected_is_never_asked_about_again(told):
    clock = Clock()
    watch = BlockWatch("cpu", None, lambda: ["0"], clock)
    for clock.now in (0, 40, 400, 4000):
        watch.look({"0": JobStatus(JobState.RUNNING)}, 0)
    assert told() == []


def test_a_walltime_that_comes_near_is_told(told):
    clock = Clock()
    watch = BlockWatch("cpu", 3600.0, lambda: ["0"], clock)
    for clock.now in (0, 3000):
        watch.look({"0": JobStatus(JobState.RUNNING)}, 0)
    assert told() == []
    for clock.now in (3300, 3400):
        watch.look({"0": JobStatus(JobState.RUNNING)}, 0)
    assert told() == [("walltime-near", "block 0 of cpu reaches its walltime in 5 minutes")]


def test_workers_of_another_version_are_told_with_both(told):
    watch = BlockWatch("cpu", None, list)
    watch.failed(VersionMismatch("py.v=3.11 parsl.v=2026.10.26", "py.v=3.12 parsl.v=2026.1.5"))
    ((kind, words),) = told()
    assert kind == "workers-refused"
    assert words.startswith("cpu refuses its workers")
    assert "3.12" in words
    assert "2026.1.5" in words


def looked_at(joined, nodes=2):
    clock = Clock()
    watch = BlockWatch("lab", None, list, clock, nodes=nodes)
    watch.look({"0": JobStatus(JobState.RUNNING)}, 1)
    for clock.now, host in joined:
        watch.joined("0", host)
    for clock.now in range(0, 200):
        watch.look({"0": JobStatus(JobState.RUNNING)}, 1)


@pytest.mark.parametrize("joined", [[(0, "n1"), (29, "n2")], [(50, "n1"), (50, "n2")], []])
def test_nothing_is_told_where_each_node_has_a_manager(told, joined):
    looked_at(joined)
    assert "managers-missing" not in dict(told())


def test_nodes_without_a_manager_are_told(told):
    looked_at([(0, "n1")])
    words = dict(told())["managers-missing"]
    assert words.startswith("block 0 of lab has 2 nodes, and managers on 1: n1. ")
    assert "launcher.class none" in words
    assert len(told()) == 1


def test_managers_that_are_all_on_one_node_are_told(told):
    looked_at([(0, "n1"), (0, "n1"), (0, "n2")], nodes=3)
    words = dict(told())["managers-missing"]
    assert "managers on 2: n1 (2), n2. " in words
    assert "openmpi" in words


def test_what_blocks_say_of_their_python_is_told_once(told, tmp_path):
    """Blocks that are started together all say it, and so does the executor that has failed by it."""
    states = {}
    for block in "012":
        (tmp_path / block).write_text(f"{SAYS}n1: python has {'no' if block < '2' else 'another'} parsl{FIX}do this\n")
        states[block] = JobStatus(JobState.MISSING, exit_code=78, stderr_path=str(tmp_path / block))
    watch = BlockWatch("cpu", None, list)
    for _ in range(2):
        watch.look(states, 1)
    watch.failed(WorkersRefusedError(Refusal("n1: python has no parsl", "do this")))
    assert told() == [
        ("workers-refused", "block 0 of cpu starts no workers: n1: python has no parsl; to mend it: do this"),
        ("workers-refused", "block 2 of cpu starts no workers: n1: python has another parsl; to mend it: do this"),
    ]
