"""Connections that a person makes by hand, for the runs of a day.

A note beside the socket says which process holds such a connection, to tell it from one that a run has made and ends.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

from pilotage.errors import HostError
from pilotage.hosts.openssh import A_DAYS_WORK, OpenSSHHost
from pilotage.worker import processes

ANSWER = 10.0
"""Seconds in which a connection that is there must answer; one that does not is made anew."""


@dataclass(frozen=True)
class Login:
    """What came of a login.

    ``made`` is whether the connection was made now; ``until`` the time at which it ends if nobody uses it before, None
    for one that a run has made, and ends.
    """

    host: str
    made: bool
    until: float | None


def log_in(host: OpenSSHHost, *, ask: bool) -> Login:
    """Make a connection that stays (`A_DAYS_WORK`), or use the one that is there. Raises HostError, LoginError.

    Parameters
    ----------
    host: made with ``stays=A_DAYS_WORK``.
    ask: whether a person may be asked on the terminal.
    """
    if host.is_connected() and not _answers(host):
        host.close()
    made = not host.is_connected()
    host.connect(ask=ask)
    if made:
        _note(host).write_text(_holder(host), encoding="utf-8")
    # Whether new or just used by us: the time begins now.
    until = time.time() + A_DAYS_WORK if _is_a_persons(host) else None
    return Login(host.destination, made, until)


def log_out(host: OpenSSHHost) -> bool:
    """End the connection, whoever has made it; return whether there was one."""
    was = host.is_connected()
    host.close()
    _note(host).unlink(missing_ok=True)
    return was


def _answers(host: OpenSSHHost) -> bool:
    with contextlib.suppress(HostError):
        return host.run(["true"], timeout=ANSWER).ok
    return False


def _note(host: OpenSSHHost) -> Path:
    return host.socket.with_suffix(".login")


def _holder(host: OpenSSHHost) -> str:
    master = host.master()
    return "" if master is None else processes.as_text(processes.identity(master))


def _is_a_persons(host: OpenSSHHost) -> bool:
    with contextlib.suppress(OSError):
        return _note(host).read_text(encoding="utf-8") == _holder(host) != ""
    return False
