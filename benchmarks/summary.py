"""From samples to rows: medians, intervals, ratios paired by repeat, and the goals held against them. Pure."""

from dataclasses import asdict, dataclass

from pilotage.statistics import estimate, paired_ratio

OURS = "pilotage"


@dataclass(frozen=True)
class Metric:
    """One value of a measure as it is shown: ``scale`` makes the unit of the sample's number."""

    measure: str
    value: str
    title: str
    unit: str
    scale: float = 1.0


@dataclass(frozen=True)
class Goal:
    """What a number of ours is held against: a ratio to ``against``, or the value itself where that is None.

    ``least`` and ``reach`` are the bounds that must and should be met; where ``reach`` is below ``least``, less is
    better.
    """

    title: str
    measure: str
    value: str
    against: str | None
    least: float
    reach: float
    unit: str = "x"

    def verdict(self, value):
        sign = 1 if self.reach >= self.least else -1
        if sign * value >= sign * self.reach:
            return "reached"
        return "met" if sign * value >= sign * self.least else "missed"


METRICS = [
    Metric("perf", "rate", "parsl-perf", "tasks/s"),
    Metric("throughput", "rate", "no-op tasks", "tasks/s"),
    Metric("latency", "p50", "one call, p50", "ms", 1e3),
    Metric("latency", "p99", "one call, p99", "ms", 1e3),
    Metric("latency", "cold_start", "cold start", "s"),
    Metric("mapping", "rate_small", "map of 10^6", "items/s"),
    Metric("mapping", "rate_small_auto", 'map of 10^6, chunksize="auto"', "items/s"),
    Metric("mapping", "rate_large", "map of 10^7", "items/s"),
    Metric("mapping", "grown_MB", "driver's growth over 10^7", "MB"),
    Metric("arguments", "rate_0", "argument of 0 B", "tasks/s"),
    Metric("arguments", "rate_10kB", "argument of 10 kB", "tasks/s"),
    Metric("arguments", "rate_1MB", "argument of 1 MB", "tasks/s"),
    Metric("memory", "bytes_per_task", "driver, a waiting task", "kB", 1e-3),
    Metric("tail", "first", "first tenth of many tasks", "tasks/s"),
    Metric("tail", "last", "last tenth of many tasks", "tasks/s"),
    Metric("tail", "last_to_first", "last against first tenth", "x"),
    Metric("seconds", "wall_to_ideal", "tasks of 1 s, wall to ideal", "x"),
    Metric("staging_file", "put_large", "paths: 600 MB", "MB/s"),
    Metric("staging_file", "put_small", "paths: 10,000 files of 1 kB", "files/s"),
    *(
        Metric(f"staging_{scheme}", f"{way}_{kind}", f"{title}: {what} {words}", unit)
        for scheme, title in (("s3", "s3"), ("ssh", "ssh"))
        for kind, what, unit in (("large", "600 MB", "MB/s"), ("small", "10,000 files of 1 kB", "files/s"))
        for way, words in (("put", "there"), ("get", "back"))
    ),
    *(Metric("managers", f"rate_{n}", f"managers: {n}", "tasks/s") for n in (1, 2, 4, 8, 16, 32)),
]

GOALS = [
    Goal("unmodified parsl-perf, to stock HTEX", "perf", "rate", "parsl-htex", 12, 20),
    Goal("the same, to stock HTEX with NoopLogging", "perf", "rate", "parsl-htex-nolog", 6, 10),
    Goal("equal no-op tasks, to Ray", "throughput", "rate", "ray", 5, 10),
    Goal("equal no-op tasks, to dask.distributed", "throughput", "rate", "dask", 15, 30),
    Goal("p50 latency, to stock HTEX", "latency", "p50", "parsl-htex", 0.7, 0.5),
    Goal("cold start, to stock HTEX", "latency", "cold_start", "parsl-htex", 0.35, 0.2),
    Goal("map of 10^6, to multiprocessing.Pool.imap, equal chunks", "mapping", "rate_small", "multiprocessing", 0.5, 1),
    Goal("driver's growth over a 10^7-item map", "mapping", "grown_MB", None, 100, 30, "MB"),
    Goal("last against first 100,000 of 10^6 tasks", "tail", "last_to_first", None, 0.9, 1),
    Goal("tasks of 1 s on 2 workers, wall time to ideal", "seconds", "wall_to_ideal", None, 1.03, 1.01),
    Goal("1 MB arguments, to stock HTEX", "arguments", "rate_1MB", "parsl-htex", 1, 2),
    Goal("600 MB to another path, to cp", "staging_file", "put_large", "cp", 0.9, 1),
    *(
        Goal(f"600 MB {words} a bucket, to {peer}", "staging_s3", way, peer, 0.9, 1)
        for way, words in (("put_large", "to"), ("get_large", "from"))
        for peer in ("awscli", "rclone")
    ),
    Goal("10,000 small files to a bucket, to awscli", "staging_s3", "put_small", "awscli", 1.5, 3),
    Goal("10,000 small files from a bucket, to awscli", "staging_s3", "get_small", "awscli", 1.5, 3),
    Goal("600 MB to a host, to rsync", "staging_ssh", "put_large", "rsync", 0.9, 1),
    Goal("600 MB from a host, to rsync", "staging_ssh", "get_large", "rsync", 0.9, 1),
]


def values(samples, measure, peer, value):
    """Return {repeat: number} of one value of one peer."""
    return {
        each["repeat"]: each["values"][value]
        for each in samples
        if each["measure"] == measure and each["peer"] == peer and value in each.get("values", {})
    }


def ratio(samples, measure, value, peer):
    """Return our value to a peer's, paired by repeat, or None where none has both or one is not above 0."""
    ours, theirs = values(samples, measure, OURS, value), values(samples, measure, peer, value)
    both = sorted(ours.keys() & theirs.keys())
    if not both or any(side[repeat] <= 0 for side in (ours, theirs) for repeat in both):
        return None
    return paired_ratio([ours[repeat] for repeat in both], [theirs[repeat] for repeat in both])


def rows(samples, peers):
    """Return a row for each metric and peer with samples: the estimate in the metric's unit, and our ratio to it."""
    found = []
    for metric in METRICS:
        for peer in peers:
            taken = values(samples, metric.measure, peer, metric.value)
            if not taken:
                continue
            row = {"measure": metric.measure, "value": metric.value, "title": metric.title, "unit": metric.unit}
            scaled = estimate([number * metric.scale for number in taken.values()])
            to_peer = None if peer == OURS else ratio(samples, metric.measure, metric.value, peer)
            found.append({**row, "peer": peer, "estimate": asdict(scaled), "ratio": to_peer and asdict(to_peer)})
    return found


def goals(samples):
    """Return each goal with its estimate and verdict; both None where it was not measured."""
    found = []
    for goal in GOALS:
        if goal.against:
            reached = ratio(samples, goal.measure, goal.value, goal.against)
        else:
            own = values(samples, goal.measure, OURS, goal.value)
            reached = estimate(list(own.values())) if own else None
        verdict = goal.verdict(reached.value) if reached else None
        found.append({**asdict(goal), "estimate": reached and asdict(reached), "verdict": verdict})
    return found


def failures(samples):
    """Return one row for each measure, peer and reason: how many repeats ended so."""
    counts = {}
    for each in samples:
        if "error" in each:
            key = (each["measure"], each["peer"], each["error"])
            counts[key] = counts.get(key, 0) + 1
    return [{"measure": m, "peer": p, "reason": r, "repeats": n} for (m, p, r), n in counts.items()]


def summarize(record):
    """Return the record with its rows, goals and failures."""
    samples = record["samples"]
    return {
        **{key: value for key, value in record.items() if key != "samples"},
        "goals": goals(samples),
        "rows": rows(samples, record["peers"]),
        "failures": failures(samples),
        "samples": samples,
    }
