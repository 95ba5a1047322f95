"""What a tunnel costs of the rate of a cluster: ``python benchmarks/tunnels.py [REPEATS [SECONDS]]``, as root.

The same program (submit no-op tasks, wait for all of them) on one block of one node with two workers of a Slurm of our
own: from its login host, where nodes reach the driver directly, and from a laptop that reaches only the login host's
SSH, by each way there is. Interleaved, in random order within each round. Prints medians, and paired ratios to the
driver on the login host with their 95 % bootstrap intervals; and how long after the start of its block the first result
was there.
"""

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import uuid
from pathlib import Path

from supervision import PROGRAM

from pilotage.clusters.slurm import SlurmCluster
from pilotage.statistics import median, paired_ratio

PILOTAGE = Path(sys.executable).parent / "pilotage"
SITE = """
[site.near]
extends = "slurm-lab"
max_blocks = 1
worker_init = "date +%s.%N > /home/cluster/started"
[site.far]
scheduler = "slurm"
partition = "debug"
login = "head"
python = "{python}"
run_folder = "/home/cluster/runs"
max_blocks = 1
cores_per_node = 2
max_workers_per_node = 2
exclusive = false
worker_init = "date +%s.%N > /home/cluster/started"
"""
BASE = "on the login host"
VARIANTS = {
    BASE: ("head", ("--site", "near")),
    "gateway": ("laptop", ("--site", "far", "--set", "login=head-gateway", "--set", "reach=gateway")),
    "relay": ("laptop", ("--site", "far", "--set", "reach=relay")),
    "node": ("laptop", ("--site", "far", "--set", "reach=node")),
}
FIRST = PROGRAM.replace("noop().result()\n", "noop().result()\nfirst = time.time()\n", 1) + 'print("first", first)\n'


def measured(cluster, name, seconds):
    """Return tasks a second of one run, and the seconds from its block's start to its first result."""
    host, site = VARIANTS[name]
    home = cluster.folder / "home" / ("laptop/laptop" if host == "laptop" else "cluster/cluster")
    (home / "noop.py").write_text(FIRST.format(imports="", config=""))
    (home / "pilotage.toml").write_text(SITE.format(python=sys.executable))
    there = "/home/laptop" if host == "laptop" else "/home/cluster"
    argv = ["env", f"HOME={there}", PILOTAGE, "run", "--quiet", *site, "noop.py", "--", seconds]
    command = cluster.host(host).command(list(map(str, argv)), there)
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    said = dict(line.split() for line in done.stdout.splitlines())
    started = float((cluster.folder / "home/cluster/cluster/started").read_text())
    return float(said["rate"]), float(said["first"]) - started


def rounds(cluster, repeats, seconds):
    """Measure everything ``repeats`` times; return rates and first results by variant, in the order of the rounds."""
    found = {name: [] for name in VARIANTS}
    for number in range(repeats):
        for name in random.sample(list(VARIANTS), len(VARIANTS)):
            found[name].append(measured(cluster, name, seconds))
        newest = ", ".join(f"{name} {values[-1][0]:,.0f}/s {values[-1][1]:.2f} s" for name, values in found.items())
        print(f"{number + 1}: {newest}", file=sys.stderr, flush=True)
    return found


def table(found):
    """Return the lines of the table."""
    yield "| driver, way | median, tasks/s | to the first, paired (95 % interval) | first result after, s | rounds |"
    yield "|---|---:|---:|---:|---:|"
    base = [rate for rate, _ in found[BASE]]
    for name, values in found.items():
        rates, firsts = [rate for rate, _ in values], [first for _, first in values]
        ratio = paired_ratio(rates, base)
        told = "" if name == BASE else f"{ratio.value:.3f} ({ratio.low:.3f} to {ratio.high:.3f}) x"
        yield f"| {name} | {median(rates):,.0f} | {told} | {median(firsts):.2f} | {len(values)} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("repeats", metavar="REPEATS", nargs="?", type=int, default=7, help="rounds (default: 7)")
    parser.add_argument("seconds", metavar="SECONDS", nargs="?", type=float, default=5.0, help="of each (default: 5)")
    parser.add_argument("--output", type=Path, help="write all of it here, as JSON")
    options = parser.parse_args()
    cluster = SlurmCluster(Path(f"/var/lib/pilotage-benchmark-{uuid.uuid4().hex[:8]}") / "slurm", laptop=True)
    try:
        cluster.up(2)
        found = rounds(cluster, options.repeats, options.seconds)
    finally:
        cluster.down()
    print("\n".join(table(found)))
    if options.output:
        about = {"machine": platform.platform(), "cores": os.cpu_count(), "seconds": options.seconds, "found": found}
        options.output.write_text(json.dumps(about, indent=2) + "\n")


if __name__ == "__main__":
    main()
