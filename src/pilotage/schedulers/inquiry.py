"""What a scheduler can be asked before anything is submitted. Pure: questions as argument lists, answers as text.

The queues themselves are asked for by `pilotage.schedulers.base.Scheduler.queue_queries`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pilotage.hosts.base import Completed
from pilotage.schedulers.base import Queue

_HOMES = {
    "slurm": ("pilotage.schedulers.slurm_inquiry", "SlurmInquiry"),
    "pbspro": ("pilotage.schedulers.pbspro_inquiry", "PBSProInquiry"),
    "gridengine": ("pilotage.schedulers.gridengine_inquiry", "GridEngineInquiry"),
    "flux": ("pilotage.schedulers.flux_inquiry", "FluxInquiry"),
}
NAMES: tuple[str, ...] = tuple(_HOMES)
LONGEST = 600
"""Characters of a command's words that are quoted."""


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """Nodes of one kind which a queue has.

    ``queue`` is empty where they are everybody's. ``cores`` and ``memory`` (GB of 1024**3 bytes, rounded down) are of
    one node, None where that is not said. ``usable`` is whether they take jobs, now or when others have ended;
    ``state`` is the scheduler's own word. ``names`` is a list as the scheduler writes it.
    """

    queue: str
    count: int
    cores: int | None = None
    memory: int | None = None
    gpus: int = 0
    usable: bool = True
    state: str = ""
    names: str = ""
    features: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Named:
    """Things of a scheduler that a site names by one of its keys, such as accounts.

    ``read`` returns the names that the user may give, None where the answer does not say.
    """

    key: str
    command: tuple[str, ...]
    read: Callable[[Completed], list[str] | None]


class Inquiry(Protocol):
    """A scheduler as it is asked about itself."""

    name: str

    def version_command(self) -> tuple[str, ...]:
        """Return the question for its version, which needs no controller."""

    def parse_version(self, answer: Completed) -> str:
        """Return the version in an answer, empty where there is none; never raises."""

    def nodes_commands(self) -> tuple[tuple[str, ...], ...]:
        """Return the questions whose answers `parse_nodes` reads."""

    def parse_nodes(self, outputs: Sequence[str]) -> list[Nodes]:
        """Return the nodes by queue and kind; what cannot be read is left out; never raises."""

    def detail_command(self, queue: str) -> tuple[str, ...] | None:
        """Return the question for the limits of one queue, None where the list of queues has them."""

    def parse_detail(self, queue: Queue, answer: Completed) -> Queue:
        """Return a queue with what the answer adds to it; never raises."""

    def named(self, user: str) -> tuple[Named, ...]:
        """Return what of the names in a site can be asked for."""

    def trial_command(self, script: str) -> tuple[str, ...] | None:
        """Return what lets the scheduler judge the batch script at a path without running it; None without such."""

    def parse_trial(self, answer: Completed) -> str:
        """Return why the script would be refused, in the scheduler's words; empty where it would not."""


class WithoutDetails:
    """The part of a scheduler whose list of queues says all there is to say."""

    def detail_command(self, queue: str) -> tuple[str, ...] | None:  # noqa: ARG002  the contract's signature
        """Return None: there is nothing to ask."""
        return None

    def parse_detail(self, queue: Queue, answer: Completed) -> Queue:  # noqa: ARG002
        """Return the queue as it is."""
        return queue


def inquiry(name: str, **place: str) -> Inquiry:
    """Return the questions to the scheduler ``name``; raises KeyError for one that cannot be asked.

    ``place`` is that of `pilotage.schedulers.batch`.
    """
    module, attribute = _HOMES[name]
    found: Inquiry = getattr(importlib.import_module(module), attribute)(**place)
    return found


def words(answer: Completed) -> str:
    """Return what a command has said, in one line that is not long: its stderr, else its stdout, else its exit code."""
    said = " ".join((answer.stderr.strip() or answer.stdout).split()) or f"exit code {answer.exit_code}"
    return said if len(said) <= LONGEST else f"{said[:LONGEST]} ..."
