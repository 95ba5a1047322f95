"""Submissions that had no answer: nobody knows whether there is a job, or will be. Decides, and does nothing itself.

A command that is late is ended, but what it has asked for may be on its way: a scheduler that was frozen goes on, and
there is the job. It is looked for by its name, and taken on. Where the scheduler answers and has no such job after a
while, it is submitted once more, under the same name: of two that turn up then, the second is cancelled.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

ABSENT = 20.0
"""Seconds in which a scheduler that answers must have the job, before it is submitted once more."""
GHOST = 900.0
"""Seconds for which a job may turn up, once the scheduler answers again."""
TWICE = 2


class Do(enum.Enum):
    """What is to be done: take a job on, cancel some, submit the script once more, or give the block up."""

    TAKE = enum.auto()
    CANCEL = enum.auto()
    SUBMIT = enum.auto()
    GIVE_UP = enum.auto()


class Step(NamedTuple):
    """Something to be done about the jobs ``ids`` that are called ``name``."""

    do: Do
    name: str
    ids: tuple[str, ...] = ()


@dataclass
class Case:
    """One name: submissions that may have made a job, the job that was taken on, and whether one is wanted still."""

    submissions: int = 1
    taken: str | None = None
    wanted: bool = True
    heard: float | None = None
    cancelled: set[str] = field(default_factory=set)


class Unanswered:
    """The names under which a job may turn up."""

    def __init__(self) -> None:
        self._cases: dict[str, Case] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._cases

    def __bool__(self) -> bool:
        return bool(self._cases)

    def add(self, name: str) -> None:
        """Take note that a submission has had no answer, the first of its name or the second."""
        case = self._cases.setdefault(name, Case(submissions=0))
        case.submissions += 1
        case.heard = None

    def taken(self, name: str, job: str) -> None:
        """Take note that the second submission was answered with a job."""
        self._cases[name].taken = job
        self._cases[name].submissions = TWICE

    def unwanted(self, name: str) -> None:
        """Take note that whatever turns up under a name now is to be cancelled."""
        if name in self._cases:
            self._cases[name].wanted = False

    def cancelled(self, name: str, ids: Sequence[str]) -> None:
        """Take note that jobs are cancelled; they may be listed for a while."""
        if name in self._cases:
            self._cases[name].cancelled.update(ids)

    def look(self, listed: Mapping[str, str], now: float) -> list[Step]:
        """Return what is to be done, given the names of all jobs by id, as the scheduler lists them now."""
        steps: list[Step] = []
        for name, case in list(self._cases.items()):
            known = {case.taken, *case.cancelled}
            ids = sorted((job for job, called in listed.items() if called == name and job not in known), key=_age)
            case.heard = now if case.heard is None else case.heard
            todo = self._steps(name, case, ids, now - case.heard)
            if (case.submissions < TWICE and case.taken) or (not todo and now - case.heard > GHOST):
                del self._cases[name]
            steps += todo
        return steps

    @staticmethod
    def _steps(name: str, case: Case, ids: list[str], heard_for: float) -> list[Step]:
        steps = []
        missed = case.wanted and case.taken is None
        if missed and ids:
            case.taken = ids.pop(0)
            steps.append(Step(Do.TAKE, name, (case.taken,)))
        elif missed and heard_for >= ABSENT:
            case.wanted = case.submissions < TWICE
            steps.append(Step(Do.SUBMIT if case.wanted else Do.GIVE_UP, name))
        if ids:
            steps.append(Step(Do.CANCEL, name, tuple(ids)))
        return steps


def _age(job: str) -> tuple[int, str]:
    """Return a key by which the ids of older jobs come first: schedulers count."""
    return len(job), job
