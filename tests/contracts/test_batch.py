"""What every scheduler of batch jobs keeps, whoever wrote it: `schedulers.batch.Batch`."""

import contextlib
import json
import shlex

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pilotage.hosts.base import Completed
from pilotage.schedulers.batch import NoHistoryError, Observed, RefusedError, UnclearError
from pilotage.schedulers.flux_jobs import FluxJobs
from pilotage.schedulers.gridengine_jobs import GridEngineJobs
from pilotage.schedulers.pbspro_jobs import PBSProJobs
from pilotage.schedulers.slurm_jobs import SlurmJobs

CLASSES = {one.name: one for one in (SlurmJobs, PBSProJobs, FluxJobs, GridEngineJobs)}
PROGRAMS = {
    "slurm": {"sbatch", "squeue", "sacct", "scancel"},
    "pbspro": {"qsub", "qstat", "qdel"},
    "flux": {"flux"},
    "gridengine": {"qsub", "qstat", "qacct", "qdel"},
}
REFUSALS = {
    "slurm": "sbatch: error: invalid partition specified: nope\n",
    "pbspro": "qsub: Unknown queue\n",
    "flux": "[Errno 22] 'nope' is not a valid queue\n",
    "gridengine": 'Unable to run job: Job was rejected because job requests unknown queue "nope".\nExiting.\n',
}
DOWN = {
    "slurm": "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n",
    "pbspro": "Connection refused\nqstat: cannot connect to server head (errno=15010)\n",
    "flux": "flux-jobs: ERROR: Unable to connect to Flux: broker socket /run/flux/local was not found\n",
    "gridengine": "error: commlib error: got select error (Connection refused)\n",
}
GONE = {
    "slurm": "scancel: error: Kill job error on job id 7: Invalid job id specified\n",
    "pbspro": "qdel: Unknown Job Id 7.head\n",
    "flux": "flux-cancel: ERROR: \u01928: unknown job id\n",
    "gridengine": 'denied: job "7" does not exist\n',
}
IDS = {
    "slurm": ["7", "8", "9"],
    "pbspro": ["7.head", "8.head", "9.head"],
    "flux": ["7", "8", "9"],
    "gridengine": ["7", "8", "9"],
}
GARBAGE = [
    "",
    "\n",
    "{}",
    "[]",
    "null",
    "hello",
    "7",
    "0\n",
    "{" * 5000,
    "[" * 100_000,
    '{"Jobs": null}',
    '{"jobs": null}',
    "<job_info/>",
    "<html><body>Log in</body></html>",
    "7|",
    "COMPLETED",
    "bash: warning: setlocale: cannot change locale\n",
]
UNCHANGED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def answer(out="", err="", code=0):
    return Completed(("x",), code, out, err)


@pytest.fixture(params=CLASSES)
def name(request):
    return request.param


@pytest.fixture
def batch(name):
    return CLASSES[name]()


@pytest.fixture
def statuses(batch, name):
    """Parse the same answer to every question for states."""
    count = len(batch.status_commands(IDS[name]))
    return lambda one: batch.parse_status([one] * count)


@pytest.fixture
def histories(batch, name):
    """Parse the same answer to every question for the history."""
    count = len(batch.history_commands(IDS[name]))
    return lambda one: batch.parse_history([one] * count)


class TestCommands:
    def test_they_are_texts_and_start_known_programs(self, batch, name):
        ids = IDS[name]
        commands = [batch.submit_command("/run/block"), batch.cancel_command(ids), batch.list_command("ada")]
        commands += [*batch.status_commands(ids), *batch.history_commands(ids)]
        for command in commands:
            assert isinstance(command, tuple)
            assert all(isinstance(word, str) and word.isprintable() and word == word.strip() for word in command)
            assert all(command)
            assert command[0] in PROGRAMS[name]

    def test_a_path_is_one_word_whatever_is_in_it(self, batch):
        path = "/home/ada/my runs/$(date);&|<>*?'\"`\n-x"
        assert batch.submit_command(path)[-1] == path

    def test_a_shell_reads_them_back(self, batch, name):
        """As where they are sent through ssh."""
        for command in (
            *batch.status_commands(IDS[name]),
            batch.list_command("ada"),
            *batch.history_commands(IDS[name]),
        ):
            assert tuple(shlex.split(shlex.join(command))) == command
            assert not set("".join(command)) & set("\n\0\\'\"`$;&<>*?~!(){}[]#")

    @pytest.mark.parametrize("count", [1, 3])
    def test_every_job_is_asked_for_and_cancelled(self, batch, name, count):
        ids = IDS[name][:count]
        for commands in (batch.status_commands(ids), batch.history_commands(ids), (batch.cancel_command(ids),)):
            named = {part for command in commands for word in command for part in word.partition("=")[2].split(",")}
            named |= {part for command in commands for word in command for part in word.split(",")}
            assert not commands or set(ids) <= named


class TestSubmission:
    def test_a_refusal_has_the_schedulers_words(self, batch, name):
        with pytest.raises(RefusedError) as caught:
            batch.parse_submit(answer(err=REFUSALS[name], code=1))
        assert str(caught.value) == " ".join(REFUSALS[name].split())

    def test_a_refusal_without_words_has_the_exit_code(self, batch):
        with pytest.raises(RefusedError, match="17"):
            batch.parse_submit(answer(code=17))

    @pytest.mark.parametrize("words", ["", "no answer within 30 s"])
    def test_a_time_out_is_unclear(self, batch, words):
        with pytest.raises(UnclearError):
            batch.parse_submit(answer(err=words, code=124))

    @pytest.mark.parametrize("text", ["", "\n", "hello", "1 2", "{}", "Your job", "\u0663\n", "-7\n"])
    def test_success_without_an_id_is_unclear(self, batch, text):
        with pytest.raises(UnclearError):
            batch.parse_submit(answer(text))

    @UNCHANGED
    @given(out=st.text(), err=st.text(), code=st.sampled_from([0, 1, 124, 127, 255]))
    def test_no_answer_is_too_strange(self, batch, out, err, code):
        with contextlib.suppress(RefusedError, UnclearError):
            job = batch.parse_submit(answer(out, err, code))
            assert code == 0
            assert job
            assert job in out or job.isdecimal()


class TestStates:
    @pytest.mark.parametrize("code", [0, 1, 35, 124, 127, 137, 153, 255])
    @pytest.mark.parametrize("text", GARBAGE)
    def test_garbage_is_no_end(self, statuses, text, code):
        for err in ("", "x\n"):
            with contextlib.suppress(UnclearError):
                assert not any(observed.state.final for observed in statuses(answer(text, err, code)).values())

    @pytest.mark.parametrize("code", [124, 127, 255])
    def test_silence_is_unclear(self, statuses, batch, name, code):
        with pytest.raises(UnclearError):
            statuses(answer(err="no answer within 30 s", code=code))
        with pytest.raises(UnclearError):
            batch.parse_list(answer(code=code))

    def test_a_scheduler_that_is_down_is_unclear_and_says_why(self, statuses, batch, name):
        for parse in (statuses, batch.parse_list):
            with pytest.raises(UnclearError) as caught:
                parse(answer(err=DOWN[name], code=1))
            assert not isinstance(caught.value, NoHistoryError)
            assert " ".join(DOWN[name].split()) in str(caught.value)

    @UNCHANGED
    @given(
        texts=st.lists(st.text() | st.sampled_from(GARBAGE), min_size=3, max_size=3),
        err=st.text(),
        code=st.sampled_from([0, 1, 35, 124, 153, 255]),
    )
    def test_no_text_raises_anything_else(self, batch, name, texts, err, code):
        count = len(batch.status_commands(IDS[name]))
        with contextlib.suppress(UnclearError):
            found = batch.parse_status([answer(text, err, code) for text in texts[:count]])
            assert all(isinstance(observed, Observed) for observed in found.values())
            assert not any(observed.state.final for observed in found.values())

    @UNCHANGED
    @given(
        value=st.recursive(
            st.none() | st.integers() | st.text(),
            lambda inner: (
                st.lists(inner)
                | st.dictionaries(st.sampled_from(["Jobs", "jobs", "7.head", "id", "state", "job_state"]), inner)
            ),
            max_leaves=6,
        )
    )
    def test_no_json_raises_anything_else(self, statuses, batch, value):
        for parse in (statuses, batch.parse_list):
            with contextlib.suppress(UnclearError):
                assert isinstance(parse(answer(json.dumps(value))), dict)


class TestHistory:
    @pytest.mark.parametrize("text", GARBAGE)
    def test_garbage_is_no_end(self, histories, text):
        for code in (0, 1, 124, 153):
            with contextlib.suppress(UnclearError):
                assert histories(answer(text, "", code)) == {}

    def test_a_time_out_is_not_the_end_of_history(self, histories, batch, name):
        if not batch.history_commands(IDS[name]):
            pytest.skip("it keeps no history")
        with pytest.raises(UnclearError) as caught:
            histories(answer(err="no answer within 30 s", code=124))
        assert not isinstance(caught.value, NoHistoryError)

    @UNCHANGED
    @given(out=st.text(), err=st.text(), code=st.integers(0, 255))
    def test_no_text_raises_anything_else(self, histories, out, err, code):
        with contextlib.suppress(UnclearError):
            assert all(observed.state.final for observed in histories(answer(out, err, code)).values())


class TestCancellation:
    def test_a_job_that_is_not_there_is_gone(self, batch, name):
        assert batch.is_gone(answer(err=GONE[name], code=1))

    @pytest.mark.parametrize("words", ["", "no answer within 30 s", "Permission denied\n"])
    def test_another_refusal_is_not(self, batch, name, words):
        for err in (words, DOWN[name]):
            assert batch.is_gone(answer(err=err, code=124)) is False

    @UNCHANGED
    @given(out=st.text(), err=st.text())
    def test_no_text_is_too_strange(self, batch, out, err):
        assert batch.is_gone(answer(out, err, 1)) is False
