"""The script of the run in which `pilotage check --submit` looks at a block.

It has a folder of its own, since a script's folder is where workers import from. What goes to workers is in this file:
it travels by value, so that a node with another pilotage, or with none, can be told of.
"""

import sys
from typing import Any

import parsl
from parsl import python_app

from pilotage.check.visiting import Visiting


@python_app
def look(folder: str, nonce: str, addresses: list[str], port: int, hold: float) -> dict[str, Any]:
    """Return what this worker's node is and sees, after ``hold`` seconds in which no other worker's task gets here."""
    import time

    begun = time.time()
    import os
    import platform
    import shutil
    import socket
    import subprocess
    from importlib import metadata

    def versions() -> dict[str, str]:
        found = {"python": platform.python_version()}
        for name in ("parsl", "pilotage", "cloudpickle", "dill"):
            try:
                found[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                pass
        return found

    def started(process: int) -> float:
        with open(f"/proc/{process}/stat", "rb") as file:
            ticks = int(file.read().rpartition(b")")[2].split()[19])
        return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))

    def pool() -> float | None:
        """Return when the outermost process of the worker pool was started."""
        process, found = os.getpid(), os.getpid()
        try:
            while process > 1:
                with open(f"/proc/{process}/cmdline", "rb") as file:
                    if b"worker.pool" in file.read():
                        found = process
                with open(f"/proc/{process}/stat", "rb") as file:
                    process = int(file.read().rpartition(b")")[2].split()[1])
            return started(found)
        except (OSError, AttributeError, ValueError, IndexError):
            return None

    def route(address: str) -> float | str:
        before = time.perf_counter()
        try:
            socket.create_connection((address, port), timeout=5).close()
        except OSError as error:
            return str(error)
        return time.perf_counter() - before

    def gpus() -> int | None:
        for argv in (["nvidia-smi", "-L"], ["rocm-smi", "--showid"]):
            if shutil.which(argv[0]):
                try:
                    done = subprocess.run(argv, capture_output=True, text=True, timeout=20)
                except (OSError, subprocess.SubprocessError):
                    continue
                return len({line.split(":")[0] for line in done.stdout.splitlines() if line.startswith("GPU")})
        return None

    def seen() -> str:
        """Return what is wrong with the folder, empty where the driver's word is in it and ours can be put there."""
        if not folder:
            return ""
        try:
            with open(folder + "/nonce") as file:
                if file.read() != nonce:
                    return "a file in it has another content than on the driver"
            with open(f"{folder}/{socket.gethostname()}.{os.getpid()}", "w") as file:
                file.write(nonce)
        except OSError as error:
            return str(error)
        return ""

    try:
        affinity = len(os.sched_getaffinity(0))
    except AttributeError:
        affinity = os.cpu_count() or 1
    pinned = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")
    report = {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "versions": versions(),
        "cores": affinity,
        "cores_of_node": os.cpu_count(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpus": gpus(),
        "pinned": {name: os.environ[name] for name in pinned if name in os.environ},
        "routes": {address: route(address) for address in addresses},
        "folder": seen(),
        "pool_started": pool(),
    }
    time.sleep(max(hold - (time.time() - begun), 0))
    return {**report, "begun": begun, "ended": time.time()}


@python_app
def echo(data: bytes, size: int = 0) -> bytes:
    """Return as many bytes as are asked for."""
    return data[:0] + bytes(size)


if __name__ == "__main__":
    with parsl.load() as kernel:
        Visiting(kernel, sys.argv[1], sys.argv[2], float(sys.argv[3])).visit(look, echo)
