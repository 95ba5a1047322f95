"""One at a time: a lock that is a file, and goes when what it guards has gone."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from pilotage.paths import storage


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one at a time change ``folder``, which need not be there; raises StorageError.

    The lock is a file beside it. Where the folder is not there in the end, the lock and an empty folder above go too.
    """
    path = folder.with_suffix(".lock")
    with storage(folder):
        lock = _lock(path)
    try:
        yield
    finally:
        if not folder.exists():
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                folder.parent.rmdir()
        os.close(lock)


def _lock(path: Path) -> int:
    """Return the descriptor of the lock at ``path``, held; whoever held it before may have removed the file."""
    while True:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue
        fcntl.flock(lock, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), path.stat()):
                return lock
        os.close(lock)
