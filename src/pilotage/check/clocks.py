"""The clock of the file server against this machine's."""

from __future__ import annotations

import time
from collections.abc import Callable

from pilotage.check.context import Context
from pilotage.check.finding import Finding, failed, ok, warning
from pilotage.check.probe import Cost, Probe, probe

NOTABLE, BAD = 2.0, 60.0
"""Seconds from which on a difference is told, and from which on it does harm."""
HINT = "let both follow a time server (chrony, ntpd): the ends of blocks and heartbeats are compared across machines"


def judged(skew: float, error: float, what: str, command: str | None) -> Finding:
    """Return a finding on a clock that is ``skew`` seconds ahead of this machine's, known to ``error`` seconds."""
    off = max(abs(skew) - error, 0.0)
    words = f"{what} is {abs(skew):.3g} s {'ahead of' if skew > 0 else 'behind'} this machine"
    if off >= BAD:
        return failed(words, hint=HINT, command=command)
    if off >= NOTABLE:
        return warning(words, hint=HINT, command=command)
    return ok(f"{what} agrees with this machine to {max(abs(skew), error):.2g} s", command=command)


@probe
class FileClock(Probe):
    """The file server's clock agrees with this machine's."""

    name = "clock"
    cost = Cost.MACHINE
    needs = ("run-folder",)
    now: Callable[[], float] = staticmethod(time.time)

    def run(self, context: Context) -> Finding:
        """Write a file and compare its time with the time here."""
        path = context.folder / "clock"
        before = self.now()
        path.write_text("tick\n")
        stamp = path.stat().st_mtime
        after = self.now()
        path.unlink()
        between = min(max(stamp, before), after)
        trial = path.parent.parent / "t"
        command = f"touch {trial}; stat --format=%y {trial}; date; rm {trial}"
        # Some file systems keep whole seconds or ticks of the kernel only.
        return judged(stamp - between, 1.0 if stamp == int(stamp) else 0.02, "the run folder's clock", command)
