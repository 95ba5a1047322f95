"""Runs probes: in order of cost, each within its time, and never one whose answer is known from another."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pilotage import paths
from pilotage.assembly.login import hosts_of
from pilotage.check.context import Context, OutOfTimeError
from pilotage.check.finding import Finding, Status, failed, skipped
from pilotage.check.probe import Probe, probes
from pilotage.errors import (
    ExtendsError,
    HostError,
    ParslArgumentError,
    PilotageError,
    SiteFileError,
    SiteValueError,
    StorageError,
)
from pilotage.hosts.base import Host
from pilotage.hosts.local import LocalHost
from pilotage.hosts.openssh import A_MOMENT, OpenSSHHost
from pilotage.sites.catalogue import Resolved
from pilotage.sites.models import BatchSite, Site
from pilotage.worker import processes

LOOK = 0.1
PATIENCE = 30.0
"""Seconds in which a probe that is told to stop must have ended what it has begun."""
WRONG_SITES = (SiteFileError, SiteValueError, ExtendsError, ParslArgumentError)


@dataclass(frozen=True)
class Result:
    """What one probe has found, and the seconds that it took."""

    probe: str
    finding: Finding
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return the result for ``--json``."""
        found = self.finding
        return {
            "probe": self.probe,
            "status": str(found.status),
            "message": found.message,
            "hint": found.hint,
            "where": found.where,
            "command": found.command,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class Report:
    """What was found of one site; ``run`` is the id of the run that a submitted block was part of, where it is kept."""

    site: str
    scheduler: str
    results: Sequence[Result]
    seconds: float = 0.0
    run: str | None = None
    measured: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether nothing has failed."""
        return all(result.finding.status is not Status.FAILED for result in self.results)

    def count(self, status: Status) -> int:
        """Return how many probes ended so."""
        return sum(result.finding.status is status for result in self.results)

    def as_dict(self) -> dict[str, Any]:
        """Return the report for ``--json``."""
        return {
            "site": self.site,
            "scheduler": self.scheduler,
            "ok": self.ok,
            "seconds": round(self.seconds, 3),
            "findings": [result.as_dict() for result in self.results],
            "run": self.run,
            "block": self.measured or None,
        }


@dataclass(frozen=True)
class Listener:
    """Told of each result as it comes, and of what is being waited for (``None``: of nothing any more)."""

    found: Callable[[Result], None] = lambda _result: None
    waits: Callable[[str | None], None] = lambda _words: None


def check_site(
    name: str,
    resolve: Callable[[], Resolved],
    listener: Listener,
    *,
    host: Host | None = None,
    options: Sequence[str] = (),
    submit: bool = False,
    wait: float = 600.0,
    asked: Sequence[Probe] | None = None,
) -> Report:
    """Check one site.

    Parameters
    ----------
    name: the site's.
    resolve: returns it; what is wrong with it then is a finding too.
    listener: told of what happens.
    host: where commands are run; this machine when not given.
    options: the ``--set`` of the check.
    submit: submit a block.
    wait: seconds that it may wait in the queue.
    asked: the probes; all when not given.
    """
    begun = time.monotonic()
    try:
        resolved = resolve()
    except WRONG_SITES as error:
        wrong = [Result("configuration", one, time.monotonic() - begun) for one in _wrong(name, error)]
        for result in wrong:
            listener.found(result)
        return Report(name, "", wrong, time.monotonic() - begun)
    listener.waits(f"{name}: importing Parsl")
    known = probes() if asked is None else asked
    listener.waits(None)
    with own_folder() as folder, _hosts(resolved.site, host) as hosts:
        waiting = _Waiting(listener)
        context = Context(
            resolved=resolved,
            host=host
            or (next(iter(hosts.values())) if isinstance(resolved.site, BatchSite) and hosts else LocalHost()),
            hosts=hosts,
            folder=folder,
            options=tuple(options),
            submit=submit,
            wait=wait,
            say=waiting.say,
        )
        results = list(_results(context, known, listener, waiting))
    memory = context.memory
    _settle_run(memory, all(result.finding.status is not Status.FAILED for result in results))
    return Report(
        name,
        resolved.site.scheduler,
        results,
        time.monotonic() - begun,
        memory.get("run kept"),
        memory.get("measured", {}),
    )


@contextlib.contextmanager
def _hosts(site: Site, given: Host | None) -> Iterator[dict[str, Host]]:
    """Yield the hosts by which a site is reached over SSH; connections that are made with them are ended."""
    made: dict[str, Host] = {name: given or OpenSSHHost(name, stays=A_MOMENT) for name in hosts_of(site)}
    ours = [host for host in made.values() if isinstance(host, OpenSSHHost) and host is not given]
    for host in ours:
        host.hold()
    try:
        yield made
    finally:
        for host in ours:
            host.release()


def _wrong(name: str, error: PilotageError) -> list[Finding]:
    """Return what is wrong with a site's values, each for itself."""
    command = f"pilotage site validate {name}"
    problems = (error.problems if isinstance(error, SiteValueError) else ()) or (error,)
    return [
        failed(one.message, hint=one.hint or "correct the value", where=one.where, command=command) for one in problems
    ]


def _settle_run(memory: dict[Any, Any], well: bool) -> None:
    """Remove the run that a block was part of, unless it can tell what is wrong."""
    folder = memory.get("run")
    if folder is None or "run kept" in memory:
        return
    from pilotage.check.block import remove_run

    if not well or not remove_run(folder):
        memory["run kept"] = folder.id


def _results(context: Context, asked: Sequence[Probe], listener: Listener, waiting: _Waiting) -> Iterator[Result]:
    bad: dict[str, str] = {}
    for probe in asked:
        missing = [bad[need] for need in probe.needs if need in bad]
        if missing:
            bad[probe.name] = missing[0]
        begun = time.monotonic()
        if not _guarded(lambda probe=probe: probe.applies(context), True):  # type: ignore[misc]
            continue
        finding = skipped(f"{missing[0]} comes first") if missing else run(probe, context, waiting)
        if finding.status is Status.FAILED:
            bad[probe.name] = probe.name
        result = Result(probe.name, finding, time.monotonic() - begun)
        listener.found(result)
        yield result


def run(probe: Probe, context: Context, waiting: _Waiting | None = None) -> Finding:
    """Return what a probe finds; one that raises or does not end is a finding too."""
    waiting = waiting or _Waiting(Listener())
    limit = probe.limit(context)
    found: list[Finding] = []
    one = context.until(time.monotonic() + limit)
    waiting.begin(probe.name)
    # Not Thread.join: Ctrl-C within it makes Python 3.11 take the thread for ended.
    over = threading.Event()

    def ask() -> None:
        found.append(_told(probe, one))
        over.set()

    # Not every wait of a probe can be ended: a file system that does not answer holds whoever asks it.
    threading.Thread(target=ask, name=f"check-{probe.name}", daemon=True).start()
    try:
        while not over.wait(LOOK) and one.left > 0:
            waiting.look()
    except BaseException:
        context.stopping.set()
        over.wait(PATIENCE)
        raise
    finally:
        waiting.end()
    return found[0] if found else _late(limit, waiting.words)


def _told(probe: Probe, context: Context) -> Finding:
    try:
        return probe.run(context)
    except HostError as error:  # the connection was there a moment ago
        hint = error.hint or "try it again"
        return failed(f"{error.where}: {error.message}" if error.where else error.message, hint=hint)
    except OutOfTimeError:
        return _late(probe.limit(context), "")
    except Exception as error:  # what a machine answers is never all foreseen, and the other probes go on
        return failed(
            f"the probe itself failed: {type(error).__name__}: {error}",
            hint="this is a defect of pilotage; please report it with the output of --json",
        )


def _late(limit: float, words: str) -> Finding:
    about = f" ({words})" if words else ""
    return failed(
        f"no answer within {limit:g} s{about}",
        hint="what does not answer here holds up a run as well: repeat the question by hand",
        command=words.removeprefix("waiting for ") if words.startswith("waiting for ") else None,
    )


def _guarded(question: Callable[[], bool], otherwise: bool) -> bool:
    try:
        return question()
    except Exception:  # then the probe itself tells of it
        return otherwise


class _Waiting:
    """Says what is being waited for, once it takes long enough to wonder."""

    AFTER = 0.3

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._begun = time.monotonic()
        self._shown = False
        self.words = ""
        self._name = ""

    def begin(self, name: str) -> None:
        self._name, self.words, self._begun = name, "", time.monotonic()

    def say(self, words: str) -> None:
        self.words = words

    def look(self) -> None:
        passed = time.monotonic() - self._begun
        if passed >= self.AFTER:
            self._shown = True
            self._listener.waits(f"{self._name}: {self.words or 'waiting'} ({passed:.0f} s)")

    def end(self) -> None:
        if self._shown:
            self._shown = False
            self._listener.waits(None)


@contextlib.contextmanager
def own_folder() -> Iterator[Path]:
    """Make the folder of a check, and remove it; one that was killed before has left its own, which goes too.

    Where none can be made, it is a path in a folder that is not there: a probe tells of that.
    """
    try:
        _remove_abandoned()
        folder = paths.check_folder()
        paths.write_json(folder / "owner.json", processes.identity(os.getpid()))
    except (OSError, StorageError):
        folder = paths.state_folder() / "runs" / ".check-nowhere"
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned() -> None:
    for folder in (paths.state_folder() / "runs").glob(".check-*"):
        with contextlib.suppress(OSError, ValueError):
            owner = json.loads((folder / "owner.json").read_text())
            if processes.is_here(owner) and not processes.is_alive(owner):
                shutil.rmtree(folder, ignore_errors=True)
