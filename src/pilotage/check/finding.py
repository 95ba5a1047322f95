"""What a probe has found."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass


class Status(enum.StrEnum):
    """How a probe ended; only ``FAILED`` makes a check fail."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a probe has found, for people.

    ``message`` says what is so, in one line; of what was skipped, why. ``hint`` says what to do, ``where`` names the
    key of the site that it is about, ``command`` repeats the question by hand.
    """

    status: Status
    message: str
    hint: str | None = None
    where: str | None = None
    command: str | None = None


LONGEST = 1000
"""Characters of a message; what a machine answers may be long."""
LISTED = 12


def ok(message: str, *, command: str | None = None) -> Finding:
    """Return that something is as it should be."""
    return Finding(status=Status.OK, message=short(message), command=command)


def warning(message: str, *, hint: str, where: str | None = None, command: str | None = None) -> Finding:
    """Return that something may not be what was meant, or will be bad later."""
    return Finding(status=Status.WARNING, message=short(message), hint=short(hint), where=where, command=command)


def failed(message: str, *, hint: str, where: str | None = None, command: str | None = None) -> Finding:
    """Return that a run on this site will fail, and what to do about it."""
    return Finding(status=Status.FAILED, message=short(message), hint=short(hint), where=where, command=command)


def skipped(reason: str, *, command: str | None = None) -> Finding:
    """Return that a question has no answer here."""
    return Finding(status=Status.SKIPPED, message=short(reason), command=command)


def short(text: str) -> str:
    """Return a text for people in one line, its end left out where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} ..."


def listed(names: Iterable[str], nothing: str = "none") -> str:
    """Return names as a list for people: not more of them than can be read."""
    known = list(names)
    more = f" and {len(known) - LISTED} more" if len(known) > LISTED else ""
    return (", ".join(known[:LISTED]) + more) or nothing
