"""``managers.py PEER SECONDS MOST``: tasks a second with 1, 2, 4 ... MOST managers of one worker each.

All run on this machine, so that beyond its cores the rate shows what more managers cost, not what they bring. The
blocks are added to one session.
"""

import time

from common import rate, run
from functions import nothing
from sessions import BLOCKS


def measure(session, seconds, most):
    (executor,) = (e for label, e in session.dfk.executors.items() if label != "_parsl_internal")
    values, managers = {}, 1
    while managers <= most:
        if managers > 1:
            executor.scale_out_facade(managers - managers // 2)
        end = time.monotonic() + 120
        while (there := len(executor.connected_managers())) < managers:
            if time.monotonic() > end:
                raise TimeoutError(f"{there} of {managers} managers within 120 s")
            time.sleep(0.1)
        session.results(session.submit_many(nothing, 20 * managers))
        values[f"rate_{managers}"] = rate(session, lambda count: session.submit_many(nothing, count), seconds)["rate"]
        managers *= 2
    return values


if __name__ == "__main__":
    run(measure, BLOCKS)
