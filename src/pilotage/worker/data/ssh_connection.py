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
import select
import shutil
import subprocess
import tempfile
import threading

from pilotage.errors import BrokenTransferError, MissingExtraError, UsageError
from pilotage.worker.data.ssh_words import BEGIN, LOST, command_line, refusal, told_by

CONNECT = 20
"""Seconds that a host has to answer at first, and a login to come to its end."""
CLOSING = 3
"""Seconds for a connection to end by itself."""
PIECE = 1 << 20
LONGEST = 80
"""Bytes that a socket's folder may have in its path, with what ssh adds while it makes the socket."""
_HOST = re.compile(r"(?:(?P<user>[^@]+)@)?(?P<name>\[[^]]+\]|[^:@\[\]]+)(?::(?P<port>\d{1,5}))?")
_F_SETPIPE_SZ = 1031

HELD = BEGIN + 'stat -c %s / >/dev/null 2>&1 && echo gnu || echo bsd; echo "$mark"; exec cat >/dev/null'


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
        user, name = found["user"], found["name"].strip("[]")
        self.url, self.silence = url, silence
        self._to = [*options, *(["-p", found["port"]] if found["port"] else []), *(["-l", user] if user else [])]
        self._to += ["--", name]
        self._lock = threading.Lock()
        self._master: _Master | None = None

    def session(self, url: str, script: str, *words: str) -> Session:
        """Start ``script`` there with ``words`` as its arguments, see `command_line`; errors name ``url``."""
        mark = secrets.token_hex(8)
        master = self._connected()
        return Session(self, master, [*master.argv, *self._to, command_line(BEGIN + script, mark, *words)], mark, url)

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
                self._master = _Master(self._to, self.url, self.silence)
            return self._master


class _Master:
    """The ssh that holds a connection."""

    def __init__(self, to: list[str], url: str, silence: float) -> None:
        program = shutil.which("ssh")
        if program is None:
            raise MissingExtraError("there is no ssh on this machine", where=url, hint="install OpenSSH's client")
        self.folder = _socket_folder()
        self.is_lost, self.users = False, 0
        self._made_by = os.getpid()
        self._lock = threading.Lock()
        alive = max(int(silence / 3), 1)
        settings = [
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",  # whatever the user's settings are: nobody looks at a new key here
            f"ServerAliveInterval={alive}",
            "ServerAliveCountMax=3",
            f"ConnectTimeout={CONNECT}",
            "ControlPersist=no",
            "RemoteCommand=none",
            "ClearAllForwardings=yes",
            "LogLevel=INFO",
            f"ControlPath={self.folder}/s",
        ]
        common = [program, "-T", *(part for setting in settings for part in ("-o", setting))]
        self.argv = [*common, "-o", "ControlMaster=no"]
        mark = secrets.token_hex(8)
        command = [*common, "-o", "ControlMaster=yes", *to, command_line(HELD, mark)]
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            try:
                self.has_gnu_stat = self._greeting(mark, url) == "gnu"
            except BaseException:
                self._end(0)
                raise
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        _MASTERS.add(self)

    def _greeting(self, mark: str, url: str) -> str:
        """Wait until the command there has begun, and return what it says of its machine."""
        streams = _Streams(self._process, 2 * CONNECT)
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
        return not self.is_lost and self._process.poll() is None

    def enter(self) -> None:
        with self._lock:
            self.users += 1

    def leave(self) -> None:
        with self._lock:
            self.users -= 1
            is_last = self.users == 0
        if is_last and self.is_lost:
            self.close()

    def retire(self) -> None:
        """Give it no new commands, and end it with the last that it has."""
        with self._lock:
            self.is_lost = True
            is_idle = self.users == 0
        if is_idle:
            self.close()

    def close(self) -> None:
        """End it."""
        self.is_lost = True
        _MASTERS.discard(self)
        if self._made_by != os.getpid():  # a fork's copy: it is the parent's to end
            return
        self._end(CLOSING)
        shutil.rmtree(self.folder, ignore_errors=True)

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


class _Streams:
    """The pipes of an ssh, of which none may block while another waits, nor any be silent for long."""

    def __init__(self, process: subprocess.Popen[bytes], silence: float) -> None:
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise ValueError("three pipes are wanted")
        self.stdin, self.stdout, self.stderr = process.stdin, process.stdout, process.stderr
        self.words = bytearray()
        self._silence = silence
        for stream in (self.stdin, self.stdout):
            _enlarge(stream.fileno())
        os.set_blocking(self.stdin.fileno(), False)
        self._open = {self.stdout.fileno(), self.stderr.fileno()}
        self._to_read, self._to_write = select.poll(), select.poll()
        for descriptor in self._open:
            self._to_read.register(descriptor, select.POLLIN)
        self._to_write.register(self.stderr.fileno(), select.POLLIN)  # a script is quiet while it reads, but for this
        self._to_write.register(self.stdin.fileno(), select.POLLOUT)

    def read(self) -> bytes:
        """Return what comes next of stdout, empty at its end; raises TimeoutError."""
        descriptor = self.stdout.fileno()
        while descriptor in self._open:
            if descriptor in self._wait(self._to_read):
                piece = os.read(descriptor, PIECE)
                if not piece:
                    self._ended(descriptor)
                return piece
        return b""

    def write(self, data: bytes | memoryview) -> None:
        """Write all of ``data``; raises BrokenPipeError where nobody reads it, and TimeoutError."""
        view, descriptor = memoryview(data), self.stdin.fileno()
        while view:
            try:
                view = view[os.write(descriptor, view) :]
            except BlockingIOError:
                while descriptor not in self._wait(self._to_write):
                    pass

    def finish(self) -> bytes:
        """Return the rest of stdout when it has ended; raises TimeoutError."""
        rest = bytearray()
        while piece := self.read():
            rest += piece
        while self._open:
            self._wait(self._to_read)
        return bytes(rest)

    def _wait(self, poll: select.poll) -> set[int]:
        """Wait until something can be read or written, keep what stderr says, and return what can."""
        ready = {descriptor for descriptor, _ in poll.poll(self._silence * 1000)}
        if not ready:
            raise TimeoutError
        error = self.stderr.fileno()
        if error in ready and error in self._open:
            words = os.read(error, PIECE)
            self.words += words
            if not words:
                self._ended(error)
        return ready

    def _ended(self, descriptor: int) -> None:
        self._open.discard(descriptor)
        self._to_read.unregister(descriptor)
        if descriptor == self.stderr.fileno():
            self._to_write.unregister(descriptor)


class Session:
    """One script that runs there. Everything raises BrokenTransferError where the connection is lost."""

    def __init__(self, connection: Connection, master: _Master, argv: list[str], mark: str, url: str) -> None:
        self._connection, self._master, self.mark, self._mark = connection, master, mark, f"{mark}\n".encode()
        self.url = url
        master.enter()
        try:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        except BaseException:
            master.leave()
            raise
        self._streams = _Streams(self._process, connection.silence)
        self._has_begun = False

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, size: int = -1) -> bytes:  # noqa: ARG002
        """Return what the script writes next, empty at its end; how much is the connection's to say."""
        try:
            return self._read()
        except TimeoutError as late:
            raise self._silent() from late

    def write(self, data: bytes | memoryview) -> None:
        """Let the script read ``data``."""
        try:
            self._streams.write(data)
        except BrokenPipeError:
            self.result()
            raise BrokenTransferError("what was sent is not read to its end", where=self.url) from None
        except TimeoutError as late:
            raise self._silent() from late

    def result(self) -> bytes:
        """Let the script read no more, wait for its end and return what it has still written.

        Raises a DataError that tells what went wrong where its exit code is not 0.
        """
        try:
            self._streams.stdin.close()
            rest = b"" if self._has_begun else self._read()
            rest += self._streams.finish()
            code = self._process.wait(self._connection.silence)
        except (TimeoutError, subprocess.TimeoutExpired) as late:
            raise self._silent() from late
        words = self._streams.words.decode(errors="replace").rpartition(self._mark.decode())[2]
        if code == LOST:
            self._master.is_lost = True
            raise refusal(code, words, b"", self.url)
        if code:
            raise told_by(words or f"exit code {code}", self.url)
        return rest

    def warnings(self) -> str:
        """Return what the script has said on stderr."""
        return self._streams.words.decode(errors="replace").rpartition(self._mark.decode())[2]

    def close(self) -> None:
        """End the script if it still runs."""
        with self._process as process:
            if process.poll() is None:
                process.kill()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
        self._master.leave()

    def _read(self) -> bytes:
        if self._has_begun:
            return self._streams.read()
        said = bytearray()
        while self._mark not in said:
            piece = self._streams.read()
            if not piece:
                return b""  # its exit code tells why
            said += piece
        self._has_begun = True
        return bytes(said.partition(self._mark)[2]) or self._streams.read()

    def _silent(self) -> BrokenTransferError:
        self._master.is_lost = True
        return BrokenTransferError(f"not a byte has moved for {self._connection.silence:g} s", where=self.url)


def _socket_folder() -> str:
    folder = tempfile.mkdtemp(prefix="pilotage-ssh-")
    if len(os.fsencode(folder)) > LONGEST:
        os.rmdir(folder)
        folder = tempfile.mkdtemp(prefix="pilotage-ssh-", dir="/tmp")
    return folder


def _enlarge(pipe: int) -> None:
    """Let a pipe hold more, where the system can."""
    import fcntl

    try:
        fcntl.fcntl(pipe, _F_SETPIPE_SZ, PIECE)
    except OSError:
        pass  # the system's limit, or not Linux
