"""Running a chunk, as a thread does and as a worker does."""

import threading

import pytest
from parsl.serialize import deserialize, serialize

from pilotage.worker.chunks import DONE, Failure, chunked, run_chunk


@pytest.fixture(params=["thread", "worker"])
def run(request, monkeypatch):
    """Run a chunk; a worker's outcome goes through Parsl's serializer."""
    monkeypatch.delenv("PARSL_WORKER_RANK", raising=False)
    if request.param == "thread":
        return run_chunk
    monkeypatch.setenv("PARSL_WORKER_RANK", "0")
    return lambda *arguments: deserialize(serialize(run_chunk(*arguments)))


@pytest.mark.parametrize(
    "values",
    [[1, -2, 2**63 - 1], [2**63, 1], [0.5, float("inf"), -0.0], [True, 1], [1, 1.0], ["a", None], [(1, [2])], []],
    ids=repr,
)
def test_results_come_as_they_are(run, values):
    report = run(lambda x: x, False, values)
    assert list(map(repr, report.results)) == list(map(repr, values))
    assert report.seconds >= 0


def test_several_arguments(run):
    assert list(run(pow, True, [(2, 5), (3, 2)]).results) == [32, 9]


def test_what_was_done_before_an_exception_comes_along(run):
    failure = run(lambda x: 6 // x, False, [1, 2, 0, 3])
    assert isinstance(failure, Failure)
    with pytest.raises(ZeroDivisionError) as caught:
        failure.reraise()
    assert list(vars(caught.value)[DONE].results) == [6, 3]


def test_stop_iteration_and_system_exit_are_failures_of_their_item(run):
    def stop(x):
        raise StopIteration if x else SystemExit(3)

    for item, words in ((1, "stop raised StopIteration"), (0, r"SystemExit\(3\)")):
        with pytest.raises(RuntimeError, match=words):
            run(stop, False, [item]).reraise()


def test_a_result_that_cannot_be_sent_fails_alone(monkeypatch):
    monkeypatch.setenv("PARSL_WORKER_RANK", "0")
    failure = deserialize(serialize(run_chunk(lambda x: (i for i in x) if x == [2] else x, False, [[1], [2], [3]])))
    with pytest.raises(TypeError, match="generator") as caught:
        failure.reraise()
    assert caught.value.__notes__ == ["The call has succeeded, but its result, a generator, cannot be sent."]
    assert list(vars(caught.value)[DONE].results) == [[1]]


def test_an_exception_that_cannot_be_sent_keeps_its_class_and_words(run):
    def fail(x):
        raise ValueError(x, threading.Lock())

    with pytest.raises(ValueError, match="7"):
        run(fail, False, [7]).reraise()


def test_an_exception_that_refuses_attributes():
    class FrozenError(Exception):
        def __setattr__(self, name, value):
            raise AttributeError(name)

    def fail(x):
        raise FrozenError

    with pytest.raises(FrozenError) as caught:
        run_chunk(fail, False, [7]).reraise()
    assert vars(caught.value)[DONE].results == []


def test_the_size_is_that_of_items_and_results(run):
    class Large:
        def __reduce__(self):
            return bytes, (b"x" * int("1000"),)  # each its own

    assert run(lambda x: 1, False, [b"x" * 1000] * 10).size == pytest.approx(10_000, rel=0.1)
    assert run_chunk(lambda x: Large(), False, [1] * 10).size == pytest.approx(10_000, rel=0.1)


def test_the_task_takes_what_parsl_adds():
    assert chunked(str, False)("which", [1, 2], parsl_resource_specification={"priority": 1}).results == ["1", "2"]
