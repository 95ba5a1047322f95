"""One process of this machine at a time sends something to a place: the next finds there what it would have sent."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from pilotage.environments.scripts import MARK
from pilotage.paths import private_folder, state_folder, storage


@contextlib.contextmanager
def alone(place: str, waiting: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Wait until no other process is within this for the same place; ``waiting`` is called when one is."""
    name = hashlib.sha256(place.encode()).hexdigest()[:16]
    path = private_folder(state_folder() / "locks") / name
    with storage(path):
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def hold(environment: Path) -> int:
    """Keep others from removing an environment of this machine; what is returned is closed when it is not used more."""
    use = os.open(environment.parent / f".{environment.name}.use", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.utime(use)  # old ones are removed where there is no environment
    with contextlib.suppress(OSError):  # a disk that knows no locks
        fcntl.flock(use, fcntl.LOCK_SH)
    return use


def hold_own() -> None:
    """Keep the environment that this process runs in, if it is one of ours, until it ends."""
    environment = Path(sys.prefix)
    if (environment / MARK).exists():
        with contextlib.suppress(OSError):  # it is not to be written to, by others either
            hold(environment)
