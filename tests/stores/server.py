"""Servers that the tests of stores start, and end."""

import re
import subprocess
import time
from contextlib import contextmanager


@contextmanager
def started(words, says, log, **options):
    """Run a server; yields what the groups of ``says``, a pattern, found in what it printed. ``log`` is a new file."""
    with open(log, "xb") as out:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, **options)
    try:
        end = time.monotonic() + 90
        while not (found := re.search(says, log.read_text(errors="replace"))):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{words[0]} did not start:\n{log.read_text(errors='replace')}")
            time.sleep(0.05)
        yield found.groups()
    finally:
        process.kill()
        process.wait()
