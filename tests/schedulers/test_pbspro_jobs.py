"""What PBS Pro's answers mean; the shapes are those of an OpenPBS 23.06."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotage.hosts.base import Completed
from pilotage.schedulers.batch import NoHistoryError, RefusedError, State, UnclearError
from pilotage.schedulers.pbspro_jobs import PBSProJobs

PBS = PBSProJobs()
HEAD = {"timestamp": 1700000000, "pbs_version": "23.06.06", "pbs_server": "head"}
UNKNOWN = "qstat: Unknown Job Id 9.head\n"
OVER = "qstat: 9.head Job has finished, use -x or -H to obtain historical job information\n"
NO_HISTORY = "qstat: PBS is not configured to maintain job history 9.head\n"
REFUSED = "Connection refused\nqstat: cannot connect to server head (errno=15010)\n"


def answer(out="", err="", code=0):
    return Completed(("x",), code, out, err)


def jobs(**tables):
    """Make an answer in JSON of jobs by number."""
    return answer(
        json.dumps({**HEAD, "Jobs": {f"{key[1:]}.head": table for key, table in tables.items()}}, indent="\t")
    )


def none(err, code):
    """Make an answer in JSON without jobs."""
    return answer(json.dumps(HEAD), err, code)


def only(found):
    ((job, observed),) = found.items()
    assert job == "7.head"
    return observed


@pytest.mark.parametrize(
    ("text", "job"),
    [
        ("7.head\n", "7.head"),
        ("7.pbs-01.lab.example.org\n", "7.pbs-01.lab.example.org"),
        ("your allocation has 12 hours left\n7.head\n", "7.head"),
    ],
)
def test_the_id_of_a_submission(text, job):
    assert PBS.parse_submit(answer(text)) == job


@pytest.mark.parametrize(
    ("given_", "kind", "words"),
    [
        (answer(err="qsub: Unknown queue\n", code=170), RefusedError, "Unknown queue"),
        (answer(err="qsub: Job violates queue and/or server resource limits\n", code=188), RefusedError, "limits"),
        (answer(err="qsub: would exceed queue generic's per-user limit\n", code=38), RefusedError, "per-user"),
        (answer(err=REFUSED, code=162), RefusedError, "cannot connect"),
        (answer(err="qsub: End of File\n", code=175), UnclearError, "End of File"),
        (answer(), UnclearError, "said ''"),
        (answer("pbs_version = 23\n"), UnclearError, "pbs_version"),
    ],
)
def test_a_submission_that_failed(given_, kind, words):
    with pytest.raises(kind, match=words):
        PBS.parse_submit(given_)


def test_each_job_is_a_question_of_its_own():
    assert PBS.status_commands(["7.head", "8.head"]) == (
        ("qstat", "-f", "-F", "json", "7.head"),
        ("qstat", "-f", "-F", "json", "8.head"),
    )
    assert PBS.history_commands(["7.head"]) == (("qstat", "-x", "-f", "-F", "json", "7.head"),)


@pytest.mark.parametrize(
    ("table", "state"),
    [
        ({"job_state": "Q", "comment": "Not Running: Queue not started."}, State.PENDING),
        ({"job_state": "W"}, State.PENDING),
        ({"job_state": "T"}, State.PENDING),
        ({"job_state": "H", "Hold_Types": "u", "substate": 20}, State.HELD),
        ({"job_state": "R", "exec_host": "a/0", "comment": "Job run at noon"}, State.RUNNING),
        ({"job_state": "E", "exec_host": "a/0", "Exit_status": 0}, State.RUNNING),
        ({"job_state": "S", "exec_host": "a/0"}, State.RUNNING),
        ({"job_state": "New", "exec_host": "a/0"}, State.RUNNING),
        ({"job_state": "New"}, State.PENDING),
        ({}, State.PENDING),
    ],
)
def test_a_state_of_a_job_that_has_not_ended(table, state):
    observed = only(PBS.parse_status([jobs(_7=table)]))
    assert (observed.state, observed.exit_code, observed.never) == (state, None, False)


def test_a_job_whose_node_was_lost_waits_again():
    table = {"job_state": "Q", "Exit_status": -20, "run_count": 1, "comment": "Not Running: no room"}
    observed = only(PBS.parse_status([jobs(_7=table)]))
    assert (observed.state, observed.exit_code, observed.words) == (State.PENDING, None, "Q (Not Running: no room)")


def test_what_can_never_run_is_told():
    comment = "Can Never Run: Insufficient amount of resource: ncpus (R: 64 A: 8 T: 8)"
    observed = only(PBS.parse_status([jobs(_7={"job_state": "Q", "comment": comment})]))
    assert (observed.state, observed.never) == (State.PENDING, True)
    assert comment in observed.words
    running = only(PBS.parse_status([jobs(_7={"job_state": "R", "comment": comment})]))
    assert (running.state, running.never) == (State.RUNNING, False)


def test_a_comment_may_have_line_breaks():
    text = '{"pbs_server": "head", "Jobs": {"7.head": {"job_state": "Q", "comment": "one\n\ttwo"}}}'
    assert only(PBS.parse_status([answer(text)])).words == "Q (one\n\ttwo)"


def test_nodes_are_named_once():
    table = {"job_state": "R", "exec_host": "b/0*2+a/1+b/2"}
    assert only(PBS.parse_status([jobs(_7=table)])).nodes == "b,a"


def test_jobs_that_are_unknown_or_over_are_left_out():
    answers = [none(UNKNOWN, 153), jobs(_7={"job_state": "R"}), none(OVER, 35)]
    assert only(PBS.parse_status(answers)).state is State.RUNNING


@pytest.mark.parametrize(
    "silent",
    [
        none(REFUSED, 255),
        none("", 0),
        none("", 153),
        jobs(),
        answer(code=124, err="no answer within 30 s"),
        answer("Job id   Name\n7.head   x\n"),
        answer('{"Jobs": [1]}'),
        answer('{"Jobs": {"7.head": "R"}}'),
        none("qstat: Unknown queue destination x\n", 170),
    ],
)
def test_one_answer_that_says_nothing_is_taken_for_all(silent):
    with pytest.raises(UnclearError):
        PBS.parse_status([jobs(_7={"job_state": "R"}), silent])


@pytest.mark.parametrize(
    ("table", "state", "code", "words"),
    [
        ({"substate": 92, "Exit_status": 0, "comment": "Job run and finished"}, State.COMPLETED, 0, "finished"),
        ({"substate": 92, "Exit_status": "0"}, State.COMPLETED, 0, "F"),
        ({"substate": 92, "Exit_status": 0, "Stageout_status": 0}, State.COMPLETED, 0, "F"),
        ({"substate": 93, "Exit_status": 3, "comment": "Job run and failed"}, State.FAILED, 3, "failed; Exit_status 3"),
        ({"substate": 93, "Exit_status": 137}, State.FAILED, 137, "137"),
        ({"substate": 93, "Exit_status": 265}, State.FAILED, 137, "265"),
        ({"substate": 91, "Exit_status": 271, "comment": "terminated by ada@head"}, State.CANCELLED, 143, "by ada"),
        ({"substate": 91, "Hold_Types": "u"}, State.CANCELLED, None, "deleted"),
        ({"substate": 92, "depend": "afterok:6.head@head"}, State.CANCELLED, None, "before it ran"),
        (
            {"substate": 93, "Exit_status": -29, "comment": "exceeded resource walltime"},
            State.TIMEOUT,
            None,
            "walltime",
        ),
        ({"substate": 93, "Exit_status": 271, "comment": "exceeded resource walltime"}, State.TIMEOUT, 143, "walltime"),
        ({"substate": 93, "Exit_status": -29}, State.TIMEOUT, None, "F (over its wall time)"),
        ({"substate": 93, "Exit_status": -20, "comment": "Job run"}, State.FAILED, None, "a node was lost"),
        ({"substate": 93, "Exit_status": -2}, State.FAILED, None, "Exit_status -2"),
        ({}, State.FAILED, None, "no Exit_status"),
    ],
)
def test_how_a_job_has_ended(table, state, code, words):
    observed = only(PBS.parse_history([jobs(_7={"job_state": "F", **table})]))
    assert (observed.state, observed.exit_code) == (state, code)
    assert words in observed.words


def test_the_history_leaves_out_what_has_not_ended():
    answers = [none(UNKNOWN, 153), jobs(_8={"job_state": "R"}), jobs(_7={"job_state": "F", "Exit_status": 0})]
    assert only(PBS.parse_history(answers)).state is State.COMPLETED


def test_a_server_without_history_and_one_that_is_down():
    with pytest.raises(NoHistoryError, match="not configured"):
        PBS.parse_history([none(NO_HISTORY, 0)])
    with pytest.raises(UnclearError) as caught:
        PBS.parse_history([none(REFUSED, 255)])
    assert not isinstance(caught.value, NoHistoryError)


ENVIRONMENT = """{
\t"pbs_server":"head",
\t"Jobs":{
\t\t"7.head":{
\t\t\t"Job_Name":"block",
\t\t\t"job_state":"R",
\t\t\t"Variable_List":{
\t\t\t\t"N":%s,
\t\t\t\t"PBS_O_HOST":"head"
\t\t\t},
\t\t\t"Submit_arguments":"%s",
\t\t\t"project":"p"
\t\t}
\t}
}
"""


@pytest.mark.parametrize(
    ("value", "arguments"),
    [
        ("7", "-v N=007"),
        ("007", "x"),
        (".5", "x"),
        (r'"a\,b"', r"-v N=a\,b"),
        ('"a\nb\tc"', "x"),
        ('"\u00e9\u2192"', ""),
    ],
)
def test_no_value_of_the_environment_hides_a_job(value, arguments):
    text = ENVIRONMENT % (value, arguments)
    assert only(PBS.parse_status([answer(text)])).state is State.RUNNING
    assert PBS.parse_list(answer(text)) == {"7.head": "block"}


@pytest.mark.parametrize(
    ("err", "code", "gone"),
    [
        ("qdel: Unknown Job Id 7.head\n", 153, True),
        ("qdel: Job has finished 7.head\n", 35, True),
        ("qdel: Unknown Job Id 7.head\nqdel: Job has finished 8.head\n", 153, True),
        ("qdel: Unknown Job Id 7.head\nqdel: Unauthorized Request  8.head\n", 153, False),
        ("qdel: Request invalid for state of job 7.head\n", 168, False),
        ("Connection refused\nCouldn't connect to cluster: head\n", 162, False),
        ("", 124, False),
    ],
)
def test_a_deletion_that_was_refused(err, code, gone):
    assert PBS.is_gone(answer(err=err, code=code)) is gone


def test_names():
    tables = {"_7": {"Job_Name": "pilotage-x.block-0"}, "_8": {"Job_Name": 7}}
    assert PBS.parse_list(jobs(**tables)) == {"7.head": "pilotage-x.block-0", "8.head": "7"}
    assert PBS.parse_list(none("", 0)) == {}
    for silent in (none(REFUSED, 255), answer(), answer("[]"), answer("{}")):
        with pytest.raises(UnclearError):
            PBS.parse_list(silent)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=4,
)
KEYS = st.sampled_from(["job_state", "comment", "exec_host", "Exit_status", "substate", "Job_Name"])


@settings(deadline=None)
@given(st.dictionaries(KEYS, VALUES | st.sampled_from(["F", "Q", "R", "a/0+b/0", -29, 271])))
def test_no_value_is_too_odd(table):
    for parse in (PBS.parse_status, PBS.parse_history):
        for observed in parse([jobs(_7=table)]).values():
            assert isinstance(observed.words, str)
            assert observed.exit_code is None or observed.exit_code >= 0
    assert list(PBS.parse_list(jobs(_7=table))) == ["7.head"]
