"""What Flux's answers mean; the shapes are those of a flux-core 0.88."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotage.hosts.base import Completed
from pilotage.schedulers.batch import NoHistoryError, RefusedError, State, UnclearError
from pilotage.schedulers.flux_jobs import FluxJobs

FLUX = FluxJobs()
NOWHERE = "flux-jobs: ERROR: Unable to connect to Flux: broker socket /run/flux/local was not found\n"


def answer(out="", err="", code=0):
    return Completed(("x",), code, out, err)


def job(number=7, **fields):
    return {"id": number, "jobid": "\u01928", "name": "block", "exception": {"occurred": False}, **fields}


def ended(result, code, wait, kind=None, note=""):
    """Make a job that has ended; ``wait`` is None for one that never ran."""
    fields = {"state": "INACTIVE", "status": result, "result": result, "success": result == "COMPLETED"}
    if kind is not None:
        fields["exception"] = {"occurred": True, "severity": 0, "type": kind, "note": note}
    return job(**fields, returncode=code, **({} if wait is None else {"waitstatus": wait}))


def only(found):
    ((number, observed),) = found.items()
    assert number == "7"
    return observed


def test_a_block_is_a_batch_script():
    assert FLUX.submit_command("/run/block") == ("flux", "batch", "/run/block")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("\u01928\n", "7"),
        ("f8\n", "7"),
        ("\u019221\n", "58"),
        ("warning: x\n\u0192zzzz\n", str(58**4 - 1)),
        ("123\n", "123"),
    ],
)
def test_the_id_of_a_submission_in_decimal(text, number):
    assert FLUX.parse_submit(answer(text)) == number


@pytest.mark.parametrize(
    ("given_", "kind", "words"),
    [
        (answer(err="[Errno 22] 'nope' is not a valid queue\n", code=1), RefusedError, "not a valid queue"),
        (answer(err=NOWHERE, code=1), RefusedError, "Unable to connect"),
        (answer(), UnclearError, "said ''"),
        (answer("\u01920OIl\n"), UnclearError, "said"),
    ],
)
def test_a_submission_that_failed(given_, kind, words):
    with pytest.raises(kind, match=words):
        FLUX.parse_submit(given_)


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({"state": "SCHED", "urgency": 16}, State.PENDING),
        ({"state": "SCHED", "urgency": 0}, State.HELD),
        ({"state": "DEPEND", "dependencies": ["begin@05:00"]}, State.PENDING),
        ({"state": "PRIORITY"}, State.PENDING),
        ({"state": "RUN", "nodelist": "a"}, State.RUNNING),
        ({"state": "CLEANUP", "nodelist": "a"}, State.RUNNING),
        ({"state": "NEWER", "nodelist": "a"}, State.RUNNING),
        ({"state": "NEWER"}, State.PENDING),
        ({"state": "INACTIVE"}, State.PENDING),
    ],
)
def test_a_state_of_a_job_that_has_not_ended(fields, state):
    observed = only(FLUX.parse_status([answer(json.dumps(job(**fields)))]))
    assert (observed.state, observed.exit_code, observed.never) == (state, None, False)


TOO_MUCH = "unsatisfiable request: need 40 exclusive node(s), only 3 eligible"


@pytest.mark.parametrize(
    ("table", "state", "code", "words"),
    [
        (ended("COMPLETED", 0, 0), State.COMPLETED, 0, "COMPLETED"),
        (ended("FAILED", 3, 768), State.FAILED, 3, "FAILED"),
        (ended("FAILED", 137, 35072), State.FAILED, 137, "FAILED"),
        (ended("FAILED", -9, 9), State.FAILED, 137, "FAILED"),
        (ended("FAILED", 127, 32512, "exec", "start failed: x"), State.FAILED, 127, "FAILED (exec: start failed: x)"),
        (ended("FAILED", 1, None, "alloc", TOO_MUCH), State.FAILED, None, f"FAILED (alloc: {TOO_MUCH})"),
        (ended("FAILED", 1, None, "dependency", "x"), State.FAILED, None, "FAILED (dependency: x)"),
        (
            ended("TIMEOUT", 142, 36352, "timeout", "resource allocation expired"),
            State.TIMEOUT,
            142,
            "TIMEOUT (timeout: resource allocation expired)",
        ),
        (ended("CANCELED", 143, 36608, "cancel"), State.CANCELLED, 143, "CANCELED (cancel)"),
        (ended("CANCELED", -128, None, "cancel"), State.CANCELLED, None, "CANCELED (cancel)"),
        (ended("NEWER", 0, 0) | {"success": True}, State.COMPLETED, 0, "INACTIVE NEWER"),
        (ended("NEWER", 1, 256), State.FAILED, 1, "INACTIVE NEWER"),
    ],
)
def test_how_a_job_has_ended(table, state, code, words):
    observed = only(FLUX.parse_status([answer(json.dumps(table))]))
    assert (observed.state, observed.exit_code, observed.words) == (state, code, words)


def test_several_jobs_are_one_question():
    assert FLUX.status_commands(["7", "8"]) == (("flux", "jobs", "--json", "7", "8"),)
    tables = [job(7, state="RUN", nodelist="a[1-2]"), job(8, state="SCHED")]
    found = FLUX.parse_status([answer(json.dumps({"jobs": tables}))])
    assert {number: (one.state, one.nodes) for number, one in found.items()} == {
        "7": (State.RUNNING, "a[1-2]"),
        "8": (State.PENDING, ""),
    }


def test_unknown_jobs_are_left_out():
    beside = answer(json.dumps({"jobs": [job(7, state="RUN")]}), "JobID 9 unknown\n")
    assert only(FLUX.parse_status([beside])).state is State.RUNNING
    assert FLUX.parse_status([answer(err="JobID 8 unknown\nJobID \u01929 unknown\n", code=1)]) == {}


@pytest.mark.parametrize(
    "silent",
    [
        answer(err=NOWHERE, code=1),
        answer(err="JobID 8 unknown\n" + NOWHERE, code=1),
        answer(code=1),
        answer(code=124, err="no answer within 30 s"),
        answer("{}"),
        answer('{"jobs": {}}'),
        answer('{"jobs": [{}]}'),
        answer("JOBID USER\n"),
    ],
)
def test_an_answer_that_says_nothing(silent):
    for parse in (lambda one: FLUX.parse_status([one]), FLUX.parse_list):
        with pytest.raises(UnclearError):
            parse(silent)


def test_there_is_no_history():
    assert FLUX.history_commands(["7"]) == ()
    with pytest.raises(NoHistoryError):
        FLUX.parse_history([])


@pytest.mark.parametrize(
    ("err", "gone"),
    [
        ("flux-cancel: ERROR: \u01928: job is inactive\n", True),
        ("flux-cancel: ERROR: \u01928: unknown job id\nflux-cancel: ERROR: \u01929: job is inactive\n", True),
        ("flux-cancel: ERROR: \u01928: job is inactive\nflux-cancel: ERROR: \u01929: Operation not permitted\n", False),
        (NOWHERE, False),
        ("", False),
    ],
)
def test_a_cancellation_that_was_refused(err, gone):
    assert FLUX.is_gone(answer(err=err, code=1)) is gone


def test_names():
    tables = [job(7, name="pilotage-x.block-0"), job(8)]
    assert FLUX.parse_list(answer(json.dumps({"jobs": tables}))) == {"7": "pilotage-x.block-0", "8": "block"}
    assert FLUX.parse_list(answer('{"jobs": []}')) == {}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=4,
)
KEYS = st.sampled_from(
    ["state", "result", "success", "nodelist", "returncode", "waitstatus", "exception", "urgency", "name"]
)


@settings(deadline=None)
@given(st.dictionaries(KEYS, VALUES | st.sampled_from(["INACTIVE", "RUN", "FAILED", "COMPLETED"])))
def test_no_value_is_too_odd(fields):
    found = only(FLUX.parse_status([answer(json.dumps(job(**fields)))]))
    assert isinstance(found.words, str)
    assert list(FLUX.parse_list(answer(json.dumps(job(**fields))))) == ["7"]
