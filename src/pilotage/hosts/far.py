"""A run's folder on a login host: what jobs there read and write, in the shape that it has here.

It is made when the first thing is sent, readable by nobody else, written into the journal before, and removed with the
run once what was logged in it is here. The folder that it is made in must be one that compute nodes see.
"""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import tarfile
import threading
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol, runtime_checkable

from pilotage import journal, steps
from pilotage.errors import HostError
from pilotage.hosts.base import Host, Runner
from pilotage.hosts.openssh import OpenSSHHost
from pilotage.hosts.transfer import packed

BASE = "~/.pilotage"
"""Where the folders of runs are on a login host, unless the site says otherwise."""
MAKE = 'umask 077 && mkdir -p -- "$1" && mkdir -- "$1/$2" && cd -- "$1/$2" && pwd'
"""For ``sh -c``: make a folder of the second name in the first, and say where it really is."""
LOGS = (
    'cd -- "$1" 2>/dev/null || exit 0; '
    "find . -name certificates -prune -o -type f -size -16384k -print | "
    '{ tar -cf - -T /dev/stdin || [ "$?" = 1 ]; }'
)
"""For ``sh -c``: write an archive of what is in a folder but keys and what is larger than 16 MiB.

Nothing is written there, where the disk may be full. With 1 tar says that a file has grown meanwhile.
"""
REMOVE = 'for try in 1 2 3 4 5; do rm -rf -- "$1" 2>/dev/null && exit 0; sleep 1; done; exec rm -rf -- "$1"'
"""For ``sh -c``: remove a folder, in which what is being ended may write for a moment still."""


class Carried(Protocol):
    """What a run takes along beside its own files: the modules of its script."""

    def take(self, folders: Sequence[str]) -> dict[str, str]:
        """Note what is in folders of this machine; return where below a run's folder there those are that are sent."""

    def send(self, folder: FarFolder) -> None:
        """Have it in a run's folder there. Raises HostError."""


ENVIRONMENT = "environment"
"""The link in a run's folder to the environment that its workers there have."""


@runtime_checkable
class Equipment(Protocol):
    """The Python of workers, where it is made for them."""

    def bring(self, host: Host, label: str, runs: str = "", link: str = "") -> str:
        """Have it on a host; return its folder there.

        Parameters
        ----------
        host: the host.
        label: the executor's, for which it is.
        runs: the folder there in which runs have theirs.
        link: path of a link to it that is made, so that it stays while the link does.

        Raises HostError, and BuildError where it cannot be made.
        """

    def words(self, prefix: str, folders: Sequence[str]) -> Sequence[str]:
        """Return the words that start Python of it; arguments of Python's follow.

        Parameters
        ----------
        prefix: its folder.
        folders: what workers need to see.
        """

    def release(self) -> None:
        """Let others remove it."""


class FarFolder:
    """A folder of this run on a host.

    Parameters
    ----------
    host: the login host.
    base: the folder that it is made in; ``~`` is the home folder there.
    label: the executor's, by which runs on several sites tell theirs apart.
    number: that of the host, where the executor has several.
    """

    def __init__(self, host: OpenSSHHost, base: str = BASE, label: str = "", number: int | None = None) -> None:
        self.host = host
        self.label = label or host.destination
        self._base = base
        own = "" if number is None else str(number)
        self.name = ".".join(filter(None, [journal.run_id() or f"load-{secrets.token_hex(4)}", label, own]))
        self._lock = threading.Lock()
        self._key = ""
        self.here = Path()
        self.there = ""
        self.code: Carried | None = None
        self.environment: Equipment | None = None

    def begin(self, here: Path) -> str:
        """Make it, for the folder ``here`` of this machine; return its path there. Raises HostError."""
        with self._lock:
            if self.there:
                return self.there
            with steps.doing(self.label, f"connecting with {self.host.destination}"):
                self.host.connect()
            with steps.doing(self.label, f"making the run's folder on {self.host.destination}"):
                return self._make(here)

    def _make(self, here: Path) -> str:
        base = self._base
        if base == "~" or base.startswith("~/"):
            base = self.host.identity().home + base[1:]
        path = f"{base}/{self.name}"
        self.here = here
        self.host.hold()
        self._key = journal.intend("remote_folder", **self.host.place, path=path, into=str(here))
        try:
            done = self.host.run(["sh", "-c", MAKE, "sh", base, self.name])
        except HostError:  # nobody knows whether it is there: the journal keeps it
            self.host.release()
            raise
        if not done.ok:
            self.host.release()
            journal.ended(self._key, "was not made")
            words = done.stderr.strip().splitlines()
            raise HostError(
                f"the run's folder cannot be made: {words[-1] if words else 'no reason was given'}",
                where=f"{self.host.destination}:{path}",
                hint="give a folder that you may write to and compute nodes see: --set run_folder=PATH",
            )
        self.there = done.stdout.strip()
        journal.identify(self._key, real=self.there)
        return self.there

    def bring(self) -> None:
        """Have there what `code` has taken, and the workers' Python. Raises HostError, BuildError."""
        if self.code is not None:
            self.code.send(self)
        if self.environment is not None:
            runs = str(PurePosixPath(self.there).parent)
            self.environment.bring(self.host, self.label, runs, f"{self.there}/{ENVIRONMENT}")

    def path(self, here: str | os.PathLike[str]) -> str:
        """Return where a path below this machine's folder is there; any other path is one of there already."""
        if not Path(here).is_relative_to(self.here):
            return str(here)
        return str(PurePosixPath(self.there) / Path(here).relative_to(self.here))

    def send(self, here: str | os.PathLike[str], source: Path | None = None) -> str:
        """Copy a file or folder to its place there; return that. Raises HostError.

        ``source`` is where it is, if not in its place here.
        """
        return self.deliver(packed(source or Path(here)), here)

    def deliver(self, archive: bytes, here: str | os.PathLike[str]) -> str:
        """Write what is in an archive (`transfer.packed`) to the place there of a path here; return that place."""
        there = self.path(here)
        self.host.put(archive, there)
        return there

    def fetch(self, here: str | os.PathLike[str]) -> bool:
        """Copy a file or folder from there to its place here; return whether it was there."""
        try:
            self.host.fetch(self.path(here), Path(here))
        except HostError:
            return False
        return True

    def end(self) -> None:
        """Bring here what was logged, and remove it; raises HostError where that is not possible now."""
        there, self.there = self.there, ""
        if there:
            try:
                with steps.doing(self.label, f"removing the run's folder on {self.host.destination}"):
                    remove(self.host, there, self.here)
                journal.ended(self._key, "removed")
            finally:
                self.host.release()


def remove(host: OpenSSHHost, path: str, into: Path) -> None:
    """Bring what was logged in a run's folder on a host here, and remove that folder; raises HostError."""
    host.connect()  # where that fails, each further try would take as long
    with contextlib.suppress(HostError):
        unpack_over(host.read(["sh", "-c", LOGS, "sh", path], timeout=120), into)
    done = host.run(["sh", "-c", REMOVE, "sh", path], timeout=60)
    if not done.ok:
        raise HostError(f"cannot be removed: {done.stderr.strip()}", where=f"{host.destination}:{path}")


def unpack_over(archive: bytes, target: Path) -> None:
    """Write what is in an archive to a folder, beside what is there; what cannot be written is left out."""
    if not archive or not target.is_dir():
        return
    with contextlib.suppress(OSError, tarfile.TarError), tarfile.open(fileobj=io.BytesIO(archive)) as found:
        for member in found:
            with contextlib.suppress(OSError, tarfile.TarError):
                found.extract(member, target, filter="data")


def is_login(host: Host | Runner) -> bool:
    """Return whether a host is another than this machine."""
    return isinstance(host, OpenSSHHost)
