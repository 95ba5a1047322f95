"""What a scheduler is: a block to render, the queues it tells of, and the contract that every module here keeps."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pilotage.errors import SiteValueError


@dataclass(frozen=True, kw_only=True)
class Block:
    """One block (batch job) to render; every field is decided, or is a named placeholder such as ``@job_name@``.

    ``command`` is the shell text that starts the managers, the launcher's wrapping included; ``stdout`` and
    ``stderr`` are paths; ``walltime`` is HH:MM:SS; ``settings`` are the provider's by Parsl's argument names. A
    setting that is missing or None is not asked for.
    """

    name: str
    command: str
    stdout: str
    stderr: str
    nodes: int = 1
    tasks_per_node: int = 1
    walltime: str | None = None
    worker_init: str = ""
    settings: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Queue:
    """A partition or queue as its scheduler describes it; None is "not said".

    ``max_walltime`` is HH:MM:SS, ``max_nodes`` counts the nodes of one job. The numbers of a node are those of the
    smallest that a job may get, so that what they say can be asked for; ``memory_per_node`` is in GB as schedulers
    count them (1024**3 bytes), rounded down.
    """

    name: str
    default: bool = False
    available: bool = True
    max_walltime: str | None = None
    max_nodes: int | None = None
    cores_per_node: int | None = None
    memory_per_node: int | None = None
    gpus_per_node: int | None = None


class Scheduler(Protocol):
    """A scheduler without any process: text for it, arguments for its commands, and what its answers mean.

    ``commands`` are the programs that a machine which has it has on its PATH.
    """

    name: str
    commands: tuple[str, ...]

    def render(self, block: Block) -> str:
        """Return the batch script (or manifest) of a block; raises SiteValueError for a value it cannot hold."""

    def queue_queries(self) -> tuple[tuple[str, ...], ...]:
        """Return the argument lists whose answers `parse_queues` reads; none where there are no queues."""

    def parse_queues(self, outputs: Sequence[str]) -> list[Queue]:
        """Return the queues in the answers' stdout, given in the order of the queries; never raises.

        An answer that is missing, and a part that cannot be read, are left out.
        """

    def account_query(self, user: str) -> tuple[str, ...] | None:
        """Return the argument list that asks for the accounts of ``user``, or None where none can be asked for."""

    def parse_accounts(self, output: str, user: str) -> list[str]:
        """Return the accounts in the answer that ``user`` may charge; never raises."""


class WithoutAccounts:
    """The part of a scheduler that cannot say who may charge what."""

    def account_query(self, user: str) -> tuple[str, ...] | None:  # noqa: ARG002  the contract's signature
        """Return None: there is nothing to ask."""
        return None

    def parse_accounts(self, output: str, user: str) -> list[str]:  # noqa: ARG002
        """Return no accounts."""
        return []


class WithoutQueues(WithoutAccounts):
    """The part of a scheduler that has neither queues nor accounts."""

    def queue_queries(self) -> tuple[tuple[str, ...], ...]:
        """Return nothing to ask."""
        return ()

    def parse_queues(self, outputs: Sequence[str]) -> list[Queue]:  # noqa: ARG002  the contract's signature
        """Return no queues."""
        return []


def seconds(walltime: str) -> int:
    """Return a wall time HH:MM:SS (hours may exceed 24) in seconds; raises SiteValueError for anything else."""
    found = re.fullmatch(r"(\d{1,6}):([0-5]\d):([0-5]\d)", walltime, re.ASCII)
    if not found:
        raise SiteValueError(f"the wall time {walltime!r} is not HH:MM:SS", hint="an hour and a half is 01:30:00")
    hours, minutes, rest = map(int, found.groups())
    return hours * 3600 + minutes * 60 + rest


def clock(total: int) -> str:
    """Return seconds as HH:MM:SS, the inverse of `seconds`."""
    return f"{total // 3600:02}:{total % 3600 // 60:02}:{total % 60:02}"


def whole_number(value: object) -> int | None:
    """Return a count in a scheduler's answer, or None where there is no plain whole number."""
    found = re.fullmatch(r"\d{1,12}", str(value).strip(), re.ASCII)
    return int(found.group()) if found else None
