"""A manager that is not heard of is told of once, and once more when it is heard again or given up."""

import pytest

from pilotage.engine import silence
from pilotage.engine.silence import Silence, Silences


@pytest.fixture
def now(monkeypatch):
    times = [1000.0]
    monkeypatch.setattr(silence.time, "time", lambda: times[0])
    return times


def manager(block, heard):
    return {"block_id": block, "hostname": f"node{block}", "last_heartbeat": heard}


def test_one_of_two(now):
    known = Silences(5)
    managers = {b"a": manager("0", 1000.0), b"b": manager("1", 1000.0)}
    told = []
    for now[0] in range(1000, 1060):
        managers[b"a"]["last_heartbeat"] = float(now[0])
        told += known.look(managers)
    assert told == [Silence("1", "node1", 12.0)]
    managers[b"b"]["last_heartbeat"] = now[0]
    now[0] += 1
    assert known.look(managers) == [Silence("1", "node1", 0.0)]
    now[0] += 1
    assert known.look(managers) == []


def test_one_that_is_given_up(now):
    known = Silences(5)
    managers = {b"a": manager("0", 1000.0)}
    now[0] = 1012.0
    assert [one.given_up for one in known.look(managers)] == [False]
    now[0] = 1120.0
    assert [one.given_up for one in known.look({})] == [True]
    now[0] = 1130.0
    assert known.look({}) == []


def test_one_that_was_heard_until_it_went_is_no_news(now):
    known = Silences(5)
    known.look({b"a": manager("0", 1000.0)})
    now[0] = 1001.0
    assert known.look({}) == []


def test_short_periods_do_not_make_a_busy_node_silent(now):
    known = Silences(0.5)
    now[0] = 1000.0 + silence.LEAST
    assert known.look({b"a": manager("0", 1000.0)}) == []
    now[0] += 1
    assert known.look({b"a": manager("0", 1000.0)}) != []
