"""Parsl's executor, which lets each node look at its Python before a manager starts: is it like the driver's?

A Python that is not says so in one line of its block's stderr and starts nothing. No other block would fare better.
"""

from __future__ import annotations

import functools
import os
import re
import shlex
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parsl.jobs.states import JobStatus

from pilotage.engine.answering import AnsweringExecutor
from pilotage.engine.commands import OUR_POOL
from pilotage.worker import expected

if TYPE_CHECKING:
    from pilotage.hosts.far import FarFolder

SAID = re.compile(rf"{re.escape(expected.SAYS)}(\S+): (.*?){re.escape(expected.FIX)}(.*)")
READ = 1 << 20
"""Bytes at the end of what a block has written that are looked at."""
NAMED = 4
"""Hosts that are named; a thousand may say the same."""


@dataclass(frozen=True)
class Refusal:
    """Why hosts start no workers: what is wrong with the Python there, and what mends it."""

    words: str
    fix: str

    def __str__(self) -> str:
        return f"{self.words}{expected.FIX}{self.fix}"


class WorkersRefusedError(Exception):
    """No workers are started, since their Python is not like the driver's."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


def verified(command: str, script: str, has: Mapping[str, str], require: Sequence[str] = ()) -> str:
    """Return a command that starts our pool with the look before it; another command as it is.

    Parameters
    ----------
    command: as `commands.with_our_pool` returns it.
    script: where the workers have ``expected.py``.
    has: what the driver has, as `expected.driver` tells it.
    require: packages that they must have beside, with limits as `expected.requirement` knows them.
    """
    python, start, rest = command.partition(f" -P -m {OUR_POOL} ")
    if not start:
        return command
    words = [f"{name}={has[name]}" for name in ("python", *expected.PACKAGES) if name in has]
    words += [f"require={''.join(expected.requirement(text))}" for text in require]
    return f"{python} {shlex.join([script, *words])} --{start}{rest}"


def refusal(status: JobStatus) -> Refusal | None:
    """Return what nodes of a block have said of their Pythons, each thing once; None where they said nothing."""
    hosts: dict[tuple[str, str], list[str]] = {}
    for path in (status.stderr_path, status.stdout_path):
        for host, words, fix in SAID.findall(_end_of(path)) if path else ():
            hosts.setdefault((words.strip(), fix.strip()), []).append(host)
    if not hosts:
        return None
    told = "; ".join(f"{_named(sorted(set(on)))}: {words}" for (words, _), on in hosts.items())
    return Refusal(told, " and ".join(dict.fromkeys(fix for _, fix in hosts)))


def together(refusals: Iterable[Refusal]) -> Refusal:
    """Return several refusals as one."""
    those = list(dict.fromkeys(refusals))
    return Refusal("; ".join(one.words for one in those), " and ".join(dict.fromkeys(one.fix for one in those)))


def _end_of(path: str) -> str:
    try:
        with open(path, "rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - READ, 0))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def _is_one_word(text: str) -> bool:
    try:
        return len(shlex.split(text)) == 1
    except ValueError:  # a quotation that does not end here
        return False


def _named(hosts: Sequence[str]) -> str:
    more = f" and {len(hosts) - NAMED} more" if len(hosts) > NAMED else ""
    return ", ".join(hosts[:NAMED]) + more


class VerifyingExecutor(AnsweringExecutor):
    """Parsl's executor, whose nodes look at their Python first where ``verify`` is set; the arguments are Parsl's."""

    verify = False
    require: Sequence[str] = ()

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._known_refusals: dict[str, Refusal | None] = {}

    @property
    def _far(self) -> FarFolder | None:
        """The run's folder where the workers are, where that is not this machine's."""
        return getattr(getattr(self, "route", None), "folder", None)

    def start(self) -> None:
        """Put what looks at a Python into the run's folder, and start; see Parsl's."""
        if self.verify:
            script = Path(self._script)
            script.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copyfile(expected.__file__, script)
        super().start()

    @property
    def _script(self) -> str:
        return f"{self.logdir}/{Path(expected.__file__).name}"

    @functools.cached_property
    def _has(self) -> dict[str, str]:
        return expected.driver()  # what is installed meanwhile is not what runs

    def _verified(self, command: str) -> str:
        there = self._script if self._far is None else self._far.path(self._script)
        # A container need not see the run's folder, unless the keys are read from there.
        is_seen = self.encrypted or _is_one_word(command.partition(" -P -m ")[0])
        return verified(command, there, self._has, self.require) if self.verify and is_seen else command

    def _look_for_refusals(self, states: Mapping[str, JobStatus]) -> dict[str, Refusal]:
        """Read what blocks that are over have said; return those of which nodes refused their Python."""
        known = self._known_refusals
        for block, status in states.items() if self.verify else ():
            if known.get(block) is None and (block not in known or status.exit_code == expected.EXIT):  # else late
                known[block] = refusal(status)
        return self._refusals()

    def _refusals(self) -> dict[str, Refusal]:
        """Return what nodes have said of their Pythons, by block."""
        return {block: said for block, said in list(self._known_refusals.items()) if said is not None}
