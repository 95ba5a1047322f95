"""What every program of transfers does: a server on loopback, a large file and many small ones there and back, a line.

All of it is on a filesystem in memory where there is one with room: it is the copying that is measured, and not the
disk. Sources have bytes that no compression makes less of.
"""

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from copiers import COPIERS, ROOT, program

MB = 10**6
SMALL = 1000
"""Bytes of a small file."""
A_FOLDER = 100
"""Small files in each folder."""
NAME, FOLDER = "large.bin", "many"
SECONDS = 30
"""That a server may take to start."""


class Here:
    """Another folder of this machine."""

    folder = FOLDER
    options = {}
    environment = {}

    def __init__(self, root):
        self.root = self.url = str(root)


class S3(Here):
    """A bucket of a server that rclone is."""

    def __init__(self, root, port):
        super().__init__(root)
        self.url = "s3://bucket"
        self.root = f"{root}/bucket"
        address = f"http://127.0.0.1:{port}"
        self.options = {"s3": {"endpoint_url": address}}
        nobody = f"{root}/none"
        Path(nobody).touch()
        self.environment = {
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": "a secret of nobody's",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": address,
            "AWS_CONFIG_FILE": nobody,
            "AWS_SHARED_CREDENTIALS_FILE": nobody,
            "AWS_EC2_METADATA_DISABLED": "true",
            "RCLONE_CONFIG": nobody,
            "RCLONE_CONFIG_FAR_TYPE": "s3",
            "RCLONE_CONFIG_FAR_PROVIDER": "Rclone",
            "RCLONE_CONFIG_FAR_ENV_AUTH": "true",
            "RCLONE_CONFIG_FAR_ENDPOINT": address,
        }


class SSH(Here):
    """A folder behind an sshd."""

    host = "far"

    def __init__(self, root, server):
        from pilotage.clusters.packages import fetch

        super().__init__(root)
        self.url = f"ssh://far{root}"
        programs = Path(root).parent / "bin"
        self.environment = {"PATH": server.program(programs)}
        self.rsync = shutil.which("rsync")
        if self.rsync is None:
            fetched = fetch(["rsync"])
            libraries = fetched / f"usr/lib/{os.uname().machine}-linux-gnu"
            self.rsync = str(programs / "rsync")
            script = f'#!/bin/sh\nLD_LIBRARY_PATH={libraries} exec {fetched}/usr/bin/rsync "$@"\n'
            Path(self.rsync).write_text(script)
            Path(self.rsync).chmod(0o755)


@contextmanager
def here(root):
    yield Here(root)


@contextmanager
def s3(root):
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        port = tried.getsockname()[1]
    far = S3(root, port)
    Path(far.root).mkdir()
    keys = f"{far.environment['AWS_ACCESS_KEY_ID']},{far.environment['AWS_SECRET_ACCESS_KEY']}"
    argv = [program("rclone", "rclone"), "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", keys, "--quiet"]
    server = subprocess.Popen([*argv, root], env={**os.environ, "RCLONE_CONFIG": far.environment["RCLONE_CONFIG"]})
    try:
        end = time.monotonic() + SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > end:
                    sys.exit("the server did not start")
                time.sleep(0.05)
        yield far
    finally:
        server.kill()
        server.wait()


@contextmanager
def ssh(root):
    sys.path.append(str(ROOT / "tests" / "hosts"))
    from sshd import Sshd

    server = Sshd(Path(root).parent / "sshd")
    server.start()
    try:
        yield SSH(root, server)
    finally:
        server.stop()


SCHEMES = {"file": (here, ["put"]), "s3": (s3, ["put", "get"]), "ssh": (ssh, ["put", "get"])}


def make(folder, large, small):
    """Make the sources: one file of ``large`` bytes, and ``small`` files of `SMALL`."""
    piece = random.Random(1).randbytes(7 * MB + 3)
    with open(folder / NAME, "wb") as file:
        while (left := large - file.tell()) > 0:
            file.write(piece[:left])
    for number in range(small):
        path = folder / FOLDER / str(number // A_FOLDER) / str(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(piece[number : number + SMALL])


def weight(path):
    """Return the bytes and files of a file or folder."""
    files = [each for each in path.rglob("*") if each.is_file()] if path.is_dir() else [path]
    return sum(each.stat().st_size for each in files), len(files)


def timed(copy, source, target, there, wanted):
    """Return the seconds of one copy; raises RuntimeError where not all of it is ``there``."""
    os.sync()
    start = time.perf_counter()
    copy(source, target)
    seconds = time.perf_counter() - start
    if weight(there) != wanted:
        raise RuntimeError(f"{weight(there)} have come of {wanted}")
    return seconds


def measure(scheme, peer, large, small, base):
    """Return rates by direction and kind: MB a second of the large file, files a second of the small ones."""
    serve, directions = SCHEMES[scheme]
    with tempfile.TemporaryDirectory(dir=base) as folder:
        work, far = Path(folder), Path(folder, "far")
        far.mkdir()
        (work / "in").mkdir()
        make(work / "in", large, small)
        with serve(str(far)) as place:
            os.environ.update(place.environment)
            copy = COPIERS[peer](place)
            values = {}
            for name, kind in ((NAME, "large"), (FOLDER, "small")):
                wanted = weight(work / "in" / name)
                amount = wanted[0] / MB if kind == "large" else wanted[1]
                for direction in directions:
                    ways = {
                        "put": (str(work / "in" / name), f"{place.url}/{name}", Path(place.root, name)),
                        "get": (f"{place.url}/{name}", str(work / f"out-{name}"), work / f"out-{name}"),
                    }
                    values[f"{direction}_{kind}"] = amount / timed(copy, *ways[direction], wanted)
        return values


def in_memory(size):
    """Return a filesystem in memory with room for so many bytes, or None."""
    folder = "/dev/shm"
    usable = Path(folder).is_dir() and os.access(folder, os.W_OK)
    return folder if usable and shutil.disk_usage(folder).free > size else None


def run(scheme):
    """Measure for the peer, the megabytes and the number of small files of the command line; print what was found."""
    large, small = int(float(sys.argv[2]) * MB), int(float(sys.argv[3]))
    base = in_memory(5 * (large + 8 * SMALL * small))
    print(json.dumps(measure(scheme, sys.argv[1], large, small, base)), flush=True)
