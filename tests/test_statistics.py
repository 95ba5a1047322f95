"""Estimates and intervals against cases worked out by hand and laws that hold for any samples."""

import math
import random
import statistics as stdlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotage.statistics import (
    Estimate,
    dominance,
    estimate,
    median,
    outliers,
    paired_ratio,
    quantile,
    ratio,
    resolution,
    typical,
    warm_up,
)

NUMBERS = st.floats(-1e9, 1e9, allow_nan=False)
SAMPLES = st.lists(NUMBERS, min_size=1, max_size=12)
POSITIVE = st.floats(1e-6, 1e6)
FEW = {"resamples": 200}


@pytest.mark.parametrize(
    ("probability", "expected"), [(0, 10), (0.25, 17.5), (0.5, 25), (0.9, 37), (1, 40)]
)  # numpy.quantile([10, 20, 30, 40], p)
def test_quantiles_are_linear_between_samples(probability, expected):
    assert quantile([40, 10, 30, 20], probability) == pytest.approx(expected)


@given(SAMPLES)
def test_the_median_is_the_standard_librarys(samples):
    assert median(samples) == pytest.approx(stdlib.median(samples), rel=1e-12, abs=1e-6)


@given(SAMPLES, st.floats(0, 1), st.floats(0, 1))
def test_quantiles_stay_within_the_samples_and_rise(samples, one, other):
    low, high = sorted([one, other])
    assert min(samples) <= quantile(samples, low) <= quantile(samples, high) <= max(samples)


@settings(deadline=None, max_examples=40)
@given(SAMPLES)
def test_an_interval_lies_within_the_samples_and_is_the_same_each_time(samples):
    found = estimate(samples, **FEW)
    assert min(samples) <= found.low <= found.high <= max(samples)
    assert found == estimate(samples, **FEW)
    assert found.count == len(samples)
    assert found.value == median(samples)


def test_the_interval_of_five_samples_is_that_of_all_resamples():
    """By hand: a resample's median is at most the k-th of n samples with the chance that at least 3 of 5 draws are.

    P(median <= 1st) = P(Binomial(5, 1/5) >= 3) = 0.0579, more than 2.5 %: the low end is the smallest sample; by
    symmetry the high end is the largest. At 80 % the low end is the 2nd: P(Binomial(5, 2/5) >= 3) = 0.317 > 10 %.
    """
    samples = [1.0, 2.0, 4.0, 8.0, 16.0]
    assert estimate(samples) == Estimate(4, 1, 16, 5)
    assert estimate(samples, confidence=0.8) == Estimate(4, 2, 8, 5)


def test_another_statistic_is_estimated_by_the_same_means():
    samples = [float(number) for number in range(100)]
    found = estimate(samples, lambda drawn: quantile(drawn, 0.9))
    assert found.value == pytest.approx(89.1)
    assert found.low < 89.1 < found.high


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    """200 experiments of 15 samples of a normal distribution, fixed seed: 95 % of 200 is 190."""
    generator = random.Random(7)
    held = sum(not estimate([generator.gauss(5, 2) for _ in range(15)], resamples=400).excludes(5) for _ in range(200))
    assert 178 <= held <= 199


@settings(deadline=None, max_examples=40)
@given(st.lists(POSITIVE, min_size=1, max_size=9), st.floats(0.01, 100))
def test_a_constant_factor_is_found_exactly_however_much_the_machine_varies(theirs, factor):
    found = paired_ratio([factor * sample for sample in theirs], theirs, **FEW)
    assert [found.value, found.low, found.high] == pytest.approx([factor] * 3)


def test_pairs_are_not_the_ratio_of_medians():
    ours, theirs = [10.0, 200.0, 3000.0], [5.0, 100.0, 1000.0]
    assert paired_ratio(ours, theirs).value == 2
    assert paired_ratio(ours, theirs).high == 3


def test_an_interval_excludes_what_is_outside_of_it():
    found = Estimate(2, 1, 3, 5)
    assert found.excludes(0.9)
    assert found.excludes(3.1)
    assert not found.excludes(1)
    assert not found.excludes(3)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: estimate([]), "no samples"),
        (lambda: median([]), "no samples"),
        (lambda: estimate([1.0, float("nan")]), "not a number"),
        (lambda: quantile([1.0], 1.1), "between 0 and 1"),
        (lambda: estimate([1.0], confidence=1), "between 0 and 1"),
        (lambda: estimate([1.0, 2.0], resamples=0), "are none"),
        (lambda: paired_ratio([1.0], [1.0, 2.0]), "cannot be paired"),
        (lambda: paired_ratio([1.0], [0.0]), "above 0"),
        (lambda: paired_ratio([-1.0], [1.0]), "above 0"),
        (lambda: paired_ratio([float("nan")], [1.0]), "above 0"),
        (lambda: paired_ratio([], []), "no samples"),
    ],
)
def test_what_cannot_be_estimated_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


# Bootstrap-t: skewed samples

SKEWED = {
    "lognormal": lambda generator: generator.lognormvariate(0, 1),
    "exponential": lambda generator: generator.expovariate(1),
    "gamma": lambda generator: generator.gammavariate(2, 1),
}


def truth(draw, seed=99, count=200_000):
    """Return the trimmed geometric mean of a distribution: from very many samples, by other means than the module's."""
    generator = random.Random(seed)
    logs = sorted(math.log(draw(generator)) for _ in range(count))
    kept = logs[count // 10 : count - count // 10]
    return math.exp(math.fsum(kept) / len(kept))


def coverage(draw, experiments, count, resamples, make=typical):
    generator = random.Random(5)
    value = truth(draw) if make is typical else 0.5
    found = [make([draw(generator) for _ in range(count)], resamples=resamples) for _ in range(experiments)]
    return sum(not one.excludes(value) for one in found) / experiments


@pytest.mark.parametrize("name", SKEWED)
def test_of_skewed_samples_95_of_100_intervals_hold_the_truth(name):
    """Of 20 samples each; with 600 experiments the share itself is known to about one in a hundred."""
    assert 0.93 <= coverage(SKEWED[name], 600, 20, 400) <= 0.97


def ratios(draw, paired):
    generator = random.Random(7)

    def make(samples, resamples):
        return ratio(samples, [2 * draw(generator) for _ in samples], paired=paired, resamples=resamples)

    return make


@pytest.mark.parametrize("paired", [True, False])
def test_of_ratios_of_skewed_samples_95_of_100_intervals_hold_the_truth(paired):
    draw = SKEWED["lognormal"]
    assert 0.93 <= coverage(draw, 800, 20, 400, ratios(draw, paired)) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("count", [20, 40])
@pytest.mark.parametrize("name", SKEWED)
def test_the_same_with_more_experiments(name, count):
    draw = SKEWED[name]
    assert 0.93 <= coverage(draw, 3000, count, 600) <= 0.97
    for paired in (True, False):
        assert 0.93 <= coverage(draw, 1500, count, 600, ratios(draw, paired)) <= 0.97


def test_ratios_of_groups_of_different_sizes_hold_the_truth():
    """One side of 8, the other of 30 samples with three times the spread: Welch's case."""
    generator, held = random.Random(3), 0
    for _ in range(400):
        ours = [generator.lognormvariate(0, 0.1) for _ in range(30)]
        theirs = [generator.lognormvariate(math.log(2), 0.3) for _ in range(8)]
        held += not ratio(ours, theirs, paired=False, resamples=300).excludes(0.5)
    assert 0.92 <= held / 400 <= 0.98


MANY = st.lists(POSITIVE, min_size=5, max_size=14)


@settings(deadline=None, max_examples=40)
@given(MANY)
def test_a_typical_value_lies_among_the_samples_and_in_its_interval(samples):
    found = typical(samples, resamples=100)
    assert min(samples) <= found.value * (1 + 1e-9)
    assert found.value <= max(samples) * (1 + 1e-9)
    assert found.low <= found.value * (1 + 1e-9)
    assert found.value <= found.high * (1 + 1e-9)
    assert found == typical(samples, resamples=100)
    assert found.count == len(samples)


@settings(deadline=None, max_examples=40)
@given(MANY, st.floats(0.01, 100))
def test_another_unit_changes_no_ratio(samples, factor):
    other = [2.5 * sample for sample in reversed(samples)]
    plain = ratio(samples, other, paired=False, resamples=100)
    scaled = ratio([factor * s for s in samples], [factor * s for s in other], paired=False, resamples=100)
    assert scaled.value == pytest.approx(plain.value, rel=1e-6)
    assert scaled.low == pytest.approx(plain.low, rel=1e-4)
    assert scaled.high == pytest.approx(plain.high, rel=1e-4)


@settings(deadline=None, max_examples=40)
@given(MANY, st.floats(0.01, 100))
def test_a_constant_ratio_of_pairs_is_found_exactly(theirs, factor):
    found = ratio([factor * sample for sample in theirs], theirs, paired=True, resamples=50)
    assert [found.value, found.low, found.high] == pytest.approx([factor] * 3, rel=1e-6)


@settings(deadline=None, max_examples=30)
@given(MANY)
def test_more_confidence_is_a_wider_interval(samples):
    narrow, wide = (typical(samples, confidence=level, resamples=200) for level in (0.8, 0.99))
    assert wide.low <= narrow.low * (1 + 1e-12)
    assert narrow.high <= wide.high * (1 + 1e-12)


def test_a_tenth_at_each_end_does_not_move_the_typical_value():
    samples = [10.0, 10.1, 9.9, 10.05, 9.95, 10.02, 9.98, 10.03, 9.97, 10.0]
    assert typical([*samples[:-1], 1000.0]).value < 1.01 * typical(samples).value
    assert typical([*samples[:8], 1000.0]).value > 1.5 * typical(samples).value  # below ten nothing is left out


def test_fewer_than_five_samples_have_a_spread_and_no_interval():
    assert typical([4.0, 1.0]) == Estimate(pytest.approx(2.0), 1.0, 4.0, 2)
    assert typical([3.0]).low == typical([3.0]).high == 3.0
    found = ratio([2.0, 4.0], [1.0, 1.0, 2.0], paired=False)
    assert (found.low, found.high, found.count) == (1.0, 4.0, 2)


@pytest.mark.parametrize(("count", "narrow"), [(9, True), (10, False)])
def test_intervals_of_fewer_than_ten_are_too_narrow(count, narrow):
    assert typical([1.0 + n for n in range(count)]).too_narrow is narrow


def test_what_would_not_have_gone_unseen_is_seen_95_times_of_100():
    generator = random.Random(4)

    def group(factor=1.0):
        return [factor * generator.lognormvariate(0, 0.05) for _ in range(20)]

    size = stdlib.median(resolution(ratio(group(), group(), paired=False, resamples=400)) for _ in range(40))
    seen = sum(ratio(group(1 + size), group(), paired=False, resamples=400).excludes(1.0) for _ in range(200))
    assert 180 <= seen <= 199
    assert resolution(Estimate(1.0, 0.0, 2.0, 5)) == math.inf


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("count", [2, 6])
def test_whatever_the_samples_all_numbers_are_finite(paired, count):
    huge, tiny = [1e308] * count, [1e-308] * count
    for found in (ratio(huge, tiny, paired=paired), ratio(tiny, huge, paired=paired)):
        assert all(0 < number < math.inf for number in (found.low, found.value, found.high))
    assert resolution(Estimate(1.0, 1e-300, 1e300, 5)) < math.inf


def test_the_effect_size_is_cliffs_delta():
    """By hand: of the 9 pairs of [1, 2, 3] and [2, 3, 4] ours is larger in 1, smaller in 6."""
    assert dominance([1, 2, 3], [2, 3, 4]) == pytest.approx((1 - 6) / 9)
    assert dominance([5, 6], [1, 2]) == 1
    assert dominance([1], [1]) == 0


@given(SAMPLES, SAMPLES)
def test_the_effect_size_is_its_opposite_from_the_other_side(ours, theirs):
    assert dominance(ours, theirs) == pytest.approx(-dominance(theirs, ours))
    assert -1 <= dominance(ours, theirs) <= 1


def test_outliers_and_warm_up_are_found():
    usual = [10.0 + 0.05 * n for n in range(12)]
    assert outliers(usual) == []
    assert outliers([*usual, 20.0, 5.0]) == [12, 13]
    assert warm_up(usual) == 0
    assert warm_up([3.0, 5.0, *usual]) == 2
    assert warm_up([*usual, 3.0]) == 0
    assert outliers([7.0] * 5) == []
    assert outliers([7.0] * 9 + [8.0]) == [9]


@given(st.lists(POSITIVE, min_size=1, max_size=12), st.floats(0.01, 100))
def test_outliers_do_not_depend_on_the_unit(samples, factor):
    places = outliers(samples)
    assert len(places) < max(2, len(samples))
    assert warm_up(samples) <= len(samples) // 3
    if all(abs(math.log(a / b)) > 1e-6 for a in samples for b in samples if a != b):
        assert outliers([factor * sample for sample in samples]) == places


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: typical([]), "no samples"),
        (lambda: typical([1.0, 0.0]), "not above 0"),
        (lambda: typical([1.0, float("nan")]), "not above 0"),
        (lambda: typical([1.0, float("inf")]), "not above 0"),
        (lambda: typical([1.0], confidence=0), "between 0 and 1"),
        (lambda: typical([1.0], resamples=0), "are none"),
        (lambda: ratio([1.0], [1.0, 2.0], paired=True), "cannot be paired"),
        (lambda: ratio([1.0], [], paired=False), "no samples"),
        (lambda: ratio([1.0], [-1.0], paired=True), "not above 0"),
        (lambda: dominance([], [1.0]), "no samples"),
        (lambda: outliers([0.0]), "not above 0"),
    ],
)
def test_what_has_no_ratio_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
