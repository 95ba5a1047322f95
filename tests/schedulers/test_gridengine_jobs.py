"""What Grid Engine's answers mean; the shapes are those of Son of Grid Engine 8.1."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotage.hosts.base import Completed
from pilotage.schedulers.batch import RefusedError, State, UnclearError
from pilotage.schedulers.gridengine_jobs import GridEngineJobs

GE = GridEngineJobs()
DOWN = 'unable to send message to qmaster using port 6444 on host "head": got send error\n'
SILENT = "error: commlib error: got select error (Connection refused)\n" + DOWN
NO_DETAILS = Completed(("x",), 1, "Following jobs do not exist: \n9\n", "")


def answer(out="", err="", code=0):
    return Completed(("x",), code, out, err)


def listed(*jobs):
    """Make a list of jobs given as (number, letters, queue and node)."""
    rows = [
        f"<job_list state='x'><JB_job_number>{number}</JB_job_number><JAT_prio>0.5</JAT_prio>"
        f"<JB_name>block-{number}</JB_name><JB_owner>ada</JB_owner><state>{letters}</state>"
        f"<queue_name>{queue}</queue_name><slots>1</slots></job_list>"
        for number, letters, queue in jobs
    ]
    head = "<?xml version='1.0'?>\n<job_info xmlns:xsd=\"http://www.example.org/schema\">\n"
    return answer(f"{head}<queue_info>{''.join(rows)}</queue_info>\n<job_info>\n</job_info>\n</job_info>\n")


def record(number=7, **changes):
    """Make a record of qacct."""
    fields = {
        "qname": "all.q",
        "hostname": "node1",
        "owner": "ada",
        "jobname": "block",
        "jobnumber": number,
        "taskid": "undefined",
        "end_time": "Tue Nov 14 22:13:31 2023",
        "failed": "0    ",
        "exit_status": "0                   ",
        "ru_wallclock": "10s",
        "category": "NONE",
        **changes,
    }
    return "=" * 62 + "\n" + "".join(f"{key:<12} {value}\n" for key, value in fields.items())


def only(found):
    ((number, observed),) = found.items()
    assert number == "7"
    return observed


@pytest.mark.parametrize("text", ["7\n", "the verifier has set a queue\n7\n"])
def test_the_id_of_a_submission(text):
    assert GE.submit_command("/run/block") == ("qsub", "-terse", "/run/block")
    assert GE.parse_submit(answer(text)) == "7"


@pytest.mark.parametrize(
    ("given_", "kind", "words"),
    [
        (
            answer(err='Unable to run job: Job was rejected because of "x".\nExiting.\n', code=1),
            RefusedError,
            "rejected",
        ),
        (answer(err=f"Unable to run job: {DOWN}Exiting.\n", code=1), RefusedError, "send error"),
        (answer(err="Unable to run job: too many jobs.\n", code=25), RefusedError, "too many"),
        (
            answer(err="Unable to run job: failed receiving gdi request response for mid=1.\n", code=1),
            UnclearError,
            "gdi",
        ),
        (answer(), UnclearError, "said ''"),
        (answer('Your job 7 ("block") has been submitted\n'), UnclearError, "Your job"),
    ],
)
def test_a_submission_that_failed(given_, kind, words):
    with pytest.raises(kind, match=words):
        GE.parse_submit(given_)


@pytest.mark.parametrize(
    ("letters", "queue", "state"),
    [
        ("qw", "", State.PENDING),
        ("Rq", "", State.PENDING),
        ("hqw", "", State.HELD),
        ("hRwq", "", State.HELD),
        ("t", "all.q@node1", State.RUNNING),
        ("r", "all.q@node1", State.RUNNING),
        ("hr", "all.q@node1", State.RUNNING),
        ("Rr", "all.q@node1", State.RUNNING),
        ("S", "all.q@node1", State.RUNNING),
        ("T", "all.q@node1", State.RUNNING),
        ("dr", "all.q@node1", State.RUNNING),
        ("dt", "all.q@node1", State.RUNNING),
        ("?", "all.q@node1", State.RUNNING),
        ("?", "", State.PENDING),
        ("", "", State.PENDING),
    ],
)
def test_what_letters_mean(letters, queue, state):
    observed = only(GE.parse_status([listed((7, letters, queue)), NO_DETAILS]))
    assert (observed.state, observed.never, observed.words) == (state, False, letters)
    assert observed.nodes == ("node1" if queue else "")


def test_a_job_in_error_can_never_run_and_the_reason_is_told():
    details = (
        "=" * 62 + "\njob_number:                 7\nowner:    ada\nerror reason    1:          can't chdir to /x\n"
    )
    details += "error reason    1:          the second time\n" + "=" * 62 + "\njob_number:    8\n"
    found = GE.parse_status([listed((7, "Eqw", ""), (8, "qw", "")), answer(details)])
    assert {number: (one.state, one.never, one.words) for number, one in found.items()} == {
        "7": (State.PENDING, True, "Eqw (can't chdir to /x)"),
        "8": (State.PENDING, False, "qw"),
    }


@pytest.mark.parametrize(
    "details", [NO_DETAILS, answer(code=124), answer("error reason 1: x\n"), answer(err=SILENT, code=1)]
)
def test_without_details_there_is_the_state_alone(details):
    observed = only(GE.parse_status([listed((7, "Eqw", "")), details]))
    assert (observed.never, observed.words) == (True, "Eqw")


def test_the_first_of_several_lines_of_a_job_counts():
    """Which is a running one: those that wait follow."""
    assert only(GE.parse_status([listed((7, "r", "all.q@node1"), (7, "qw", "")), NO_DETAILS])).state is State.RUNNING


def test_what_is_over_is_not_listed():
    assert GE.parse_status([listed((7, "z", "")), NO_DETAILS]) == {}
    assert GE.parse_status([listed(), NO_DETAILS]) == {}


@pytest.mark.parametrize(
    "silent",
    [
        answer(err=SILENT, code=1),
        answer(code=124, err="no answer within 30 s"),
        answer(),
        answer("<job_info>"),
        answer("<message/>"),
        answer("job-ID  prior\n"),
        answer("<job_info>\0</job_info>"),
        answer("\ud800"),
    ],
)
def test_a_list_that_says_nothing(silent):
    with pytest.raises(UnclearError):
        GE.parse_status([silent, NO_DETAILS])
    with pytest.raises(UnclearError):
        GE.parse_list(silent)


def test_of_several_jobs_qacct_would_read_the_first():
    assert GE.history_commands(["7", "8"]) == (("qacct", "-j", "7"), ("qacct", "-j", "8"))


KILLED = {"failed": "100 : assumedly after job", "exit_status": "137                  (Killed)"}


@pytest.mark.parametrize(
    ("changes", "state", "code", "words"),
    [
        ({}, State.COMPLETED, 0, "exit status 0"),
        ({"exit_status": "3                   "}, State.FAILED, 3, "exit status 3"),
        (KILLED, State.FAILED, 137, "exit status 137 (Killed) (a job that was deleted looks the same)"),
        (KILLED | {"category": "-l h_rt=10"}, State.TIMEOUT, 137, "failed 100"),
        (KILLED | {"category": "-u ada -l h_rt=10,m=1"}, State.TIMEOUT, 137, "failed 100"),
        (KILLED | {"category": "-l h_rt=00:00:10"}, State.TIMEOUT, 137, "failed 100"),
        (KILLED | {"category": "-l h_rt=11"}, State.FAILED, 137, "failed 100"),
        (KILLED | {"category": "-l h_rt=00:01:00"}, State.FAILED, 137, "failed 100"),
        (KILLED | {"category": "-l h_rt=01:00:00", "ru_wallclock": "100.5"}, State.FAILED, 137, "failed 100"),
        (KILLED | {"category": "-l h_rt=10", "ru_wallclock": "unknown"}, State.FAILED, 137, "failed 100"),
        (KILLED | {"deleted_by": "ada@head"}, State.CANCELLED, 137, "deleted by ada@head"),
        (KILLED | {"deleted_by": "NONE"}, State.FAILED, 137, "failed 100"),
        ({"category": "-l h_rt=10"}, State.COMPLETED, 0, "exit status 0"),
        ({"exit_status": "1", "category": "-l h_rt=10"}, State.FAILED, 1, "exit status 1"),
        ({"failed": "37  : qmaster enforced h_rt limit", "exit_status": "137"}, State.TIMEOUT, 137, "failed 37"),
        ({"failed": "26  : opening output file"}, State.FAILED, None, "failed 26 : opening output file"),
        ({"failed": "21  : in recognizing job"}, State.FAILED, None, "failed 21"),
    ],
)
def test_how_a_job_has_ended(changes, state, code, words):
    observed = only(GE.parse_history([answer(record(**changes))]))
    assert (observed.state, observed.exit_code, observed.nodes) == (state, code, "node1")
    assert words in observed.words


@pytest.mark.parametrize(
    "text",
    [
        record(failed="25  : rescheduling"),
        record(failed="24  : migrating"),
        record(failed="unknown"),
        record(exit_status="unknown"),
        record(jobnumber="x"),
        record(pe_taskid="1.node2", exit_status="0"),
        "",
        "Total System Usage\n",
    ],
)
def test_a_record_that_is_not_the_end(text):
    assert GE.parse_history([answer(text)]) == {}


def test_the_last_start_counts():
    found = GE.parse_history([answer(record(failed="25  : rescheduling") + record(exit_status="3"))])
    assert only(found).exit_code == 3
    found = GE.parse_history([answer(record(exit_status="3") + record(exit_status="0"))])
    assert only(found).state is State.COMPLETED


def test_the_accounting_may_be_late_or_absent():
    late = answer(err="error: job id 9 not found\n", code=1)
    first = answer("no jobs running since startup\n", "/x/accounting: No such file or directory\n", 1)
    assert only(GE.parse_history([late, first, answer(record())])).state is State.COMPLETED
    for silent in (answer(code=124), answer(code=127, err="qacct: not found"), answer(err="error: x\n", code=1)):
        with pytest.raises(UnclearError):
            GE.parse_history([answer(record()), silent])


@pytest.mark.parametrize(
    ("out", "gone"),
    [
        ('denied: job "7" does not exist\n', True),
        ('ada has deleted job 8\ndenied: job "7" does not exist\n', True),
        ('ada has registered the job 8 for deletion\ndenied: job "7" does not exist\n', True),
        ('denied: job "7" does not exist\nbob - you do not have the necessary privileges to delete job "8"\n', False),
        (SILENT, False),
        ("", False),
    ],
)
def test_a_deletion_that_was_refused(out, gone):
    assert GE.is_gone(answer(out, code=1)) is gone
    assert GE.is_gone(answer(err=out, code=1)) is gone


def test_names():
    assert GE.parse_list(listed((7, "r", "all.q@node1"), (8, "qw", ""))) == {"7": "block-7", "8": "block-8"}


@settings(deadline=None)
@given(st.text(), st.text(), st.text())
def test_no_answer_of_qacct_and_no_details_are_too_odd(text, failed, status):
    GE.parse_history(
        [answer(text), answer(record(failed=failed, exit_status=status, category=text, ru_wallclock=text))]
    )
    assert only(GE.parse_status([listed((7, "Eqw", "")), answer("job_number: 7\n" + text)])).never
