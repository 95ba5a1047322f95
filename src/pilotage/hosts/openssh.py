"""A host that is reached by the system's OpenSSH, over one connection that all commands share.

The user's own ssh_config says how: names, ports, ProxyJump, keys, agents. Nothing of it is repeated here but what keeps
a connection honest: a host key that is not known is never accepted, a dead connection is noticed after a minute, and
without a person nobody is asked.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import math
import os
import re
import secrets
import select
import shlex
import shutil
import subprocess
import tempfile
import termios
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pilotage import journal, system
from pilotage.errors import HostError, LoginError, MissingExtraError
from pilotage.hosts.base import Completed, Identity
from pilotage.hosts.transfer import GET, PUT, packed, unpack
from pilotage.worker import processes

ALIVE = 15
"""Seconds of silence after which the other side is asked for a sign of life; four without one end a connection."""
CONNECT = 20
"""Seconds that a machine has to answer at first."""
A_DAYS_WORK = 12 * 3600
"""Seconds for which a connection that a person has made by `pilotage login` stays when nobody uses it."""
REFUSED = 60.0
"""Seconds for which a host that wants a person is not asked again without one: too many tries lock an account."""
A_MOMENT = 60
"""Seconds for one that is wanted to end what others have left."""
ENDING = 0.5
"""Seconds within which the end of a command is known to the connection."""
PERSON = 300
"""Seconds that a person has to give what is asked for."""
CONTROL = 20
"""Seconds that the process which holds a connection has to answer."""
GRACE = 10
"""Seconds beyond a command's time limit, which the other side keeps, until the connection is given up."""
WHILE_CONNECTED = (
    'exec 3<&0; "$@" </dev/null 3<&- & it=$!; { cat <&3; kill "$it"; } >/dev/null 2>&1 & watch=$!; '
    'wait "$it"; code=$?; kill "$watch" 2>/dev/null; exit "$code"'
)
"""For ``sh -c``: run a command that reads nothing, and end it when what would be read ends: with the connection."""
ANNOUNCED = 'echo "$1"; shift; exec "$@"'
"""For ``sh -c``: run what follows the first word, which is written before all that it writes."""
OURS = ("RemoteCommand=none", "ClearAllForwardings=yes", "LogLevel=INFO", "StrictHostKeyChecking=yes")
"""In the place of the user's settings: no command and no ports for people, no silence on what went wrong, and no key
that is accepted unseen, should a command find the shared connection gone and make its own."""
LOOPBACK = "127.0.0.1"
LONGEST = 90
"""Bytes that the path of a socket may have, with what ssh adds while it makes it."""


_HOSTS: dict[str, OpenSSHHost] = {}
_MAKING = threading.Lock()


def host(destination: str) -> OpenSSHHost:
    """Return the login host that all of this process share."""
    with _MAKING:
        return _HOSTS.setdefault(destination, OpenSSHHost(destination))


class OpenSSHHost:
    """A login host.

    Parameters
    ----------
    destination: as ssh is given it: ``user@host``, or a name of the user's ssh_config.
    options: more arguments for ssh, before the destination.
    folder: where the socket of the shared connection is; the user's own by default.
    stays: seconds for which a connection that is made here stays when nobody uses it; None for ever: then whoever has
        it in the journal ends it.
    """

    def __init__(
        self,
        destination: str,
        options: Sequence[str] = (),
        folder: Path | None = None,
        *,
        stays: int | None = None,
    ) -> None:
        self.destination = destination
        self.options = tuple(options)
        self._folder = folder
        self._stays = stays
        self._is_ours = False
        self._made: int | None = None
        self._ours: Mapping[str, Any] | None = None
        self._refused: tuple[float, LoginError] | None = None
        self._users = 0
        self._lock = threading.Lock()
        self._key = ""
        self._known: Identity | None = None
        self.noise = ""
        self.place: Mapping[str, str] = {"login": destination}

    @property
    def socket(self) -> Path:
        """The socket of the shared connection."""
        name = hashlib.blake2b("\0".join([self.destination, *self.options]).encode(), digest_size=8).hexdigest()
        return (self._folder or socket_folder()) / name

    def is_connected(self) -> bool:
        """Return whether there is a connection now."""
        return self._master() is not None

    def connect(self, *, ask: bool = False) -> None:
        """Make the shared connection where there is none.

        Parameters
        ----------
        ask: whether a person may be asked for a passphrase or a second factor, on the terminal.

        Raises HostError where the host cannot be reached or its key is not the known one, and LoginError where a person
        has to be asked and may not.
        """
        if len(os.fsencode(self.socket)) > LONGEST:
            raise HostError("a socket's path may not be so long", where=str(self.socket), hint="set XDG_RUNTIME_DIR")
        with self._lock, self._alone():
            master = self._master()
            if master is None:
                self._remember_refusal(ask)
                self._connect(ask)
            elif self._is_ours and master != self._made:  # ours was lost, and somebody has made another
                self._end_ours("lost")

    def _remember_refusal(self, ask: bool) -> None:
        """Raise what was said a moment ago, where nobody can be asked."""
        if ask or self._refused is None:
            return
        when, error = self._refused
        if time.monotonic() - when < REFUSED:
            raise LoginError(error.message, where=error.where, hint=error.hint)

    def close(self) -> None:
        """End the shared connection and what goes on over it, whoever has made it."""
        with self._lock, self._alone():
            self._close()

    def _close(self) -> None:
        self._control("exit")
        with contextlib.suppress(OSError):
            self.socket.unlink()
        self._end_ours("closed")

    def leave(self) -> None:
        """End the shared connection where it was made here; one that others have made stays.

        So does one that ends by itself and that others are using at the moment, such as another command's.
        """
        if not self._is_ours:
            return
        with self._lock, self._alone():
            if self._stays is not None and self._is_used():
                self._ended("left to who uses it")
            elif self._master() in (self._made, None):
                self._close()
            else:  # ours was lost, and somebody has made another
                self._end_ours("lost")

    def _is_used(self) -> bool:
        """Return whether others go on using the connection; of what we have used it for, the last may be ending yet."""
        end = time.monotonic() + ENDING
        while system.users_of_socket(self.socket):
            if time.monotonic() > end:
                return True
            time.sleep(0.02)
        return False

    def hold(self) -> None:
        """Note one more that uses it: `release` leaves with the last."""
        with self._lock:
            self._users += 1

    def release(self) -> None:
        """Note that one has no use for it any more."""
        with self._lock:
            self._users -= 1
            is_last = self._users <= 0
        if is_last:
            self.leave()

    def forward(self, port: int, to: int, address: str = LOOPBACK) -> int:
        """Listen there at ``address`` and ``port``, 0 for any, and bring it to this machine's loopback port ``to``.

        Returns the port there; raises HostError where that is refused. It ends with `cancel_forward` or the connection.
        Whether the far side really listens at that address only it knows: many bind the loopback whatever is asked.
        """
        done = self._control("forward", "-R", _forwarding(port, to, address))
        if done is None or done.returncode:
            words = _last(done.stderr) if done is not None else "no answer"
            raise HostError(f"port {port or 'of any number'} at {address} is refused: {words}", where=self.destination)
        return int(done.stdout.split()[-1]) if port == 0 else port

    def cancel_forward(self, port: int, to: int, address: str = LOOPBACK) -> None:
        """Listen no more; nothing happens where nobody listens, or there is no connection."""
        self._control("cancel", "-R", _forwarding(port, to, address))

    def bring(self, port: int, to: int, address: str = LOOPBACK) -> None:
        """Listen at ``port`` of this machine's loopback, and bring it to ``to`` at ``address`` as seen from there.

        Raises HostError where that is refused. It ends with `cancel_bringing` or the connection.
        """
        done = self._control("forward", "-L", _bringing(port, to, address))
        if done is None or done.returncode:
            words = _last(done.stderr) if done is not None else "no answer"
            raise HostError(f"port {port} of this machine is refused: {words}", where=self.destination)

    def cancel_bringing(self, port: int, to: int, address: str = LOOPBACK) -> None:
        """Listen no more; see `cancel_forward`."""
        self._control("cancel", "-L", _bringing(port, to, address))

    def session(self, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a program there that goes on as long as its input does: what it reads is the pipe's; see `run`."""
        self.connect()
        mark = secrets.token_hex(8)
        command = " ".join(map(quoted, ["exec", "sh", "-c", ANNOUNCED, "sh", mark, *argv]))
        process = subprocess.Popen(
            [*self._ssh("-o", "ControlMaster=no", "-T"), self.destination, command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        _skip(process, mark)
        return process

    def attended(self, argv: Sequence[str], *, terminal: bool) -> int:
        """Run a program there with our stdout and stderr, until it ends or we do; return its exit code.

        With ``terminal`` it has our terminal; else it reads nothing, and ends when its connection does.
        """
        self.connect()
        mark = secrets.token_hex(8)
        alone = ["sh", "-c", ANNOUNCED, "sh", mark, "sh", "-c", WHILE_CONNECTED, "sh", *argv]
        words = ["exec", *(argv if terminal else alone)]
        options = ["-o", "ControlMaster=no", "-o", "LogLevel=ERROR", "-t" if terminal else "-T"]
        command = [*self._ssh(*options), self.destination, " ".join(map(quoted, words))]
        pipe = None if terminal else subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
            if process.stdout is not None:
                _skip(process, mark)
                while found := os.read(process.stdout.fileno(), 1 << 16):
                    _write(1, found)
            return process.wait()

    def run(self, argv: Sequence[str], *, timeout: float = 30, stdin: bytes = b"") -> Completed:
        """Run ``argv`` there for at most ``timeout`` seconds; see `Host.run`."""
        code, out, err = self._run(argv, timeout, stdin)
        return Completed(tuple(argv), code, out.decode(errors="replace"), err)

    def read(self, argv: Sequence[str], *, timeout: float = 30) -> bytes:
        """Return what a command writes, whatever its bytes are; raises HostError where it does not succeed."""
        code, out, err = self._run(argv, timeout, b"")
        if code:
            raise HostError(f"{argv[0]}: {_last(err) or f'exit code {code}'}", where=self.destination)
        return out

    def has(self, program: str) -> bool:
        """Return whether ``program`` is on PATH there."""
        return self.run(["sh", "-c", 'command -v -- "$1" >/dev/null', "sh", program]).ok

    def identity(self) -> Identity:
        """Return who we are there, as it was when that was asked first; see `Host.identity`."""
        if self._known is None:
            self._known = self._identity()
        return self._known

    def _identity(self) -> Identity:
        script = 'id -un && printf "%s\\n" "$HOME" && uname -n && cat /proc/sys/kernel/random/boot_id'
        done = self.run(["sh", "-c", script])
        lines = done.stdout.splitlines()
        if not done.ok or len(lines) != 4:
            raise HostError(f"says nothing of itself: {done.stderr.strip()}", where=self.destination)
        return Identity(*lines)

    def send(self, source: Path, target: str, *, timeout: float = 600) -> None:
        """Copy a file or a folder there; see `Host.send`."""
        self.put(packed(source), target, timeout=timeout)

    def put(self, archive: bytes, target: str, *, timeout: float = 600) -> None:
        """Write a file or folder that was packed (`transfer.packed`) to ``target`` there. Raises HostError."""
        code, _, err = self._run(["sh", "-c", PUT, "sh", target], timeout, archive)
        if code:
            raise HostError(f"cannot be written: {_reason(err)}", where=f"{self.destination}:{target}")

    def fetch(self, source: str, target: Path, *, timeout: float = 600) -> None:
        """Copy a file or a folder from there; see `Host.fetch`."""
        code, archive, err = self._run(["sh", "-c", GET, "sh", source], timeout, b"")
        if code:
            raise HostError(f"cannot be read: {_last(err)}", where=f"{self.destination}:{source}")
        unpack(archive, target)

    def master(self) -> int | None:
        """Return the process that holds the connection, None where there is none."""
        return self._master()

    def _run(self, argv: Sequence[str], timeout: float, stdin: bytes) -> tuple[int, bytes, str]:
        self.connect()
        mark = secrets.token_hex(8)
        command = remote_command(argv, timeout, mark)
        try:
            done = subprocess.run(
                [*self._ssh("-o", "ControlMaster=no", "-T"), self.destination, command],
                input=stdin,
                capture_output=True,
                timeout=timeout + GRACE,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            raise HostError(
                f"has not answered within {timeout + GRACE:g} s", where=self.destination, hint=self._hint()
            ) from late
        err, code = ended(done.stderr.decode(errors="replace"), mark)
        if code is None:  # the command has not come to its end, or was never begun
            raise self._error(err)
        noise, _, out = done.stdout.partition(f"{mark}\n".encode())
        self.noise = noise.decode(errors="replace")
        return code, out, err

    def _ssh(self, *more: str) -> list[str]:
        alive = (f"ServerAliveInterval={ALIVE}", "ServerAliveCountMax=4", f"ConnectTimeout={CONNECT}")
        options = [part for setting in ("BatchMode=yes", *alive, *OURS) for part in ("-o", setting)]
        # Of an option that is there twice the first holds: what the caller says comes first, then the user's.
        return [_program(), *more, *self.options, *options, "-o", f"ControlPath={self.socket}"]

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes from making or ending this connection at the same time.

        One of two that are made would not be shared. Each host has a lock of its own: some take long to answer.
        """
        path = self.socket.with_suffix(".lock")
        while True:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not _is_still(lock, path):  # whoever had it has removed it
                    continue
                try:
                    yield
                finally:
                    path.unlink(missing_ok=True)
                return
            finally:
                os.close(lock)

    def _ended(self, how: str) -> None:
        journal.ended(self._key, how)
        self._key, self._is_ours, self._ours = "", False, None

    def _end_ours(self, how: str) -> None:
        """Note that the connection made here has ended; one that only does not answer is ended first."""
        left = processes.end_known([self._ours]) if self._ours is not None else []
        if not left:
            self._ended(how)

    def _connect(self, ask: bool) -> None:
        path = self.socket
        if self._is_ours:
            self._end_ours("lost")
        with contextlib.suppress(OSError):
            path.unlink()  # of one that was killed; nobody answers there
        self._key = journal.intend("process", role="ssh", name=self.destination, socket=str(path))
        with tempfile.NamedTemporaryFile(prefix="pilotage-ssh-") as said:
            # In the background once no person is needed any more. It keeps what it writes to: a pipe would not end.
            more = [
                "-f",
                "-N",
                "-E",
                said.name,
                "-o",
                "ControlMaster=yes",
                "-o",
                f"ControlPersist={self._stays or 'yes'}",
            ]
            # A person may say that a new key is right; nobody else may, whatever the user's settings are.
            more += ["-o", f"StrictHostKeyChecking={'ask' if ask else 'yes'}"]
            if ask:
                more += ["-o", "BatchMode=no"]
            try:
                with _terminal_as_it_is() if ask else contextlib.nullcontext():
                    done = subprocess.run(
                        [*self._ssh(*more), self.destination],
                        stdin=None if ask else subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL,
                        timeout=PERSON if ask else 2 * CONNECT,
                        check=False,
                    )
            except subprocess.TimeoutExpired as late:
                raise HostError("has not let us in in time", where=self.destination) from late
            words = said.read().decode(errors="replace")
        master = self._master()
        if done.returncode or master is None:
            self._ended("was not made")
            error = self._error(words, asked=ask)
            if isinstance(error, LoginError):
                self._refused = time.monotonic(), error
            raise error
        self._is_ours, self._made, self._refused = True, master, None
        self._ours = processes.identity(master)
        journal.identify(self._key, **self._ours)

    def _master(self) -> int | None:
        """Return the process that holds the connection, None where there is none."""
        if not self.socket.exists():
            return None
        done = self._control("check")
        found = re.search(r"pid=(\d+)", done.stderr) if done is not None and done.returncode == 0 else None
        return int(found[1]) if found else None

    def _control(self, what: str, *more: str) -> subprocess.CompletedProcess[str] | None:
        # No settings of the user's: ports of theirs would be asked for once more with each of ours.
        settings = ("-F", "none", "-o", f"ControlPath={self.socket}")
        command = [_program(), "-O", what, *more, *settings, self.destination]
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=CONTROL, check=False)
        except subprocess.TimeoutExpired:
            return None

    def _error(self, words: str, *, asked: bool = False) -> HostError:
        said = _last(words) or "the connection has ended"
        if "Permission denied" in said or "authentication" in said.lower():
            hint = f"a person has to log in, on a terminal: pilotage login {shlex.quote(self.destination)}"
            return LoginError(said, where=self.destination, hint=self._hint() if asked else hint)
        if "Host key verification failed" in words:
            hint = f"if the machine is new, accept its key once: ssh {self.destination}; if it is not, ask its staff"
            return HostError("its host key is not the known one", where=self.destination, hint=hint)
        return HostError(said, where=self.destination, hint=self._hint())

    def _hint(self) -> str:
        return f"try it: {shlex.join(['ssh', *self.options, self.destination, 'true'])}"


def _is_still(descriptor: int, path: Path) -> bool:
    """Return whether an open file is the one at a path."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False


def _program() -> str:
    program = shutil.which("ssh")
    if program is None:
        raise MissingExtraError("there is no ssh on this machine", hint="install OpenSSH's client")
    return program


def socket_folder() -> Path:
    """Return the user's folder of sockets, made where it is not there: it is for nobody else, and its path is short."""
    base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    if not base.is_dir():  # systemd removes it with the user's last session, and runs outlive that
        base = Path(tempfile.gettempdir())
    folder = base / f"pilotage-ssh-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    known = folder.lstat()
    if known.st_uid != os.getuid() or known.st_mode & 0o077 or folder.is_symlink():
        raise HostError("is not a folder of ours alone", where=str(folder), hint="remove it, or set XDG_RUNTIME_DIR")
    return folder


def remote_command(argv: Sequence[str], timeout: float, mark: str) -> str:
    """Return what a login shell there, of whatever kind, is given to run ``argv``.

    One line, and nothing that shells see differently but single quotes. Where the program ``timeout`` is there, it ends
    a command that is late. Before it, both streams have a line with ``mark``: what is before that is a login script's.
    The last line of stderr is ``mark`` and the exit code.
    """
    script = (
        'limit=$1; mark=$2; shift 2; echo "$mark"; echo "$mark" >&2; '
        "if command -v timeout >/dev/null 2>&1; then begun=$(date +%s); "
        'timeout -k 2 "$limit" "$@"; code=$?; if [ "$code" = 124 ] || [ "$code" = 137 ]; then '
        'if [ $(($(date +%s) - begun)) -ge "$limit" ]; then code=124; echo "no answer within $limit s" >&2; fi; fi; '
        'else "$@"; code=$?; fi; echo "$mark $code" >&2'
    )
    return " ".join(map(quoted, ["exec", "sh", "-c", script, "sh", str(math.ceil(timeout)), mark, *argv]))


def quoted(word: str) -> str:
    """Return a word for a shell of whatever kind.

    With csh an exclamation mark means something within quotes too, and with fish a backslash does.
    """
    plain = shlex.quote(word)
    if plain == word:
        return word
    return plain.replace("\\", "'\\\\'").replace("!", "'\\!'")


def ended(stderr: str, mark: str) -> tuple[str, int | None]:
    """Return what a command has written to stderr, and its exit code, None where ``mark`` does not tell it."""
    found = re.search(rf"{mark} (\d+)\n", stderr)
    if found is None:
        return stderr, None
    own = stderr.find(f"{mark}\n")
    begin = 0 if own < 0 else own + len(mark) + 1
    return stderr[begin : found.start()] + stderr[found.end() :], int(found[1])


def _skip(process: subprocess.Popen[bytes], mark: str) -> None:
    """Read what a session writes up to the line that says that its command begins, and nothing of what follows."""
    if process.stdout is None:
        return
    stream, line, seen, end = process.stdout.fileno(), f"{mark}\n".encode(), bytearray(), time.monotonic() + CONTROL
    while not seen.endswith(line):
        ready, _, _ = select.select([stream], [], [], max(end - time.monotonic(), 0))
        byte = os.read(stream, 1) if ready else b""
        if not byte:  # whoever reads on sees that it has ended, or says nothing
            return
        seen += byte


def _write(descriptor: int, text: bytes) -> None:
    while text:
        text = text[os.write(descriptor, text) :]


@contextlib.contextmanager
def _terminal_as_it_is() -> Iterator[None]:
    """Put the terminal's settings back in the end: an ssh that is killed while it asks leaves it without an echo."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        yield
        return
    try:
        before = termios.tcgetattr(terminal)
        try:
            yield
        finally:
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)
    finally:
        os.close(terminal)


def _forwarding(port: int, to: int, address: str) -> str:
    return f"{f'[{address}]' if ':' in address else address}:{port}:{LOOPBACK}:{to}"


def _reason(words: str) -> str:
    """Return the first thing that a command says went wrong; what follows is its consequence."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    return next((line for line in lines if "annot" in line or "No space" in line), _last(words))


def _bringing(port: int, to: int, address: str) -> str:
    return f"{LOOPBACK}:{port}:{f'[{address}]' if ':' in address else address}:{to}"


def _last(words: str) -> str:
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    return lines[-1] if lines else ""
