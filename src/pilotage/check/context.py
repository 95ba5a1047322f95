"""What probes work with: the site, this machine, and what others have asked already."""

from __future__ import annotations

import getpass
import math
import shlex
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from pilotage.assembly.configs import is_elsewhere
from pilotage.hosts.base import Completed, Host
from pilotage.sites.catalogue import Resolved
from pilotage.sites.models import BatchSite, BlockSite, Site

T = TypeVar("T")
MARGIN = 0.5
"""Seconds before the end of a probe's time at which its commands are ended, so that it can tell of them."""


class OutOfTimeError(Exception):
    """A probe has had its time, and nobody waits for it any more."""


@dataclass(frozen=True)
class Context:
    """What a probe works with.

    Parameters
    ----------
    resolved: the site.
    host: where the scheduler's commands are run.
    folder: the check's own, 0700, beside the runs; it is removed afterwards.
    options: the ``--set`` of the check, for commands that repeat something.
    submit: whether a block may be submitted.
    wait: seconds that it may wait in the queue.
    say: told what is being waited for.
    stopping: set when the check is being ended.
    deadline: of the probe, as ``time.monotonic`` counts.
    memory: what was asked already, shared by all probes of a site.
    hosts: those by which the site is reached over SSH, by name: its login host, or those of a pool.
    """

    resolved: Resolved
    host: Host
    folder: Path
    options: tuple[str, ...] = ()
    submit: bool = False
    wait: float = 600.0
    say: Callable[[str], None] = lambda _words: None
    stopping: threading.Event = field(default_factory=threading.Event)
    deadline: float = math.inf
    memory: dict[Any, Any] = field(default_factory=dict)
    hosts: Mapping[str, Host] = field(default_factory=dict)

    @property
    def site(self) -> Site:
        """The site's values."""
        return self.resolved.site

    @property
    def blocks(self) -> BlockSite | None:
        """The site's values where it starts its workers in blocks, else None."""
        site = self.resolved.site
        return site if isinstance(site, BlockSite) and site.uses_blocks else None

    @property
    def is_far(self) -> bool:
        """Whether the site's scheduler is on a login host."""
        return isinstance(self.site, BatchSite) and self.site.login is not None

    @property
    def is_through(self) -> bool:
        """Whether workers reach the driver through a host of the site, and not by an address of this machine."""
        return is_elsewhere(self.site) and getattr(self.site, "reach", "") != "direct"

    @property
    def reached(self) -> list[str]:
        """The hosts that have let us in, as the probe of the login has it; all of them before that."""
        found: list[str] = self.memory.get("reached", list(self.hosts))
        return found

    def user(self) -> str:
        """Return who we are for the scheduler."""
        return self.run("id", "-un").stdout.strip() if self.is_far else getpass.getuser()

    def machine(self) -> str:
        """Return the name of the host where the scheduler's commands are run."""
        return self.run("uname", "-n").stdout.strip() if self.is_far else socket.gethostname()

    @property
    def left(self) -> float:
        """Seconds that the probe still has."""
        return self.deadline - time.monotonic()

    def until(self, deadline: float) -> Context:
        """Return this context for one probe."""
        return replace(self, deadline=deadline)

    def run(self, *argv: str) -> Completed:
        """Return the end of a command; asked once, however many probes want to know.

        Raises OutOfTimeError where the probe has no time left.
        """
        if argv in self.memory:
            known: Completed = self.memory[argv]
            return known
        left = self.left - MARGIN
        if left <= 0:
            raise OutOfTimeError
        self.say(f"waiting for {shlex.join(argv)}")
        answer = self.host.run(argv, timeout=min(left, 60.0))
        if answer.exit_code != 124:
            self.memory[argv] = answer
        return answer

    def once(self, key: str, ask: Callable[[], T]) -> T:
        """Return what ``ask`` returned the first time."""
        if key not in self.memory:
            self.memory[key] = ask()
        found: T = self.memory[key]
        return found

    def key(self, *path: str) -> str:
        """Return ``file:line: site.NAME.key``."""
        return self.resolved.place(*path)

    def pilotage(self, *words: str) -> str:
        """Return a command of pilotage about this site, with the ``--set`` of this check, as a shell line."""
        sets = [part for option in self.options for part in ("--set", option)]
        return shlex.join(["pilotage", *words, self.resolved.name, *sets])
