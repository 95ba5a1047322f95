"""Any provider of Parsl, with its jobs in the journal: written down before they are submitted, and until they are over.

Jobs of a scheduler that pilotage knows the commands of are entries like those of its own providers, and are ended from
the journal. Of all others an entry says what is known, and a person has to end them: see `by_hand`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from parsl.jobs.states import JobStatus
from parsl.providers import GridEngineProvider, KubernetesProvider, LocalProvider, PBSProProvider, SlurmProvider
from parsl.providers.base import ExecutionProvider
from parsl.providers.errors import ExecutionProviderException, SubmitException

from pilotage import journal
from pilotage.providers import jobs
from pilotage.providers.ledger import NEW
from pilotage.worker import processes

SCHEDULERS = {SlurmProvider: "slurm", PBSProProvider: "pbspro", GridEngineProvider: "gridengine"}
"""Parsl's providers whose jobs pilotage can end by itself."""
P = TypeVar("P", bound=ExecutionProvider)


def journaled(provider: P) -> P:
    """Let the jobs of a provider be in the journal, unless it sees to that itself; return the provider.

    Its three methods about jobs are replaced, and nothing else: it stays of its class, for whoever asks.
    """
    if not getattr(provider, "keeps_journal", False) and not isinstance(
        getattr(provider.submit, "__self__", None), _Keeper
    ):
        keeper = _Keeper(provider)
        for method in (keeper.submit, keeper.status, keeper.cancel):
            setattr(provider, method.__name__, method)
    return provider


class _Keeper:
    """Does what a provider does, and keeps the journal of it."""

    def __init__(self, provider: ExecutionProvider) -> None:
        self._provider = provider
        self._submit, self._status, self._cancel = provider.submit, provider.status, provider.cancel
        self._entries: dict[object, _Entry] = {}
        self._making = threading.Lock()

    def submit(self, command: str, tasks_per_node: int, job_name: str = "parsl.auto") -> object:
        """Submit a block under a name that begins with the run's id; return what the provider returns."""
        name = journal.job_name(job_name)
        kind, what = _described(self._provider, name)
        entry = _Entry(journal.intend(kind, **what), kind, what)
        try:
            job = self._submit(command, tasks_per_node, name)
        except ExecutionProviderException as error:
            if not (isinstance(error, SubmitException) and error.retcode == 0):  # there, the job may be
                journal.ended(entry.key, f"refused: {error}")
            raise
        if not job:
            journal.ended(entry.key, "refused")
            return job
        if known := entry.identity(self._provider, job):
            journal.identify(entry.key, **known)
        with self._making:
            self._entries[job] = entry
        return job

    def status(self, job_ids: Sequence[object]) -> Sequence[JobStatus]:
        """Return the states of jobs, as the provider sees them."""
        states: Sequence[JobStatus] = self._status(job_ids)
        self._look(job for job, status in zip(job_ids, states, strict=False) if status.terminal)
        return states

    def cancel(self, job_ids: Sequence[object]) -> Sequence[bool]:
        """Cancel jobs; return for each whether the provider says that it is done."""
        done: Sequence[bool] = self._cancel(job_ids)
        for job, is_done in zip(job_ids, done, strict=False):
            if is_done:
                self._over(job, "cancelled")
        return done

    def _look(self, ended: Iterable[object]) -> None:
        """Take note of jobs that are over; where the scheduler can be asked, it is: Parsl may be wrong about it.

        One that was submitted just now need not be listed yet.
        """
        with self._making:
            known = [(job, self._entries[job]) for job in ended if job in self._entries]
        asked: dict[tuple[str, str], dict[str, object]] = {}
        for job, entry in known:
            if not entry.scheduler:
                self._over(job, "ended")
            elif entry.key and entry.id_says_which and time.monotonic() - entry.submitted >= NEW:
                asked.setdefault((entry.scheduler, entry.clusters), {})[entry.job_id(job)] = job
        for (scheduler, clusters), some in asked.items():
            for one in jobs.over(scheduler, clusters, list(some)):
                self._over(some[one], "ended")

    def _over(self, job: object, how: str) -> None:
        with self._making:
            entry = self._entries.pop(job, None)
        if entry is not None:
            journal.ended(entry.key, how)


class _Entry:
    """A job's entry in the journal."""

    def __init__(self, key: str, kind: str, what: Mapping[str, Any]) -> None:
        self.key = key
        self.kind = kind
        self.scheduler = str(what.get("scheduler", ""))
        self.clusters = str(what.get("clusters", ""))
        self.submitted = time.monotonic()

    @property
    def id_says_which(self) -> bool:
        """Whether a job's id is its alone: of several clusters each counts its own, and Parsl does not keep which."""
        return "," not in self.clusters

    def job_id(self, job: object) -> str:
        """Return a job's id as pilotage's own commands of the scheduler have it."""
        return f"{job};{self.clusters}" if self.clusters else str(job)

    def identity(self, provider: ExecutionProvider, job: object) -> Mapping[str, Any]:
        """Return what the journal is to know of a job; nothing where it can only be found by its name."""
        if not self.id_says_which:
            return {}
        if self.kind == "process":
            return processes.identity(int(str(job)))
        pod = provider.resources[job].get("pod_name") if isinstance(provider, KubernetesProvider) else None
        return {"job_id": self.job_id(job), **({"pod": pod} if pod else {})}


def _described(provider: ExecutionProvider, name: str) -> tuple[str, dict[str, Any]]:
    """Return the kind of an entry, and what is known before there is a job."""
    if isinstance(provider, LocalProvider) and type(provider).submit is LocalProvider.submit:  # whose job ids are pids
        return "process", {"role": "block", "name": name, "run": journal.run_id()}
    scheduler = next((word for known, word in SCHEDULERS.items() if isinstance(provider, known)), None)
    if scheduler is not None:
        clusters = getattr(provider, "clusters", None)
        # Parsl's provider adds to the name that it is given.
        what = {"scheduler": scheduler, "name": name, "begins": True}
        return "batch_job", {**what, **({"clusters": clusters} if clusters else {})}
    cls = type(provider)
    classes = [one.__name__ for one in cls.__mro__ if one not in (object, ExecutionProvider)]
    what = {"provider": f"{cls.__module__}.{cls.__qualname__}", "classes": classes, "name": name}
    return "provider_job", {
        **what,
        **({"namespace": provider.namespace} if isinstance(provider, KubernetesProvider) else {}),
    }
