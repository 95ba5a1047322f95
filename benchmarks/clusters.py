"""What a real Slurm costs of the rate of a laptop: ``python benchmarks/clusters.py [REPEATS [SECONDS]]``, as root.

The same program (submit no-op tasks, wait for all of them) under ``pilotage run``, with two workers each time: on the
site ``laptop``; on ``slurm-lab`` with one block of one node; and with one block of two nodes, a worker each. All on the
login host of a Slurm of our own (`pilotage cluster up slurm`), so that the driver has the same machine, network and
daemons around it each time. Interleaved, in random order within each round, so that a busy moment of the machine falls
on all. Prints a table: medians, and paired ratios to the laptop with their 95 % bootstrap intervals.
"""

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

from supervision import PROGRAM

from pilotage.clusters.slurm import SlurmCluster
from pilotage.statistics import median, paired_ratio

PILOTAGE = Path(sys.executable).parent / "pilotage"
ONE_BLOCK = ("--site", "slurm-lab", "--set", "max_blocks=1")
VARIANTS = {
    "laptop": ("--site", "laptop", "--set", "max_workers_per_node=2"),
    "Slurm, one node": (*ONE_BLOCK, "--set", "max_workers_per_node=2"),
    "Slurm, two nodes": (*ONE_BLOCK, "--set", "nodes_per_block=2", "--set", "max_workers_per_node=1"),
}


def rate(cluster, name, seconds, folder):
    """Return tasks a second of one run."""
    script = folder / "noop.py"
    script.write_text(PROGRAM.format(imports="", config=""))
    argv = [PILOTAGE, "run", "--quiet", *VARIANTS[name], script, "--", seconds]
    command = cluster.host("head").command(list(map(str, argv)), str(folder))
    env = {**os.environ, "PILOTAGE_STATE": str(folder / "state")}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return float(done.stdout.split()[-1])


def rounds(cluster, repeats, seconds, folder):
    """Measure everything ``repeats`` times; return the rates by variant, in the order of the rounds."""
    rates = {name: [] for name in VARIANTS}
    for number in range(repeats):
        for name in random.sample(list(VARIANTS), len(VARIANTS)):
            rates[name].append(rate(cluster, name, seconds, folder))
        newest = ", ".join(f"{name} {values[-1]:,.0f}/s" for name, values in rates.items())
        print(f"{number + 1}: {newest}", file=sys.stderr, flush=True)
    return rates


def table(rates):
    """Return the lines of the table."""
    yield "| where | median, tasks/s | to the laptop, paired (95 % interval) | rounds |"
    yield "|---|---:|---:|---:|"
    for name, values in rates.items():
        ratio = paired_ratio(values, rates["laptop"])
        told = "" if name == "laptop" else f"{ratio.value:.3f} ({ratio.low:.3f} to {ratio.high:.3f}) x"
        yield f"| {name} | {median(values):,.0f} | {told} | {len(values)} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("repeats", metavar="REPEATS", nargs="?", type=int, default=9, help="rounds (default: 9)")
    parser.add_argument("seconds", metavar="SECONDS", nargs="?", type=float, default=5.0, help="of each (default: 5)")
    parser.add_argument("--output", type=Path, help="write all rates here, as JSON")
    options = parser.parse_args()
    cluster = SlurmCluster(Path(f"/var/lib/pilotage-benchmark-{uuid.uuid4().hex[:8]}") / "slurm")
    with tempfile.TemporaryDirectory() as folder:
        try:
            cluster.up(2, share=[Path(folder)])
            rates = rounds(cluster, options.repeats, options.seconds, Path(folder))
        finally:
            cluster.down()
    print("\n".join(table(rates)))
    if options.output:
        about = {"machine": platform.platform(), "cores": os.cpu_count(), "seconds": options.seconds, "rates": rates}
        options.output.write_text(json.dumps(about, indent=2) + "\n")


if __name__ == "__main__":
    main()
