"""A workflow that grows as it runs: Fibonacci numbers by recursion, every sum a task."""

import parsl


@parsl.python_app
def add(*numbers):
    return sum(numbers)


# A join_app starts more tasks and returns a future of theirs; its own result is that future's. It runs beside the
# workflow rather than on a worker, and holds no worker while it waits, so that any depth of recursion is safe.
@parsl.join_app
def fibonacci(n):
    if n < 2:
        return add(n)
    return add(fibonacci(n - 1), fibonacci(n - 2))


if __name__ == "__main__":
    with parsl.load():
        print(f"fibonacci(10) = {fibonacci(10).result()}")
