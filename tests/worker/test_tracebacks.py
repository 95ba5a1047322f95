"""Tracebacks made again print as they did."""

import sys
import traceback

import pytest
from parsl.app.errors import RemoteExceptionWrapper
from tblib import Traceback

from pilotage.worker.tracebacks import frames_of, traceback_of


def several_lines(a,
                  b):  # fmt: skip
    return (a +
            b["x"]["y"] / 0)  # fmt: skip


def caller():
    return several_lines(
        1, {"x": {"y": 2}}
    ) + 1 if True else None  # fmt: skip


def far_right():
    return                                                                                             len(3)  # fmt: skip  # noqa: E501


def recursive(n):
    return recursive(n - 1) if n else caller()


@pytest.mark.parametrize("function", [caller, far_right, lambda: recursive(500), lambda: exec("None + 1", {})])
def test_the_same_text(function):
    with pytest.raises((ZeroDivisionError, TypeError)) as caught:
        function()
    before = caught.value.__traceback__
    after = traceback_of(frames_of(before))
    assert traceback.format_tb(after) == traceback.format_tb(before)
    assert frames_of(after) == frames_of(before)
    assert len(frames_of(after)) > 1


def test_while_another_exception_is_handled():
    try:
        caller()
    except ZeroDivisionError as error:
        made = traceback_of(frames_of(error.__traceback__))
    assert "several_lines" in traceback.format_tb(made)[-1]


def test_no_frames():
    assert frames_of(None) == []
    assert traceback_of([]) is None


def test_a_traceback_of_tblib():
    """As Parsl's envelope holds it: lines, no columns."""
    try:
        caller()
    except ZeroDivisionError:
        wrapper = RemoteExceptionWrapper(*sys.exc_info())
    assert type(wrapper.e_traceback) is Traceback
    made = traceback_of(frames_of(wrapper.e_traceback))
    found = [(frame.name, frame.lineno) for frame in traceback.extract_tb(made)]
    assert [name for name, _ in found] == ["test_a_traceback_of_tblib", "caller", "several_lines"]
    assert "^" not in traceback.format_tb(made)[-1]
