"""One connection to a host by the system's OpenSSH, which all transfers of a process share.

The user's own ssh_config says how: names, ports, ProxyJump, keys, agents. A host key that is not known is never
accepted, nobody is asked for anything, and a connection ends with the process that made it, however that ends: what
holds it open is a command there that reads, and its input ends with us.
"""

from __future__ import annotations

import atexit
import os
import re
import secrets
import shutil
import subprocess
import tempfile
import threading

from pilotage.errors import BrokenTransferError, MissingExtraError, UsageError
from pilotage.worker.data import scratch
from pilotage.worker.data.ssh_shell import Session, Shell, Streams
from pilotage.worker.data.ssh_words import HELD, command_line, refusal

CONNECT = 20
"""Seconds that a host has to answer at first, and as many for a login to come to its end."""
CLOSING = 3
"""Seconds for a connection to end by itself."""
IDLE = 8
"""Shells that are kept for what comes next: they cost a login script each."""
LONGEST = 80
"""Bytes that a socket's folder may have in its path, with what ssh adds while it makes the socket."""
_HOST = re.compile(r"(?:(?P<user>[^@]+)@)?(?P<name>\[[^]]+\]|[^:@\[\]]+)(?::(?P<port>\d{1,5}))?")


class Connection:
    """A connection to a host, made when it is first wanted, and made anew when it is lost.

    Parameters
    ----------
    host: ``user@name:port`` as in a URL.
    url: what errors name.
    silence: seconds without a byte after which the other side counts as gone.
    options: more arguments for ssh.
    """

    def __init__(self, host: str, url: str, silence: float, options: tuple[str, ...] = ()) -> None:
        found = _HOST.fullmatch(host)
        if found is None or host.startswith("-"):
            raise UsageError("it names no host that ssh could be given", where=url, hint="such as ssh://me@host/path")
        if found["user"] and ":" in found["user"]:
            raise UsageError("ssh takes no password from a URL", where=url, hint="use a key: ssh-copy-id, ssh-agent")
        self._to = [*options, *(["-p", found["port"]] if found["port"] else [])]
        self._to += [*(["-l", found["user"]] if found["user"] else []), "--", found["name"].strip("[]")]
        self._url, self._silence = url, silence
        self._lock = threading.Lock()
        self._master: _Master | None = None

    def session(self, url: str, script: str, *words: str, reads: bool = False) -> Session:
        """Start ``script`` there with ``words`` as its arguments.

        Parameters
        ----------
        url: what errors name.
        script: of a POSIX shell, in one line; ``d WORD`` decodes a word into ``$x``, ``at WORD`` a path into ``$p``.
        reads: whether it reads what is written to the session.
        """
        return Session(self._connected().shell(), url, script, words, reads=reads)

    def run(self, url: str, script: str, *words: str) -> bytes:
        """Return what ``script`` writes; raises a DataError that names ``url`` where it fails."""
        with self.session(url, script, *words) as session:
            return session.result()

    @property
    def has_gnu_stat(self) -> bool:
        """Whether the far side's ``stat`` knows ``-c``; the BSDs' knows ``-f``."""
        return self._connected().has_gnu_stat

    def close(self) -> None:
        """End the connection."""
        with self._lock:
            if self._master is not None:
                self._master.close()
                self._master = None

    def _connected(self) -> _Master:
        with self._lock:
            if self._master is not None and not self._master.is_usable():
                self._master.retire()
                self._master = None
            if self._master is None:
                self._master = _Master(self._to, self._url, self._silence)
            return self._master


class _Master:
    """The ssh that holds a connection, and the shells that go over it."""

    def __init__(self, to: list[str], url: str, silence: float) -> None:
        program = shutil.which("ssh")
        if program is None:
            raise MissingExtraError("there is no ssh on this machine", where=url, hint="install OpenSSH's client")
        self._folder, self._to, self._silence = _socket_folder(), to, silence
        self._is_lost, self._users, self._made_by = False, 0, os.getpid()
        self._lock = threading.Lock()
        self._idle: list[Shell] = []
        settings = [
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",  # whatever the user's settings are: nobody looks at a new key here
            f"ServerAliveInterval={max(int(silence / 3), 1)}",
            "ServerAliveCountMax=3",
            f"ConnectTimeout={CONNECT}",
            "ControlPersist=no",
            "RemoteCommand=none",
            "ClearAllForwardings=yes",
            "LogLevel=INFO",
            f"ControlPath={self._folder}/s",
        ]
        common = [program, "-T", *(part for setting in settings for part in ("-o", setting))]
        self._argv = [*common, "-o", "ControlMaster=no"]
        mark = secrets.token_hex(8)
        command = [*common, "-o", "ControlMaster=yes", *to, command_line(HELD, mark)]
        pipe = subprocess.PIPE
        try:
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)
            try:
                self.has_gnu_stat = self._greeting(mark, url) == "gnu"
            except BaseException:
                self._end(0)
                raise
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        _MASTERS.add(self)

    def _greeting(self, mark: str, url: str) -> str:
        """Wait until the command there has begun, and return what it says of its machine."""
        streams = Streams(self._process, 2 * CONNECT)
        said, line = bytearray(), mark.encode()
        while said.count(line) < 2:
            try:
                piece = streams.read()
            except TimeoutError as late:
                raise BrokenTransferError("has not let us in in time", where=url) from late
            if not piece:
                code = self._process.wait()
                raise refusal(code, streams.words.decode(errors="replace"), bytes(said), url)
            said += piece
        return said.split(line)[-2].decode(errors="replace").strip()

    def is_usable(self) -> bool:
        """Return whether new commands may be given to it."""
        return not self._is_lost and self._process.poll() is None

    def shell(self) -> Shell:
        """Return a shell that nobody uses; it is to be given back."""
        with self._lock:
            self._users += 1
            if self._idle:
                return self._idle.pop()
        try:
            return Shell(self, self._argv + self._to, self._silence)
        except BaseException:
            self._left()
            raise

    def give_back(self, shell: Shell, *, lost: bool) -> None:
        """Take back a shell, which has ended if it can be used no more; ``lost`` says that the connection is, too."""
        with self._lock:
            self._is_lost |= lost
            keep = shell.is_usable and not self._is_lost and len(self._idle) < IDLE
            if keep:
                self._idle.append(shell)
        if not keep:
            shell.end()
        self._left()

    def _left(self) -> None:
        with self._lock:
            self._users -= 1
            is_over = self._users == 0 and self._is_lost
        if is_over:
            self.close()

    def retire(self) -> None:
        """Give it no new commands, and end it with the last that it has."""
        with self._lock:
            self._is_lost = True
            is_idle = self._users == 0
        if is_idle:
            self.close()

    def close(self) -> None:
        """End it."""
        with self._lock:
            self._is_lost = True
            idle, self._idle = self._idle, []
        _MASTERS.discard(self)
        if self._made_by != os.getpid():  # a fork's copy: it is the parent's to end
            return
        for shell in idle:
            shell.end()
        self._end(CLOSING)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _end(self, patience: float) -> None:
        with self._process as process:
            if process.stdin is not None:
                process.stdin.close()
            try:
                process.wait(patience)
            except subprocess.TimeoutExpired:
                process.kill()


_MASTERS: set[_Master] = set()


@atexit.register
def _close_all() -> None:
    for master in list(_MASTERS):
        master.close()


def _socket_folder() -> str:
    """Return a new folder for a socket: in the block's own where this is a worker, which may end without a word."""
    if scratch.VARIABLE in os.environ:
        folder = tempfile.mkdtemp(prefix="ssh-", dir=scratch.scratch(None))
    else:
        folder = tempfile.mkdtemp(prefix=scratch.PREFIX)
    if len(os.fsencode(folder)) > LONGEST:
        os.rmdir(folder)
        folder = tempfile.mkdtemp(prefix=scratch.PREFIX, dir="/tmp")
    return folder
