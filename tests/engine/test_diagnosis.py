"""What of a call cannot be sent, in words."""

import functools
import pickle

import cloudpickle
import pytest
from parsl.app.errors import wrap_error

from pilotage.engine.diagnosis import culprit

numbers = (n for n in "abc")


def can_send(value):
    try:
        cloudpickle.dumps(value)
    except (TypeError, pickle.PicklingError):
        return False
    return True


def helper():
    return next(numbers)


def uses_helper(x=None, *, y=None):
    return helper()


def recursive(n):
    return recursive(n - 1) if n else next(numbers)


def fine(x, y=1):
    return x


def closure(held):
    return lambda: held


def with_default(w, x=numbers, *, y=1):
    return x


def with_named_default(w, x=1, *, y=numbers):
    return x


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ((fine, (1, numbers), {}), "argument 2, a generator"),
        ((fine, (1,), {"y": numbers}), "argument 'y', a generator"),
        ((uses_helper, (), {}), "'numbers', which helper uses, a generator"),
        ((wrap_error(uses_helper), (), {}), "'numbers', which helper uses, a generator"),
        ((functools.partial(uses_helper, 1), (), {}), "'numbers', which helper uses, a generator"),
        ((functools.partial(fine, numbers), (), {}), "'argument 1 of a partial', which the function uses, a generator"),
        ((recursive, (3,), {}), "'numbers', which recursive uses, a generator"),
        ((closure(numbers), (), {}), "'held', which closure.<locals>.<lambda> uses, a generator"),
        ((with_default, (), {}), "'x', which with_default uses, a generator"),
        ((with_named_default, (), {}), "'y', which with_named_default uses, a generator"),
    ],
)
def test_it_is_named(call, words):
    # This module is not importable elsewhere, as a script is not.
    cloudpickle.register_pickle_by_value(__import__("sys").modules[__name__])
    try:
        assert culprit(*call, can_send) == words
    finally:
        cloudpickle.unregister_pickle_by_value(__import__("sys").modules[__name__])


def test_nothing_can_be_named():
    assert culprit(fine, (1,), {"y": 2}, can_send) is None
    assert culprit(print, (), {}, lambda value: False) is None
