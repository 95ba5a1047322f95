"""A node's own SSH connection to its login host, where that listens for workers at its loopback only.

The process that was started keeps the connection, and what follows goes on in a child of it: so the node guard, which
ends all that it has started, leaves the connection for its last words. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from types import FrameType

from pilotage.worker import processes

LOOPBACK = "127.0.0.1"
BEGIN = 30.0
"""Seconds that a connection has to be made; many nodes may ask at once, and sshd lets some wait."""
TRIES = 5
AGAIN = 2.0
"""Seconds until a connection that has ended is made anew."""
PR_SET_PDEATHSIG = 1


def through(host: str, port: int) -> int:
    """Bring a port of a login host's loopback to this node's, for a child in which this returns; return it here.

    The process that called it waits for that child, keeps the connection as long, and exits as it did. Exits where
    there is no connection.
    """
    here, connection = _connected(host, port)
    keeper = os.getpid()
    child = os.fork()
    if child == 0:
        _end_with(keeper)
        return here
    _keep(host, port, here, connection, child)
    raise SystemExit(1)


def _connected(host: str, port: int) -> tuple[int, subprocess.Popen[bytes]]:
    for _ in range(TRIES):
        here = _free_port()
        connection = _connect(host, port, here)
        until = time.monotonic() + BEGIN
        while connection.poll() is None and time.monotonic() < until:
            if _listens(here):
                return here, connection
            time.sleep(0.05)
        connection.kill()
        connection.wait()
        time.sleep(1)
    sys.exit(f"pilotage: this node cannot connect with {host} by ssh: {' '.join(_command(host, port, here))}")


def _command(host: str, port: int, here: int) -> list[str]:
    alive = ("BatchMode=yes", "ExitOnForwardFailure=yes", "ServerAliveInterval=15", "ServerAliveCountMax=4")
    options = [part for setting in (*alive, "ControlPath=none") for part in ("-o", setting)]
    return ["ssh", "-N", *options, "-L", f"{LOOPBACK}:{here}:{LOOPBACK}:{port}", host]


def _connect(host: str, port: int, here: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(_command(host, port, here), stdin=subprocess.DEVNULL)


def _keep(host: str, port: int, here: int, connection: subprocess.Popen[bytes], child: int) -> None:
    def pass_on(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  a handler's signature
        with contextlib.suppress(OSError):
            os.kill(child, number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, pass_on)
    again = 0.0
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            connection.kill()
            connection.wait()
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)
        if connection.poll() is not None and time.monotonic() >= again:
            again = time.monotonic() + AGAIN
            connection = _connect(host, port, here)
        time.sleep(0.1)


def _end_with(keeper: int) -> None:
    """Let the child be told to end should the keeper be killed."""
    if processes.linux():
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != keeper:
            os._exit(1)


def _free_port() -> int:
    with socket.socket() as tried:
        tried.bind((LOOPBACK, 0))
        found: int = tried.getsockname()[1]
        return found


def _listens(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), 1).close()
    except OSError:
        return False
    return True
