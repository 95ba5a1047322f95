"""What would be a silent hang is told once, with the words of whoever knows."""

import pytest
from parsl.executors.high_throughput.errors import VersionMismatch
from parsl.jobs.states import JobState, JobStatus

from pilotage import events
from pilotage.engine.watching import SILENT, BlockWatch


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


def test_a_block_that_ends_with_nothing_waiting_is_no_news(told):
    watch = BlockWatch("cpu", None, list)
    watch.look({"0": JobStatus(JobState.COMPLETED), "1": JobStatus(JobState.CANCELLED)}, 0)
    assert told() == []
    watch.look({"0": JobStatus(JobState.COMPLETED)}, 3)
    assert told() == [("block-ended", "block 0 of cpu has ended while 3 tasks wait")]


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
