"""``throughput.py PEER SECONDS``: calls of a function that does nothing, all submitted, then all waited for."""

from common import rate, run
from functions import nothing


def measure(session, seconds):
    session.results(session.submit_many(nothing, 20))
    return rate(session, lambda count: session.submit_many(nothing, count), seconds)


if __name__ == "__main__":
    run(measure)
