"""One process of this machine at a time sends something to a place: the next finds there what it would have sent."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator

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
