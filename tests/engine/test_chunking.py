"""The sizes of a map's chunks, by measurement and at their limits."""

from hypothesis import given
from hypothesis import strategies as st

from pilotage.engine import chunking
from pilotage.engine.chunking import BYTES, GROWTH, ITEMS, TARGET, Planner


def measured(planner, seconds, times=100, size=1.0):
    """Let a worker that takes ``seconds`` an item do chunk after chunk; returns their sizes."""
    sizes = []
    for _ in range(times):
        sizes.append(planner.next_size(1, 0, 0))
        planner.ran(sizes[-1], seconds * sizes[-1], size * sizes[-1])
    return sizes


def test_it_begins_with_single_items_and_grows_by_measurement():
    sizes = measured(Planner(), 0.001)
    assert sizes[:4] == [1, GROWTH, GROWTH**2, int(TARGET / 0.001)]
    assert sizes[-1] == int(TARGET / 0.001)


def test_expensive_items_go_singly():
    assert set(measured(Planner(), 0.1)) == {1}


def test_cheap_items_have_a_ceiling():
    assert max(measured(Planner(), 1e-9)) == ITEMS


def test_large_items_make_small_chunks():
    assert max(measured(Planner(), 1e-9, size=BYTES / 10)) == 10


def test_a_slow_iterable_makes_small_chunks():
    planner = Planner()
    measured(planner, 1e-9)
    planner.drew(10, 10 * TARGET / 4)
    assert planner.next_size(1, 0, 0) == 4


def test_uneven_costs_make_smaller_chunks_than_even_ones_of_the_same_mean():
    even, uneven = Planner(), Planner()
    measured(even, 0.0005)
    for number in range(100):
        uneven.ran(10, 10 * (0.00099 if number % 2 else 0.00001), 1)
    assert uneven.next_size(1, 0, 0) < even.next_size(1, 0, 0) / 2


def test_what_gets_slow_gets_small_at_once():
    planner = Planner()
    before = measured(planner, 0.0001)[-1]
    planner.ran(before, before * 0.1, 1)
    assert planner.next_size(1, 0, 0) < before / 50


def test_a_slow_first_call_is_forgotten():
    """It imported something."""
    planner = Planner()
    planner.ran(1, 2.0, 1)
    assert measured(planner, 1e-6)[0] == 1
    assert measured(planner, 1e-6)[-1] > ITEMS / 2


def test_towards_the_end_chunks_shrink_and_nobody_idles():
    planner = Planner(total=1000)
    sizes = []
    planner.ran(1000, 0.2, 1)
    planner.drew(600, 0.0)
    left = 400
    while left > 0:
        sizes.append(planner.next_size(4, 0, 0))
        assert sizes[-1] <= max(-(-left // 8), 10)
        planner.drew(sizes[-1], 0.0)
        left -= sizes[-1]
    assert sizes == sorted(sizes, reverse=True)
    unknown = Planner()
    unknown.ran(1000, 0.2, 1)
    assert unknown.next_size(4, 0, 0) > sizes[0]  # the control


def test_cheap_rests_are_not_cut_to_pieces():
    planner = Planner(total=8000)
    planner.ran(ITEMS, 1e-6, 1)
    assert planner.next_size(1000, 0, 0) == ITEMS


def test_a_fixed_size_is_kept_whatever_is_measured():
    assert set(measured(Planner(fixed=7, total=3), 10.0)) == {7}


def test_short_chunks_go_deeper():
    slow, quick = Planner(fixed=5), Planner(fixed=5)
    slow.ran(5, 1.0, 1)
    quick.ran(5, 1e-6, 1)
    assert slow.next_size(3, 6, 0) == 0 != slow.next_size(3, 5, 0)
    assert quick.next_size(3, 6, 0) == 5
    assert quick.next_size(3, 3 * chunking.DEEPEST, 0) == 0


@given(
    window=st.none() | st.integers(1, 10_000),
    fixed=st.none() | st.integers(1, 500),
    total=st.none() | st.integers(0, 100_000),
    workers=st.integers(0, 200),
    script=st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1e9), st.booleans()), max_size=60),
)
def test_any_measurement_keeps_the_bounds_and_never_stalls(window, fixed, total, workers, script):
    """A map played through: what is drawn and not handed on stays in the window, and something is always under way."""
    if window is not None and fixed is not None and fixed > window:
        fixed = window
    planner = Planner(fixed=fixed, window=window, total=total)
    under_way = []  # sizes, oldest first
    done = 0  # items that are done and not taken
    for seconds, size, taken in script:
        while (count := planner.next_size(workers, len(under_way), done + sum(under_way))) > 0:
            assert 1 <= count <= max(ITEMS, fixed or 1)
            planner.drew(count, 0.0)
            under_way.append(count)
            if window is not None:
                assert done + sum(under_way) <= window
            assert len(under_way) <= max(workers, 1) * chunking.DEEPEST
        assert under_way or done  # else nothing would ever happen again
        if under_way:
            count = under_way.pop(0)
            planner.ran(count, seconds, size)
            done += count
        if taken:
            done = 0
