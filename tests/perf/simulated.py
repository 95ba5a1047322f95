"""Sessions that nobody ran: made of seeded numbers."""

import math
import random

from pilotage.perf.record import Iteration, Machine, Node, Options, Ran, Record, Session
from pilotage.perf.session import Outcome

MACHINE = Machine(id="0a1b2c3d", cpu="A CPU", cores=8, usable_cores=8, memory_bytes=1 << 34, kernel="6.1.0")
RAN = Ran(blocks=1, managers=1, workers=2, nodes=[Node(cores=2, cpu="A CPU", workers=2)])


def session(number, rate, *, order=None, **more):
    iterations = [Iteration(number=1, num_tasks=10, runtime_s=0.01, runtime_tps=rate, warm_up=True)]
    iterations.append(Iteration(number=2, num_tasks=1000, runtime_s=1000 / rate, runtime_tps=rate))
    values = {"status": "finished", "started": "2026-11-21T10:15:00+0000", "iterations": iterations, "ran": RAN}
    return Session(number=number, order=order or number, **{**values, **more})


def rates(seed, count, typical=10_000.0, noise=0.05):
    """Return skewed rates as a machine gives them: log-normal, now and then a bad moment."""
    generator = random.Random(seed)
    found = [typical * math.exp(generator.gauss(0, noise)) for _ in range(count)]
    return [rate / 1.3 if generator.random() < 0.03 else rate for rate in found]


class Simulated:
    """A runner of sessions that takes its rates from a function of (subject's label, number)."""

    def __init__(self, rate):
        self.rate = rate
        self.specs = []

    def __call__(self, spec):
        self.specs.append(spec)
        made = self.rate(spec.subject.label, spec.number)
        return Outcome(session(spec.number, made, order=spec.order), "label", {"executor.class": "Simulated"})


def record(values=(), *, name="20261121-101500-k7d2-1", site="lab", created="2026-11-21T10:15:00+0000", **more):
    sessions = more.pop("sessions", None) or [session(n, rate) for n, rate in enumerate(values, start=1)]
    options = Options(**{"time_s": 1, "repeat": max(1, len(sessions)), **more.pop("options", {})})
    given = {"scheduler": "local", "executor": "htex", "machine": MACHINE, "versions": {"pilotage": "0.1.0"}}
    return Record(id=name, created=created, site=site, options=options, sessions=sessions, **{**given, **more})
