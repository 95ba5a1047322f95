"""The future of a call is one of Python's in the eyes of everybody who waits."""

import threading
from concurrent.futures import FIRST_COMPLETED, InvalidStateError, as_completed, wait
from concurrent.futures import TimeoutError as NotYet

import pytest

from pilotage.engine.future import CallFuture


def later(act):
    thread = threading.Timer(0.05, act)
    thread.start()
    return thread


def test_a_result_that_is_there():
    future = CallFuture()
    assert not future.done()
    assert not future.cancel()
    assert not future.running()
    future.set_result(3)
    assert future.done()
    assert future.result() == 3
    assert future.exception() is None


def test_an_exception_that_is_there():
    future = CallFuture()
    future.set_exception(KeyError("a"))
    assert isinstance(future.exception(), KeyError)
    with pytest.raises(KeyError):
        future.result()


def test_none_is_a_result():
    future = CallFuture()
    future.set_result(None)
    assert future.result() is None


def test_who_waits_is_woken():
    for finish, get in (
        (lambda future: future.set_result(3), lambda future: future.result(10)),
        (lambda future: future.set_exception(ValueError(3)), lambda future: future.exception(10).args[0]),
    ):
        future = CallFuture()
        thread = later(lambda finish=finish, future=future: finish(future))
        assert get(future) == 3
        thread.join()


def test_who_waits_too_long_is_told():
    with pytest.raises(NotYet):
        CallFuture().result(0.01)
    with pytest.raises(NotYet):
        CallFuture().exception(0.01)


def test_wait_and_as_completed():
    futures = [CallFuture() for _ in range(3)]
    futures[1].set_result("there")
    assert wait(futures, return_when=FIRST_COMPLETED).done == {futures[1]}
    thread = later(lambda: [futures[0].set_result("later"), futures[2].set_exception(OSError())])
    assert {type(future.exception()).__name__ for future in as_completed(futures, timeout=10)} == {
        "NoneType",
        "OSError",
    }
    thread.join()


def test_callbacks_are_called_once_in_order_and_at_once_when_it_is_late():
    future, called = CallFuture(), []
    future.add_done_callback(lambda one: called.append((1, one.result())))
    future.add_done_callback(lambda _: 1 / 0)  # somebody else's mistake
    future.add_done_callback(lambda one: called.append((2, one.done())))
    future.set_result("x")
    future.add_done_callback(lambda one: called.append((3, one.result())))
    assert called == [(1, "x"), (2, True), (3, "x")]


def test_there_is_one_outcome():
    future = CallFuture()
    future.set_result(1)
    for again in (lambda: future.set_result(2), lambda: future.set_exception(OSError())):
        with pytest.raises(InvalidStateError):
            again()
    assert future.result() == 1


def test_many_threads_wait_and_finish_at_once():
    futures = [CallFuture() for _ in range(300)]
    got, lock = [], threading.Lock()

    def take():
        for future in futures:
            value = future.result(30)
            with lock:
                got.append(value)

    takers = [threading.Thread(target=take) for _ in range(3)]
    for thread in takers:
        thread.start()
    for number, future in enumerate(futures):
        future.set_result(number)
    for thread in takers:
        thread.join()
    assert sorted(got) == sorted(list(range(300)) * 3)
