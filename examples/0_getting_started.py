"""A Python function and a shell command as Parsl apps.

Nothing here says where it runs: ``parsl.load()`` without a config means two threads of this process under plain
Python, and the workers of whatever site ``pilotage run --site`` names.
"""

import argparse
from pathlib import Path

import parsl


@parsl.python_app
def hello_python(name):
    return f"Hello {name} from Python"


# A bash_app returns the command that its worker is to run.
@parsl.bash_app
def hello_bash(name, stdout=None, stderr=None):  # noqa: ARG001  Parsl reads stdout and stderr
    return f"echo Hello {name} from Bash; echo Goodbye {name} >&2"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/tutorial"), help="folder for the files")
    # Absolute, because a worker's current folder is not ours.
    out = parser.parse_args().out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    stdout, stderr = out / "0_hello.out", out / "0_hello.err"

    with parsl.load():
        # A call returns a future at once; both run at the same time.
        greeting = hello_python("World")
        # "w" starts the files anew; Parsl's default is to append.
        command = hello_bash("World", stdout=(str(stdout), "w"), stderr=(str(stderr), "w"))
        print(greeting.result())  # waits
        print(f"the command ended with exit code {command.result()}")

    print(f"its stdout: {stdout.read_text().strip()}")
    # Parsl writes the command itself at the top of the stderr file.
    print(f"its stderr: {stderr.read_text().splitlines()[-1]}")


if __name__ == "__main__":
    main()
