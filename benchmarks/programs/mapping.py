"""``mapping.py PEER ITEMS MORE``: ``x * x`` over ITEMS and then over MORE integers, 2,000 a chunk, results in order.

The items come from a generator-like range and the results are summed as they arrive, so that nothing but the map itself
needs memory; the growth of the driver over the second map is measured.
"""

import time

from common import forget_most_resident, most_resident, resident, run
from functions import square

CHUNK = 2000


def timed(session, items, chunk=CHUNK):
    start = time.perf_counter()
    total = sum(session.map(square, range(items), chunk))
    took = time.perf_counter() - start
    if total != (items - 1) * items * (2 * items - 1) // 6:
        raise ValueError("the map's results are wrong")
    return items / took


def measure(session, items, more):
    items, more = int(items), int(more)
    timed(session, 10 * CHUNK)
    values = {"rate_small": timed(session, items)}
    if type(session).__name__ == "Pilotage":
        values["rate_small_auto"] = timed(session, items, "auto")
    if more:
        before = resident()
        forget_most_resident()
        values["rate_large"] = timed(session, more)
        values["grown_MB"] = (most_resident() - before) / 1e6
    return values


if __name__ == "__main__":
    run(measure)
