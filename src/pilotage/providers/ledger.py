"""What became of batch jobs, by the scheduler's own words, whatever its commands do in between.

- A job is in the journal before it is submitted, and stays there as long as there may be one.
- A final state stays. A job that the scheduler does not know any more is looked up in its history; where that knows
  nothing either, or there is none, the job is LOST, not completed.
- Commands that fail or do not answer change nothing: a block is not given up, and none is started in its place,
  because a scheduler is silent.
- One question serves all jobs, and the questions become fewer while nothing changes.
- A job that can never run is ended and has failed, with the scheduler's reason, once that was said for a while.
- A submission without an answer may have made a job all the same: see `unanswered`.
- What was refused three times in a row for one and the same reason is not asked for again at once: see `turns`.
"""

from __future__ import annotations

import pwd
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pilotage import events, journal
from pilotage.errors import HostError
from pilotage.hosts.base import Host
from pilotage.providers.commands import Commands
from pilotage.providers.turns import Turns
from pilotage.providers.unanswered import GHOST, Do, Step, Unanswered
from pilotage.schedulers.batch import (
    BY_OTHERS,
    BY_US,
    NOT_KNOWN,
    Batch,
    NoHistoryError,
    Observed,
    RefusedError,
    State,
    UnclearError,
    together,
)

SOONEST, LATEST = 1.0, 8.0
"""Seconds between two polls: after a change, and at most while the scheduler answers."""
GROWTH = 1.3
NEW = 15.0
"""Seconds in which a job that was just submitted need not be listed yet."""
LATE = 60.0
"""Seconds that a history may take to know a job that has ended."""
NEVER = 3.0
"""Seconds for which a scheduler must say that jobs can never run, and why: while nodes start, Slurm takes it back."""


@dataclass
class Job:
    """A job of ours; ``id`` is None while its submission has had no answer and it has not turned up."""

    name: str
    script: str
    key: str
    id: str | None
    submitted: float
    observed: Observed
    listed: bool = False
    missing: float | None = None
    cancelled: bool = False


class Ledger:
    """The jobs of one provider.

    A job's handle is its id, or its name where the submission had no answer: it stays the same when the id is known.

    Parameters
    ----------
    batch: the scheduler.
    host: where its commands run.
    timeout: seconds for a command.
    clock, sleep: time, for tests.
    """

    def __init__(
        self,
        batch: Batch,
        host: Host,
        *,
        timeout: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._batch = batch
        self._host = host
        self._commands = Commands(batch.name, host, timeout, clock)
        self._clock = clock
        self._turns = Turns(clock, sleep)
        self._lock = threading.RLock()
        self._jobs: dict[str, Job] = {}
        self._unanswered = Unanswered()
        self._interval = SOONEST
        self._polled: float | None = None
        self._never: dict[str, float] = {}
        self._has_history = True

    @property
    def interval(self) -> float:
        """Seconds until it is worth asking again."""
        return self._interval

    def submit(self, script: str, name: str) -> str:
        """Submit a batch script under a name that no other job has; return the job's handle. Raises RefusedError."""
        with self._lock:
            self._turns.wait()
            place = {**self._batch.place, **self._host.place}
            key = journal.intend("batch_job", scheduler=self._batch.name, name=name, **place)
            now = self._clock()
            try:
                job_id = self._submitted(script)
            except RefusedError as error:
                journal.ended(key, f"refused: {error}")
                raise
            except UnclearError as error:
                self._unanswered.add(name)
                words = f"its submission had no answer ({error}); it is looked for by its name"
                events.tell("submission-unanswered", f"job {name}: {words}", "warning", name=name)
                self._jobs[name] = Job(name, script, key, None, now, Observed(State.PENDING, words))
                return self._to_be_watched(name)
            journal.identify(key, job_id=job_id)
            self._jobs[job_id] = Job(name, script, key, job_id, now, Observed(State.PENDING))
            return self._to_be_watched(job_id)

    def look(self, handles: Sequence[str]) -> list[Observed]:
        """Return what is known of jobs; asks the scheduler where that is due. One that is not ours is LOST."""
        with self._lock:
            now = self._clock()
            if self._polled is None or now - self._polled >= self._interval:
                self._polled = now
                self._poll()
            lost = Observed(State.LOST, "no job of this run")
            return [self._jobs[job].observed if job in self._jobs else lost for job in handles]

    def cancel(self, handles: Sequence[str]) -> list[bool]:
        """Cancel jobs; return for each whether it is cancelled or had ended."""
        with self._lock:
            known = {handle: self._jobs[handle] for handle in handles if handle in self._jobs}
            going = {handle: job for handle, job in known.items() if not job.observed.state.final}
            for job in going.values():
                job.cancelled = True
                self._unanswered.unwanted(job.name)
            ids = [job.id for job in going.values() if job.id is not None]
            failed = {one for some in together(ids) if not self._cancelled(some) for one in some}
            left = {handle for handle, job in going.items() if job.id in failed}
            for handle in going.keys() - left:
                self._settle(going[handle], Observed(State.CANCELLED, BY_US))
            return [handle not in left for handle in handles]

    def _user(self) -> str:
        try:
            return self._host.identity().user
        except HostError as error:
            raise UnclearError(str(error)) from error

    def _to_be_watched(self, handle: str) -> str:
        self._interval, self._polled = SOONEST, None
        return handle

    def _submitted(self, script: str) -> str:
        """Submit; raises RefusedError, or UnclearError where nobody knows whether there is a job now."""
        answer = self._commands.run(self._batch.submit_command(script))
        try:
            job_id = self._batch.parse_submit(answer)
        except RefusedError as error:
            self._turns.refused(str(error))
            raise
        self._turns.accepted()
        return job_id

    def _cancelled(self, ids: Sequence[str]) -> bool:
        answer = self._commands.run(self._batch.cancel_command(ids))
        return answer.ok or self._batch.is_gone(answer)

    def _poll(self) -> None:
        asked = {job.id: job for job in self._jobs.values() if job.id is not None and not job.observed.state.final}
        before = [job.observed for job in self._jobs.values()]
        try:
            if asked:
                answers = [self._commands.run(argv) for argv in self._batch.status_commands(list(asked))]
                self._take_in(asked, self._batch.parse_status(answers))
            if self._unanswered:
                answer = self._commands.run(self._batch.list_command(self._user()))
                for step in self._unanswered.look(self._batch.parse_list(answer), self._clock()):
                    self._take(step)
        except UnclearError as error:
            self._interval = self._commands.had_no_answer(str(error))
            return
        changed = before != [job.observed for job in self._jobs.values()]
        if self._commands.had_answer() or changed:
            self._interval = SOONEST
        else:
            self._interval = min(self._interval * GROWTH, LATEST)

    def _take_in(self, asked: Mapping[str, Job], listed: Mapping[str, Observed]) -> None:
        """Take in what the scheduler says of jobs that have not ended as far as we know."""
        now = self._clock()
        # Once for all jobs, since they are alike: else each that is ended has a successor that waits for its turn.
        never = {observed.words for observed in listed.values() if observed.never}
        self._never = {words: self._never.get(words, now) for words in never}
        for job_id, job in asked.items():
            if job_id in listed:
                job.listed, job.missing = True, None
                self._settle(job, self._judged(job_id, job, listed[job_id]))
        absent = {job_id: job for job_id, job in asked.items() if job_id not in listed}
        absent = {job_id: job for job_id, job in absent.items() if job.listed or now - job.submitted >= NEW}
        if absent:
            self._look_into_history(absent)

    def _judged(self, job_id: str, job: Job, observed: Observed) -> Observed:
        """Return what a listed job's state means for us."""
        if observed.never:
            if self._clock() - self._never[observed.words] < NEVER:
                return observed
            # One that is not cancelled is a job still: limits are changed. The next look tries again.
            state = State.FAILED if self._cancelled([job_id]) else State.PENDING
            return replace(observed, state=state, words=f"it can never run: {observed.words}")
        if observed.state is State.FAILED and observed.exit_code is None:
            return replace(observed, exit_code=self._exit_code(job_id))
        if observed.state is State.CANCELLED and not observed.by and not job.cancelled:
            return self._history([job_id])[0].get(job_id, observed)  # it may say who
        return observed

    def _exit_code(self, job: str) -> int | None:
        detail = getattr(self._batch, "detail_command", None)
        if detail is None:
            return None
        code: int | None = self._batch.parse_detail(self._commands.run(detail(job)))  # type: ignore[attr-defined]
        return code

    def _history(self, ids: Sequence[str]) -> tuple[dict[str, Observed], float]:
        """Return what the history knows of jobs, and for how many seconds it may not know the others yet."""
        commands = self._batch.history_commands(ids) if self._has_history else ()
        if not commands:
            return {}, 0.0
        try:
            return self._batch.parse_history([self._commands.run(argv) for argv in commands]), LATE
        except NoHistoryError:
            self._has_history = False
            return {}, 0.0
        except UnclearError:
            return {}, GHOST

    def _look_into_history(self, absent: Mapping[str, Job]) -> None:
        now = self._clock()
        found, patience = self._history(list(absent))
        for job_id, job in absent.items():
            if job_id in found:
                self._settle(job, found[job_id])
                continue
            job.missing = now if job.missing is None else job.missing
            if now - job.missing >= patience:
                words = f"{self._batch.name} {NOT_KNOWN}; last: {job.observed.words or 'submitted'}"
                self._settle(job, Observed(State.LOST, words))

    def _settle(self, job: Job, observed: Observed) -> None:
        if job.observed.state.final:
            return
        if observed.state is State.CANCELLED:
            words = BY_US if job.cancelled else _by_others(observed)
            observed = replace(observed, words=words)
        job.observed = observed
        # Of a job that is LOST nobody knows that it is gone; and another of its name may turn up.
        if observed.state.final and observed.state is not State.LOST and job.name not in self._unanswered:
            journal.ended(job.key, observed.words)

    def _take(self, step: Step) -> None:
        """Do what is to be done about a submission that had no answer."""
        job = self._jobs[step.name]
        listed = ", ".join(step.ids)
        if step.do is Do.TAKE:
            (job.id,) = step.ids
            self._note(job, job_id=job.id)
            job.observed = Observed(State.PENDING)
            self._tell("submission-found", f"job {listed} is there though its submission had no answer", job, "info")
        elif step.do is Do.CANCEL:
            if all(self._cancelled(some) for some in together(step.ids)):
                self._unanswered.cancelled(step.name, step.ids)
                words = f"job {listed} has turned up though its submission had no answer; it was cancelled"
                self._tell("ghost-cancelled", words, job)
        elif step.do is Do.SUBMIT:
            self._submit_again(job)
        else:
            self._settle(job, Observed(State.FAILED, "two submissions had no answer, and there is no such job"))

    def _submit_again(self, job: Job) -> None:
        self._note(job)
        self._tell("submitted-again", f"no job {job.name} has turned up; it is submitted once more", job)
        try:
            self._turns.wait()
            job.id = self._submitted(job.script)
        except RefusedError as error:
            self._unanswered.unwanted(job.name)
            self._settle(job, Observed(State.FAILED, f"{self._batch.name} refused it: {error}"))
        except UnclearError as error:
            self._unanswered.add(job.name)
            job.observed = replace(job.observed, words=f"two submissions had no answer ({error})")
        else:
            self._unanswered.taken(job.name, job.id)
            job.submitted = self._clock()
            job.observed = Observed(State.PENDING)
            self._note(job, job_id=job.id)

    def _note(self, job: Job, **known: Any) -> None:
        """Write down a job's id, and that there may be another of its name where it was submitted twice."""
        twice = {"unanswered": round(time.time(), 3)} if job.name in self._unanswered else {}
        journal.identify(job.key, **known, **twice)

    @staticmethod
    def _tell(kind: str, words: str, job: Job, level: str = "warning") -> None:
        events.tell(kind, words, level, name=job.name)


def _by_others(observed: Observed) -> str:
    """Return that somebody else has cancelled a job, and who where the scheduler says: a name, or a user's number."""
    who = observed.by
    if who.isdecimal():
        try:
            who = pwd.getpwuid(int(who)).pw_name
        except KeyError:
            who = f"user {who}"
    return f"{BY_OTHERS}{f', {who}' if who else ''}: {observed.words}"
