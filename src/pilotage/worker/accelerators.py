"""Which accelerators each worker of a node gets, where the scheduler has given some to the job.

A scheduler says so in variables (``CUDA_VISIBLE_DEVICES`` and its kin), as numbers, UUIDs or ids of parts. Accelerators
that a site gives by number are then places in that list: worker 0 of a job that was given "2,3" has "2". Nothing is
asked of the devices.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "GPU_DEVICE_ORDINAL",
    "ZE_AFFINITY_MASK",
)
NONE = ("", "-1", "NoDevFiles", "none", "void")
"""What stands for no device; CUDA takes nothing after it either."""


class NoAcceleratorsError(Exception):
    """The job was given none, or too few for one worker."""


@dataclass(frozen=True)
class Shares:
    """What the workers of a node get.

    entries: the ids of each worker's accelerators, with commas between them, as Parsl has them.
    variables: the environment of each worker.
    affinity: Parsl's ``cpu_affinity`` for these workers.
    words: what a person should know, or None.
    """

    entries: list[str]
    variables: list[dict[str, str]]
    affinity: str
    words: str | None


def given(environ: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the ids in each variable that says which devices there are; nothing where there is none."""
    found: dict[str, list[str]] = {}
    for name in VARIABLES:
        if name in environ and environ[name].strip() != "all":
            ids = [part.strip() for part in environ[name].split(",")]
            end = next((place for place, one in enumerate(ids) if one in NONE), len(ids))
            found[name] = ids[:end]
    return found


def shares(configured: Sequence[str], on_each: int, affinity: str, environ: Mapping[str, str]) -> Shares | None:
    """Return what each worker gets of what the scheduler gave, None where it said nothing.

    Parameters
    ----------
    configured: Parsl's ``--available-accelerators``, one a worker: numbers, or several with commas between them.
    on_each: workers that share an accelerator.
    affinity: Parsl's ``--cpu-affinity``.
    environ: the environment of the job.

    Raises NoAcceleratorsError where not one worker could have what it needs.
    """
    lists = given(environ)
    if not configured or not lists:
        return None
    groups = [[int(place) // on_each for place in entry.split(",")] for entry in configured]
    wanted = 1 + max(max(group) for group in groups)
    there = min(len(ids) for ids in lists.values())
    kept = [worker for worker, group in enumerate(groups) if max(group) < there]
    words = None
    if there < wanted:
        said = ", ".join(f"{name}={environ[name]}" for name in lists)
        words = f"{wanted} accelerators are configured, and the scheduler gave {there} to the job here ({said})"
        if not kept:
            raise NoAcceleratorsError(f"{words}: none, or too few for a worker. Ask it for more, or configure fewer")
        words += f": {_workers(len(kept))} instead of {len(groups)}"
    variables = [{name: _of(ids, groups[worker]) for name, ids in lists.items()} for worker in kept]
    first = next(iter(lists.values()))
    entries = [_of(first, groups[worker]) for worker in kept]
    return Shares(entries, variables, _cores(affinity, groups, kept, first, on_each), words)


def usable_affinity(affinity: str, usable: set[int]) -> tuple[str, str | None]:
    """Return an affinity, and words where its core lists cannot be had: then it is ``none``.

    A worker cannot be put on cores of which the job has none, and would not start.
    """
    if not affinity.startswith("list:"):
        return affinity, None
    for cores in affinity.removeprefix("list:").split(":"):
        if (wanted := set(numbers(cores))) and not usable & wanted:
            words = f"this job has none of the cores {cores} (it has {len(usable)}): workers are not bound to cores"
            return "none", words
    return affinity, None


def usable_cores() -> set[int]:
    """Return the cores that this process may use; on systems that do not say so, all there are."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def numbers(cores: str) -> list[int]:
    """Return the cores of a list such as ``0-3,8``; none for a text that is no list."""
    found: list[int] = []
    for part in cores.split(","):
        first, _, last = part.partition("-")
        if not first.isdigit() or (last and not last.isdigit()):
            return []
        found += range(int(first), int(last or first) + 1)
    return found


def _workers(count: int) -> str:
    return "1 worker starts" if count == 1 else f"{count} workers start"


def _of(ids: Sequence[str], group: Sequence[int]) -> str:
    return ",".join(ids[place] for place in group)


def _cores(
    affinity: str, groups: Sequence[Sequence[int]], kept: Sequence[int], ids: Sequence[str], on_each: int
) -> str:
    """Return the core lists of the workers that are kept: where ids are numbers, those that belong to the numbers."""
    lists = affinity.removeprefix("list:").split(":")
    if not affinity.startswith("list:") or len(lists) != len(groups):
        return affinity
    chosen = []
    for worker in kept:
        theirs = [int(ids[place]) for place in groups[worker] if ids[place].isdigit()]
        same = [other for other, group in enumerate(groups) if list(group) == theirs]
        same = [other for other in same if other % on_each == worker % on_each]
        chosen.append(lists[same[0] if same else worker])
    return "list:" + ":".join(chosen)
