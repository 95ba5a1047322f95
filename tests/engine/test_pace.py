"""When a function counts as short."""

from hypothesis import given
from hypothesis import strategies as st

from pilotage.engine.pace import PROOFS, Pace

SHORT = 0.005


def test_it_proves_itself_and_loses_it_by_one_slow_call():
    pace = Pace()
    for _ in range(PROOFS):
        assert not pace.is_short
        pace.add([0.001], SHORT)
    assert pace.is_short
    pace.add([1.0], SHORT)
    assert not pace.is_short
    for _ in range(PROOFS):
        pace.add([0.001], SHORT)
    assert pace.is_short
    assert pace.seconds < SHORT  # what was slow once does not count for ever


def test_one_that_travels_alone_is_never_short():
    pace = Pace(alone=True)
    for _ in range(10):
        pace.add([0.0], SHORT)
    assert not pace.is_short


@given(st.lists(st.floats(0, 2 * SHORT), max_size=50))
def test_the_estimate_is_of_what_was_measured_since_it_was_last_slow(times):
    pace = Pace()
    for seconds in times:
        pace.add([seconds], SHORT)
    slow = [number for number, seconds in enumerate(times) if seconds > SHORT]
    since = times[slow[-1] + 1 :] if slow else times
    assert pace.proofs == len(since)
    assert pace.is_short == (len(since) >= PROOFS)
    if since:
        assert since[-1] <= pace.seconds <= max(since) + 1e-5
