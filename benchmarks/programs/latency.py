"""``latency.py PEER SECONDS``: cold start, then one call after the other.

Cold start: from the start of this process (interpreter and imports included) to the first result. Then calls of a
function that does nothing, each waited for before the next: p50, p90 and p99 of the seconds a call took.
"""

import time

from common import run, since_start
from functions import nothing

WARM_UP, MOST = 50, 20_000


def call(session):
    start = time.perf_counter()
    session.results([session.submit(nothing)])
    return time.perf_counter() - start


def measure(session, seconds):
    session.results([session.submit(nothing)])
    cold = since_start()
    began = time.perf_counter()
    for _ in range(WARM_UP):
        call(session)
        if time.perf_counter() - began > seconds:
            break
    taken, began = [], time.perf_counter()
    while (time.perf_counter() - began < seconds and len(taken) < MOST) or not taken:
        taken.append(call(session))
    taken.sort()
    at = {f"p{part}": taken[min(len(taken) - 1, len(taken) * part // 100)] for part in (50, 90, 99)}
    return {"cold_start": cold, **at, "calls": len(taken)}


if __name__ == "__main__":
    run(measure)
