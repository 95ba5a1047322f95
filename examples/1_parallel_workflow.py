"""Many independent tasks: count the primes below 200,000, each task in a range of its own."""

from concurrent.futures import wait

import parsl

LIMIT = 200_000
STEP = 10_000


@parsl.python_app
def count_primes(start, stop):
    def is_prime(n):
        return n > 1 and all(n % d for d in range(2, int(n**0.5) + 1))

    return sum(is_prime(n) for n in range(start, stop))


if __name__ == "__main__":
    with parsl.load():
        # Start all of them before asking for any result: result() inside this loop would wait for each in turn.
        futures = [count_primes(start, start + STEP) for start in range(0, LIMIT, STEP)]
        wait(futures)
        counts = [future.result() for future in futures]

    print(f"{len(counts)} tasks found {sum(counts)} primes below {LIMIT}")
