"""Every error a user can meet, each with a place, a hint and an exit code.

::

    PilotageError                    1
    ├── UsageError                   2  an argument of a command or call cannot be used
    │   ├── ScriptError              2  the script is missing, a folder, or does not parse
    │   ├── LabelError               2  an executor label or a ``--site label=S`` cannot be used
    │   └── ConfigConflictError      2  the script loads its own Config and --site was given
    ├── SiteError                    2  something is wrong with a site
    │   ├── SiteFileError            2  a site file cannot be read or is not TOML
    │   ├── SiteValueError           2  a key is unknown, missing, or has a wrong value
    │   ├── UnknownSiteError         2  no site of that name
    │   ├── ExtendsError             2  ``extends`` names nothing, or itself in the end
    │   └── ParslArgumentError       2  Parsl's constructor does not know or refuses an argument
    ├── UnsupportedError             2  the site is right, but this cannot be done with it
    ├── MissingExtraError            2  an optional dependency is not installed
    ├── StorageError                 2  a file or folder of ours cannot be written or read
    ├── HostError                    1  a host cannot be reached, or refuses
    │   └── LoginError               1  a host wants something that only a person can give
    ├── BuildError                   1  the workers' environment cannot be made
    ├── DataError                    1  a file or folder cannot be brought from or to its URL
    │   ├── NotThereError            1  there is nothing at the URL
    │   ├── DeniedError              1  whoever keeps it does not let us
    │   ├── BrokenTransferError      1  it broke off, or what has come is not what was sent; once more may help
    │   ├── StageInError             1  an input of a task, which has not begun
    │   └── StageOutError            1  an output of a task, which has run
    └── ClusterError                 1  a cluster on this machine cannot be started, reached or ended

A message says what happened; ``where`` says in which file, line and key; ``hint`` says what to do next.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class PilotageError(Exception):
    """Base of all errors of pilotage.

    Parameters
    ----------
    message: what happened, in one sentence.
    where: the place: ``file:line``, a site, a command, a job.
    hint: what the user can do next.
    """

    exit_code = 1

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        parts = [f"{self.where}: {self.message}" if self.where else self.message]
        if self.hint:
            parts.append(f"hint: {self.hint}")
        return "\n\n".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """Return the error for ``--json``: kind, message, where, hint, exit_code."""
        return {
            "error": type(self).__name__,
            "message": self.message,
            "where": self.where,
            "hint": self.hint,
            "exit_code": self.exit_code,
        }


class UsageError(PilotageError):
    """An argument of a command or a call cannot be used."""

    exit_code = 2


class ScriptError(UsageError):
    """The script is missing, is a folder, or does not parse."""


class LabelError(UsageError):
    """An executor label cannot be used in this run."""


class ConfigConflictError(UsageError):
    """The script loads a Config of its own although a site was asked for."""


class SiteError(PilotageError):
    """Something is wrong with a site."""

    exit_code = 2


class SiteFileError(SiteError):
    """A site file cannot be read or is not TOML."""


class SiteValueError(SiteError):
    """A key of a site is unknown, missing, or has a wrong value.

    ``problems`` are the errors, one a key, of which this one is the sum; none where it is of one key itself.
    """

    problems: tuple[SiteValueError, ...] = ()


class UnknownSiteError(SiteError):
    """No site has the name that was asked for."""


class ExtendsError(SiteError):
    """``extends`` names no site, or comes back to where it started."""


class ParslArgumentError(SiteError):
    """A constructor of Parsl does not know an argument, or refuses its value."""


class UnsupportedError(PilotageError):
    """What was asked cannot be done with this site."""

    exit_code = 2


class MissingExtraError(PilotageError):
    """An optional dependency is not installed."""

    exit_code = 2


class StorageError(PilotageError):
    """A file or folder of pilotage's own cannot be written or read."""

    exit_code = 2


class HostError(PilotageError):
    """A host cannot be reached, or refuses."""


class LoginError(HostError):
    """A host wants something that only a person can give, such as a passphrase or a second factor."""


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """Return ``did you mean 'x'?`` for the nearest of ``known``, or None when nothing is near."""
    import difflib  # seldom needed, and the supervisor is to be small

    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else None


class BuildError(PilotageError):
    """The workers' environment cannot be made."""


class DataError(PilotageError):
    """A file or folder cannot be brought from or to its URL, which is ``where``."""


class NotThereError(DataError):
    """There is nothing at the URL."""


class DeniedError(DataError):
    """Whoever keeps it does not let us, or does not know us."""


class BrokenTransferError(DataError):
    """A transfer broke off, or what has come is not what was sent; once more may help.

    ``after``: seconds to wait before, as the other side has asked.
    """

    after: float = 0


class StageInError(DataError):
    """An input cannot be brought to its task, which has not begun."""


class StageOutError(DataError):
    """An output of a task that has run cannot be brought to its URL."""


class ClusterError(PilotageError):
    """A cluster on this machine cannot be started, reached or ended."""
