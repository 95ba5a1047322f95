"""What became of batch jobs, by the scheduler's own words, whatever its commands do in between.

- A final state stays. A job that the scheduler does not know any more is looked up in its history; where that knows
  nothing either, or there is none, the job is LOST, not completed.
- Commands that fail or do not answer change nothing: a block is not given up, and none is started in its place,
  because a scheduler is silent.
- One question serves all jobs, and the questions become fewer while nothing changes.
- A job that can never run is ended and has failed, with the scheduler's reason.
- A submission without an answer may have made a job all the same: it is looked for by its name, and cancelled.
- What was refused three times in a row for one and the same reason is not asked for again at once.
"""

from __future__ import annotations

import getpass
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pilotage import events
from pilotage.hosts.base import Completed, Host
from pilotage.schedulers.batch import Batch, NoHistoryError, Observed, RefusedError, State, UnclearError

SOONEST, LATEST, LATEST_SILENT = 1.0, 10.0, 60.0
"""Seconds between two polls: after a change, at most, and at most while the scheduler does not answer."""
GROWTH = 1.3
NEW = 15.0
"""Seconds in which a job that was just submitted need not be listed yet."""
LATE = 60.0
"""Seconds that a history may take to know a job that has ended."""
GHOST = 900.0
"""Seconds for which a job is looked for whose submission had no answer, or a history that has none is asked."""
SILENT = 3
"""Polls in a row without an answer after which that is told."""
REFUSALS = 3
PAUSE, LONGEST_PAUSE = 30.0, 600.0
SPACING = 0.1
"""Seconds between two submissions."""


@dataclass
class Job:
    """A job of ours."""

    name: str
    submitted: float
    observed: Observed
    listed: bool = False
    missing: float | None = None
    cancelled: bool = False


class Ledger:
    """The jobs of one provider.

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
        self._timeout = timeout
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.RLock()
        self._jobs: dict[str, Job] = {}
        self._ghosts: dict[str, float] = {}
        self._interval = SOONEST
        self._polled: float | None = None
        self._silent = 0
        self._refused: tuple[str, int] = ("", 0)
        self._not_before = 0.0
        self._has_history = True

    @property
    def interval(self) -> float:
        """Seconds until it is worth asking again."""
        return self._interval

    def submit(self, script: str, name: str) -> str:
        """Submit a batch script and return the job's id.

        Raises RefusedError, or UnclearError where nobody knows whether there is a job now.
        """
        with self._lock:
            self._wait_for_turn()
            answer = self._run(self._batch.submit_command(script))
            try:
                job_id = self._batch.parse_submit(answer)
            except RefusedError as error:
                self._note_refusal(str(error))
                raise
            except UnclearError:
                self._ghosts[name] = self._clock()
                raise
            self._refused = ("", 0)
            self._jobs[job_id] = Job(name, self._clock(), Observed(State.PENDING, "submitted"))
            self._interval, self._polled = SOONEST, None
            return job_id

    def look(self, ids: Sequence[str]) -> list[Observed]:
        """Return what is known of jobs; asks the scheduler where that is due. One that is not ours is LOST."""
        with self._lock:
            now = self._clock()
            if self._polled is None or now - self._polled >= self._interval:
                self._polled = now
                self._poll()
            lost = Observed(State.LOST, "no job of this run")
            return [self._jobs[job].observed if job in self._jobs else lost for job in ids]

    def cancel(self, ids: Sequence[str]) -> list[bool]:
        """Cancel jobs; return for each whether it is cancelled or had ended."""
        with self._lock:
            open_ids = [job for job in ids if job in self._jobs and not self._jobs[job].observed.state.final]
            if not open_ids:
                return [True] * len(ids)
            answer = self._run(self._batch.cancel_command(open_ids))
            done = answer.ok or self._batch.is_gone(answer)
            for job in open_ids if done else ():
                self._jobs[job].cancelled = True
                self._settle(job, Observed(State.CANCELLED, "cancelled by this run"))
            return [done or job not in open_ids for job in ids]

    def _run(self, argv: Sequence[str]) -> Completed:
        return self._host.run(argv, timeout=self._timeout)

    def _wait_for_turn(self) -> None:
        now = self._clock()
        words, count = self._refused
        if count >= REFUSALS and now < self._not_before:
            raise RefusedError(
                f"refused {count} times, and not asked again for {self._not_before - now:.0f} s: {words}"
            )
        newest = max((job.submitted for job in self._jobs.values()), default=now - SPACING)
        if now - newest < SPACING:
            self._sleep(SPACING - (now - newest))

    def _note_refusal(self, words: str) -> None:
        before, count = self._refused
        count = count + 1 if words == before else 1
        self._refused = words, count
        if count >= REFUSALS:
            self._not_before = self._clock() + min(PAUSE * 2 ** (count - REFUSALS), LONGEST_PAUSE)

    def _poll(self) -> None:
        ids = [job for job, known in self._jobs.items() if not known.observed.state.final]
        changed = False
        try:
            if ids:
                listed = self._batch.parse_status([self._run(argv) for argv in self._batch.status_commands(ids)])
                changed = self._take_in(ids, listed)
            self._look_for_ghosts()
        except UnclearError as error:
            self._note_silence(str(error))
            return
        if self._silent >= SILENT:
            events.tell("scheduler-answers", f"{self._batch.name} answers again")
        self._silent = 0
        self._interval = SOONEST if changed else min(self._interval * GROWTH, LATEST)

    def _note_silence(self, words: str) -> None:
        self._silent += 1
        self._interval = min(max(self._interval, SOONEST) * GROWTH, LATEST_SILENT)
        if self._silent == SILENT:
            text = f"{self._batch.name} does not answer, and what blocks do is not known: {words}"
            events.tell("scheduler-silent", text, "warning")

    def _take_in(self, ids: Sequence[str], listed: dict[str, Observed]) -> bool:
        """Take in what the scheduler says; return whether anything is new."""
        before = {job: self._jobs[job].observed for job in ids}
        for job in ids:
            if job in listed:
                self._jobs[job].listed, self._jobs[job].missing = True, None
                self._settle(job, self._judged(job, listed[job]))
        now = self._clock()
        absent = [job for job in ids if job not in listed]
        absent = [job for job in absent if self._jobs[job].listed or now - self._jobs[job].submitted >= NEW]
        if absent:
            self._look_into_history(absent)
        return any(self._jobs[job].observed != before[job] for job in ids)

    def _judged(self, job: str, observed: Observed) -> Observed:
        """Return what a listed job's state means for us."""
        if observed.never:
            self._run(self._batch.cancel_command([job]))
            return Observed(State.FAILED, f"it can never run: {observed.words}")
        if observed.state is State.FAILED and observed.exit_code is None:
            return replace(observed, exit_code=self._exit_code(job))
        return observed

    def _exit_code(self, job: str) -> int | None:
        detail = getattr(self._batch, "detail_command", None)
        if detail is None:
            return None
        code: int | None = self._batch.parse_detail(self._run(detail(job)))  # type: ignore[attr-defined]
        return code

    def _look_into_history(self, absent: Sequence[str]) -> None:
        now = self._clock()
        found: dict[str, Observed] = {}
        patience = 0.0
        if self._has_history and (commands := self._batch.history_commands(absent)):
            try:
                found = self._batch.parse_history([self._run(argv) for argv in commands])
                patience = LATE
            except NoHistoryError:
                self._has_history = False
            except UnclearError:
                patience = GHOST
        for job in absent:
            known = self._jobs[job]
            if job in found:
                self._settle(job, found[job])
                continue
            known.missing = now if known.missing is None else known.missing
            if now - known.missing >= patience:
                last = known.observed.words
                self._settle(job, Observed(State.LOST, f"{self._batch.name} does not know it any more; last: {last}"))

    def _settle(self, job: str, observed: Observed) -> None:
        known = self._jobs[job]
        if not known.observed.state.final:
            known.observed = observed

    def _look_for_ghosts(self) -> None:
        if not self._ghosts:
            return
        now = self._clock()
        named = self._batch.parse_list(self._run(self._batch.list_command(getpass.getuser())))
        for name, since in list(self._ghosts.items()):
            ids = [job for job, found in named.items() if found == name and job not in self._jobs]
            if ids:
                self._run(self._batch.cancel_command(ids))
                text = f"job {', '.join(ids)} was there though its submission had no answer; it was cancelled"
                events.tell("ghost-cancelled", text, "warning", name=name)
            if ids or now - since > GHOST:
                del self._ghosts[name]
