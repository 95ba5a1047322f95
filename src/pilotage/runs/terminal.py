"""A driver's terminal: a pseudo-terminal of its own, passed through, with a status line below its output.

The script must find what it would find under ``python SCRIPT`` (``isatty``, ``input``, Ctrl-C, pdb), and the live
line must not run into what it prints. So a driver whose view has a terminal gets a pseudo-terminal, and the line is
drawn only where the script's output has ended with a line break.
"""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import tty
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
REFRESH = 0.2
ERASE = b"\r\x1b[2K"
SUSPEND = b"\x1a"  # Ctrl-Z


def run(argv: Sequence[str], env: dict[str, str], status: Callable[[int], str] | None) -> int:
    """Run ``argv`` on this process's standard streams; return its exit code, negative for a signal.

    Parameters
    ----------
    argv: the program and its arguments.
    env: its environment.
    status: given the terminal's width in columns, returns the text of the status line; None for no line.
    """
    if status is None or not _is_foreground_terminal():
        return _run_plain(argv, env)
    return _Proxy(argv, env, status).run()


def run_with_stdout(argv: Sequence[str], env: dict[str, str], sink: Callable[[bytes], None]) -> int:
    """Run ``argv`` with its stdout given to ``sink``, piece by piece; return its exit code."""
    on_terminal = _has_terminal()
    process = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, process_group=None if on_terminal else 0)
    out = process.stdout
    if out is None:
        raise TypeError("stdout is a pipe")
    with _forwarding(process, interrupts=not on_terminal), out:
        descriptor = out.fileno()
        while True:
            # Processes that the script left behind may hold the pipe open; its own end decides.
            ready = select.select([descriptor], [], [], 0.1)[0]
            if ready:
                piece = os.read(descriptor, 65536)
                if not piece:
                    break
                sink(piece)
            elif process.poll() is not None:
                break
        return process.wait()


def _run_plain(argv: Sequence[str], env: dict[str, str]) -> int:
    on_terminal = _has_terminal()
    process = subprocess.Popen(argv, env=env, process_group=None if on_terminal else 0)
    with _forwarding(process, interrupts=not on_terminal):
        return process.wait()


class _forwarding:  # noqa: N801  used like a function
    """Within the block, signals to this process go on to the driver.

    ``interrupts`` is False where a terminal's Ctrl-C reaches the driver anyway, as part of our process group.
    """

    def __init__(self, process: subprocess.Popen[bytes], *, interrupts: bool = True) -> None:
        self._process = process
        self._interrupts = interrupts
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> None:
        def forward(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  the signature of a handler
            if self._process.poll() is None:
                self._process.send_signal(number)

        for number in FORWARDED:
            handler: Any = signal.SIG_IGN if number == signal.SIGINT and not self._interrupts else forward
            self._before[number] = signal.signal(number, handler)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def _has_terminal() -> bool:
    """Return whether the driver must stay in our process group: the foreground's may read a terminal, and hears its
    Ctrl-C as we do."""
    return any(_is_terminal(number) for number in range(3))


def _is_terminal(number: int) -> bool:
    try:
        return os.isatty(number)
    except OSError:  # closed
        return False


def _is_foreground_terminal() -> bool:
    """Return whether a status line can be drawn: stderr is a terminal and we are in its foreground."""
    try:
        return os.isatty(2) and os.tcgetpgrp(2) == os.getpgrp()
    except OSError:  # a terminal that is not our controlling one
        return False


class _Proxy:
    """One driver behind a pseudo-terminal.

    Of the three standard streams, those of ours that are terminals become the pseudo-terminal, the others are
    passed on as they are.
    """

    def __init__(self, argv: Sequence[str], env: dict[str, str], status: Callable[[int], str]) -> None:
        self._argv = argv
        self._env = env
        self._status = status
        self._at_line_start = True
        self._drawn = False
        self._next_draw = time.monotonic() + REFRESH
        self._master = -1
        self._stdin_open = _is_terminal(0)
        self._process: subprocess.Popen[bytes]
        self._before: list[Any] | None = None

    def run(self) -> int:
        self._master, slave = pty.openpty()
        self._copy_size(slave)
        if self._stdin_open:
            termios.tcsetattr(slave, termios.TCSANOW, termios.tcgetattr(0))
        streams: list[Any] = [slave if _is_terminal(number) else None for number in range(3)]
        try:
            process = subprocess.Popen(
                self._argv,
                env=self._env,
                stdin=streams[0],
                stdout=streams[1],
                stderr=streams[2],
                start_new_session=True,
                preexec_fn=lambda: _take_terminal(slave),
            )
        finally:
            os.close(slave)
        self._process = process
        before = self._before = termios.tcgetattr(0) if self._stdin_open else None
        resized = signal.signal(signal.SIGWINCH, lambda *_: self._copy_size(self._master))
        try:
            if before is not None:
                tty.setraw(0, termios.TCSADRAIN)  # what was typed ahead stays
            with _forwarding(process):
                return self._pass_through(process)
        finally:
            self._erase()
            if before is not None:
                termios.tcsetattr(0, termios.TCSADRAIN, before)
            signal.signal(signal.SIGWINCH, resized)
            os.close(self._master)

    def _copy_size(self, target: int) -> None:
        try:
            size = fcntl.ioctl(2, termios.TIOCGWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
            fcntl.ioctl(target, termios.TIOCSWINSZ, size)
        except OSError:  # a terminal without a size
            return

    def _pass_through(self, process: subprocess.Popen[bytes]) -> int:
        ended = False
        while True:
            sources = [self._master] + ([0] if self._stdin_open else [])
            ready = select.select(sources, [], [], 0 if ended else 0.05)[0]
            if 0 in ready:
                self._pass_input()
            if self._master in ready:
                if not self._pass_output():
                    return process.wait()
            elif ended:
                return process.wait()
            ended = process.poll() is not None
            if not ended:
                self._draw_if_due()

    def _pass_input(self) -> None:
        typed = os.read(0, 4096)
        suspended = SUSPEND in typed and termios.tcgetattr(self._master)[3] & termios.ISIG
        if suspended:
            self._suspend()
            typed = typed.replace(SUSPEND, b"")
        if typed:
            os.write(self._master, typed)
        elif not suspended:
            self._stdin_open = False

    def _suspend(self) -> None:
        """Stop the driver's session and ourselves, as Ctrl-Z would; go on together."""
        self._erase()
        os.killpg(self._process.pid, signal.SIGSTOP)
        if self._before is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, self._before)
        os.kill(os.getpid(), signal.SIGSTOP)
        tty.setraw(0, termios.TCSADRAIN)
        os.killpg(self._process.pid, signal.SIGCONT)

    def _pass_output(self) -> bool:
        try:
            piece = os.read(self._master, 65536)
        except OSError as error:
            if error.errno != errno.EIO:  # EIO: the last process has closed its side
                raise
            piece = b""
        if piece:
            self._erase()
            _write_all(1 if _is_terminal(1) else 2, piece)
            self._at_line_start = piece.endswith(b"\n")
        return bool(piece)

    def _draw_if_due(self) -> None:
        if self._at_line_start and time.monotonic() >= self._next_draw:
            self._next_draw = time.monotonic() + REFRESH
            text = self._status(os.get_terminal_size(2).columns or 80)
            if text:
                _write_all(2, ERASE + text.encode())
                self._drawn = True

    def _erase(self) -> None:
        if self._drawn:
            _write_all(2, ERASE)
            self._drawn = False


def _take_terminal(slave: int) -> None:
    # In the child: the new session's controlling terminal, for /dev/tty and Ctrl-C.
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)


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
