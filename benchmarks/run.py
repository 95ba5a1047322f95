"""Measures pilotage beside its peers: ``python benchmarks/run.py [--only NAMES] [--repeats N] [--quick] ...``.

Repeats are interleaved: one repeat runs every peer of every measure once, in a new order, so that a slow moment of the
machine falls on all alike and values of one repeat can be paired. Every sample is written to the output file as soon as
it is there; ``--resume`` goes on where a run was cut short. A peer that fails is a sample with a reason.
"""

import argparse
import datetime
import json
import os
import platform
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import processes
from measures import MEASURES, parsl_perf_rate
from peers import HERE, PEERS, ROOT

SCHEMA_VERSION = 1
SEED = 1
QUICK_REPEATS = 1
QUICK_PART = 0.3
"""Of a program's time limit, where the programs are shorter."""
NEEDS_ENCLOSURE = ("ray", "hyperqueue")


def machine():
    """Return what the numbers depend on and nothing that names the machine."""
    import psutil

    model = platform.processor()
    if sys.platform == "linux":
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_GB": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def revision():
    """Return the checkout's revision, with ``+`` where files differ from it, or None outside of one."""

    def git(*arguments):
        done = subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else None

    head = git("rev-parse", "--short=12", "HEAD")
    return head and head + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")


def command(measure, peer, quick):
    """Return (argv, parser of its output) of one measure for one peer."""
    arguments = [f"{number:g}" for number in (measure.quick if quick else measure.arguments)]
    if measure.name == "perf":
        config = HERE / "programs" / "configs" / f"{peer.name.replace('-', '_')}.py"
        program = [peer.environment.python().parent / "parsl-perf", "--config", config, "--time", *arguments]
        return program, parsl_perf_rate
    program = HERE / "programs" / f"{measure.name}.py"
    return [peer.environment.python(), program, peer.name, *arguments], processes.last_json_line


def sample(measure, peer, quick, enclosure):
    """Measure once; return values or the reason why there are none."""
    if not enclosure and peer.name in NEEDS_ENCLOSURE:
        return {"error": "it listens on all interfaces, and no network namespace can be made here to keep it from that"}
    argv, parse = command(measure, peer, quick)
    limit = max(QUICK_PART * measure.limit, 60) if quick else measure.limit
    argv = [*enclosure, *argv] if measure.enclosed else argv
    try:
        return {"values": processes.run(argv, peer.environment.python(), limit, parse)}
    except RuntimeError as error:
        return {"error": str(error)}


def plan(names, repeats, quick):
    """Yield (repeat, measure, peer) in the order in which they are run; the same each time."""
    generator = random.Random(SEED)
    wanted = [MEASURES[name] for name in names]
    most = max(repeats or (QUICK_REPEATS if quick else each.repeats) for each in wanted)
    for repeat in range(most):
        for measure in wanted:
            if repeat < (repeats or (QUICK_REPEATS if quick else measure.repeats)):
                for name in generator.sample(measure.peers, len(measure.peers)):
                    yield repeat, measure, PEERS[name]


def prepare(peers):
    """Set up the environments; return the reason of each peer that has none."""
    reasons = {environment: environment.prepare() for environment in {peer.environment for peer in peers}}
    return {peer.name: reasons[peer.environment] for peer in peers if reasons[peer.environment]}


def header(options, enclosed):
    peers = {
        name: {"title": peer.title, "version": peer.package and peer.environment.version(peer.package)}
        for name, peer in PEERS.items()
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "revision": revision(),
        "machine": machine(),
        "seed": SEED,
        "quick": options.quick,
        "own_network": enclosed,
        "settings": {name: list(each.quick if options.quick else each.arguments) for name, each in MEASURES.items()},
        "peers": peers,
        "samples": [],
    }


def write(path, record):
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(json.dumps(record, indent=1) + "\n")
    new.replace(path)


def named(words):
    """Return the measures of these names, or of names that begin with one of them and ``_``; unknown ones stay."""
    found = [[name for name in MEASURES if name == word or name.startswith(f"{word}_")] or [word] for word in words]
    return [name for names in found for name in names]


def options_of(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only",
        metavar="NAMES",
        help=f"some of: {', '.join(MEASURES)} (commas between); staging is all that begin so",
    )
    parser.add_argument("--peers", metavar="NAMES", help=f"some of: {', '.join(PEERS)} (commas between)")
    parser.add_argument("--repeats", type=int, help="of every measure; by default each has its own number")
    parser.add_argument("--quick", action="store_true", help="shorter programs, one repeat: for trying out")
    parser.add_argument("--resume", action="store_true", help="keep the samples that the output file has")
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "benchmarks.json")
    options = parser.parse_args(arguments)
    options.only = named(options.only.split(",")) if options.only else list(MEASURES)
    options.peers = options.peers.split(",") if options.peers else list(PEERS)
    if unknown := [name for name in options.only if name not in MEASURES]:
        parser.error(f"no measure {unknown[0]!r}")
    if unknown := [name for name in options.peers if name not in PEERS]:
        parser.error(f"no peer {unknown[0]!r}")
    if options.repeats is not None and options.repeats < 1:
        parser.error("--repeats is at least 1")
    return options


def main(arguments=None):
    options = options_of(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the program under way is ended too
    processes.become_subreaper()
    steps = [each for each in plan(options.only, options.repeats, options.quick) if each[2].name in options.peers]
    servers = {PEERS[name] for _, measure, _ in steps for name in measure.needs}
    missing = prepare({peer for _, _, peer in steps} | servers)
    enclosure = processes.enclosure()
    record = header(options, bool(enclosure))
    if options.resume and options.output.exists():
        kept = json.loads(options.output.read_text())
        if kept["settings"] != record["settings"] or kept["schema_version"] != SCHEMA_VERSION:
            sys.exit(f"{options.output} was measured with other settings; without --resume it is written anew")
        record = kept
    done = {(each["repeat"], each["measure"], each["peer"]) for each in record["samples"] if "values" in each}
    record["samples"] = [each for each in record["samples"] if "values" in each]
    steps = [each for each in steps if (each[0], each[1].name, each[2].name) not in done]
    began = time.monotonic()
    for number, (repeat, measure, peer) in enumerate(steps, 1):
        start = time.monotonic()
        reason = next((missing[name] for name in (peer.name, *measure.needs) if name in missing), None)
        found = {"error": reason} if reason else sample(measure, peer, options.quick, enclosure)
        took = round(time.monotonic() - start, 1)
        entry = {"repeat": repeat, "measure": measure.name, "peer": peer.name, "took": took, **found}
        record["samples"].append(entry)
        write(options.output, record)
        shown = found.get("error") or "  ".join(f"{key} {value:.5g}" for key, value in found["values"].items())
        minutes = (time.monotonic() - began) / 60
        print(
            f"{number}/{len(steps)} {minutes:5.1f} min  {measure.name:<10} {peer.name:<16} {took:5.1f} s  {shown}",
            flush=True,
        )
    print(f"written: {options.output}", file=sys.stderr)


if __name__ == "__main__":
    main()
