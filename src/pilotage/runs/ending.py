"""How each kind of thing in a journal is ended: what every room supplies for its own, put together.

Each ``end`` works from the entry alone, in a process other than the one that wrote it, and twice without harm. It
returns None when the thing is gone, else why it is not.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence

from pilotage.journal import Entry, Journal
from pilotage.worker import processes

PATIENCE = 1.0


def end_all(journal: Journal, *, patience: float = PATIENCE) -> list[tuple[Entry, str]]:
    """End what the journal still holds, the newest first; return what could not be ended, with the reason.

    Entries of processes of another host stay: only that host can judge them.
    """
    entries = list(reversed(journal.open_entries()))
    # All processes at once: the patience with one is then the patience with all.
    ours = [e.id for e in entries if e.kind == "process" and e.id is not None and not _is_ssh(e)]
    processes.end_known(ours, patience)
    # All jobs of a scheduler with one command, and a scheduler that does not answer is waited for once.
    jobs = _end_batch_jobs([entry for entry in entries if entry.kind == "batch_job"])
    left = []
    for entry in sorted(entries, key=_is_ssh):  # what is on other hosts is ended over these connections
        problem = jobs.get(entry.key) if entry.kind == "batch_job" else end(entry)
        if problem is None:
            _note(journal, entry)
        else:
            left.append((entry, problem))
    return left


def _is_ssh(entry: Entry) -> bool:
    return entry.kind == "process" and entry.what.get("role") == "ssh"


def end(entry: Entry) -> str | None:
    """End one thing; return None when it is gone, else why it may not be."""
    if entry.kind == "batch_job":
        return _end_batch_jobs([entry]).get(entry.key)
    ender = ENDERS.get(entry.kind)
    if ender is None:
        return f"this version of pilotage cannot end a {entry.kind}"
    return ender(entry)


def may_come(entry: Entry) -> bool:
    """Return whether a thing is not there, and only time can tell whether it will be."""
    if entry.kind != "batch_job":
        return False
    from pilotage.providers.jobs import may_turn_up

    return may_turn_up(entry)


def is_another_hosts(entry: Entry) -> bool:
    """Return whether an entry is a process that only another host, or another container, may judge."""
    known = entry.id or entry.what
    return entry.kind == "process" and known.get("host") != processes.host()


def _note(journal: Journal, entry: Entry) -> None:
    try:
        journal.ended(entry.key, "ended")
    except OSError:  # a full or read-only disk: whoever reads the entry next finds the thing gone
        return


def end_process(entry: Entry) -> str | None:
    """End a process with its process group and all that descends from it."""
    known = entry.id
    if known is None:  # intended, and never seen: its parent died between the two, or it never was
        return None
    if not processes.is_here(known):
        same_host = known.get("host") == processes.host() and not _same_space(known)
        return None if same_host else f"it is on host {known.get('host')}"
    left = processes.end_known([known], PATIENCE)
    if _is_ssh(entry):
        _remove_socket(str(entry.what.get("socket")))
    if entry.what.get("group"):
        left += _end_group(int(known["pid"]), str(entry.what.get("run", "")))
    return f"processes {left} do not end" if left else None


def _remove_socket(path: str) -> None:
    """Remove the socket of a connection that has ended; where somebody answers there, it is another's by now."""
    import socket

    with socket.socket(socket.AF_UNIX) as tried:
        try:
            tried.connect(path)
        except OSError:
            _remove(path)


def _remove(path: str) -> None:
    try:
        os.unlink(path)  # noqa: PTH108  as below
    except OSError:
        return


def _same_space(known: dict[str, object]) -> bool:
    # Another boot of this host: the process is gone with it. Another container of this boot: not ours to judge.
    return str(known.get("boot", "")).partition("/")[0] == processes.boot().partition("/")[0]


def _end_group(group: int, run: str) -> list[int]:
    """End what is left of a process group whose leader is gone: those that carry the run's id.

    The number alone may be another's by now: a shell's pipeline whose first member has ended looks the same.
    """
    members = [pid for pid in processes.tagged("PILOTAGE_RUN", run) if _group_of(pid) == group] if run else []
    return processes.end_known([processes.identity(pid) for pid in members])


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def end_temporary_file(entry: Entry) -> str | None:
    """Remove a file, or a folder of data; one of rings is collected first, as who should have removed it was killed."""
    path = entry.what.get("path")
    if not isinstance(path, str):
        return "the entry has no path"
    if entry.what.get("rings"):
        return _end_rings(path, entry)
    if entry.what.get("data"):
        return _end_data(path, entry)
    try:
        os.unlink(path)  # noqa: PTH108  pathlib is not worth its memory in the supervisor
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"{path}: {error.strerror}"
    return None


def _end_rings(folder: str, entry: Entry) -> str | None:
    if entry.what.get("host") != processes.host():
        return f"it is on host {entry.what.get('host')}"
    from pilotage.worker import tails

    return tails.end_folder(folder, keep=True)


def _end_data(folder: str, entry: Entry) -> str | None:
    if entry.what.get("host") != processes.host():
        return f"it is on host {entry.what.get('host')}"
    from pilotage.worker.data.scratch import remove_tree

    if os.path.lexists(folder):
        remove_tree(folder)
    return f"{folder} cannot be removed" if os.path.lexists(folder) else None


def _end_batch_jobs(entries: Sequence[Entry]) -> dict[str, str]:
    """Cancel batch jobs; return by key why some may not be gone."""
    if not entries:
        return {}
    from pilotage.providers import jobs

    return jobs.end(entries)


def end_provider_job(entry: Entry) -> str:
    """Return what a person has to do: of these jobs no command is known here."""
    from pilotage.providers import by_hand

    return by_hand.end(entry)


def end_tunnel(entry: Entry) -> str | None:
    """Let a login host, or this one, listen no more; with their connection that has ended too."""
    from pilotage.hosts.openssh import OpenSSHHost

    known, host = entry.id, OpenSSHHost(str(entry.what["login"]))
    if entry.what.get("brings"):  # its port was known before
        host.cancel_bringing(int(entry.what["port"]), int(entry.what["to"]), str(entry.what["address"]))
        return None
    if known is None:
        return None
    host.cancel_forward(int(known["port"]), int(entry.what["to"]), str(known["address"]))
    return None


def end_remote_folder(entry: Entry) -> str | None:
    """Bring here what was logged in a run's folder on a login host, and remove it."""
    from pathlib import Path

    from pilotage.errors import PilotageError
    from pilotage.hosts.far import remove
    from pilotage.hosts.openssh import A_MOMENT, OpenSSHHost

    host = OpenSSHHost(str(entry.what["login"]), stays=A_MOMENT)
    try:
        remove(host, str((entry.id or entry.what).get("real") or entry.what["path"]), Path(str(entry.what["into"])))
    except PilotageError as error:
        return " ".join(str(error).split())
    finally:
        host.leave()
    return None


def end_part_files(entry: Entry) -> str | None:
    """Remove what nodes have not written as a whole into a folder of this machine."""
    from pilotage.engine.parts import remove_left

    if entry.what.get("host") != processes.host():
        return f"it is on host {entry.what.get('host')}"
    return remove_left(str(entry.what["path"]), str(entry.what["mark"]), below=bool(entry.what.get("below")))


ENDERS: dict[str, Callable[[Entry], str | None]] = {
    "process": end_process,
    "temporary_file": end_temporary_file,
    "part_files": end_part_files,
    "provider_job": end_provider_job,
    "tunnel": end_tunnel,
    "remote_folder": end_remote_folder,
}


def _no_number(entry: Entry) -> str:
    return "" if entry.kind in ("temporary_file", "part_files", "remote_folder") else "no id yet"


def describe(entries: Iterable[Entry]) -> list[str]:
    """Return a line for people on each entry."""
    lines = []
    for entry in entries:
        known = {**entry.what, **(entry.id or {})}
        name = known.get("role") or known.get("name") or known.get("path") or ""
        number = known.get("pid") or known.get("job_id") or known.get("port") or _no_number(entry)
        whose = known.get("scheduler") or str(known.get("provider", "")).rpartition(".")[2]
        where = f"of {whose}" if whose else f"on {known.get('host') or known.get('login') or '?'}"
        lines.append(f"{entry.kind.replace('_', ' ')} {number} {name} {where}".replace("  ", " "))
    return lines
