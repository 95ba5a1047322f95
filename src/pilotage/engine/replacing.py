"""When blocks that have ended are replaced: at once, after a pause, or not at all.

Parsl's strategy asks for blocks twice a second as long as tasks wait. One that worked may be replaced at once: it was
lost with its node, or had its walltime. But where each ends before it has done anything, as with a worker_init that
fails on some nodes or an account that has run out, hundreds would be submitted.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping

from parsl.jobs.states import JobState, JobStatus

LOSSES = 3
"""Blocks in a row after which it is no chance."""
PAUSE, LONGEST_PAUSE = 30.0, 600.0
"""Seconds after the first such blocks, which become more with each one that follows, and at most."""
GOING = (JobState.PENDING, JobState.HELD, JobState.RUNNING, JobState.UNKNOWN)
OVER = (JobState.COMPLETED, JobState.FAILED, JobState.TIMEOUT, JobState.MISSING)


def has_failed(status: JobStatus) -> bool:
    """Return whether a block has failed, or nobody knows what became of it."""
    return status.state in (JobState.FAILED, JobState.MISSING)


def was_killed(status: JobStatus) -> bool:
    """Return whether a block's script was ended by a signal; its exit code is then a shell's."""
    return (status.exit_code or 0) > 128


def failed_in_a_row(states: Mapping[str, JobStatus]) -> int:
    """Return how many of the newest blocks have failed, given the states of all by block."""
    return len(list(itertools.takewhile(lambda block: has_failed(states[block]), _newest(states))))


def in_vain_in_a_row(states: Mapping[str, JobStatus], worked: Collection[str] = ()) -> int:
    """Return how many of the newest blocks are over and are not among those that ``worked``.

    Those that have not begun to work, and may, say nothing yet: where several are begun one after the other, there is
    always one of them.
    """
    told = [block for block in _newest(states) if block in worked or states[block].state not in GOING]
    over = itertools.takewhile(lambda block: states[block].state in OVER and block not in worked, told)
    return len(list(over))


def pause(in_vain: int) -> float:
    """Return the seconds between the newest block and the next, after so many in a row that were in vain."""
    return 0.0 if in_vain < LOSSES else min(PAUSE * 2.0 ** min(in_vain - LOSSES, 10), LONGEST_PAUSE)


def _newest(states: Mapping[str, JobStatus]) -> list[str]:
    return sorted(states, key=int, reverse=True)
