"""``arguments.py PEER SECONDS``: tasks a second with an argument of 0 bytes, 10 kB and 1 MB, a new object each."""

from common import rate, run
from functions import size

SIZES = {"0": 0, "10kB": 10_000, "1MB": 1_000_000}
MOST_BYTES = 200_000_000
"""Bytes of arguments under way at once."""


def payload(number, length):
    """Return ``length`` bytes that no other call has."""
    return (number.to_bytes(8, "little") + bytes(max(length - 8, 0)))[:length]


def measure(session, seconds):
    values = {}
    for name, length in SIZES.items():
        most = min(100_000, MOST_BYTES // max(length, 1))

        def submit(count, length=length):
            return [session.submit(size, payload(number, length)) for number in range(count)]

        if session.results(submit(4)) != [length] * 4:
            raise ValueError("arguments did not arrive whole")
        values[f"rate_{name}"] = rate(session, submit, seconds, most)["rate"]
    return values


if __name__ == "__main__":
    run(measure)
