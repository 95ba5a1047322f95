"""Estimates and intervals against cases worked out by hand and laws that hold for any samples."""

import random
import statistics as stdlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotage.statistics import Estimate, estimate, median, paired_ratio, quantile

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
