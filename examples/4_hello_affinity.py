"""Where do tasks run? Each prints its host, its worker, its CPUs and the accelerators it may use.

On a site whose workers are pinned to a GPU each, such as polaris with four to a node, this is one task a GPU.
"""

import argparse
import os
from pathlib import Path

import parsl


@parsl.bash_app
def hello_affinity(task, exe, stdout=None, stderr=None):  # noqa: ARG001  Parsl reads stdout and stderr
    import shlex
    import sys

    # A program of its own and not Python in the worker: what counts is what a command that the worker starts inherits.
    report = """
import os, platform, sys
env = os.environ.get
worker = " ".join(f"{key.lower()} {env('PARSL_WORKER_' + key)}" for key in ("RANK", "BLOCK_ID", "POOL_ID")
                  if env("PARSL_WORKER_" + key)) or "none"
try:
    cpus = ",".join(map(str, sorted(os.sched_getaffinity(0))))
except AttributeError:  # not on macOS
    cpus = "unknown"
masks = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")
accelerators = " ".join(f"{mask}={env(mask)}" for mask in masks if env(mask)) or "none"
print(f"task {sys.argv[1]}: host {platform.node()}; worker {worker}; CPUs {cpus}; accelerators {accelerators}")
"""
    command = [exe] if exe else [sys.executable, "-c", report, str(task)]
    # The sleep holds the worker, so that a quick one does not take every task before the others are up.
    return f"{shlex.join(command)} && sleep 1"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=4, metavar="N", help="how many tasks (default: %(default)s)")
    parser.add_argument("--exe", metavar="PATH", help="run this hello_affinity program instead, found on the workers")
    parser.add_argument("--out", type=Path, default=Path("results/tutorial"), help="folder for stdout and stderr")
    args = parser.parse_args()
    if args.tasks < 1:
        parser.error("--tasks must be at least 1")
    # A bare name is looked up on the worker's PATH; a relative path is meant from here.
    exe = os.path.abspath(args.exe) if args.exe and os.sep in args.exe else args.exe
    out = args.out.absolute()

    with parsl.load():
        futures, paths = [], []
        for task in range(args.tasks):
            stdout, stderr = out / f"4_hello_{task}.out", out / f"4_hello_{task}.err"
            paths.append(stdout)
            futures.append(hello_affinity(task, exe, stdout=(str(stdout), "w"), stderr=(str(stderr), "w")))
        for future, path in zip(futures, paths, strict=True):
            future.result()
            print(path.read_text(), end="")


if __name__ == "__main__":
    main()
