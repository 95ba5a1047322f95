"""Any provider of Parsl, with its jobs in the journal: written down before they are submitted, and until they are over.

Jobs of a scheduler that pilotage knows the commands of are entries like those of its own providers, and are ended from
the journal. Of all others an entry says what is known, and a person has to end them: see `by_hand`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from parsl.jobs.states import JobStatus
from parsl.providers import GridEngineProvider, KubernetesProvider, LocalProvider, PBSProProvider, SlurmProvider
from parsl.providers.base import ExecutionProvider
from parsl.providers.errors import ExecutionProviderException, SubmitException

from pilotage import journal
from pilotage.providers import jobs
from pilotage.providers.batch import LedgerJobs
from pilotage.providers.ledger import NEW
from pilotage.providers.local import LocalProvider as OurLocalProvider
from pilotage.worker import processes

SCHEDULERS = {SlurmProvider: "slurm", PBSProProvider: "pbspro", GridEngineProvider: "gridengine"}
"""Parsl's providers whose jobs pilotage can end by itself."""
OWN = ("_inner", "_entries", "_making")


def journaled(provider: ExecutionProvider) -> ExecutionProvider:
    """Return a provider whose jobs are in the journal: this one where it sees to that, else one around it."""
    sees_to_it = isinstance(provider, LedgerJobs | OurLocalProvider) or type(provider) is JournaledProvider
    return provider if sees_to_it else JournaledProvider(provider)


class JournaledProvider(ExecutionProvider):
    """A provider that does what another does, and keeps the journal.

    It passes for the other wherever somebody looks: at its attributes, and at its class.

    Parameters
    ----------
    inner: the other.
    """

    def __init__(self, inner: ExecutionProvider) -> None:
        self._inner = inner
        self._entries: dict[object, _Entry] = {}
        self._making = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        if name in OWN:  # of a copy that is not made yet
            raise AttributeError(name)
        return getattr(self._inner, name)

    def __setattr__(self, name: str, value: object) -> None:
        if name in OWN:
            object.__setattr__(self, name, value)
        else:
            setattr(self._inner, name, value)

    @property  # type: ignore[misc]  # a class that is not to be changed
    def __class__(self) -> type:
        """The other's: Parsl asks some providers who they are."""
        return type(self._inner)

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def label(self) -> str:
        """The other's label."""
        return str(self._inner.label)

    @property
    def status_polling_interval(self) -> int:
        """Seconds between polls."""
        return self._inner.status_polling_interval

    def submit(self, command: str, tasks_per_node: int, job_name: str = "parsl.auto") -> object:
        """Submit a block under a name that begins with the run's id; return what the other returns."""
        name = journal.job_name(job_name)
        kind, what = _described(self._inner, name)
        entry = _Entry(journal.intend(kind, **what), kind, what)
        try:
            job = self._inner.submit(command, tasks_per_node, name)
        except ExecutionProviderException as error:
            if not (isinstance(error, SubmitException) and error.retcode == 0):  # there, the job may be
                journal.ended(entry.key, f"refused: {error}")
            raise
        if not job:
            journal.ended(entry.key, "refused")
            return job
        if known := entry.identity(self._inner, job):
            journal.identify(entry.key, **known)
        with self._making:
            self._entries[job] = entry
        return job

    def status(self, job_ids: Sequence[object]) -> Sequence[JobStatus]:
        """Return the states of jobs, as the other sees them."""
        states: Sequence[JobStatus] = self._inner.status(job_ids)
        self._look(job for job, status in zip(job_ids, states, strict=False) if status.terminal)
        return states

    def cancel(self, job_ids: Sequence[object]) -> Sequence[bool]:
        """Cancel jobs; return for each whether the other says that it is done."""
        done: Sequence[bool] = self._inner.cancel(job_ids)
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

    def identity(self, inner: ExecutionProvider, job: object) -> Mapping[str, Any]:
        """Return what the journal is to know of a job; nothing where it can only be found by its name."""
        if not self.id_says_which:
            return {}
        if self.kind == "process":
            return processes.identity(int(str(job)))
        pod = inner.resources[job].get("pod_name") if isinstance(inner, KubernetesProvider) else None
        return {"job_id": self.job_id(job), **({"pod": pod} if pod else {})}


def _described(inner: ExecutionProvider, name: str) -> tuple[str, dict[str, Any]]:
    """Return the kind of an entry, and what is known before there is a job."""
    if isinstance(inner, LocalProvider) and type(inner).submit is LocalProvider.submit:  # whose job ids are pids
        return "process", {"role": "block", "name": name, "run": journal.run_id()}
    scheduler = next((word for known, word in SCHEDULERS.items() if isinstance(inner, known)), None)
    if scheduler is not None:
        clusters = getattr(inner, "clusters", None)
        # Parsl's provider adds to the name that it is given.
        what = {"scheduler": scheduler, "name": name, "begins": True}
        return "batch_job", {**what, **({"clusters": clusters} if clusters else {})}
    cls = type(inner)
    classes = [one.__name__ for one in cls.__mro__ if one not in (object, ExecutionProvider)]
    what = {"provider": f"{cls.__module__}.{cls.__qualname__}", "classes": classes, "name": name}
    return "provider_job", {**what, **({"namespace": inner.namespace} if isinstance(inner, KubernetesProvider) else {})}
