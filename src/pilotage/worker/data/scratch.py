"""A node's own folder for the data of one block: gone with the block, and what a killed one has left with the next."""

from __future__ import annotations

import atexit
import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import stat
import tempfile
import threading
from collections.abc import Callable

from pilotage.worker import processes

PREFIX = "pilotage-data-"
VARIABLE = "PILOTAGE_DATA_OWNER"
"""Environment variable that names the node guard, by which a block's folders are known."""


def claim(folders: Callable[[], list[str]]) -> Callable[[], None]:
    """Let the data folders of this process's children be this process's; return what removes them.

    Parameters
    ----------
    folders: where they may be: the cache's folder, and the temporary one.
    """
    own = _own_name()
    os.environ[VARIABLE] = own
    _sweep(folders(), _is_orphan)
    return lambda: _sweep(folders(), lambda name: name == own)


def remove_orphans(folder: str) -> None:
    """Remove what processes of this host that were killed have left below ``folder``."""
    _sweep([folder], _is_orphan)


def scratch(above: str | None) -> str:
    """Return this block's folder below ``above`` (the temporary folder when None), which is made. Raises OSError."""
    place = above or tempfile.gettempdir()
    with _lock:
        owner = os.environ.get(VARIABLE)
        if owner is None:  # a driver with threads, or a pool that is not ours
            owner = os.environ[VARIABLE] = _own_name()
            atexit.register(_remove_at_exit, owner, os.getpid())
            _own[:] = [owner]
        folder = os.path.join(place, owner)
        if owner in _own and place not in _known:
            remove_orphans(place)
            _known[place] = _note(folder)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    known = os.lstat(folder)  # in a folder that all may write into, somebody may have put a link under this name
    if known.st_uid != os.geteuid() or not stat.S_ISDIR(known.st_mode):
        raise PermissionError(errno.EPERM, "it is another user's, or no folder", folder)
    return folder


def _note(folder: str) -> str:
    """Write a folder into the journal of this process's run, should run and process be killed; return the key."""
    try:
        from pilotage import journal  # which a worker need not have
    except ImportError:
        return ""
    return journal.intend("temporary_file", path=folder, data=True, host=processes.host())


def task_folder(above: str | None) -> str:
    """Return a new folder for a task."""
    folder = os.path.join(scratch(above), f"task-{os.getpid()}-{secrets.token_hex(4)}")
    os.mkdir(folder, 0o700)
    return folder


_lock = threading.Lock()
_own: list[str] = []
"""The name of a process that nothing cleans up after."""
_known: dict[str, str] = {}
"""The folders in which it has data, and their keys in the run's journal."""


def _remove_at_exit(owner: str, process: int) -> None:
    if os.getpid() != process:
        return
    _sweep(list(_known), lambda name: name == owner)
    for place, key in _known.items():
        if key and not os.path.lexists(os.path.join(place, owner)):
            from pilotage import journal

            journal.ended(key, "removed")


def _own_name() -> str:
    me = processes.identity(os.getpid())
    return f"{PREFIX}{me['pid']}.{me['start']}.{_host()}"


def _host() -> str:
    """Return what tells this host, since it was started, from others that may see the same folder."""
    return hashlib.blake2b(processes.boot().encode(), digest_size=6).hexdigest()


def _is_orphan(name: str) -> bool:
    """Return whether a folder's process was one of this host, and is gone; others cannot be judged here."""
    pid, start, host = (*name.removeprefix(PREFIX).split("."), "", "", "")[:3]
    return pid.isdecimal() and host == _host() and processes.start_of(int(pid)) != start


def _sweep(folders: list[str], whose: Callable[[str], bool]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            for name in os.listdir(folder):
                path = os.path.join(folder, name)
                if name.startswith(PREFIX) and whose(name) and os.lstat(path).st_uid == os.geteuid():
                    remove_tree(path)


def remove_tree(path: str) -> None:
    """Remove a folder, read-only ones within too; what cannot be removed stays."""

    def let(function: Callable[[str], object], name: str, _error: object) -> None:
        with contextlib.suppress(OSError):
            os.chmod(os.path.dirname(name), 0o700)
            os.chmod(name, 0o700)
            function(name)

    shutil.rmtree(path, onerror=let)
