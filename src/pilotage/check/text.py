"""What people read of a check."""

from __future__ import annotations

from pilotage.check.checking import Report, Result
from pilotage.check.finding import Status

INDENT = " " * 11


def heading(site: str, scheduler: str) -> str:
    """Return the line above the results of a site."""
    return f"{site} ({scheduler})" if scheduler else site


def line(result: Result) -> tuple[str, str]:
    """Return what comes after a result's status: its own line, and the lines below for what is not well."""
    found = result.finding
    first = f"{result.probe:<16} {found.message}"
    if found.status in (Status.OK, Status.SKIPPED):
        return first, ""
    more = [f"where: {found.where}"] if found.where else []
    more += [f"hint: {found.hint}"] if found.hint else []
    more += [f"again: {found.command}"] if found.command else []
    return first, "\n".join(INDENT + part for part in more)


def summary(report: Report) -> str:
    """Return the line below the results of a site."""
    counts = [(report.count(status), str(status)) for status in Status]
    words = ", ".join(f"{count} {word}" for count, word in counts if count)
    kept = f"; the run of the block is kept: pilotage show {report.run}" if report.run else ""
    return f"{report.site}: {words} in {report.seconds:.1f} s{kept}"
