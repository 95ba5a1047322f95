"""Records that nobody has measured, with all that a record can hold."""

import math
import random

from pilotage.perf import record as models


def _started(number, day):
    return f"2026-11-{day:02d}T{10 + number // 60:02d}:{number % 60:02d}:00+00:00"


def session(number, rate, chance, *, workers=2, nodes=1, day=20, calls=40):
    """A session that has finished: a warm-up iteration and two more, latency, a cold start."""
    iterations = []
    for place in range(3):
        here = rate * math.exp(chance.gauss(0, 0.02)) * (0.6 if place == 0 else 1)
        tasks = 10 if place == 0 else int(here * 5)
        iterations.append(
            models.Iteration(
                number=place + 1,
                num_tasks=tasks,
                submission_s=tasks / here / 2,
                submission_tps=2 * here,
                runtime_s=tasks / here,
                runtime_tps=here,
                warm_up=place == 0,
            )
        )
    judged = [0.001 * math.exp(abs(chance.gauss(0, 0.4))) for _ in range(calls)]
    node = models.Node(cores=2, cpu="x", workers=workers // nodes)
    parts = {"driver_s": 1.0, "queue_s": chance.random(), "launch_s": 0.5, "connect_s": 0.25, "first_task_s": 0.125}
    return models.Session(
        number=number,
        order=number,
        status="finished",
        started=_started(number, day),
        iterations=iterations,
        latency=models.Latency(samples=[0.004, *judged], warm_up=1),
        cold_start=models.ColdStart(total_s=sum(parts.values()), **parts),
        shutdown_s=0.4,
        ran=models.Ran(blocks=1, managers=nodes, workers=workers, nodes=[node] * nodes),
        load=models.Load(before=[0.1, 0.2, 0.3]),
    )


def failed(number, reason="the interchange has died: exit code 1", *, day=20):
    """A session that has failed after an iteration."""
    one = models.Iteration(number=1, num_tasks=10, runtime_s=0.01, runtime_tps=999999.0, warm_up=True)
    started = _started(number, day)
    return models.Session(number=number, status="failed", reason=reason, started=started, iterations=[one])


def record(name, site="laptop", rate=2000.0, *, count=3, failures=0, day=20, workers=2, asked=None, **more):
    """A record; ``name`` is the end of its id."""
    chance = random.Random(name)
    sessions = [session(n + 1, rate, chance, workers=workers, day=day) for n in range(count)]
    sessions += [failed(count + n + 1, day=day) for n in range(failures)]
    values = {
        "scheduler": "local",
        "executor": "htex",
        "origin": "simulated",
        "parameters": {
            "cores_per_worker": 1.0,
            "nodes_per_block": 1,
            "cores_per_node": None,
            "min_blocks": 0,
            "max_blocks": 1,
            "max_nodes": 1,
            "max_cores": 2,
            "executor.class": "HighThroughputExecutor",
            "provider.class": "LocalProvider",
            "provider.worker_init": "module load x; " * 500,
            "executor.odd key!": "é",
        },
        **more,
    }
    return models.Record(
        id=f"202611{day:02d}-101010-{name}",
        created=f"2026-11-{day:02d}T10:00:00+00:00",
        site=site,
        options=models.Options(time_s=5, repeat=count + failures, workers=asked, latency=True),
        sessions=sessions,
        versions={"parsl": "2026.10.26", "pilotage": "0.1.0", "python": "3.11.7"},
        machine=models.Machine(id="m", cpu="A CPU", cores=4, usable_cores=2, memory_bytes=1 << 33, kernel="6.1"),
        revisions={"here": models.Revision(commit="01234567" * 5, branch="main", dirty=True)},
        **values,
    )


def several():
    """Records with something for each figure: workers, latency, starts, failures, a history with a slower end."""
    by_workers = [record(f"aaaa-{n}", "laptop", 900.0 * n**0.8, workers=n, asked=n) for n in (1, 2, 4)]
    over_time = [
        record(f"hhhh-{day}", "lab", 3000.0 if day < 24 else 2400.0, count=10, day=day, workers=8)
        for day in range(20, 25)
    ]
    return [*by_workers, *over_time, record("tttt-1", "threads", 9000.0, executor="threads", failures=2)]
