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


class Ring:
    """Garbage that only the collector frees."""

    freed = 0

    def __init__(self):
        self.me = self

    def __del__(self):
        Ring.freed += 1


def test_garbage_is_freed_when_the_process_has_grown(monkeypatch):
    sizes = iter([1000, 1500, 2001, 1100, 1900, 2099, 2150, 2140])
    monkeypatch.setattr(collector, "GROWTH", 1000)
    monkeypatch.setattr(collector, "LOOK_EVERY", 1)
    monkeypatch.setattr(collector.system, "resident", lambda: next(sizes))
    Ring.freed = 0
    collector.relax()
    try:
        Ring()
        collector.reported()  # 1500
        assert Ring.freed == 0
        collector.reported()  # 2001, and 1100 after it
        assert Ring.freed == 1
        Ring()
        collector.reported()
        collector.reported()
        assert Ring.freed == 1
        collector.reported()  # 2150, and little was free: the next look is at twice that
        assert Ring.freed == 2
        assert collector._limit == 2 * 2140
    finally:
        collector.restore()
    Ring()
    collector.reported()  # nobody's business any more
    assert Ring.freed == 2
    gc.collect()


def test_where_the_size_is_not_known_nothing_is_collected_for_it(monkeypatch):
    monkeypatch.setattr(collector, "LOOK_EVERY", 1)
    monkeypatch.setattr(collector.system, "resident", lambda: None)
    collector.relax()
    collector.reported()
    collector.restore()
