"""Executors that start at once: made up, with starts that wait for each other."""

import threading

import pytest

from pilotage.engine import together
from pilotage.engine.together import start_together


class Made:
    def __init__(self, label, start=lambda: None, route=None):
        self.label, self.route, self._start, self.started = label, route, start, False

    def start(self):
        self._start()
        self.started = True


def start_as_parsl_does(executors):
    start_together(executors)
    for executor in executors:
        executor.start()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (0, 2, 1)])
def test_starts_with_a_route_overlap(order):
    """Each waits until the other has begun: one after the other they would never end."""
    barrier = threading.Barrier(2, timeout=20)
    made = [Made("a", barrier.wait, route="one"), Made("b", barrier.wait, route="two"), Made("here")]
    start_as_parsl_does([made[number] for number in order])
    assert all(executor.started for executor in made)


def test_without_routes_they_start_one_after_the_other():
    """The control: two of these would wait for each other for ever."""
    barrier = threading.Barrier(2, timeout=0.2)
    with pytest.raises(threading.BrokenBarrierError):
        start_as_parsl_does([Made("a", barrier.wait), Made("b", barrier.wait)])


def test_a_single_one_starts_as_it_is():
    one = Made("a", route="way")
    start_together([one])
    assert "start" not in vars(one)


def test_what_fails_is_raised_when_all_are_over():
    gate = threading.Event()

    def fail():
        raise LookupError("no way")

    executors = [Made("a", fail, route="one"), Made("b", gate.wait, route="two"), Made("c", gate.set)]
    with pytest.raises(LookupError, match="no way"):
        start_as_parsl_does(executors)
    assert executors[1].started, "it can be ended"


def test_an_interrupt_waits_for_those_under_way(monkeypatch):
    monkeypatch.setattr(together, "PATIENCE", 20.0)
    gate = threading.Event()

    def interrupted():
        threading.Timer(0.2, gate.set).start()
        raise KeyboardInterrupt

    executors = [Made("a", gate.wait, route="one"), Made("b", interrupted)]
    with pytest.raises(KeyboardInterrupt):
        start_as_parsl_does(executors)
    assert executors[0].started
