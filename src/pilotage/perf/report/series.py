"""What the figures are drawn from: the records of one configuration are a series; what does not count is set apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

from pilotage.perf.history import Step, past
from pilotage.perf.record import METRICS, Iteration, Record, Session
from pilotage.statistics import Estimate, typical

PARTS = ("driver_s", "queue_s", "launch_s", "connect_s", "first_task_s")
PART_NAMES = ("driver", "queue", "launch", "connect", "first task")
WORKERS = 5
"""Place of the workers among the parts of a configuration."""
CURVE = [i / 200 for i in range(200)] + [0.9975, 0.999, 1.0]
"""Probabilities at which a distribution is drawn."""


@dataclass
class Entry:
    """A record and its file."""

    record: Record
    path: Path

    @property
    def time(self) -> datetime:
        """When it was made."""
        return self.record.time

    @property
    def rates(self) -> list[float]:
        """Tasks a second, one number a finished session."""
        return [rate for rate in self.record.values("rate") if rate > 0]


@dataclass
class Series:
    """The records of one configuration, the oldest first; ``number`` gives its colour, marker and dashes.

    ``metric`` is what its history is of.
    """

    number: int
    name: str
    entries: list[Entry]
    metric: str = "rate"

    @property
    def site(self) -> str:
        """The site's name."""
        return self.entries[0].record.site

    @property
    def sessions(self) -> list[Session]:
        """All sessions that count."""
        return [session for entry in self.entries for session in entry.record.finished]

    @property
    def rates(self) -> list[float]:
        """Tasks a second, one number a session."""
        return [rate for entry in self.entries for rate in entry.rates]

    @property
    def iterations(self) -> list[Iteration]:
        """All iterations of sessions that count."""
        return [iteration for session in self.sessions for iteration in session.iterations]

    @cached_property
    def throughput(self) -> Estimate | None:
        """The typical session, with its interval."""
        return typical(self.rates) if self.rates else None

    @property
    def latencies(self) -> list[float]:
        """Seconds of each judged call."""
        found = []
        for session in self.sessions:
            if session.latency is not None:
                found += session.latency.samples[session.latency.warm_up :]
        return found

    @property
    def startups(self) -> list[dict[str, float]]:
        """Seconds of each part of each cold start, and of all of it (``total_s``)."""
        starts = [session.cold_start for session in self.sessions if session.cold_start is not None]
        return [{name: getattr(one, name) or 0.0 for name in (*PARTS, "total_s")} for one in starts]

    @cached_property
    def steps(self) -> list[Step]:
        """The records with numbers, each beside the one before it."""
        return past([entry.record for entry in self.entries], METRICS[self.metric])


@dataclass
class Family:
    """Series that differ in their workers alone."""

    number: int
    name: str
    members: list[Series]

    def by_workers(self) -> dict[int, list[float]]:
        """Return the rates by the number of workers that really ran, where that is known."""
        found: dict[int, list[float]] = {}
        for session in (session for one in self.members for session in one.sessions):
            if session.ran.workers and session.rate:
                found.setdefault(session.ran.workers, []).append(session.rate)
        return dict(sorted(found.items()))


@dataclass
class NotCounted:
    """A session that is no measurement, or a record without one, and why."""

    entry: Entry
    session: Session | None
    reason: str


@dataclass
class Material:
    """All that a report tells of."""

    series: list[Series]
    families: list[Family]
    entries: list[Entry]
    not_counted: list[NotCounted]
    problems: list[str]

    @property
    def measured(self) -> list[Series]:
        """The series with a number in them."""
        return [one for one in self.series if one.rates]


def gather(records: Mapping[Path, Record], problems: Sequence[str], metric: str = "rate") -> Material:
    """Return the material in records by file, the oldest record first; ``metric`` is what the history is of."""
    entries = sorted(
        (Entry(record, path) for path, record in records.items()), key=lambda one: (one.time, one.record.id)
    )
    by_parts: dict[tuple[str, ...], list[Entry]] = {}
    for entry in entries:
        by_parts.setdefault(_parts(entry.record), []).append(entry)
    keys = sorted(by_parts, key=_order)
    named = enumerate(zip(keys, _names(keys), strict=True))
    series = [Series(n, name, by_parts[key], metric) for n, (key, name) in named]
    by_family: dict[tuple[str, ...], list[Series]] = {}
    for key, one in zip(keys, series, strict=True):
        by_family.setdefault(key[:WORKERS], []).append(one)
    names = _names(list(by_family))
    # A family looks like the first of its series: what is one colour in one figure is not to be another in the next.
    families = [Family(found[0].number, name, found) for name, found in zip(names, by_family.values(), strict=True)]
    return Material(series, families, entries, list(_not_counted(entries)), list(problems))


def _order(parts: tuple[str, ...]) -> tuple[object, ...]:
    workers = parts[WORKERS].split(" ")[0]
    return (*parts[:WORKERS], int(workers) if workers else 0)


def _names(keys: Sequence[tuple[str, ...]]) -> list[str]:
    """Return a name for each configuration: its site, and of the rest what is not the same for all of that site."""
    names = []
    for key in keys:
        same = [other for other in keys if other[0] == key[0]]
        told = [place for place in range(1, len(key)) if key[place] and len({other[place] for other in same}) > 1]
        names.append(" ".join([key[0], *(key[place] for place in told)]))
    return names


def _parts(record: Record) -> tuple[str, ...]:
    """Return what two records must share for one to be the other's past, in words; the workers last."""
    options = record.options
    return (
        record.site,
        record.scheduler,
        record.executor,
        f"[{record.label}]" if record.label else "",
        f"{options.argsize} B/call" if options.argsize else "",
        f"{options.workers} workers/node" if options.workers else "",
    )


def _not_counted(entries: Sequence[Entry]) -> list[NotCounted]:
    found = []
    for entry in entries:
        unfinished = [session for session in entry.record.sessions if session.status != "finished"]
        found += [NotCounted(entry, session, session.reason or session.status) for session in unfinished]
        if not entry.record.sessions:
            found.append(NotCounted(entry, None, "; ".join(entry.record.marks) or "no session"))
    return found


def curve(samples: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return values and the part of samples up to each, few enough to be drawn."""
    ordered = sorted(samples)
    count = len(ordered)
    places = range(count) if count <= len(CURVE) else sorted({max(0, math.ceil(p * count) - 1) for p in CURVE})
    return [ordered[place] for place in places], [(place + 1) / count for place in places]
