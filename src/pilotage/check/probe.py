"""What a probe is, and the list of all that there are."""

from __future__ import annotations

import enum
import importlib
from typing import ClassVar, TypeVar

from pilotage.check.context import Context
from pilotage.check.finding import Finding


class Cost(enum.IntEnum):
    """What a probe asks; the cheap ones come first."""

    NOTHING = 0
    """The site's values alone."""
    MACHINE = 1
    """This machine: files, addresses, programs."""
    SCHEDULER = 2
    """The scheduler."""
    BLOCK = 3
    """A block that is submitted."""


LIMITS = {Cost.NOTHING: 20.0, Cost.MACHINE: 10.0, Cost.SCHEDULER: 20.0, Cost.BLOCK: 10.0}
"""Seconds that a probe has, unless it says otherwise."""


class Probe:
    """One question about a site.

    ``name`` is what it is called, ``cost`` what it asks. Where one of those that it ``needs`` has failed, it is not
    asked: its answer would say the same in other words.
    """

    name: ClassVar[str]
    cost: ClassVar[Cost]
    needs: ClassVar[tuple[str, ...]] = ()

    def limit(self, context: Context) -> float:  # noqa: ARG002  some limits follow from the context
        """Return the seconds after which it is given up."""
        return LIMITS[self.cost]

    def applies(self, context: Context) -> bool:  # noqa: ARG002
        """Return whether the question makes sense for the site; where not, it is not mentioned."""
        return True

    def run(self, context: Context) -> Finding:
        """Return what was found. Nothing is written outside of the context's folder, and nothing is left there."""
        raise NotImplementedError


MODULES = (
    "configuration",
    "login",
    "environment",
    "equipment",
    "folders",
    "space",
    "machine",
    "network",
    "reach",
    "clocks",
    "commands",
    "queues",
    "shape",
    "workers",
    "route",
    "names",
    "trial",
    "block",
    "nodes",
)
"""The modules of this package that have probes; of equal cost, they are asked in this order."""

_known: dict[str, Probe] = {}
P = TypeVar("P", bound=type[Probe])


def probe(cls: P) -> P:
    """Register a class of probe."""
    if cls.name in _known:
        raise ValueError(f"two probes are called {cls.name!r}")
    _known[cls.name] = cls()
    return cls


def probes() -> list[Probe]:
    """Return all probes in the order in which they are asked."""
    for module in MODULES:
        importlib.import_module(f"pilotage.check.{module}")
    return sorted(_known.values(), key=lambda known: (known.cost, MODULES.index(type(known).__module__.split(".")[-1])))
