"""A view of a run: the user's terminal, passed through to the supervisor, with a status line below the output.

The script must find what it would find under ``python SCRIPT`` (``isatty``, ``input``, Ctrl-C, pdb), and the live
line must not run into what it prints. So where the user has a terminal the script has a pseudo-terminal, and the line
is drawn only where its output has ended with a line break. When the view goes, the run goes on.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import struct
import sys
import termios
import time
import tty
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

from pilotage.runs import frames

REFRESH = 0.2
ERASE = b"\r\x1b[2K"
SUSPEND = b"\x1a"  # Ctrl-Z
LEAVE = b"\x1c"  # Ctrl-\\
DETACHING = (signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Ended:
    """How a view ended.

    ``code`` is the driver's exit code, negative for a signal, or None where the run goes on (``by`` is then the
    signal that ended the view, 0 for a key) or where its supervisor has been lost.
    """

    code: int | None
    state: str = ""
    reason: str = ""
    by: int | None = None


class View:
    """One terminal, or none, attached to a supervisor.

    Parameters
    ----------
    connection: to the supervisor.
    status: given the terminal's width in columns, returns the text of the status line; None for no line.
    leaves_by_key: whether Ctrl-\\ ends the view and leaves the run alone.
    news: returns what else there is to tell a person, line by line, since it was last called.
    """

    def __init__(
        self,
        connection: socket.socket,
        status: Callable[[int], str] | None,
        news: Callable[[], list[str]] = list,
        *,
        leaves_by_key: bool = False,
    ) -> None:
        self._leaves_by_key = leaves_by_key
        self._connection = connection
        self._status = status if is_terminal(2) else None
        self._news = news
        self._reader = frames.Reader()
        self._raw: list[Any] | None = None
        self._stdin_open = is_terminal(0)
        self._at_line_start = True
        self._drawn = False
        self._next_draw = time.monotonic() + REFRESH
        self._heard: list[int] = []
        self._ended: Ended | None = None

    def run(self) -> Ended:
        """Show the run until it ends or the view does."""
        wake, woken = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(woken, False)
        before_wake = signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        watched = [*DETACHING, signal.SIGQUIT, signal.SIGWINCH, *([] if ignored else [signal.SIGINT])]
        before = {number: signal.signal(number, self._hear) for number in watched}
        before[signal.SIGTTOU] = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        try:
            self._send_size()
            while self._ended is None:
                self._turn(wake)
            self._tell_news()
            return self._ended
        except (BrokenPipeError, ConnectionResetError):
            return Ended(None)
        except OSError as error:  # EIO: the terminal has gone
            if error.errno != 5:
                raise
            return Ended(None, by=signal.SIGHUP)
        finally:
            self._leave_terminal()
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(before_wake)
            os.close(wake)
            os.close(woken)
            self._connection.close()

    def _hear(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  a handler's signature
        self._heard.append(number)

    def _turn(self, wake: int) -> None:
        self._take_terminal_if_ours()
        sources: list[Any] = [self._connection, wake]
        if self._stdin_open and self._raw is not None:
            sources.append(0)
        ready = select.select(sources, [], [], REFRESH)[0]
        if wake in ready:
            os.read(wake, 4096)
        if 0 in ready:
            self._pass_input()
        if self._connection in ready:
            self._take_frames()
        self._obey_signals()
        if self._ended is None:
            self._draw_if_due()

    # The terminal

    def _take_terminal_if_ours(self) -> None:
        """Read the keyboard as long as we are in the terminal's foreground; ``&``, ``bg`` and ``fg`` change that."""
        if self._stdin_open and (is_foreground(0) != (self._raw is not None)):
            if self._raw is None:
                self._raw = termios.tcgetattr(0)
                tty.setraw(0, termios.TCSADRAIN)  # what was typed ahead stays
                ours = termios.tcgetattr(0)
                ours[1] |= termios.OPOST  # others may write to this terminal as well
                termios.tcsetattr(0, termios.TCSADRAIN, ours)
            else:
                self._raw = None

    def _leave_terminal(self) -> None:
        try:
            self._erase()
            if self._raw is not None:
                termios.tcsetattr(0, termios.TCSADRAIN, self._raw)
        except (OSError, termios.error):  # it has gone
            pass
        self._raw = None

    def _send_size(self) -> None:
        for number in (2, 1, 0):
            if is_terminal(number):
                size = fcntl.ioctl(number, termios.TIOCGWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
                self._send(frames.SIZE, size)
                return

    def _send(self, kind: bytes, content: bytes = b"") -> None:
        self._connection.sendall(frames.frame(kind, content))

    def _pass_input(self) -> None:
        typed = os.read(0, 4096)
        if not typed:
            self._stdin_open = False
            return
        if self._leaves_by_key and LEAVE in typed:
            self._ended = Ended(None, by=0)
            return
        before, suspended, after = typed.partition(SUSPEND)
        if suspended and self._raw is not None and self._raw[3] & termios.ISIG:
            if before:
                self._send(frames.INPUT, before)
            self._suspend()
            typed = after
        if typed:
            self._send(frames.INPUT, typed)

    def _suspend(self) -> None:
        """Stop the script and ourselves, as Ctrl-Z would; go on together."""
        self._send(frames.SUSPEND)
        self._leave_terminal()
        os.killpg(0, signal.SIGSTOP)
        self._take_terminal_if_ours()
        self._send_size()
        self._send(frames.CONTINUE)

    # What comes from the run

    def _take_frames(self) -> None:
        data = self._connection.recv(1 << 16)
        if not data:
            self._ended = self._ended or Ended(None)
            return
        for kind, content in self._reader.feed(data):
            if kind == frames.OUTPUT:
                self._erase()
                _write_all(1 if is_terminal(1) else 2, content)
                self._at_line_start = content.endswith(b"\n")
            elif kind == frames.EXIT:
                self._erase()
                self._ended = Ended(**json.loads(content))

    def _obey_signals(self) -> None:
        while self._heard:
            number = self._heard.pop(0)
            if number == signal.SIGWINCH:
                self._send_size()
            elif number in DETACHING:
                self._ended = self._ended or Ended(None, by=number)
            else:
                self._send(frames.SIGNAL, bytes([number]))

    def _draw_if_due(self) -> None:
        if time.monotonic() < self._next_draw or not self._at_line_start:
            return
        self._next_draw = time.monotonic() + REFRESH
        self._tell_news()
        if self._status is None or not is_foreground(2):
            return
        text = self._status(_columns())
        if text:
            _write_all(2, ERASE + text.encode())
            self._drawn = True

    def _tell_news(self) -> None:
        for line in self._news():
            self._erase()
            sys.stderr.write(line + "\n")
            sys.stderr.flush()

    def _erase(self) -> None:
        if self._drawn:
            self._drawn = False
            _write_all(2, ERASE)


def is_terminal(number: int) -> bool:
    """Return whether a standard stream is a terminal."""
    try:
        return os.isatty(number)
    except OSError:  # closed
        return False


def is_foreground(number: int) -> bool:
    """Return whether we are in the foreground of the terminal that a standard stream is."""
    try:
        return os.isatty(number) and os.tcgetpgrp(number) == os.getpgrp()
    except OSError:  # a terminal that is not our controlling one
        return False


def _columns() -> int:
    try:
        return os.get_terminal_size(2).columns or 80
    except OSError:
        return 80


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def die_as(code: int) -> None:
    """Exit with a child's code; where a signal ended it, die by the same one, as a shell expects."""
    if sys.stdout is not None:  # closed by the caller: >&-
        sys.stdout.flush()
    if code >= 0:
        sys.exit(code)
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if -code not in (signal.SIGKILL, signal.SIGSTOP):  # which nobody can handle
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
    sys.exit(128 - code)  # a signal that does not end us
