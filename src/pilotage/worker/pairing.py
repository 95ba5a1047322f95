"""Finds MPI programs that were started by something which their MPI library does not know.

Every rank is then a program of one rank, each does all of the work, and nothing fails. What a process was told by its
launcher is in its environment, and the library that it has loaded in its memory map: where they do not go together,
that is told.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

LOOKS = (0.3, 0.7, 1.5, 3.0, 6.0, 12.0)
"""Seconds between looks at the processes of the node, after a task has started."""
MARK = b"PARSL_MPI_NODELIST="
"""In the environment of every process of an MPI task."""


class Library(NamedTuple):
    """An MPI library: what its file is called, and what it reads of its launcher."""

    name: str
    file: str
    reads: tuple[str, ...]
    remedy: str


LIBRARIES = (
    Library("MPICH", "libmpi.so.12", ("PMI_", "PMI2_", "PALS_"), "srun needs --mpi=pmi2, mpiexec has to be MPICH's"),
    Library("Open MPI", "libmpi.so.40", ("PMIX_", "OMPI_COMM_WORLD_"), "srun needs --mpi=pmix, mpiexec Open MPI's"),
)
OTHERS = {"libpmix.so": "PMIX_", "libpmi2.so": "PMI_"}
"""Libraries by which an MPI library may be told in another way, and what these read."""


def mismatch(loaded: Iterable[str], variables: Iterable[str]) -> str | None:
    """Return in words what does not go together in a process of a program of several ranks; None where all is well.

    Parameters
    ----------
    loaded: paths of the files in its memory map.
    variables: names in its environment.
    """
    files = {Path(path).name for path in loaded}
    names = list(variables)
    for library in LIBRARIES:
        if not any(file.startswith(library.file) for file in files):
            continue
        reads = [*library.reads, *(prefix for file, prefix in OTHERS.items() if any(f.startswith(file) for f in files))]
        if any(name.startswith(tuple(reads)) for name in names):
            return None
        kinds = sorted({kind for kind in ("PMI_", "PMIX_", "PMI2_") if any(name.startswith(kind) for name in names)})
        told = f"only of {', '.join(kind + '*' for kind in kinds)}" if kinds else "of nothing"
        return f"it uses {library.name}, and its launcher told it {told}: {library.remedy}"
    return None


def is_rank(loaded: Iterable[str]) -> bool:
    """Return whether a process has an MPI library."""
    return any(Path(path).name.startswith(library.file) for path in loaded for library in LIBRARIES)


class Ranks:
    """Looks at the ranks of tasks on this node until one is seen that is as it should be.

    Parameters
    ----------
    tell: told in words what is wrong, once.
    processes: where the processes are; ``/proc``.
    """

    def __init__(self, tell: Callable[[str], object], processes: Path = Path("/proc")) -> None:
        self._tell = tell
        self._processes = processes
        self._wanted = threading.Event()
        self._thread: threading.Thread | None = None
        self._done = not processes.is_dir()

    def task_started(self) -> None:
        """Look for ranks, on a thread of its own: a task with several has started."""
        self._wanted.set()
        if self._thread is None and not self._done:
            self._thread = threading.Thread(target=self._run, name="pilotage-ranks", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while not self._done:
            self._wanted.wait()
            self._wanted.clear()
            for pause in LOOKS:
                time.sleep(pause)
                if self.look():
                    return

    def look(self) -> bool:
        """Look at all processes; returns whether ranks were seen, after which there is nothing to look for."""
        for folder in self._processes.iterdir():
            if not folder.name.isdigit():
                continue
            try:
                environ = (folder / "environ").read_bytes()
                if MARK not in environ or b"PARSL_NUM_RANKS=1\0" in environ:
                    continue
                maps = {line.split(maxsplit=5)[-1] for line in (folder / "maps").read_text().splitlines()}
                name = (folder / "comm").read_text().strip()
            except OSError:  # it has ended, or is somebody else's
                continue
            if not is_rank(maps):
                continue
            variables = [os.fsdecode(part).partition("=")[0] for part in environ.split(b"\0")]
            if words := mismatch(maps, variables):
                self._tell(f"the ranks of the MPI program {name} do not know of each other: {words}")
            self._done = True
            return True
        return False
