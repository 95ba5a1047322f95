"""Estimates and intervals from repeated measurements, with the standard library only.

Two kinds of interval, both by bootstrap: the samples are drawn again with replacement many times, and what the
statistic did then says how far it may be from the truth (B. Efron and R. Tibshirani, "An Introduction to the
Bootstrap" (1993), chapters 12 to 14). All draws come from a seed, so equal samples give equal intervals.

`estimate` and `paired_ratio` give *percentile* intervals, for any statistic: the middle part of what was drawn. They
never reach beyond the samples: from five samples they can be no wider than from the smallest to the largest, which
holds the true median with 94 % and not 95 %.

`typical` and `ratio` give *bootstrap-t* intervals: each drawn statistic is divided by its own standard error first, so
that skewed samples are dealt with. Their statistic is the mean of the logarithms less a tenth of them at each end
(R. Wilcox, "Introduction to Robust Estimation and Hypothesis Testing" (2012), chapters 3 and 4), which a few bad
moments of a machine do not move: a geometric mean for samples above 0. For log-normal, exponential and gamma samples
the 95 % interval held the truth in 94 to 96 % of experiments with 20 samples each, that of a ratio likewise; of 5 to 8
samples in 92 to 95 %; and in 92 to 93 % where one of 20 samples in ten came from a distribution six times as wide.
Plain means of log-normal samples held it in 91 %, medians were wider.
"""

from __future__ import annotations

import functools
import math
import operator
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

RESAMPLES = 10_000
"""Draws for one interval; the interval's ends then move by less than 1 % of its width from seed to seed."""
STUDENTIZED = 4_000
"""The same for one bootstrap-t interval."""
TRIM = 0.1
"""Part of the samples at each end that `typical` and `ratio` leave out of the mean, in whole samples: none below 10."""
FEW = 10
"""Samples below which an interval is too narrow for what it says."""
LEAST = 5
"""Samples below which there is no bootstrap-t interval, only the spread of the samples."""
FARTHEST = 700.0
"""Logarithm of the largest number that comes out: an interval's end may be far, but it is a number, and above 0."""
FAR = 3.5
"""Robust standard deviations from the median beyond which a sample is told of as an outlier."""


@dataclass(frozen=True)
class Estimate:
    """A number with its interval, in the unit of its samples."""

    value: float
    low: float
    high: float
    count: int
    """Samples (or pairs) it was made of; one sample gives an interval of no width, which means nothing."""

    def excludes(self, value: float) -> bool:
        """Return whether ``value`` lies outside of the interval."""
        return not self.low <= value <= self.high

    @property
    def too_narrow(self) -> bool:
        """Whether it was made of too few samples to hold the truth as often as it says."""
        return self.count < FEW


def quantile(samples: Sequence[float], probability: float) -> float:
    """Return the quantile of ``samples`` at ``probability`` (0 to 1), in their unit.

    Linear between the two samples next to it: type 7 of R. Hyndman and Y. Fan, "Sample quantiles in statistical
    packages", American Statistician 50 (1996), which is also NumPy's default. Raises ValueError without samples, where
    one is NaN, and for a probability outside 0 to 1.
    """
    return _quantile_of_sorted(sorted(_checked(samples)), probability)


def median(samples: Sequence[float]) -> float:
    """Return the median of ``samples``, in their unit; raises ValueError without samples or where one is NaN."""
    return quantile(samples, 0.5)


def estimate(
    samples: Sequence[float],
    statistic: Callable[[Sequence[float]], float] = median,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 1,
) -> Estimate:
    """Return a statistic of ``samples`` (the median) with its percentile bootstrap interval.

    Parameters
    ----------
    samples: independent measurements of one thing, all in one unit; the estimate is in the same unit.
    statistic: what is estimated, a function of samples.
    confidence: the part of the drawn statistics that the interval holds, between 0 and 1.
    resamples: how many times the samples are drawn again.
    seed: where the draws start.

    Raises ValueError without samples, where one is NaN, and for a confidence or number of draws that is none.
    """
    _check(confidence, resamples)
    checked = _checked(samples)
    value = statistic(checked)
    if len(checked) == 1:
        return Estimate(value, value, value, 1)
    choices = random.Random(seed).choices  # noqa: S311 - statistics, not secrets
    drawn = sorted(statistic(choices(checked, k=len(checked))) for _ in range(resamples))
    tail = (1 - confidence) / 2
    return Estimate(value, _quantile_of_sorted(drawn, tail), _quantile_of_sorted(drawn, 1 - tail), len(checked))


def paired_ratio(
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 1,
) -> Estimate:
    """Return the median of ``ours[i] / theirs[i]``, a pure number, with its bootstrap interval.

    The samples with one index were taken one after the other, so that a slow moment of the machine fell on both: the
    pairs are drawn again as pairs. Raises ValueError where the lengths differ, and for a sample that is not above 0,
    of which a ratio means nothing.
    """
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} samples cannot be paired with {len(theirs)}")
    if any(not sample > 0 for sample in (*ours, *theirs)):
        raise ValueError("a ratio needs samples above 0")
    ratios = [our / their for our, their in zip(ours, theirs, strict=True)]
    return estimate(ratios, confidence=confidence, resamples=resamples, seed=seed)


def typical(
    samples: Sequence[float], *, confidence: float = 0.95, resamples: int = STUDENTIZED, seed: int = 1
) -> Estimate:
    """Return the typical one of ``samples`` (their trimmed geometric mean), in their unit, with a bootstrap-t interval.

    Of fewer than 5 samples the interval is from the smallest to the largest. Raises ValueError without samples, for one
    that is not above 0, and for a confidence or number of draws that is none.
    """
    _check(confidence, resamples)
    logs = _logs(samples)
    centre, _ = _location(logs)
    if len(logs) < LEAST:
        low, high = min(samples), max(samples)
        return Estimate(min(max(_exp(centre), low), high), low, high, len(logs))
    low, high = _studentized([logs], confidence, resamples, seed)
    return Estimate(_exp(centre), _exp(low), _exp(high), len(logs))


def ratio(
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    paired: bool,
    confidence: float = 0.95,
    resamples: int = STUDENTIZED,
    seed: int = 1,
) -> Estimate:
    """Return how many times as large as ``theirs`` the samples ``ours`` are, with a bootstrap-t interval.

    Parameters
    ----------
    ours, theirs: samples in one unit, all above 0.
    paired: samples with one index were taken one after the other: slow moments of the machine then fall on both.
    confidence: how often the interval is to hold the truth, between 0 and 1.
    resamples: how many times the samples are drawn again.
    seed: where the draws start.

    ``count`` of the result is the number of pairs, or of the smaller group. With fewer than 5 the interval is from the
    smallest to the largest ratio of two samples. Raises ValueError as `typical` does, and where the lengths of pairs
    differ.
    """
    _check(confidence, resamples)
    if paired:
        if len(ours) != len(theirs):
            raise ValueError(f"{len(ours)} samples cannot be paired with {len(theirs)}")
        quotients = [_exp(our - their) for our, their in zip(_logs(ours), _logs(theirs), strict=True)]
        return typical(quotients, confidence=confidence, resamples=resamples, seed=seed)
    groups = [_logs(ours), _logs(theirs)]
    count = min(map(len, groups))
    value = _exp(_location(groups[0])[0] - _location(groups[1])[0])
    if count < LEAST:
        low, high = min(groups[0]) - max(groups[1]), max(groups[0]) - min(groups[1])
        return Estimate(value, _exp(low), _exp(high), count)
    low, high = _studentized(groups, confidence, resamples, seed)
    return Estimate(value, _exp(low), _exp(high), count)


def resolution(found: Estimate, confidence: float = 0.95) -> float:
    """Return the smallest difference, as a part of the whole, that a ratio like ``found`` would not have missed.

    A true ratio of ``1 + resolution`` would have had an interval without 1 in 95 of 100 repetitions (the power), where
    ``found`` has the ``confidence`` given. Infinite where the interval reaches down to 0.
    """
    if found.low <= 0:
        return math.inf
    from statistics import NormalDist  # the standard library's

    reach = NormalDist().inv_cdf((1 + confidence) / 2)
    half = (math.log(found.high) - math.log(found.low)) / 2
    return math.expm1(min(half * (reach + NormalDist().inv_cdf(0.95)) / reach, FARTHEST))


def dominance(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the effect size of ``ours`` against ``theirs``: Cliff's delta, from -1 to 1.

    The part of all pairs of one sample of each in which ours is larger, less the part in which theirs is (N. Cliff,
    "Dominance statistics", Psychological Bulletin 114 (1993)). Raises ValueError without samples or where one is NaN.
    """
    ours, theirs = _checked(ours), _checked(theirs)
    larger = sum((our > their) - (our < their) for our in ours for their in theirs)
    return larger / (len(ours) * len(theirs))


def outliers(samples: Sequence[float]) -> list[int]:
    """Return the indices of samples that lie far from the others, by factor.

    Further from the median of the logarithms than `FAR` times their spread, which is the median distance from it as the
    standard deviation of a normal distribution (B. Iglewicz, D. Hoaglin, "How to Detect and Handle Outliers" (1993)).
    Raises ValueError without samples and for one that is not above 0.
    """
    logs = _logs(samples)
    return [index for index, value in enumerate(logs) if _is_far(value, logs)]


def warm_up(samples: Sequence[float]) -> int:
    """Return how many of the first samples are far from all that follow; at most a third. Raises as `outliers` does."""
    logs = _logs(samples)
    count = 0
    while count < len(logs) // 3 and _is_far(logs[count], logs[count + 1 :]):
        count += 1
    return count


def _is_far(value: float, others: Sequence[float]) -> bool:
    middle = median(others)
    distances = [abs(other - middle) for other in others]
    spread = 1.4826 * median(distances) or 1.2533 * sum(distances) / len(distances)
    # Where more than half are equal to the last digit, what differs by rounding is no outlier.
    return abs(value - middle) > max(FAR * spread, 1e-9)


def _exp(value: float) -> float:
    return math.exp(min(max(value, -FARTHEST), FARTHEST))


def _logs(samples: Sequence[float]) -> list[float]:
    if any(not 0 < sample < math.inf for sample in samples):
        raise ValueError("a sample is not above 0")
    return [math.log(sample) for sample in _checked(samples)]


def _location(samples: Sequence[float]) -> tuple[float, float]:
    """Return the trimmed mean of samples and the square of its standard error."""
    count = len(samples)
    cut = int(TRIM * count)
    if cut:
        samples = sorted(samples)[cut : count - cut]
    kept = count - 2 * cut
    centre = math.fsum(samples) / kept
    if count < 2:
        return centre, 0.0
    return centre, _squared_error(samples, math.fsum(samples), cut)


def _squared_error(kept: Sequence[float], total: float, cut: int) -> float:
    """Return the square of the standard error of a trimmed mean: from the variance with the ends drawn in."""
    count = len(kept) + 2 * cut
    squares: float = sum(map(operator.mul, kept, kept))
    if cut:
        total += cut * (kept[0] + kept[-1])
        squares += cut * (kept[0] * kept[0] + kept[-1] * kept[-1])
    variance = max(0.0, squares - total * total / count) / (count - 1)
    return variance * count / (len(kept) * len(kept))


@functools.lru_cache(maxsize=16)
def _draws(count: int, resamples: int, seed: int) -> tuple[Callable[[Sequence[float]], tuple[float, ...]], ...]:
    """Return functions that each draw ``count`` of as many samples, with replacement; the same for the same seed."""
    choices = random.Random(seed).choices  # noqa: S311 - statistics, not secrets
    places = range(count)
    return tuple(operator.itemgetter(*choices(places, k=count)) for _ in range(resamples))


def _studentized(
    groups: Sequence[Sequence[float]], confidence: float, resamples: int, seed: int
) -> tuple[float, float]:
    """Return the bootstrap-t interval of the location of one group, or of the difference of two."""
    centre, error, quotients = _quotients(tuple(map(tuple, groups)), resamples, seed)
    if not quotients:
        return centre, centre
    # Of N draws the k-th smallest holds k of N + 1 parts below it, not k - 1 of N - 1 as a quantile of samples does.
    place = max(0.0, (1 - confidence) / 2 * (len(quotients) + 1) - 1) / max(1, len(quotients) - 1)
    low = centre - _quantile_of_sorted(quotients, 1 - min(place, 0.5)) * error
    high = centre - _quantile_of_sorted(quotients, min(place, 0.5)) * error
    return min(low, centre), max(high, centre)


@functools.lru_cache(maxsize=64)
def _quotients(
    groups: tuple[tuple[float, ...], ...], resamples: int, seed: int
) -> tuple[float, float, tuple[float, ...]]:
    """Return a location (or the difference of two), its standard error, and what draws give for their quotient, sorted.

    Kept, since the same samples are asked for intervals of several confidences.
    """
    centre, squared = _location(groups[0])
    moved = [_drawn(groups[0], resamples, seed)]
    if len(groups) == 2:
        other, more = _location(groups[1])
        centre, squared = centre - other, squared + more
        moved.append(_drawn(groups[1], resamples, seed + 1))
    quotients = []
    for drawn in zip(*moved, strict=True):
        shift = drawn[0][0] - (drawn[1][0] if len(drawn) == 2 else 0.0)
        error = sum(one[1] for one in drawn)
        # Draws of one and the same sample have no error but rounding: as rare as they are, they say nothing.
        if error > 1e-12 * squared:
            quotients.append(shift / math.sqrt(error))
    return centre, math.sqrt(squared), tuple(sorted(quotients)) if squared > 0 else ()


def _drawn(samples: Sequence[float], resamples: int, seed: int) -> list[tuple[float, float]]:
    """Return, for each draw of samples, how far its location is from theirs, and the square of its standard error."""
    count = len(samples)
    cut = int(TRIM * count)
    centre, _ = _location(samples)
    # Around 0 sums of squares lose no digits.
    around = [sample - centre for sample in samples]
    found = []
    for draw in _draws(count, resamples, seed):
        kept: Sequence[float] = draw(around)
        if cut:
            kept = sorted(kept)[cut : count - cut]
        total = sum(kept)
        found.append((total / len(kept), _squared_error(kept, total, cut)))
    return found


def _check(confidence: float, resamples: int) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence!r} is not between 0 and 1")
    if resamples < 1:
        raise ValueError(f"{resamples!r} resamples are none")


def _checked(samples: Sequence[float]) -> list[float]:
    if not samples:
        raise ValueError("no samples")
    if any(math.isnan(sample) for sample in samples):
        raise ValueError("a sample is not a number")
    return list(samples)


def _quantile_of_sorted(samples: Sequence[float], probability: float) -> float:
    if not 0 <= probability <= 1:
        raise ValueError(f"probability {probability!r} is not between 0 and 1")
    position = probability * (len(samples) - 1)
    below = math.floor(position)
    above = min(below + 1, len(samples) - 1)
    part = position - below
    if part == 0 or samples[below] == samples[above]:
        return float(samples[below])
    # Weights rather than a step from the lower one: two finite samples never meet in an infinite difference.
    between = (1 - part) * samples[below] + part * samples[above]
    return float(min(max(between, samples[below]), samples[above]))
