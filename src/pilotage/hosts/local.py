"""This machine as a host."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from pilotage import paths
from pilotage.hosts.base import LATE, MISSING, Completed, Identity
from pilotage.hosts.transfer import packed, unpack
from pilotage.worker import processes

DYING = 2.0
"""Seconds in which a command that is killed has ended."""


class LocalHost:
    """Commands of this machine, each in a process group of its own so that it can be ended whole."""

    place: Mapping[str, str] = {}

    def run(self, argv: Sequence[str], *, timeout: float = 30, stdin: bytes = b"") -> Completed:
        """Run ``argv`` for at most ``timeout`` seconds; see `Host.run`."""
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            return Completed(tuple(argv), MISSING, "", str(error))
        try:
            out, err = process.communicate(stdin or None, timeout=timeout)
        except subprocess.TimeoutExpired:
            out, err = _ended(process)
            late = f"{_text(err)}\nno answer within {timeout:g} s".lstrip()
            return Completed(tuple(argv), LATE, _text(out), late)
        except BaseException:  # such as Ctrl-C, which does not reach it in its own group
            _ended(process)
            raise
        return Completed(tuple(argv), process.returncode, _text(out), _text(err))

    def leave(self) -> None:
        """Do nothing: there is no connection."""

    def has(self, program: str) -> bool:
        """Return whether ``program`` is on PATH."""
        return shutil.which(program) is not None

    def identity(self) -> Identity:
        """Return who runs this process, and where; see `Host.identity`."""
        return Identity(getpass.getuser(), str(paths.home()), processes.host(), processes.boot())

    def send(self, source: Path, target: str, *, timeout: float = 600) -> None:  # noqa: ARG002  it takes what it takes
        """Copy a file or a folder; see `Host.send`."""
        unpack(packed(source), Path(target))

    def fetch(self, source: str, target: Path, *, timeout: float = 600) -> None:  # noqa: ARG002  as above
        """Copy a file or a folder; see `Host.fetch`."""
        unpack(packed(Path(source)), target)


def _text(given: bytes) -> str:
    return given.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n")


def _ended(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    """End a command with its group; return what it wrote, nothing where that cannot be waited for.

    A process of its that has left the group keeps the pipes, and one that waits for a file server cannot be ended.
    """
    os.killpg(process.pid, signal.SIGKILL)
    try:
        return process.communicate(timeout=DYING)
    except subprocess.TimeoutExpired:
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what was to be written
                    pipe.close()
        process.poll()
        return b"", b""
