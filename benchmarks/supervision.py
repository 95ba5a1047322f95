"""What supervision costs of parsl-perf's rate: ``python benchmarks/supervision.py [REPEATS [SECONDS]]``.

The same program (submit no-op tasks, wait for all of them) and the same config of the site ``laptop``: once under
``pilotage run`` (supervisor, journal, progress, checkpoint, task output) and once under plain ``python`` with
``parsl.load(pilotage.config("laptop", engine={"relax_collector": True}))`` (none of these, but with the
same care of Python's garbage collector, which is no part of supervision). Interleaved, in random order within each
pair, so that a busy moment of the machine falls on both. Prints the median of the paired ratios and its 95 % bootstrap
interval.
"""

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

BIN = Path(sys.executable).parent
PROGRAM = """
import sys, time, parsl
{imports}

@parsl.python_app
def noop():
    pass

parsl.load({config})
count = 10
noop().result()
while True:
    start = time.perf_counter()
    for task in [noop() for _ in range(count)]:
        task.result()
    seconds = time.perf_counter() - start
    rate = count / seconds
    if seconds > 0.75 * float(sys.argv[1]):
        break
    count = max(int(rate * float(sys.argv[1])), count)
parsl.dfk().cleanup()
print("rate", rate)
"""
VARIANTS = {
    "supervised": (PROGRAM.format(imports="", config=""), [str(BIN / "pilotage"), "run", "--quiet"]),
    "plain": (
        PROGRAM.format(imports="import pilotage", config="pilotage.config('laptop', engine={'relax_collector': True})"),
        [sys.executable],
    ),
}


def rate(name, seconds, folder):
    """Return tasks a second of one session."""
    text, command = VARIANTS[name]
    script = folder / f"{name}.py"
    script.write_text(text)
    separator = ["--"] if name == "supervised" else []
    env = {**os.environ, "PILOTAGE_STATE": str(folder / "state")}
    argv = [*command, str(script), *separator, str(seconds)]
    done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def interval(ratios, resamples=10_000):
    """Return the 95 % percentile bootstrap interval of the median."""
    generator = random.Random(1)
    medians = sorted(statistics.median(generator.choices(ratios, k=len(ratios))) for _ in range(resamples))
    return medians[int(0.025 * resamples)], medians[int(0.975 * resamples)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("repeats", metavar="REPEATS", nargs="?", type=int, default=10, help="pairs (default: 10)")
    parser.add_argument("seconds", metavar="SECONDS", nargs="?", type=float, default=5.0, help="of each (default: 5)")
    options = parser.parse_args()
    rates = {name: [] for name in VARIANTS}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.repeats):
            for name in random.sample(list(VARIANTS), len(VARIANTS)):
                rates[name].append(rate(name, options.seconds, Path(folder)))
            newest = ", ".join(f"{name} {values[-1]:,.0f}/s" for name, values in rates.items())
            print(f"{number + 1}: {newest}", flush=True)
    ratios = [one / other for one, other in zip(rates["supervised"], rates["plain"], strict=True)]
    low, high = interval(ratios)
    for name, values in rates.items():
        print(f"{name:<12} median {statistics.median(values):,.0f} tasks/s")
    print(f"ratio supervised/plain: {statistics.median(ratios):.3f} (95 % interval {low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
