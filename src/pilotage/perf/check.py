"""Whether a benchmark has become slower than one before it, beyond what chance would do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from pilotage.perf.compare import Verdict, judge, percent
from pilotage.perf.record import METRICS, Metric, Model, Record
from pilotage.perf.sources import newest

CHECKED = ("rate", "latency_p50", "cold_start")
"""Metrics that are judged; what a user waits for."""
Outcome = Literal["regression", "passed", "cannot tell"]


class Item(Model):
    """One configuration by one metric."""

    configuration: str
    metric: str
    outcome: Outcome
    new: str
    old: str
    verdict: Verdict | None = None
    words: str


class Check(Model):
    """The result of ``pilotage perf check``."""

    schema_version: Literal[1] = 1
    against: str
    outcome: Outcome
    confidence: float
    """Of each interval: so high that all together are wrong in 5 of 100 checks at most."""
    items: list[Item]
    problems: list[str]


def check(
    new: Sequence[Record],
    old: Sequence[Record],
    *,
    against: str = "",
    metrics: Sequence[str] = CHECKED,
    tolerance: float = 0.0,
    see: float = 0.1,
    problems: Sequence[str] = (),
) -> Check:
    """Judge the newest record of each configuration in ``new`` against the newest in ``old``.

    Parameters
    ----------
    new, old: records in order of time; one that is in both is not held against itself.
    against: what ``old`` is called.
    metrics: which numbers are judged.
    tolerance: the part by which a number may be worse.
    see: the smallest regression, as a part, that must not go unseen: where it might, nothing can be told.
    problems: what was told of files that could not be read.
    """
    candidates = newest(new)
    before = {
        key: newest([other for other in old if other.id != record.id]).get(key) for key, record in candidates.items()
    }
    pairs = [
        (record, before[key], METRICS[name])
        for key, record in candidates.items()
        for name in metrics
        if record.values(name) or (before[key] is not None and _has(before[key], name))
    ]
    # Many numbers are judged at once: each of them more strictly (Bonferroni).
    judged = sum(earlier is not None for _, earlier, _ in pairs)
    confidence = 1 - 0.05 / max(1, judged)
    items = [_item(record, earlier, metric, confidence, tolerance, see) for record, earlier, metric in pairs]
    items += [_unfinished(record) for record in _without_end(new)]
    outcomes = {item.outcome for item in items}
    overall: Outcome = "passed"
    if "regression" in outcomes:
        overall = "regression"
    elif "cannot tell" in outcomes or not items:
        overall = "cannot tell"
    return Check(against=against, outcome=overall, confidence=confidence, items=items, problems=list(problems))


def _without_end(new: Sequence[Record]) -> list[Record]:
    """Return the newest record of each configuration where nothing in it has finished: no older one speaks for it."""
    last = {record.configuration: record for record in new}
    return [record for key, record in last.items() if not record.finished and record.sessions]


def _unfinished(record: Record) -> Item:
    words = f"{_configuration(record)}: cannot tell: no session of the newest record, {record.id}, has finished"
    reason = next((f": {one.reason}" for one in reversed(record.sessions) if one.reason), "")
    return Item(
        configuration=_configuration(record),
        metric="",
        outcome="cannot tell",
        new=record.id,
        old="",
        words=words + reason,
    )


def _has(record: Record | None, metric: str) -> bool:
    return record is not None and bool(record.values(metric))


def _item(
    record: Record, earlier: Record | None, metric: Metric, confidence: float, tolerance: float, see: float
) -> Item:
    name = _configuration(record)
    common: dict[str, Any] = {"configuration": name, "metric": metric.name, "new": record.id}
    if earlier is None:
        words = f"{name}: {metric.title}: cannot tell: nothing of this configuration is there to compare with"
        return Item(outcome="cannot tell", old="", words=words, **common)
    verdict = judge("new", record, "old", earlier, metric, confidence=confidence, sure=confidence)
    if verdict is None or verdict.ratio is None or verdict.outcome == "cannot tell":
        words = f"{name}: {verdict.words if verdict is not None else f'{metric.title}: cannot tell: no numbers'}"
        return Item(outcome="cannot tell", old=earlier.id, verdict=verdict, words=words, **common)
    outcome = _judged(verdict, metric, tolerance, see)
    return Item(
        outcome=outcome,
        old=earlier.id,
        verdict=verdict,
        words=f"{name}: {_words(verdict, metric, outcome, see)}",
        **common,
    )


def _judged(verdict: Verdict, metric: Metric, tolerance: float, see: float) -> Outcome:
    if verdict.ratio is None:
        return "cannot tell"
    if metric.more_is_better and verdict.ratio.high < 1 / (1 + tolerance):
        return "regression"
    if not metric.more_is_better and verdict.ratio.low > 1 + tolerance:
        return "regression"
    if hidden(verdict, metric) > max(see, tolerance):
        return "cannot tell"
    return "passed"


def hidden(verdict: Verdict, metric: Metric) -> float:
    """Return the largest regression, as a part, that the interval leaves possible."""
    if verdict.ratio is None:
        return math.inf
    if metric.more_is_better:
        return max(0.0, 1 / verdict.ratio.low - 1) if verdict.ratio.low > 0 else math.inf
    return max(0.0, verdict.ratio.high - 1)


def _words(verdict: Verdict, metric: Metric, outcome: Outcome, see: float) -> str:
    if verdict.ratio is None:
        return ""
    found = verdict.ratio
    times = f"{metric.title} is {found.value:.3g} times the earlier one ({found.low:.3g} to {found.high:.3g})"
    if outcome == "regression":
        return f"REGRESSION: {times}"
    largest = percent(hidden(verdict, metric))
    if outcome == "cannot tell":
        return f"cannot tell: {times}; it may be {largest} worse, and {percent(see)} is to be seen: more sessions"
    return f"passed: {times}; it is no more than {largest} worse"


def _configuration(record: Record) -> str:
    options = record.options
    words = [record.site, record.executor]
    if options.workers:
        words.append(f"{options.workers} workers")
    if options.argsize:
        words.append(f"{options.argsize:,} B")
    return " ".join(words)
