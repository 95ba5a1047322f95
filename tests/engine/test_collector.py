"""The garbage collector is as it was when the last executor has ended."""

import gc

import pytest

from pilotage.engine import collector


@pytest.fixture(autouse=True)
def as_before():
    before = gc.get_threshold()
    yield
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


def test_it_looks_seldom_and_then_as_before():
    before = gc.get_threshold()
    collector.relax()
    assert gc.get_threshold() == collector.THRESHOLDS
    assert gc.get_freeze_count() > 0
    collector.relax()
    collector.restore()
    assert gc.get_threshold() == collector.THRESHOLDS
    collector.restore()
    assert gc.get_threshold() == before
    collector.restore()  # once too often


def test_what_the_script_sets_meanwhile_stays():
    before = gc.get_threshold()
    collector.relax()
    gc.set_threshold(123, 4, 5)
    collector.restore()
    assert gc.get_threshold() == (123, 4, 5)
    gc.set_threshold(*before)


def test_one_that_is_off_stays_off():
    gc.disable()
    try:
        collector.relax()
        collector.restore()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_results_are_freed_when_many_have_come(monkeypatch):
    monkeypatch.setattr(collector, "RESULTS", 1000)

    class Ring:
        freed = 0

        def __init__(self):
            self.me = self

        def __del__(self):
            Ring.freed += 1

    collector.relax()
    try:
        Ring()
        collector.passed(900)
        assert Ring.freed == 0
        collector.passed(200)
        assert Ring.freed == 1
    finally:
        collector.restore()
    Ring()
    collector.passed(5000)  # nobody's business any more
    assert Ring.freed == 1
    gc.collect()
