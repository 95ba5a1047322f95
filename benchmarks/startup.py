"""How long a user waits before anything happens: ``python benchmarks/startup.py [REPEATS]``.

Commands and imports as whole processes, and the time from ``parsl.load()`` to the first result, ours beside Parsl's
default; interleaved, so that a busy moment of the machine falls on all alike. Prints medians and ranges.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BIN = Path(sys.executable).parent
FIRST_RESULT = """
import time, parsl
{imports}
@parsl.python_app
def one(): return 1
start = time.perf_counter()
parsl.load({config})
one().result()
print(time.perf_counter() - start)
parsl.dfk().cleanup()
"""
OURS = FIRST_RESULT.format(imports="import pilotage", config="pilotage.config('laptop')")
PARSLS = FIRST_RESULT.format(
    imports="from parsl.config import Config\nfrom parsl.executors import HighThroughputExecutor",
    config="Config([HighThroughputExecutor(address='127.0.0.1')])",
)


def whole(*argv):
    """Return the seconds that a process takes from start to end."""
    start = time.perf_counter()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def inner(program):
    """Return the seconds that a program prints."""
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    with tempfile.TemporaryDirectory() as folder:
        env["PILOTAGE_STATE"] = folder
        done = subprocess.run([sys.executable, "-c", program], cwd=folder, env=env, capture_output=True, check=True)
    return float(done.stdout)


MEASURES = {
    "pilotage --help": lambda: whole(BIN / "pilotage", "--help"),
    "python -c pass": lambda: whole(sys.executable, "-c", "pass"),
    "import click": lambda: whole(sys.executable, "-c", "import click"),
    "import pilotage": lambda: whole(sys.executable, "-c", "import pilotage"),
    "first result, laptop": lambda: inner(OURS),
    "first result, Parsl's default": lambda: inner(PARSLS),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("repeats", metavar="REPEATS", nargs="?", type=int, default=7, help="times each (default: 7)")
    repeats = parser.parse_args().repeats
    samples = {name: [] for name in MEASURES}
    for _ in range(repeats):
        for name, measure in MEASURES.items():
            samples[name].append(measure())
    for name, values in samples.items():
        print(f"{name:32} {statistics.median(values):8.3f} s   ({min(values):.3f} to {max(values):.3f})")


if __name__ == "__main__":
    main()
