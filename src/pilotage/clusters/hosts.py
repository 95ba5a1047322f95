"""A host of a cluster: one process that holds its own network, name, processes, IPC and mounts, and does nothing.

SIGKILL of that process ends everything that runs there, and with it go its mounts and network interfaces: nothing has
to be taken down one by one, and nothing can be forgotten.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pilotage.errors import ClusterError
from pilotage.worker import processes

START = 20.0
"""Seconds in which a host is ready."""
GONE = 1.0
"""Seconds after which one whose process is not found has failed: while a program is being replaced it has no name."""
PERSONAL = ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR")
"""What names folders of the caller's home."""
NAMESPACES = ("--net", "--uts", "--pid", "--ipc", "--mount")

HOLD = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
open(READY, "w").close()
while True:  # whoever has lost its parent becomes a child of this process
    signal.sigwait({signal.SIGCHLD})
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
"""


class Host:
    """A host that runs.

    Parameters
    ----------
    name: its hostname.
    known: what its process is told by (`pilotage.worker.processes.identity`).
    home: where who runs something there is at home; without, where the caller is.
    """

    def __init__(self, name: str, known: Mapping[str, Any], home: str | None = None) -> None:
        self.name = name
        self.home = home
        self.known = dict(known)

    @property
    def process(self) -> int:
        """The id, outside, of the process that holds it."""
        number: int = self.known["pid"]
        return number

    @property
    def is_up(self) -> bool:
        """Whether it is there."""
        return processes.is_alive(self.known)

    def command(self, argv: Sequence[str], folder: str | None = None) -> list[str]:
        """Return what runs ``argv`` on the host, in ``folder`` where given.

        Found on the host's own PATH; the environment is the caller's, but for a home of the host's own.
        """
        inner = ["sh", "-c", 'cd "$0" && exec "$@"', folder or "/", *argv]
        if self.home:
            unset = [word for name in PERSONAL for word in ("-u", name)]
            inner = ["env", *unset, f"HOME={self.home}", *inner]
        return ["nsenter", "--target", str(self.process), *NAMESPACES, *inner]

    def run(self, argv: Sequence[str], timeout: float = 30.0) -> str:
        """Run a command there and return what it printed; raises ClusterError where it fails."""
        return run(self.command(argv), timeout)

    def end(self) -> None:
        """End the host and everything on it."""
        if not self.is_up:
            return
        watch = processes.open_watch(self.process)
        processes.send(self.process, signal.SIGKILL)
        deadline = time.monotonic() + START
        while self.is_up and time.monotonic() < deadline:
            time.sleep(0.01)
        if watch is not None:
            os.close(watch)


def start(name: str, prepare: Path, ready: Path, log: Path) -> Host:
    """Start a host.

    Parameters
    ----------
    prepare: shell script that makes the host's mounts; it runs there first.
    ready: file that is made when it is done; seen from there too.
    log: what goes wrong is in it.

    Raises ClusterError where that fails.
    """
    ready.unlink(missing_ok=True)
    hold = HOLD.replace("READY", repr(str(ready)))
    inner = ["sh", "-c", '. "$0" && exec "$@"', str(prepare), sys.executable, "-I", "-S", "-c", hold]
    unshare = ["unshare", *NAMESPACES, "--propagation", "private", "--fork", "--mount-proc", *inner]
    # It is nobody's child: whoever starts a cluster ends before it.
    with log.open("ab") as words:
        argv = ["setsid", "--fork", *unshare]
        subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=words, stderr=words, cwd="/", check=True)
    seen = begun = time.monotonic()
    while not ready.exists():
        now = time.monotonic()
        if _mentioning(f"open('{ready}'"):
            seen = now
        if now - seen > GONE or now - begun > START:
            for process in _mentioning(f"open('{ready}'"):
                processes.send(process, signal.SIGKILL)
            said = log.read_text(errors="replace").strip()[-1000:]
            raise ClusterError(
                f"the host {name} does not start: {said}", hint="namespaces need root, and a kernel that allows them"
            )
        time.sleep(0.01)
    return Host(name, holders(ready)[0].known)


def holders(path: Path) -> list[Host]:
    """Return the hosts whose ``ready`` is ``path`` or in it, also those that nobody has noted.

    Who starts one may be killed before it is noted.
    """
    found = _mentioning(f"open('{path}'") or _mentioning(f"open('{path}/")
    words = {process: _words(process) for process in found}
    return [Host("", processes.identity(process)) for process in found if words[process][3:4] == [b"-c"]]


def _mentioning(text: str) -> list[int]:
    processes = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    return [process for process in processes if any(text.encode() in word for word in _words(process))]


def _words(process: int) -> list[bytes]:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
    except OSError:  # it has ended
        return []


def run(argv: Sequence[str], timeout: float = 30.0) -> str:
    """Run a command and return what it printed; raises ClusterError where it fails."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"{argv[0]} has not ended within {timeout:g} s", where=" ".join(argv)) from error
    if done.returncode:
        words = (done.stderr or done.stdout).strip()
        raise ClusterError(f"exit code {done.returncode}: {words}", where=" ".join(argv))
    return done.stdout
