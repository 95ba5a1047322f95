"""What becomes of jobs whatever the scheduler's commands say, or do not say."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotage import events
from pilotage.hosts.base import Completed
from pilotage.providers import ledger as module
from pilotage.providers.ledger import Ledger
from pilotage.schedulers.batch import RefusedError, State, UnclearError
from pilotage.schedulers.slurm_jobs import SlurmJobs

UNKNOWN = (1, "", "slurm_load_jobs error: Invalid job id specified")
DOWN = (1, "", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
LATE = (124, "", "no answer within 30 s")
NO_ACCOUNTING = (1, "Slurm accounting storage is disabled", "")


class Machine:
    """Answers commands from a table, and notes them; one of a list is used once, the last for ever."""

    def __init__(self, **answers):
        self.answers = {
            name: [answer] if isinstance(answer, tuple) else list(answer) for name, answer in answers.items()
        }
        self.asked = []

    def run(self, argv, *, timeout=30):
        self.asked.append(tuple(argv))
        queue = self.answers.get(argv[0], [(127, "", f"{argv[0]}: not found")])
        code, out, err = queue.pop(0) if len(queue) > 1 else queue[0]
        return Completed(tuple(argv), code, out, err)

    def has(self, program):
        return program in self.answers

    def count(self, program):
        return sum(argv[0] == program for argv in self.asked)


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def told(monkeypatch):
    """The events that were told, by kind."""
    found = []
    monkeypatch.setattr(events, "tell", lambda kind, message, level="info", **_: found.append((kind, message)))
    return found


def listed(state, reason="None", nodes="", job=7):
    return (0, f"{job}|{state}|{reason}|{nodes}\n", "")


@pytest.fixture
def clock():
    return Clock()


def made(clock, **answers):
    machine = Machine(sbatch=(0, "7\n", ""), **answers)
    return Ledger(SlurmJobs(), machine, clock=clock, sleep=clock.sleep), machine


def look_for(ledger, clock, seconds, job="7"):
    """Look as often as Parsl does, for a time; return what was seen, each once."""
    seen = []
    end = clock.now + seconds
    while clock.now < end:
        observed = ledger.look([job])[0]
        if not seen or seen[-1] != observed:
            seen.append(observed)
        clock.now += 0.5
    return seen


def test_a_job_from_its_submission_to_its_end(clock):
    answers = [listed("PENDING", "Priority"), listed("RUNNING", nodes="node1"), listed("COMPLETED")]
    ledger, machine = made(clock, squeue=answers)
    assert ledger.submit("/run/script", "name") == "7"
    assert machine.asked == [("sbatch", "--parsable", "/run/script")]
    seen = look_for(ledger, clock, 20)
    assert [one.state for one in seen] == [State.PENDING, State.RUNNING, State.COMPLETED]
    assert [one.words for one in seen] == ["PENDING (Priority)", "RUNNING", "COMPLETED"]
    asked = machine.count("squeue")
    look_for(ledger, clock, 100)
    assert machine.count("squeue") == asked, "nobody is asked about what has ended"


def test_a_final_state_stays(clock):
    ledger, _ = made(clock, squeue=[listed("TIMEOUT"), listed("RUNNING")])
    ledger.submit("/s", "name")
    assert [one.state for one in look_for(ledger, clock, 60)] == [State.TIMEOUT]


def test_a_job_that_was_just_submitted_may_not_be_listed_yet(clock):
    """Stock Parsl calls it COMPLETED, for good."""
    ledger, _ = made(clock, squeue=[UNKNOWN, UNKNOWN, listed("RUNNING", nodes="node1")], sacct=(0, "", ""))
    ledger.submit("/s", "name")
    assert [one.state for one in look_for(ledger, clock, 12)] == [State.PENDING, State.RUNNING]


@pytest.mark.parametrize(
    ("history", "state", "words"),
    [
        ((0, "7|TIMEOUT|0:0|node1|None\n", ""), State.TIMEOUT, "TIMEOUT"),
        ((0, "7|CANCELLED by 1000|0:15|node1|\n", ""), State.CANCELLED, "CANCELLED by 1000"),
        ((0, "7|FAILED|3:0|node1|NonZeroExitCode\n", ""), State.FAILED, "FAILED (NonZeroExitCode)"),
        (NO_ACCOUNTING, State.LOST, "slurm does not know it any more; last: RUNNING"),
        ((127, "", "sacct: not found"), State.LOST, "slurm does not know it any more; last: RUNNING"),
    ],
)
def test_a_job_that_the_controller_has_forgotten(clock, history, state, words):
    ledger, _ = made(clock, squeue=[listed("RUNNING"), UNKNOWN], sacct=history)
    ledger.submit("/s", "name")
    seen = look_for(ledger, clock, 200)
    assert [one.state for one in seen] == [State.RUNNING, state]
    assert seen[-1].words == words


def test_a_history_that_is_late(clock):
    empty, known = (0, "", ""), (0, "7|COMPLETED|0:0|node1|None\n", "")
    ledger, _ = made(clock, squeue=[listed("RUNNING"), UNKNOWN], sacct=[empty, empty, (1, "", "timed out"), known])
    ledger.submit("/s", "name")
    assert [one.state for one in look_for(ledger, clock, 60)] == [State.RUNNING, State.COMPLETED]


def test_a_history_that_never_knows(clock):
    ledger, _ = made(clock, squeue=[listed("RUNNING"), UNKNOWN], sacct=(0, "", ""))
    ledger.submit("/s", "name")
    seen = look_for(ledger, clock, 200)
    assert [one.state for one in seen] == [State.RUNNING, State.LOST]


@pytest.mark.parametrize("silence", [DOWN, LATE])
def test_an_hour_without_an_answer_changes_nothing(clock, told, silence):
    ledger, machine = made(clock, squeue=[listed("RUNNING"), silence])
    ledger.submit("/s", "name")
    assert [one.state for one in look_for(ledger, clock, 3600)] == [State.RUNNING]
    assert machine.count("squeue") < 80, "and it is asked seldom"
    assert [kind for kind, _ in told] == ["scheduler-silent"]
    machine.answers["squeue"] = [listed("RUNNING")]
    look_for(ledger, clock, 100)
    assert [kind for kind, _ in told] == ["scheduler-silent", "scheduler-answers"]


def test_questions_become_fewer_while_nothing_changes(clock):
    ledger, machine = made(clock, squeue=listed("PENDING", "Priority"))
    ledger.submit("/s", "name")
    look_for(ledger, clock, 10)
    soon = machine.count("squeue")
    look_for(ledger, clock, 600)
    assert machine.count("squeue") - soon <= 70
    machine.answers["squeue"] = [listed("RUNNING")]
    while ledger.look(["7"])[0].state is State.PENDING:
        clock.now += 0.5
    assert ledger.interval == module.SOONEST, "after a change it is worth asking again"


def test_one_question_for_all_jobs(clock):
    ledger, machine = made(clock, squeue=(0, "1|RUNNING|None|a\n2|PENDING|Priority|\n3|FAILED|NodeFail|a\n", ""))
    for number in "123":
        machine.answers["sbatch"] = [(0, f"{number}\n", "")]
        ledger.submit("/s", number)
    assert [one.state for one in ledger.look(["3", "1", "2"])] == [State.FAILED, State.RUNNING, State.PENDING]
    assert machine.count("squeue") == 1
    assert next(argv for argv in machine.asked if argv[0] == "squeue")[-2] == "--jobs=1,2,3"


@pytest.mark.parametrize("reason", ["PartitionTimeLimit", "PartitionConfig", "BadConstraints", "InvalidQOS"])
def test_what_can_never_run_is_ended_and_told(clock, reason):
    ledger, machine = made(clock, squeue=listed("PENDING", reason), scancel=(0, "", ""))
    ledger.submit("/s", "name")
    seen = look_for(ledger, clock, 30)
    assert [(one.state, one.words) for one in seen] == [(State.FAILED, f"it can never run: PENDING ({reason})")]
    assert machine.count("scancel") == 1


def test_a_held_job_waits(clock):
    ledger, machine = made(clock, squeue=listed("PENDING", "JobHeldUser"))
    ledger.submit("/s", "name")
    assert [one.state for one in look_for(ledger, clock, 100)][-1] is State.HELD
    assert machine.count("scancel") == 0


def test_the_exit_code_of_a_failed_job(clock):
    answer = (0, "JobId=7 JobState=FAILED Reason=NonZeroExitCode ExitCode=3:0 RunTime=00:00:00\n", "")
    ledger, _ = made(clock, squeue=listed("FAILED", "NonZeroExitCode"), scontrol=answer)
    ledger.submit("/s", "name")
    assert ledger.look(["7"])[0].exit_code == 3


def test_refusals_are_not_repeated_at_once(clock):
    ledger, machine = made(clock)
    machine.answers["sbatch"] = [(1, "", "sbatch: error: invalid partition specified: nope")]
    for _ in range(3):
        with pytest.raises(RefusedError, match="nope"):
            ledger.submit("/s", "name")
    for _ in range(50):
        with pytest.raises(RefusedError, match=r"not asked again for .* nope"):
            ledger.submit("/s", "name")
    assert machine.count("sbatch") == 3
    clock.now += module.PAUSE + 1
    machine.answers["sbatch"] = [(0, "7\n", "")]
    assert ledger.submit("/s", "name") == "7"


def test_a_job_whose_submission_had_no_answer_is_found_and_cancelled(clock, told):
    ledger, machine = made(clock, scancel=(0, "", ""), squeue=[(0, "", ""), (0, "8|other\n9|pilotage-x\n", "")])
    machine.answers["sbatch"] = [LATE]
    with pytest.raises(UnclearError):
        ledger.submit("/s", "pilotage-x")
    look_for(ledger, clock, 30)
    assert [argv for argv in machine.asked if argv[0] == "scancel"] == [("scancel", "9")]
    assert [kind for kind, _ in told] == ["ghost-cancelled"]


def test_cancelling(clock):
    ledger, machine = made(clock, squeue=listed("RUNNING"), scancel=[(1, "", "cannot connect"), (0, "", "")])
    ledger.submit("/s", "name")
    assert ledger.cancel(["7"]) == [False]
    assert ledger.look(["7"])[0].state is State.RUNNING
    assert ledger.cancel(["7"]) == [True]
    assert ledger.look(["7"])[0].state is State.CANCELLED
    assert ledger.cancel(["7"]) == [True]
    assert machine.count("scancel") == 2, "what has ended is not cancelled again"


def test_of_a_stranger_nothing_is_known(clock):
    ledger, _ = made(clock)
    assert ledger.look(["1"])[0].state is State.LOST


ANSWERS = st.sampled_from(
    [UNKNOWN, DOWN, LATE, (0, "", ""), listed("PENDING"), listed("RUNNING"), listed("COMPLETED"), listed("FAILED")]
)


@settings(deadline=None, max_examples=200)
@given(st.lists(ANSWERS, min_size=1, max_size=30), st.sampled_from([NO_ACCOUNTING, (0, "", ""), DOWN]))
def test_whatever_is_answered_a_final_state_is_the_last(answers, history):
    clock = Clock()
    ledger, _ = made(clock, squeue=answers, sacct=history)
    ledger.submit("/s", "name")
    states = [one.state for one in look_for(ledger, clock, 300)]
    assert not any(state.final for state in states[:-1])
    ended = [answer for answer in answers if answer in (listed("COMPLETED"), listed("FAILED"))]
    assert states[-1] is not State.COMPLETED or ended, "nothing is completed that nobody said was"
