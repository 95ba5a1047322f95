"""Batch jobs in the journal, ended from the entries alone."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pilotage import journal
from pilotage.errors import PilotageError
from pilotage.hosts.base import LATE, Completed, Host
from pilotage.hosts.local import LocalHost
from pilotage.providers.unanswered import GHOST
from pilotage.schedulers import batch
from pilotage.schedulers.batch import Batch, UnclearError, together

if TYPE_CHECKING:
    from pilotage.hosts.openssh import OpenSSHHost

TIMEOUT = 30.0
SOON = 1.0
"""Seconds after which a scheduler that was frozen, and answers, has what was submitted to it meanwhile."""


def end(entries: Sequence[journal.Entry]) -> dict[str, str]:
    """Cancel jobs, found by their names where they have no ids yet; return by key why some may not be gone."""
    found: dict[str, str] = {}
    for whose in dict.fromkeys(map(_whose, entries)):
        ours = [entry for entry in entries if _whose(entry) == whose]
        name, clusters, login = whose
        host = _login(login) if login else LocalHost()
        try:
            found.update(_Ending(batch(name, **({"clusters": clusters} if clusters else {})), host).end(ours))
        except (PilotageError, OSError, UnclearError) as error:
            found.update((entry.key, f"{name} cannot be asked from here: {error}") for entry in ours)
        finally:
            host.leave()
    return found


def _login(destination: str) -> OpenSSHHost:
    from pilotage.hosts.openssh import A_MOMENT, OpenSSHHost

    return OpenSSHHost(destination, stays=A_MOMENT)


def _whose(entry: journal.Entry) -> tuple[str, str, str]:
    return str(entry.what["scheduler"]), str(entry.what.get("clusters", "")), str(entry.what.get("login", ""))


def over(scheduler: str, clusters: str, ids: Sequence[str]) -> list[str]:
    """Return those of some jobs that have ended, or that the scheduler does not know; none where it does not say."""
    commands = batch(scheduler, **({"clusters": clusters} if clusters else {}))
    try:
        answers = [LocalHost().run(argv, timeout=TIMEOUT) for argv in commands.status_commands(ids)]
        listed = commands.parse_status(answers)
    except (PilotageError, OSError, UnclearError):
        return []
    return [job for job in ids if job not in listed or listed[job].state.final]


def may_turn_up(entry: journal.Entry) -> bool:
    """Return whether a job may come to be though none is there: its submission had no answer not long ago."""
    since = (entry.id or {}).get("unanswered", entry.at if entry.id is None else None)
    return since is not None and time.time() - float(since) < GHOST


def _is_called(entry: journal.Entry, name: str) -> bool:
    """Return whether a job of this name is the entry's; some providers add a time to the name that they are given."""
    given = str(entry.what["name"])
    return name == given or (bool(entry.what.get("begins")) and name.startswith(f"{given}."))


class _Ending:
    def __init__(self, commands: Batch, host: Host) -> None:
        self._commands = commands
        self._host = host

    def end(self, entries: Sequence[journal.Entry]) -> dict[str, str]:
        ids = {entry.key: self._known(entry) for entry in entries}
        doubtful = [entry for entry in entries if entry.id is None or "unanswered" in entry.id]
        unlisted = ""
        try:
            listed = self._listed(doubtful)
        except UnclearError as error:  # those whose ids are known are cancelled all the same
            listed, unlisted = {}, f"{self._commands.name} cannot be asked from here: {error}"
        for entry in doubtful:
            named = [job for job, name in listed.items() if _is_called(entry, name)]
            ids[entry.key] = [*dict.fromkeys([*ids[entry.key], *named])]
        groups = together([job for found in ids.values() for job in found])
        refused = {job: words for some in groups for job, words in self._cancel(some).items()}
        problems = {
            key: "; ".join(why) for key, jobs in ids.items() if (why := [refused[j] for j in jobs if j in refused])
        }
        # Of two submissions, one may have made its job by now and the other not.
        submitted = {entry.key: 2 if entry.id else 1 for entry in doubtful}
        late = [entry for entry in doubtful if len(ids[entry.key]) < submitted[entry.key] and may_turn_up(entry)]
        words = "its submission had no answer, and it may turn up still; commands of pilotage look for it"
        unknown = dict.fromkeys([entry.key for entry in doubtful], unlisted) if unlisted else {}
        return {**{entry.key: words for entry in late}, **unknown, **problems}

    @staticmethod
    def _known(entry: journal.Entry) -> list[str]:
        return [str(entry.id["job_id"])] if entry.id and "job_id" in entry.id else []

    def _listed(self, wanted: Sequence[journal.Entry]) -> Mapping[str, str]:
        """Return the names of jobs by id, where any are wanted; raises UnclearError."""
        listed: Mapping[str, str] = {}
        for pause in (0.0, SOON) if wanted else ():
            time.sleep(pause)
            listed = self._commands.parse_list(self._run(self._commands.list_command(self._host.identity().user)))
            if any(_is_called(entry, name) for entry in wanted for name in listed.values()):
                break
        return listed

    def _cancel(self, ids: Sequence[str]) -> dict[str, str]:
        """Cancel jobs; return what the scheduler says of those that it does not cancel."""
        answer = self._run(self._commands.cancel_command(ids))
        if answer.ok or (len(ids) == 1 and self._commands.is_gone(answer)):
            return {}
        if answer.exit_code == LATE or len(ids) == 1:
            words = (answer.stderr + answer.stdout).strip()
            return dict.fromkeys(ids, words or f"{self._commands.name} refused with exit code {answer.exit_code}")
        # Of several, one that is gone is told of like one that cannot be cancelled.
        return {job: words for one in ids for job, words in self._cancel([one]).items()}

    def _run(self, argv: Sequence[str]) -> Completed:
        return self._host.run(argv, timeout=TIMEOUT)
