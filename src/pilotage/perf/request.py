"""What a benchmark's run was asked for, and how that is written as the arguments of its script."""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pilotage.errors import UsageError

RUN_TIME, RUN_REPEAT = 30.0, 5
COMPARE_TIME, COMPARE_REPEAT = 5.0, 20
"""A comparison wants many sessions rather than long ones: what one process measures, it measures with its own luck."""
SCRIPT = Path(__file__).with_name("script") / "benchmark.py"


@dataclass(frozen=True)
class Request:
    """One benchmark or comparison.

    Parameters
    ----------
    time_s: parsl-perf's target for an iteration.
    repeat: sessions of each configuration.
    root: folder below which ``results`` and ``configs`` are written.
    argsizes: bytes that calls carry; one configuration each.
    workers: a node; one configuration each; the sites' own when empty.
    latency: whether calls are also made one after the other.
    seed: of the order of the sessions.
    compare: what is compared, in its order: labels of the run's targets, and files of records after ``@``; empty for a
        benchmark that compares nothing.
    settle: the longest time in seconds to wait for the machine to come to rest before each session.
    tracking: MLflow's store; None for the one that the environment names, else the default one.
    """

    time_s: float
    repeat: int
    root: Path
    argsizes: tuple[int, ...] = (0,)
    workers: tuple[int, ...] = ()
    latency: bool = False
    seed: int = 1
    compare: tuple[str, ...] = ()
    settle: float = 10.0
    tracking: str | None = None

    def arguments(self) -> list[str]:
        """Return the arguments of the script that carries it out."""
        found = [f"--time={self.time_s:g}", f"--repeat={self.repeat}"]
        found.append(f"--argsize={','.join(map(str, self.argsizes))}")
        if self.workers:
            found.append(f"--workers={','.join(map(str, self.workers))}")
        if self.latency:
            found.append("--latency")
        found += [f"--seed={self.seed}", f"--settle={self.settle:g}", f"--folder={self.root}"]
        if self.tracking is not None:
            found.append(f"--tracking-uri={self.tracking}")
        return [*found, *(f"--compare={one}" for one in self.compare)]

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> Request:
        """Return the request in what `arguments` made."""
        parser = argparse.ArgumentParser(prog=SCRIPT.name, allow_abbrev=False)
        parser.add_argument("--time", type=float, required=True)
        parser.add_argument("--repeat", type=int, required=True)
        parser.add_argument("--argsize", default="0")
        parser.add_argument("--workers", default="")
        parser.add_argument("--latency", action="store_true")
        parser.add_argument("--seed", type=int, default=1)
        parser.add_argument("--settle", type=float, default=10.0)
        parser.add_argument("--folder", type=Path, required=True)
        parser.add_argument("--tracking-uri")
        parser.add_argument("--compare", action="append", default=[])
        found = parser.parse_args(list(arguments))
        return cls(
            time_s=found.time,
            repeat=found.repeat,
            root=found.folder,
            argsizes=numbers(found.argsize, "--argsize", least=0) or (0,),
            workers=numbers(found.workers, "--workers", least=1, most=MOST_WORKERS),
            latency=found.latency,
            seed=found.seed,
            compare=tuple(found.compare),
            settle=found.settle,
            tracking=found.tracking_uri,
        )


MOST_WORKERS = 100_000
"""Workers a node: more are a mistake, and a thread pool would not even complain."""


def numbers(text: str, option: str, *, least: int, most: int | None = None) -> tuple[int, ...]:
    """Return the whole numbers in a text such as ``1,2,4``, each once; raises UsageError, which names ``option``."""
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            value = int(part)
        except ValueError:
            value = least - 1
        if value < least or (most is not None and value > most):
            limit = f" and at most {most:,}" if most is not None else ""
            raise UsageError(
                f"{part!r} is no whole number of at least {least}{limit}", where=option, hint=f"such as {option} 1,2,4"
            )
        found.append(value)
    return tuple(dict.fromkeys(found))


def turns(count: int, repeat: int, seed: int) -> list[tuple[int, int]]:
    """Return (repeat, configuration) of each session to come, counted from 1 and from 0.

    Every repeat has each configuration once, in an order of its own: a slow moment of the machine falls on all alike,
    and what was measured in one repeat can be paired.
    """
    found = []
    for number in range(1, repeat + 1):
        places = list(range(count))
        random.Random(f"{seed}-{number}").shuffle(places)  # noqa: S311 - statistics, not secrets
        found += [(number, place) for place in places]
    return found
