"""What parsl-perf prints, read by the names of its lines as they come."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from pilotage.perf.record import Iteration

BEGINS = re.compile(r"==== Iteration (\d+) ====")
VALUES = {
    "num_tasks": re.compile(r"Will run (\d+) tasks"),
    "submission": re.compile(r"Submission took ([\d.]+) seconds = ([\d.]+) tasks/second"),
    "runtime_s": re.compile(r"Runtime: actual ([\d.]+)s vs target ([\d.]+)s"),
    "runtime_tps": re.compile(r"Tasks per second: ([\d.]+)"),
}
COMPLETE = "Tests complete - leaving DFK block"
THE_END = "The end"
SHORT = 0.5
"""Part of its target that the last iteration must have taken to be taken as it is."""


class TranscriptError(ValueError):
    """parsl-perf has not printed what it prints."""


@dataclass
class Transcript:
    """The lines of one parsl-perf, fed one by one with the time at which each came (seconds, any clock)."""

    _found: list[dict[str, float]] = field(default_factory=list)
    complete_at: float | None = None
    """When the last task had come back and Parsl's clean-up began."""
    ended_at: float | None = None
    target_s: float | None = None

    def feed(self, line: str, at: float) -> Iteration | None:
        """Take in a line; return the iteration that it completes, if it does."""
        line = line.strip()
        if begins := BEGINS.fullmatch(line):
            self._found.append({"number": int(begins[1])})
        elif line == COMPLETE:
            self.complete_at = at
        elif line == THE_END:
            self.ended_at = at
        elif self._found:
            return self._feed_value(line)
        return None

    def _feed_value(self, line: str) -> Iteration | None:
        values = self._found[-1]
        for name, pattern in VALUES.items():
            if not (match := pattern.fullmatch(line)):
                continue
            if name == "submission":
                values.update(submission_s=float(match[1]), submission_tps=float(match[2]))
            else:
                values[name] = float(match[1])
            if name == "runtime_s":
                self.target_s = float(match[2])
            return _iteration(values, warm_up=True) if name == "runtime_tps" else None
        return None

    def iterations(self) -> list[Iteration]:
        """Return the iterations that have come to their end; all but the last one found parsl-perf's number."""
        whole = [values for values in self._found if "runtime_tps" in values]
        return [_iteration(values, warm_up=values is not whole[-1]) for values in whole]

    def check(self) -> None:
        """Raise TranscriptError where parsl-perf did not come to its end: then its last iteration is not the last."""
        if self.complete_at is None:
            raise TranscriptError("parsl-perf's output stops before its end")
        for values in self._found:
            missing = [name for name in ("num_tasks", "submission_s", "runtime_s", "runtime_tps") if name not in values]
            if missing:
                raise TranscriptError(f"iteration {values['number']:.0f} of parsl-perf's output has no {missing[0]}")
        if not self._found:
            raise TranscriptError("parsl-perf's output has no iteration")

    def marks(self) -> list[str]:
        """Return what a reader should know: the last iteration may have been too short to be believed."""
        found = self.iterations()
        last = found[-1].runtime_s if found else None
        if last is None or not self.target_s or last >= SHORT * self.target_s:
            return []
        return [f"the last iteration took {last:.3g} s of the {self.target_s:g} s aimed at: its rate is no steady one"]


def _iteration(values: dict[str, float], *, warm_up: bool) -> Iteration:
    whole = {name: int(values[name]) for name in ("number", "num_tasks") if name in values}
    return Iteration.model_validate({**values, **whole, "warm_up": warm_up})
