"""Two or more benchmarks side by side: ratios with their intervals, what is different about them, and a verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pilotage.perf.record import METRICS, Metric, Model, Record, Session
from pilotage.statistics import (
    FEW,
    LEAST,
    Estimate,
    dominance,
    outliers,
    ratio,
    resolution,
    typical,
    warm_up,
)

SCHEMA_VERSION: Literal[1] = 1
ENOUGH = 20
"""Sessions from which an interval holds what it says, see `pilotage.statistics`."""
SURE = 0.99
"""Confidence of the interval that a verdict goes by. The one that is shown has 95 %, but several numbers are judged at
once, and one false alarm in twenty would be one in every few comparisons."""
BEYOND = 1e4
"""A difference, as a part, from which its size is not told."""
SHOWN = 1_000
"""Draws for an interval that is only shown."""
EFFECTS = ((0.147, "negligible"), (0.33, "small"), (0.474, "medium"), (math.inf, "large"))
"""Cliff's delta in words (J. Romano and others, 2006)."""


class Interval(Model):
    """A number with its interval; ``count`` samples (or pairs) it was made of."""

    value: float
    low: float
    high: float
    count: int


class Group(Model):
    """The samples of one side, in the order in which they were taken."""

    name: str
    record: str
    metric: str
    values: list[float]
    typical: Interval
    outliers: list[int]
    """Places of samples far from the others; they are shown, and used."""
    warm_up: int
    """First samples far from all that follow; they are shown, and used."""
    failed: int
    """Sessions without a number."""


class Verdict(Model):
    """One side against another, by one metric."""

    metric: str
    unit: str
    a: str
    b: str
    outcome: Literal["different", "no difference", "cannot tell"]
    ratio: Interval | None = None
    """How many times as large A's numbers are."""
    confidence: float
    """Of the interval."""
    sure: float
    """Of the verdict: 1 is outside of the interval of this confidence where they are different."""
    paired: bool
    effect: float | None = None
    """Cliff's delta: in which part of pairs of sessions A's number is larger, less that in which it is smaller."""
    effect_words: str = ""
    resolution: float | None = None
    """Smallest difference, as a part, that would not have gone unseen (in 95 of 100 repetitions)."""
    words: str
    cautions: list[str]


class Difference(Model):
    """A value that is not the same for all sides."""

    name: str
    values: dict[str, str]


class Comparison(Model):
    """The result of ``pilotage perf compare``."""

    schema_version: Literal[1] = SCHEMA_VERSION
    run: str | None = None
    seed: int | None = None
    interleaved: bool
    groups: list[Group]
    verdicts: list[Verdict]
    differences: list[Difference]
    cautions: list[str]


def compare(sides: Mapping[str, Record], *, run: str | None = None, seed: int | None = None) -> Comparison:
    """Compare the first side with each of the others, by every metric that both have.

    Parameters
    ----------
    sides: records by the name under which each is told of, two at least.
    run: the run that has measured them.
    seed: of its order.
    """
    names = list(sides)
    first = names[0]
    metrics = [metric for metric in METRICS.values() if metric.name != "submission"]
    groups = [made for metric in metrics for name in names if (made := group(name, sides[name], metric)) is not None]
    verdicts = [
        verdict
        for other in names[1:]
        for metric in metrics
        if (verdict := judge(first, sides[first], other, sides[other], metric)) is not None
    ]
    interleaved = all(_interleaved(sides[first], sides[other]) for other in names[1:])
    cautions = [f"{name}: {mark}" for name in names for mark in _marks(sides[name])]
    if not interleaved:
        cautions.append("not measured in turn: what the machine did meanwhile is part of the ratio")
    return Comparison(
        run=run,
        seed=seed,
        interleaved=interleaved,
        groups=groups,
        verdicts=verdicts,
        differences=differences(sides),
        cautions=cautions,
    )


def group(name: str, record: Record, metric: Metric) -> Group | None:
    """Return the samples of one side, None where it has none above 0."""
    values = [value for _, value in _numbers(record, metric)]
    if not values:
        return None
    return Group(
        name=name,
        record=record.id,
        metric=metric.name,
        values=values,
        typical=interval_of(typical(values, resamples=SHOWN)),
        outliers=outliers(values),
        warm_up=warm_up(values),
        failed=sum(session.status == "failed" for session in record.sessions),
    )


def judge(
    a: str,
    ours: Record,
    b: str,
    theirs: Record,
    metric: Metric,
    *,
    confidence: float = 0.95,
    sure: float = SURE,
) -> Verdict | None:
    """Return what can be said of ``a`` against ``b`` by a metric; None where neither has it.

    Pairs are formed where both were measured in turn, by the number of the repeat. ``confidence`` is that of the
    interval, ``sure`` that of the verdict.
    """
    mine, others = _numbers(ours, metric), _numbers(theirs, metric)
    if not mine and not others:
        return None
    paired = _interleaved(ours, theirs)
    if paired:
        mine, others = _pairs(mine, others)
    x, y = [value for _, value in mine], [value for _, value in others]
    count = min(len(x), len(y))
    common: dict[str, Any] = {
        "metric": metric.name,
        "unit": metric.unit,
        "a": a,
        "b": b,
        "confidence": confidence,
        "sure": sure,
        "paired": paired,
    }
    if not count:
        lacking = b if x else a
        words = f"{metric.title}: cannot tell: {lacking} has no session with this number"
        return Verdict(outcome="cannot tell", words=words, cautions=[], **common)
    found = ratio(x, y, paired=paired, confidence=confidence)
    effect = round(dominance(x, y), 4)
    wide = ratio(x, y, paired=paired, confidence=sure)
    outcome = _outcome(wide)
    smallest = resolution(wide, sure)
    return Verdict(
        outcome=outcome,
        ratio=interval_of(found),
        effect=effect,
        effect_words=next(words for limit, words in EFFECTS if abs(effect) < limit),
        resolution=smallest if math.isfinite(smallest) and count >= LEAST else None,
        words=_words(a, b, metric, found, outcome, smallest),
        cautions=_cautions(found, x, y, confidence),
        **common,
    )


def _outcome(found: Estimate) -> Literal["different", "no difference", "cannot tell"]:
    if found.count < LEAST:
        return "cannot tell"
    return "different" if found.excludes(1.0) else "no difference"


def _words(a: str, b: str, metric: Metric, found: Estimate, outcome: str, smallest: float) -> str:
    times = f"{found.value:.3g} times {b} ({found.low:.3g} to {found.high:.3g})"
    if outcome == "cannot tell":
        few = f"{found.count} session{'s' if found.count != 1 else ''}"
        return f"{metric.title}: cannot tell from {few} (at least {LEAST}, better {ENOUGH}): {a} was {times}"
    if outcome == "different":
        return f"{metric.title}: {a} is {times}"
    doubt = " (chance alone gives such an interval once in twenty times)" if found.excludes(1.0) else ""
    seen = f"no difference larger than {percent(smallest)} would have gone unseen"
    return f"{metric.title}: no difference between {a} and {b}: {a} is {times}{doubt}; {seen}"


def percent(part: float) -> str:
    """Return a part as per cent with two digits, such as ``4.2 %``; a factor of thousands says nothing any more."""
    if not part < BEYOND:
        return "any size"
    shown = 100 * part
    return f"{shown:.2g} %" if shown < 100 else f"{shown:,.0f} %"


def _cautions(found: Estimate, ours: Sequence[float], theirs: Sequence[float], confidence: float) -> list[str]:
    cautions = []
    if found.count < LEAST:
        cautions.append(f"from {found.count}: the interval is from the smallest to the largest, and promises nothing")
    elif found.too_narrow:
        cautions.append(
            f"from {found.count}: the interval is too narrow, it holds the truth less often than"
            f" {100 * confidence:g} times of 100; from {FEW} on it is better, from {ENOUGH} on right"
        )
    far = len(outliers(ours)) + len(outliers(theirs))
    if far:
        cautions.append(f"{far} session{'s' if far > 1 else ''} far from the others: shown, and used")
    return cautions


def _numbers(record: Record, metric: Metric) -> list[tuple[int, float]]:
    """Return (repeat, number) of the sessions that have it, in the order in which they were taken."""
    found: list[tuple[int, float]] = []
    for session in sorted(record.finished, key=_order):
        value = metric.of(session)
        if value is not None and value > 0:
            found.append((session.number, value))
    return found


def _order(session: Session) -> tuple[int, int]:
    return session.order, session.number


def _interleaved(one: Record, other: Record) -> bool:
    return other.id in one.options.interleaved_with and one.id in other.options.interleaved_with


def _pairs(
    mine: list[tuple[int, float]], others: list[tuple[int, float]]
) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
    both = {number for number, _ in mine} & {number for number, _ in others}
    # A session that was taken again after a failure has its number once only: failed ones have no value.
    return (
        sorted((number, value) for number, value in mine if number in both),
        sorted((number, value) for number, value in others if number in both),
    )


def interval_of(found: Estimate) -> Interval:
    """Return an estimate in the shape in which it is told."""
    return Interval(value=found.value, low=found.low, high=found.high, count=found.count)


def _marks(record: Record) -> list[str]:
    failed = sum(session.status == "failed" for session in record.sessions)
    marks = [*record.marks]
    if failed:
        marks.append(f"{failed} of {len(record.sessions)} sessions failed")
    short = sum(bool(session.marks) for session in record.finished)
    if short:
        marks.append(f"{short} of {len(record.sessions)} sessions have marks, such as: {_first_mark(record)}")
    return marks


def _first_mark(record: Record) -> str:
    return next(mark for session in record.finished for mark in session.marks)


def differences(sides: Mapping[str, Record]) -> list[Difference]:
    """Return what is not the same for all sides: options, what ran, parameters, versions, machine, revision."""
    facts = {name: _facts(record) for name, record in sides.items()}
    names = dict.fromkeys(key for found in facts.values() for key in found)
    made = []
    for key in names:
        values = {name: found.get(key, "-") for name, found in facts.items()}
        if len(set(values.values())) > 1:
            made.append(Difference(name=key, values=values))
    return made


def _facts(record: Record) -> dict[str, str]:
    ran, options = record.ran, record.options
    found: dict[str, Any] = {
        "site": record.site,
        "scheduler": record.scheduler,
        "executor": record.executor,
        "time_s": options.time_s,
        "argsize": options.argsize,
        "workers asked for": options.workers,
        "ran: blocks": ran.blocks,
        "ran: managers": ran.managers,
        "ran: nodes": len(ran.nodes),
        "ran: workers": ran.workers,
        **record.parameters,
        **{f"version of {name}": version for name, version in record.versions.items()},
        **{f"revision of {name}": state.commit[:12] for name, state in record.revisions.items()},
    }
    if record.machine is not None:
        found.update({f"machine: {name}": value for name, value in record.machine.model_dump().items()})
    return {name: str(value) for name, value in found.items()}


def names_of(records: Sequence[tuple[str, Record]]) -> dict[str, Record]:
    """Return records by names of their own: the given one, with a number where it is not the only one of that name."""
    found: dict[str, Record] = {}
    for given, record in records:
        name, count = given, 1
        while name in found:
            count += 1
            name = f"{given}-{count}"
        found[name] = record
    return found


def short_path(path: Path) -> str:
    """Return a record's file name without its ending, by which a side is told of."""
    return path.name.removesuffix(".json")
