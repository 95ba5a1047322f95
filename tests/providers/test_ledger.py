"""What becomes of jobs whatever the scheduler's commands say, or do not say."""

import threading
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotage import events, journal
from pilotage.hosts.base import Completed
from pilotage.hosts.local import LocalHost
from pilotage.providers import commands, turns, unanswered
from pilotage.providers import ledger as module
from pilotage.providers.commands import Commands
from pilotage.providers.ledger import Ledger
from pilotage.schedulers.batch import RefusedError, State
from pilotage.schedulers.slurm_jobs import SlurmJobs

UNKNOWN = (1, "", "slurm_load_jobs error: Invalid job id specified")
DOWN = (1, "", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
LATE = (124, "", "no answer within 30 s")
NO_ACCOUNTING = (1, "Slurm accounting storage is disabled", "")


class Machine(LocalHost):
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
        (
            (0, "7|CANCELLED by 987654|0:15|node1|\n", ""),
            State.CANCELLED,
            "cancelled by others, user 987654: CANCELLED by 987654",
        ),
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
    assert machine.count("squeue") < 100, "and it is asked seldom"
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
    assert machine.count("squeue") - soon <= 80
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
    assert [(one.state, one.words) for one in seen] == [
        (State.PENDING, f"PENDING ({reason})"),
        (State.FAILED, f"it can never run: PENDING ({reason})"),
    ]
    assert machine.count("scancel") == 1


def test_what_can_never_run_for_a_moment_runs(clock):
    """As while the nodes of a Slurm that was just started say who they are; and of two reasons the last is told."""
    answers = [
        listed("PENDING", "PartitionConfig"),
        listed("PENDING", "Priority"),
        listed("PENDING", "PartitionConfig"),
    ]
    answers += [listed("PENDING", "PartitionTimeLimit")]
    ledger, machine = made(clock, squeue=answers, scancel=(0, "", ""))
    ledger.submit("/s", "name")
    seen = look_for(ledger, clock, 2.5)
    assert {one.state for one in seen} == {State.PENDING}
    assert machine.count("scancel") == 0
    assert look_for(ledger, clock, 30)[-1].words == "it can never run: PENDING (PartitionTimeLimit)"


def test_jobs_that_can_never_run_are_ended_together(clock):
    """Or the one that is left has a successor at once, which is not judged yet: there were always two, without end."""
    first, both = "7|PENDING|PartitionTimeLimit|\n", "7|PENDING|PartitionTimeLimit|\n8|PENDING|PartitionTimeLimit|\n"
    ledger, machine = made(clock, squeue=[(0, first, ""), (0, both, "")], scancel=(0, "", ""))
    machine.answers["sbatch"] = [(0, "7\n", ""), (0, "8\n", "")]
    ledger.submit("/s", "one")
    ledger.look(["7"])
    clock.sleep(2)
    ledger.submit("/s", "two")
    seen = set()
    for _ in range(40):
        seen.add(tuple(one.state for one in ledger.look(["7", "8"])))
        clock.sleep(0.25)
    assert seen == {(State.PENDING, State.PENDING), (State.FAILED, State.FAILED)}


def test_of_two_reasons_in_turn_the_one_that_lasts_is_told(clock):
    answers = [listed("PENDING", "PartitionConfig")] * 3 + [listed("PENDING", "PartitionTimeLimit")]
    ledger, _ = made(clock, squeue=answers, scancel=(0, "", ""))
    ledger.submit("/s", "name")
    assert look_for(ledger, clock, 30)[-1].words == "it can never run: PENDING (PartitionTimeLimit)"


def test_what_can_never_run_and_is_not_cancelled_stays_a_job(clock, written):
    """A limit may be changed, and then it runs: it is neither forgotten nor given up."""
    answers = [DOWN, (0, "", "")]
    ledger, machine = made(clock, squeue=listed("PENDING", "PartitionTimeLimit"), scancel=answers)
    ledger.submit("/s", "name")
    assert look_for(ledger, clock, module.NEVER + 2)[-1].state is State.PENDING
    assert machine.count("scancel") == 1
    assert ids(written()) == ["7"]
    assert look_for(ledger, clock, 30)[-1].state is State.FAILED
    assert machine.count("scancel") == 2
    assert written() == []


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
    clock.now += turns.PAUSE + 1
    machine.answers["sbatch"] = [(0, "7\n", "")]
    assert ledger.submit("/s", "name") == "7"


class Slurm(Machine):
    """Has jobs of its own: what is submitted is listed, late where the answer is."""

    def __init__(self, *submissions):
        super().__init__(scancel=(0, "", ""))
        self.submissions = list(submissions)  # an answer, and whether there is a job nonetheless
        self.listed = {}
        self.down = False
        self.numbers = iter(range(7, 99))

    def run(self, argv, *, timeout=30):
        self.asked.append(tuple(argv))
        code, out, err = self.answer(argv)
        return Completed(tuple(argv), code, out, err)

    def answer(self, argv):
        if argv[0] == "sbatch":
            answer, exists = self.submissions.pop(0)
            if exists:
                self.turn_up()
            return answer or (0, f"{max(self.listed)}\n", "")
        if self.down:
            return DOWN
        if argv[0] == "scancel":
            for job in map(int, argv[1:]):
                self.listed.pop(job)
            return 0, "", ""
        if any(word.startswith("--user=") for word in argv):
            return 0, "".join(f"{job}|{name}\n" for job, name in self.listed.items()), ""
        return 0, "".join(f"{job}|RUNNING|None|node1\n" for job in self.listed), ""

    def turn_up(self, name="pilotage-x"):
        self.listed[next(self.numbers)] = name


@pytest.fixture
def written(tmp_path, monkeypatch):
    """A journal; returns its open entries."""
    found = journal.Journal(tmp_path / "journal.jsonl")
    monkeypatch.setattr(journal, "current", found)
    return found.open_entries


def kept(clock, *submissions):
    machine = Slurm(*submissions)
    machine.turn_up("somebody else's")
    return Ledger(SlurmJobs(), machine, clock=clock, sleep=clock.sleep), machine


def ids(entries):
    return [(entry.id or {}).get("job_id") for entry in entries]


CUT_OFF = (1, "", "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation")


def test_a_submission_that_sbatch_itself_has_given_up_may_be_a_job(clock, told, written):
    """It waits for ten seconds, which is what a command has here; who is first is a matter of luck."""
    ledger, machine = kept(clock, (CUT_OFF, True))
    handle = ledger.submit("/s", "pilotage-x")
    assert look_for(ledger, clock, 60, handle)[-1].state is State.RUNNING
    assert machine.count("sbatch") == 1
    assert ids(written()) == ["8"]


def test_a_job_whose_submission_had_no_answer_is_taken_on(clock, told, written):
    ledger, machine = kept(clock, (LATE, True))
    handle = ledger.submit("/s", "pilotage-x")
    assert ids(written()) == [None]
    seen = look_for(ledger, clock, 60, handle)
    assert [one.state for one in seen] == [State.PENDING, State.RUNNING]
    assert "had no answer (no answer within 30 s)" in told[0][1]
    assert machine.count("sbatch") == 1
    assert machine.count("scancel") == 0
    assert [kind for kind, _ in told] == ["submission-unanswered", "submission-found"]
    assert ids(written()) == ["8"]
    lists = machine.count("squeue")
    assert ledger.cancel([handle]) == [True]
    assert machine.listed == {7: "somebody else's"}
    assert written() == []
    look_for(ledger, clock, 60, handle)
    assert machine.count("squeue") == lists, "nothing is looked for any more"


def test_a_scheduler_that_is_silent_for_long_after_a_submission(clock, told):
    """Nothing is submitted again as long as it does not answer: the job may be on its way."""
    ledger, machine = kept(clock, (LATE, False))
    machine.down = True
    handle = ledger.submit("/s", "pilotage-x")
    assert {one.state for one in look_for(ledger, clock, 3 * unanswered.GHOST, handle)} == {State.PENDING}
    assert machine.count("sbatch") == 1
    machine.down = False
    look_for(ledger, clock, unanswered.ABSENT / 2, handle)
    machine.turn_up()
    assert look_for(ledger, clock, 60, handle)[-1].state is State.RUNNING
    assert machine.count("sbatch") == 1


def test_a_submission_that_was_lost_is_made_once_more(clock, told, written):
    ledger, machine = kept(clock, (LATE, False), (None, True))
    handle = ledger.submit("/s", "pilotage-x")
    assert look_for(ledger, clock, 60, handle)[-1].state is State.RUNNING
    assert [argv[-1] for argv in machine.asked if argv[0] == "sbatch"] == ["/s", "/s"]
    assert [kind for kind, _ in told] == ["submission-unanswered", "submitted-again"]
    assert ids(written()) == ["8"]
    assert "unanswered" in written()[0].id, "the first may turn up still, when this process is no more too"


@pytest.mark.parametrize("second", [(None, True), (LATE, True)])
def test_of_two_that_turn_up_the_second_is_cancelled(clock, told, written, second):
    ledger, machine = kept(clock, (LATE, False), second)
    handle = ledger.submit("/s", "pilotage-x")
    look_for(ledger, clock, 60, handle)
    machine.turn_up()
    assert look_for(ledger, clock, 60, handle)[-1].state is State.RUNNING
    assert machine.listed == {7: "somebody else's", 8: "pilotage-x"}
    assert [argv for argv in machine.asked if argv[0] == "scancel"] == [("scancel", "9")]
    assert [kind for kind, _ in told].count("ghost-cancelled") == 1
    ledger.cancel([handle])
    assert ids(written()) == ["8"], "a third cannot be, but nobody counts on it"


def test_a_job_that_turns_up_when_nobody_wants_it_is_cancelled(clock, told, written):
    ledger, machine = kept(clock, (LATE, False))
    handle = ledger.submit("/s", "pilotage-x")
    assert ledger.cancel([handle]) == [True]
    assert ledger.look([handle])[0].state is State.CANCELLED
    assert ids(written()) == [None], "it stays in the journal"
    machine.turn_up()
    look_for(ledger, clock, 60, handle)
    assert machine.listed == {7: "somebody else's"}
    assert machine.count("sbatch") == 1


def test_two_submissions_without_an_answer_or_a_job(clock, told):
    ledger, machine = kept(clock, (LATE, False), (LATE, False))
    handle = ledger.submit("/s", "pilotage-x")
    seen = look_for(ledger, clock, 100, handle)
    assert seen[-1].state is State.FAILED
    assert seen[-1].words == "two submissions had no answer, and there is no such job"
    assert machine.count("sbatch") == 2


def test_a_second_submission_that_is_refused(clock, told):
    ledger, _ = kept(clock, (LATE, False), ((1, "", "sbatch: error: no more jobs"), False))
    handle = ledger.submit("/s", "pilotage-x")
    assert look_for(ledger, clock, 100, handle)[-1].words == "slurm refused it: sbatch: error: no more jobs"


def test_the_journal_has_the_clusters_that_a_job_was_sent_to(clock, written):
    machine = Machine(sbatch=(0, "7;b\n", ""), scancel=(0, "", ""))
    ledger = Ledger(SlurmJobs("a,b"), machine, clock=clock, sleep=clock.sleep)
    handle = ledger.submit("/s", "name")
    (entry,) = written()
    assert (entry.what["clusters"], entry.id["job_id"]) == ("a,b", "7;b")
    assert ledger.cancel([handle]) == [True]
    assert machine.asked[-1] == ("scancel", "--clusters=b", "7")


def test_a_refusal_is_not_in_the_journal_any_more(clock, written):
    ledger, _ = kept(clock, ((1, "", "no"), False))
    with pytest.raises(RefusedError):
        ledger.submit("/s", "pilotage-x")
    assert written() == []


def test_who_has_cancelled_a_job(clock, told):
    ledger, _ = made(clock, squeue=[listed("RUNNING"), listed("CANCELLED")], sacct=(0, "7|CANCELLED by 0|0:0|a|\n", ""))
    ledger.submit("/s", "name")
    seen = look_for(ledger, clock, 20)
    assert seen[-1].state is State.CANCELLED
    assert seen[-1].words == "cancelled by others, root: CANCELLED by 0"


def test_nobody_says_who_has_cancelled_a_job(clock):
    ledger, _ = made(clock, squeue=[listed("RUNNING"), listed("CANCELLED")], sacct=NO_ACCOUNTING)
    ledger.submit("/s", "name")
    assert look_for(ledger, clock, 20)[-1].words == "cancelled by others: CANCELLED"


def test_a_cancellation_of_ours_that_had_no_answer_is_ours(clock):
    ledger, _ = made(clock, squeue=[listed("RUNNING"), listed("CANCELLED")], scancel=LATE, sacct=NO_ACCOUNTING)
    ledger.submit("/s", "name")
    ledger.look(["7"])
    assert ledger.cancel(["7"]) == [False]
    assert look_for(ledger, clock, 20)[-1].words == "cancelled by this run"


def test_a_command_that_hangs_is_told_while_it_hangs(told, monkeypatch):
    monkeypatch.setattr(commands, "SLOW", 0.01)
    heard = threading.Event()
    monkeypatch.setattr(events, "tell", lambda kind, *_: (told.append(kind), heard.set()))
    host = SimpleNamespace(run=lambda argv, timeout: (heard.wait(20), Completed(argv, 0, "", ""))[1])
    asked = Commands("slurm", host, 30)
    asked.run(("squeue",))
    assert told == ["scheduler-silent"]
    assert asked.had_answer()
    assert told == ["scheduler-silent", "scheduler-answers"]


@pytest.mark.parametrize("silence", [DOWN, LATE])
def test_that_nobody_answers_is_told_soon(clock, told, silence):
    ledger, machine = made(clock, squeue=listed("RUNNING"))
    ledger.submit("/s", "name")
    look_for(ledger, clock, 200)
    assert ledger.interval == module.LATEST
    machine.answers["squeue"] = [silence]
    began = clock.now
    while not told:
        look_for(ledger, clock, 0.5)
    assert clock.now - began <= 15


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
