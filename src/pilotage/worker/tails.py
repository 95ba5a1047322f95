"""Where the rings of a run are on a machine, and how what they hold comes to the run's folder when something failed.

A ring is in ``/dev/shm`` (else the folder for temporary files), in a folder of this user's, and there in one for each
kernel of Parsl. Its name follows from the folder and the name of the log that it is the tail of, and it says itself
where its text belongs: ``NAME.tail.log`` beside Parsl's own log. So whoever ends a process can collect what it has
logged, knowing nothing but where its logs would be.

Standard library only: the supervisor and the node guard, which are small, work with this.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pilotage.worker import processes, ring

# pathlib is not worth its memory in the supervisor.
# ruff: noqa: PTH100, PTH102, PTH103, PTH104, PTH106, PTH108, PTH110, PTH112, PTH116, PTH119, PTH120, PTH208

SUFFIX = ".ring"
TAIL = ".tail.log"
FILE_MOST = 1 << 20
"""Bytes of a collected tail; one that would grow beyond begins anew, since the newest is what is wanted."""
NODE_MOST = 256 << 10
"""Bytes that all tails of one node together bring to the shared file system: there may be a thousand nodes."""
STALE = 3600.0
"""Seconds after which rings of dead processes are removed that nobody has asked for."""
STALE_ON_NODE = 30.0
"""The same for managers and workers, before another manager begins: a guard that is there removes them at once."""


def bases() -> list[str]:
    """Return the folders in which rings may be, the best first."""
    import tempfile

    found = ["/dev/shm"] if os.path.isdir("/dev/shm") and os.access("/dev/shm", os.W_OK | os.X_OK) else []  # noqa: S108
    try:
        found.append(tempfile.gettempdir())
    except OSError:  # no folder may be written to
        pass
    return list(dict.fromkeys(found))


def home(base: str) -> str:
    """Return the folder of this user's rings in ``base``."""
    return f"{base}/pilotage-{os.getuid()}"


def is_ours(folder: str) -> bool:
    """Return whether a folder is one, is this user's, and nobody else's to enter; a link is not."""
    try:
        status = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077


def place(log_dir: str, log_name: str) -> tuple[str, str]:
    """Return the name of the folder and of the file of a log's ring.

    All processes of one kernel share a folder. Parsl's logs are in ``RUN_DIR`` (its own), ``RUN_DIR/LABEL`` (the
    interchange's) and ``RUN_DIR/LABEL/block-N/MANAGER`` (managers' and workers').
    """
    return _hash(root_of(log_dir, log_name)), f"{_hash(log_dir)}.{log_name.replace('/', '_')}{SUFFIX}"


def root_of(log_dir: str, log_name: str) -> str:
    """Return the run folder of the kernel that a log belongs to."""
    above = {"interchange": 1, "manager": 3}.get(log_name, 3 if log_name.startswith("worker_") else 0)
    for _ in range(above):
        log_dir = os.path.dirname(log_dir)
    return log_dir


def _hash(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]


# Making


def make(
    log_dir: str, log_name: str, size: int, announce: Callable[[str], None] = lambda _folder: None
) -> ring.Ring | None:
    """Return an open ring for a log of this process, None where there is no room for one or no safe place.

    What another process has left under the same name is collected: it died, and this one takes its place.

    Parameters
    ----------
    log_dir, log_name: as Parsl gives them, the folder absolute.
    size: bytes.
    announce: called with the path of the folder before that is made; where it raises OSError, nothing is made.
    """
    folder_name, name = place(log_dir, log_name)
    about = {
        **processes.identity(os.getpid()),
        "name": log_name,
        "root": root_of(log_dir, log_name),
        "target": f"{log_dir}/{log_name}{TAIL}",
    }
    for base in bases():
        folder = f"{home(base)}/{folder_name}"
        try:
            _private(home(base))
            announce(folder)
            for _ in range(3):  # somebody may just be removing it, since it was empty
                try:
                    _private(folder)
                    return ring.Ring(_free(f"{folder}/{name}"), size, about).open()
                except FileNotFoundError:
                    _private(home(base))
        except OSError:
            continue
    return None


def _private(folder: str) -> None:
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        if not is_ours(folder):
            raise PermissionError(f"{folder} is not this user's alone") from None


def _free(path: str) -> str:
    """Return a path that is not taken: ``path`` itself once what a dead process has left there is collected."""
    found = ring.read(path)
    if found is not None and processes.is_alive(found.about):
        return f"{path}.{os.getpid()}"
    take(path, keep=True)
    return path


# Collecting


def collect(path: str, most: int = FILE_MOST) -> bool:
    """Add what is new in a ring to the log that it says; return whether there was something. Raises OSError.

    Parameters
    ----------
    path: the ring, whose writer may be alive.
    most: bytes that are added at most, the newest.
    """
    found = ring.read(path)
    if found is None or not found.text:
        return False
    target, root = str(found.about.get("target", "")), str(found.about.get("root", ""))
    if not target.endswith(TAIL) or not os.path.isdir(root):  # the run has been removed
        return False
    text, missed = found.text, found.missed
    if len(text) > most:
        text, missed = text[-most:].partition(b"\n")[2], True
    _append(target, _headline(found.about, missed=missed) + text)
    ring.note_collected(path, found.written)
    return True


def _headline(about: Mapping[str, Any], *, missed: bool) -> bytes:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
    older = "; older lines are lost" if missed else ""
    who = f"{about.get('name')}, process {about.get('pid')} on {about.get('host')}"
    return f"==== {who}: as of {when} UTC{older}\n".encode()


def _append(target: str, text: bytes) -> None:
    os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(descriptor).st_size + len(text) > FILE_MOST:
            os.ftruncate(descriptor, 0)
        while text:
            text = text[os.write(descriptor, text) :]
    finally:
        os.close(descriptor)


def take(path: str, *, keep: bool, most: int = FILE_MOST) -> None:
    """Remove a ring, what it holds collected first where ``keep`` says so; of two who do so, one does."""
    try:
        if keep:
            taken = f"{path}.{os.getpid()}.taken"
            os.rename(path, taken)
            path = taken
            try:
                collect(path, most)
            except OSError:  # a full disk, or one that is away: the ring goes in any case
                pass
        os.unlink(path)
    except OSError:
        return


def rings(folder: str) -> list[str]:
    """Return the rings in a folder, sorted; none where the folder is not this user's alone."""
    if not is_ours(os.path.dirname(folder)) or not is_ours(folder):
        return []
    try:
        return sorted(f"{folder}/{name}" for name in os.listdir(folder) if SUFFIX in name)
    except OSError:
        return []


def end_folder(folder: str, *, keep: bool) -> str | None:
    """Remove all rings of a kernel on this machine, see `take`; return why that failed, None where nothing is left."""
    paths = rings(folder)
    for path in paths:
        take(path, keep=keep, most=max(NODE_MOST // len(paths), 16 << 10))
    remove_empty(folder)
    return f"{folder} cannot be removed" if os.path.isdir(folder) and is_ours(folder) else None


def remove_empty(folder: str) -> None:
    """Remove the folder of a kernel's rings, and the user's, where they are empty."""
    for path in (folder, os.path.dirname(folder)):
        try:
            os.rmdir(path)
        except OSError:
            return


def remove_stale(now: float | None = None, *, on_node: bool = False) -> None:
    """Remove what processes of this machine left that are long dead, whose guard was killed too; collected first.

    ``on_node``: what managers and workers left need not be old (`STALE_ON_NODE`).
    """
    now = time.time() if now is None else now
    for base in bases():
        if not is_ours(home(base)):
            continue
        for name in os.listdir(home(base)):
            folder = f"{home(base)}/{name}"
            for path in rings(folder):
                if _is_stale(path, now, on_node=on_node):
                    take(path, keep=True)
            remove_empty(folder)


def _is_stale(path: str, now: float, *, on_node: bool) -> bool:
    try:
        age = now - os.stat(path, follow_symlinks=False).st_mtime
    except OSError:
        return False
    if age < (STALE_ON_NODE if on_node else STALE):
        return False
    found = ring.read(path)
    if found is None:
        return age >= STALE
    if age < STALE and not str(found.about.get("name")).startswith(("manager", "worker_")):
        return False
    return processes.is_here(found.about) and not processes.is_alive(found.about)


# Nodes


def in_order(logs: str, block: str) -> str:
    """Return the path of the file that says: block ``block`` is ended by its driver, and nothing has failed."""
    return f"{logs}/block-{block}.cancelled"


def node(pool: list[str]) -> Callable[[int], None]:
    """Return what the guard of a manager calls at the end, with the manager's exit code.

    What guards that were killed have left on this node is removed first: no driver comes here. ``pool`` is the command
    line of Parsl's worker pool. The manager's name is added to it where there is none: Parsl would choose one that the
    guard never hears of.
    """
    import argparse

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-l", "--logdir")
    parser.add_argument("-b", "--block_id")
    parser.add_argument("-u", "--uid")
    known = parser.parse_known_args(pool)[0]
    with contextlib.suppress(OSError):
        remove_stale(on_node=True)
    if known.logdir is None or known.block_id is None:
        return lambda _code: None
    if known.uid is None:
        known.uid = os.urandom(6).hex()
        pool += ["--uid", known.uid]
    logs = os.path.abspath(known.logdir)
    return lambda code: end_node(logs, known.block_id, known.uid, code)


def end_node(logs: str, block: str, manager: str, code: int) -> None:
    """Remove the rings of a manager and its workers, all of them dead; collected where it did not end in order.

    Parameters
    ----------
    logs: folder of the executor's logs.
    block, manager: as Parsl names them.
    code: the manager's exit code.
    """
    paths = list(_rings_of_node(f"{logs}/block-{block}/{manager}"))
    if not paths:
        return
    found = {path: ring.read(path) for path in paths}
    managers = [one for one in found.values() if one is not None and one.about.get("name") == "manager"]
    failed = any(one.errors for one in managers)
    keep = failed or not (code == 0 or os.path.exists(in_order(logs, block)))
    for path in paths:
        take(path, keep=keep, most=max(NODE_MOST // len(paths), 8 << 10))
    for folder in {os.path.dirname(path) for path in paths}:
        remove_empty(folder)


def _rings_of_node(log_dir: str) -> Iterator[str]:
    folder, name = place(log_dir, "manager")
    prefix = name.partition(".")[0]
    for base in bases():
        for path in rings(f"{home(base)}/{folder}"):
            if os.path.basename(path).startswith(f"{prefix}."):
                yield path
