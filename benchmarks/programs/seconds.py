"""``seconds.py PEER TASKS``: tasks of one second each, against the time that two ideal workers need."""

import time

from common import run
from functions import nothing, sleep
from sessions import WORKERS


def measure(session, tasks):
    session.results([session.submit(nothing) for _ in range(20)])
    start = time.perf_counter()
    session.results([session.submit(sleep, 1.0) for _ in range(int(tasks))])
    took = time.perf_counter() - start
    return {"wall_to_ideal": took / (tasks / WORKERS), "seconds": took}


if __name__ == "__main__":
    run(measure)
