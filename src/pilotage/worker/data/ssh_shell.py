"""A shell on a host that ssh reaches, and one script after the other that it runs.

A shell is kept for what comes next, as to start one costs the far side's login scripts. What it reads are lines that
begin with a word which only we know; anything else, such as the rest of a file that could not be written, ends it.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import select
import subprocess
from collections.abc import Sequence
from typing import Protocol

from pilotage.errors import BrokenTransferError
from pilotage.worker.data.ssh_words import LOOP, LOST, arguments, command_line, refusal, told_by

PIECE = 1 << 20
_F_SETPIPE_SZ = 1031
_LONGEST_END = 22
"""Bytes of the line that ends a script's output."""


class Streams:
    """The pipes of an ssh, of which none may block while another waits, nor any be silent for long."""

    def __init__(self, process: subprocess.Popen[bytes], silence: float) -> None:
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise ValueError("three pipes are wanted")
        self.stdin, self.stdout, self.stderr = process.stdin, process.stdout, process.stderr
        self.words = bytearray()
        """What stderr has said."""
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

    def listen(self) -> bool:
        """Wait for more of `words`; return whether there can be any. Raises TimeoutError."""
        if self.stderr.fileno() in self._open:
            self._wait(self._to_read)
        return self.stderr.fileno() in self._open

    def write(self, data: bytes | memoryview) -> None:
        """Write all of ``data``; raises BrokenPipeError where nobody reads it, and TimeoutError."""
        view, descriptor = memoryview(data), self.stdin.fileno()
        while view:
            try:
                view = view[os.write(descriptor, view) :]
            except BlockingIOError:
                while descriptor not in self._wait(self._to_write):
                    pass

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


class Keeper(Protocol):
    """Whose a shell is."""

    def give_back(self, shell: Shell, *, lost: bool) -> None:
        """Take a shell back."""


class Shell:
    """A shell there, which waits for a script.

    Parameters
    ----------
    keeper: to whom it is given back.
    argv: the ssh that reaches the host, without a command.
    silence: seconds without a byte after which the other side counts as gone.
    """

    def __init__(self, keeper: Keeper, argv: Sequence[str], silence: float) -> None:
        self._secret = secrets.token_hex(16)
        self._keeper, self.silence = keeper, silence
        pipe = subprocess.PIPE
        command = [*argv, command_line(LOOP, self._secret)]
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)
        self.streams = Streams(self.process, silence)
        self.is_usable = True

    def line(self, mark: str, script: str, words: Sequence[str], *, reads: bool) -> bytes:
        """Return what it is to read to run ``script``; an input that was not read to its end is not left to it."""
        source, then = ("", '[ "$c" = 0 ] || exit; ') if reads else (" </dev/null", "")
        return (
            f'{self._secret} m={mark}; echo "$m"; echo "$m" >&2; set -- {arguments(words)}; ( {script} ){source}; '
            f'c=$?; echo "$m" >&2; echo "$m $c"; {then}\n'
        ).encode()

    def give_back(self, *, lost: bool) -> None:
        """Let others have it."""
        self._keeper.give_back(self, lost=lost)

    def end(self) -> None:
        """End it and what it runs."""
        self.is_usable = False
        with self.process as process:
            process.kill()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


class Session:
    """One script that a shell runs. Everything raises BrokenTransferError where the connection is lost."""

    def __init__(self, shell: Shell, url: str, script: str, words: Sequence[str], *, reads: bool = False) -> None:
        self._shell, self._streams, self._url, self._reads = shell, shell.streams, url, reads
        mark = secrets.token_hex(8)
        self._mark, self._end = mark.encode(), re.compile(rf"{mark} (\d+)\n\Z".encode())
        self._has_begun, self._code, self._is_lost = False, -1, False
        self._held = b""
        self._streams.words.clear()
        try:
            self.write(shell.line(mark, script, words, reads=reads))
        except BaseException:
            self.close()
            raise

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
            raise BrokenTransferError("what was sent is not read to its end", where=self._url) from None
        except TimeoutError as late:
            raise self._silent() from late

    def end_input(self) -> None:
        """Let the script see the end of what it reads, and the shell end with it."""
        self._shell.is_usable = False
        self._streams.stdin.close()

    def result(self) -> bytes:
        """Wait for the script's end, and return what it has still written.

        Raises a DataError that tells what went wrong where its exit code is not 0.
        """
        rest = bytearray()
        try:
            while piece := self._read():
                rest += piece
            while self._streams.words.count(self._mark) < 2 and self._streams.listen():
                pass
        except TimeoutError as late:
            raise self._silent() from late
        if self._code > 0:
            raise told_by(self.warnings() or f"exit code {self._code}", self._url)
        return bytes(rest)

    def warnings(self) -> str:
        """Return what the script has said on stderr."""
        parts = self._streams.words.split(self._mark + b"\n")
        return parts[1].decode(errors="replace") if len(parts) > 1 else ""

    def close(self) -> None:
        """Give the shell back, or end it where the script has not come to its end."""
        if self._code < 0 or (self._reads and self._code > 0):
            self._shell.is_usable = False
        self._shell.give_back(lost=self._is_lost)

    def _read(self) -> bytes:
        while self._code < 0:
            piece = self._streams.read()
            if not piece:
                raise self._over()
            if self._held:
                piece, self._held = self._held + piece, b""
            if not self._has_begun:
                before, mark, piece = piece.partition(self._mark + b"\n")
                if not mark:
                    self._held = before
                    continue
                self._has_begun = True
            if found := self._end.search(piece, max(len(piece) - _LONGEST_END, 0)):
                self._code = int(found[1])
                piece = piece[: found.start()]
            else:
                piece = self._hold(piece)
            if piece:
                return piece
        return b""

    def _hold(self, piece: bytes) -> bytes:
        """Return a piece without what may be the beginning of the line that ends it, which is held."""
        begin = piece.find(self._mark[:1], max(len(piece) - _LONGEST_END, 0))
        while begin >= 0:
            rest = piece[begin:]
            if self._mark.startswith(rest) or rest.startswith(self._mark):
                self._held = rest
                return piece[:begin]
            begin = piece.find(self._mark[:1], begin + 1)
        return piece

    def _over(self) -> Exception:
        """Return the error of a shell that has ended."""
        process = self._shell.process
        try:
            while self._streams.listen():
                pass
            code = process.wait(self._shell.silence)
        except (TimeoutError, subprocess.TimeoutExpired):
            return self._silent()
        self._is_lost = code == LOST
        words = self._streams.words.decode(errors="replace").rpartition(f"{self._mark.decode()}\n")[2]
        return refusal(code, words, self._held, self._url)

    def _silent(self) -> BrokenTransferError:
        self._is_lost = True
        return BrokenTransferError(f"not a byte has moved for {self._shell.silence:g} s", where=self._url)


def _enlarge(pipe: int) -> None:
    """Let a pipe hold more, where the system can."""
    try:
        fcntl.fcntl(pipe, _F_SETPIPE_SZ, PIECE)
    except OSError:
        pass  # the system's limit, or not Linux
