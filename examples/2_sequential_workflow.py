"""Tasks that wait for each other: a result and then a file are handed on, by future.

No line here waits for a task but the last: Parsl starts each as soon as what it needs is there.
"""

import argparse
from pathlib import Path

import parsl
from parsl import File


@parsl.python_app
def double(x):
    return 2 * x


@parsl.bash_app
def write_numbers(last, outputs=()):
    return f"seq 1 {last} > {outputs[0].filepath}"


@parsl.python_app
def add_up(inputs=()):
    with open(inputs[0].filepath) as numbers:
        return sum(int(line) for line in numbers)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/tutorial"), help="folder for the file")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    path = out / "2_numbers.txt"

    with parsl.load():
        last = double(50)
        # `last` is a future; write_numbers gets the number.
        # Its file is named in full, because a worker's current folder is not ours.
        written = write_numbers(last, outputs=[File(str(path.absolute()))])
        # outputs[0] is the future of the file: add_up starts when write_numbers has ended well.
        total = add_up(inputs=[written.outputs[0]])
        print(f"the numbers from 1 to {last.result()} add up to {total.result()}")

    print(f"they are in {path}")


if __name__ == "__main__":
    main()
