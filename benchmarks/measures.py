"""What is measured: one program a measure, for which peers, how often, and within which time."""

import re
from dataclasses import dataclass

PARSLS = ("pilotage", "parsl-htex", "parsl-htex-nolog", "parsl-threads")
FUTURES = (*PARSLS, "ray", "dask", "processpool", "loky")
ALL = (*FUTURES, "hyperqueue")
STAGED = ((600, 10_000), (60, 500))
"""Megabytes of the large file and number of small ones, and those of --quick."""


@dataclass(frozen=True)
class Measure:
    """One measure. ``arguments`` follow the peer's name on the command line; ``quick`` are those of --quick."""

    name: str
    title: str
    peers: tuple[str, ...]
    repeats: int
    limit: float
    """Seconds after which the program is ended and its record is a failure."""
    arguments: tuple[float, ...]
    quick: tuple[float, ...]
    needs: tuple[str, ...] = ()
    """Peers whose environment it needs besides: one of them is the server."""
    enclosed: bool = True
    """Whether it runs in a network of its own. An sshd does not, which needs the machine's users there; all that it
    starts listens on loopback."""


MEASURES = {
    measure.name: measure
    for measure in [
        Measure("perf", "unmodified parsl-perf", PARSLS, 5, 180, (8,), (3,)),
        Measure("throughput", "no-op tasks", ALL, 5, 90, (2,), (1,)),
        Measure("latency", "sequential calls and cold start", ALL, 5, 60, (1,), (0.5,)),
        Measure("arguments", "arguments of 0, 10 kB and 1 MB", FUTURES, 3, 90, (0.7,), (0.4,)),
        Measure("memory", "driver memory a waiting task", FUTURES, 2, 120, (10_000,), (3_000,)),
        Measure(
            "mapping",
            "map over 10^6 and 10^7 items",
            ("pilotage", "multiprocessing", "processpool", "loky", "parsl-htex", "ray", "dask"),
            3,
            150,
            (1e6, 1e7),
            (1e6, 0),
        ),
        Measure("tail", "first and last tenth of many tasks", ("pilotage", "processpool"), 1, 400, (1e6,), (5e4,)),
        Measure("seconds", "tasks of one second", ("pilotage", "parsl-htex", "processpool"), 3, 60, (12,), (6,)),
        Measure(
            "staging_file", "files and folders to another path", ("pilotage", "pilotage-cp", "cp"), 5, 120, *STAGED
        ),
        Measure(
            "staging_s3",
            "files and folders to a bucket and back",
            ("pilotage", "pilotage-cp", "awscli", "rclone"),
            3,
            600,
            *STAGED,
            needs=("rclone",),
        ),
        Measure(
            "staging_ssh",
            "files and folders to a host and back",
            ("pilotage", "pilotage-cp", "rsync"),
            3,
            300,
            *STAGED,
            needs=("rsync",),
            enclosed=False,
        ),
        Measure("managers", "1 to 32 managers", ("pilotage", "parsl-htex"), 1, 240, (1, 32), (0.5, 4)),
    ]
}


def parsl_perf_rate(output):
    """Return what parsl-perf's output says about its last iteration: tasks, seconds, tasks a second.

    Raises ValueError where it did not come to its end: then its last iteration is not the last one.
    """
    iterations = re.split(r"^==== Iteration \d+ ====$", output, flags=re.MULTILINE)[1:]
    if not iterations or "\nTests complete" not in iterations[-1]:
        raise ValueError("parsl-perf's output stops before its end")
    patterns = {
        "tasks": r"^Will run (\d+) tasks$",
        "seconds": r"^Runtime: actual ([\d.]+)s ",
        "rate": r"^Tasks per second: ([\d.]+)$",
    }
    found = {key: re.search(pattern, iterations[-1], re.MULTILINE) for key, pattern in patterns.items()}
    missing = [key for key, match in found.items() if match is None]
    if missing:
        raise ValueError(f"the last iteration of parsl-perf's output has no {missing[0]}")
    return {key: float(match[1]) for key, match in found.items()}
