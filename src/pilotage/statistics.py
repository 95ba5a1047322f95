"""Estimates and intervals from repeated measurements, with the standard library only.

Every interval here is a percentile bootstrap interval (B. Efron, "Bootstrap methods: another look at the jackknife",
Annals of Statistics 7 (1979); B. Efron and R. Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13): the
samples are drawn again with replacement many times, and the interval holds the middle part of the statistics found. It
assumes nothing about the distribution, and never reaches beyond the samples: from five samples it can be no wider than
from the smallest to the largest, which holds the true median with 94 % and not 95 %. All draws come from a seed, so
equal samples give equal intervals.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

RESAMPLES = 10_000
"""Draws for one interval; the interval's ends then move by less than 1 % of its width from seed to seed."""


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
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence!r} is not between 0 and 1")
    if resamples < 1:
        raise ValueError(f"{resamples!r} resamples are none")
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
