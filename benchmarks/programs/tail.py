"""``tail.py PEER TASKS``: does the last tenth of many tasks run as fast as the first?

All are submitted, their futures are kept, and their ends counted as they come. The first tenth's rate is counted from
the first call, the last tenth's from the end of the tenth before it.
"""

import itertools
import time
from concurrent.futures import wait

from common import resident, run
from functions import nothing


def measure(session, tasks):
    tasks = int(tasks)
    tenth = tasks // 10
    marks, count = {}, itertools.count(1)
    wanted = {tenth, 9 * tenth, 10 * tenth}

    def ended(_future):
        number = next(count)
        if number in wanted:
            marks[number] = time.perf_counter()

    session.results(session.submit_many(nothing, 2000))
    before, start = resident(), time.perf_counter()
    futures = []
    for _ in range(10 * tenth):
        future = session.submit(nothing)
        future.add_done_callback(ended)
        futures.append(future)
    wait(futures)
    while len(marks) < len(wanted):  # a future's callbacks run just after those who wait for it are told
        time.sleep(0.001)
    first, last = tenth / (marks[tenth] - start), tenth / (marks[10 * tenth] - marks[9 * tenth])
    whole = 10 * tenth / (marks[10 * tenth] - start)
    grown = (resident() - before) / 1e6
    return {"first": first, "last": last, "last_to_first": last / first, "rate": whole, "grown_MB": grown}


if __name__ == "__main__":
    run(measure)
