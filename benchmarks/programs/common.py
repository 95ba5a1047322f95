"""What every program does: start its peer, measure, print one line of JSON, end."""

import json
import os
import sys
import time

from sessions import SESSIONS


def run(measure, sessions=SESSIONS):
    """Run ``measure(session, *arguments)`` for the peer named on the command line, and print what it returns.

    The line comes before the peer is shut down, so that a peer which ends badly has still been measured.
    """
    session = sessions[sys.argv[1]]()
    session.start()
    try:
        values = measure(session, *map(float, sys.argv[2:]))
        print(json.dumps(values), flush=True)
    finally:
        session.stop()


def since_start():
    """Return the seconds since the harness started this process: interpreter and imports included."""
    return time.monotonic() - float(os.environ["BENCHMARK_STARTED"])


def rate(session, submit, seconds, most=500_000):
    """Return tasks a second of "submit a number of calls, wait for all", the number chosen to take about ``seconds``.

    As parsl-perf does: a small number first, then as many as the rate just seen can do in the time, until a round took
    at least three quarters of it. ``submit(count)`` returns the futures. At most ``most`` tasks a round.
    """
    seconds = max(seconds, session.least_seconds)
    count, least = min(20, most), 0.75 * seconds
    while True:
        start = time.perf_counter()
        futures = submit(count)
        session.results(futures)
        took = time.perf_counter() - start
        if took >= least or count == most:
            return {"rate": count / took, "tasks": count, "seconds": took}
        del futures
        # At most 32 times as many: the first round of a peer says little about it.
        count = min(max(int(count / took * seconds), count + 1), 32 * count, most)


def resident():
    """Return the bytes of this process that are in memory now."""
    return _status("VmRSS")


def most_resident():
    """Return the most bytes of this process that were in memory since `forget_most_resident`."""
    return _status("VmHWM")


def forget_most_resident():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def _status(key):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(f"{key}:"))
