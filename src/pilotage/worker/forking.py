"""A fork server: one process that has imported everything, has one thread, and forks the workers of its node.

A forked worker is there in a hundredth of a second, where a new Python needs a third of one; and none is forked from a
process with threads, whose locks it might inherit in the wrong state. It differs from multiprocessing's own fork
server in being a fork itself: no Python has to start for it.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import pickle
import select
import signal
import socket
import struct
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

_LENGTH = struct.Struct("=I")
_ENDED = struct.Struct("=qi")

Target = Callable[..., object]


class ForkServer:
    """The manager's side.

    Parameters
    ----------
    child: what a forked process runs, with the connection and the arguments given to `fork`.
    """

    def __init__(self, child: Target) -> None:
        self._child = child
        self._lock = threading.Lock()
        self.ended: dict[int, int] = {}
        """Wait statuses of processes that have ended, by process id."""
        self.control: socket.socket

    def start(self) -> None:
        """Fork the server; to be called while this process has one thread."""
        self.control, theirs = socket.socketpair()
        if os.fork() == 0:
            self.control.close()
            _serve(theirs, self._child)
        theirs.close()

    def fork(self, connection: socket.socket, arguments: tuple[Any, ...]) -> None:
        """Let the server fork a process that has ``connection``; the caller closes its copy."""
        data = pickle.dumps(arguments)
        with self._lock:
            socket.send_fds(self.control, [_LENGTH.pack(len(data))], [connection.fileno()])
            self.control.sendall(data)

    def hear(self, timeout: float) -> bool:
        """Note in `ended` what has ended; returns False where nothing did within ``timeout`` seconds."""
        with self._lock:
            if not select.select([self.control], [], [], max(timeout, 0))[0]:
                return False
            data = _exactly(self.control, _ENDED.size)
            if data is None:
                raise OSError("the fork server has ended")
            process, status = _ENDED.unpack(data)
            self.ended[process] = status
            return True


def _serve(control: socket.socket, child: Target) -> NoReturn:
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    both: list[Any] = [control, wake]
    with contextlib.suppress(OSError):  # the manager is gone: so are we
        while True:
            ready, _, _ = select.select(both, [], [])
            if wake in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(wake, 4096)
                _tell_ended(control)
            if control in ready and not _fork_one(control, child, (wake, woken)):
                break
    os._exit(0)


def _tell_ended(control: socket.socket) -> None:
    while True:
        try:
            process, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if process == 0:
            return
        control.sendall(_ENDED.pack(process, status))


def _fork_one(control: socket.socket, child: Target, pipes: tuple[int, int]) -> bool:
    head, descriptors, _, _ = socket.recv_fds(control, _LENGTH.size, 1)
    if len(head) < _LENGTH.size:
        return False
    data = _exactly(control, _LENGTH.unpack(head)[0])
    if data is None:
        return False
    connection = socket.socket(fileno=descriptors[0])
    connection.set_inheritable(False)  # programs that a task starts must not hold it
    try:
        child_pid = os.fork()
    except (
        OSError
    ) as error:  # for lack of memory or process numbers: the closed connection tells, and it is tried again
        sys.stderr.write(f"pilotage: a worker cannot be started: {error}\n")
        connection.close()
        return True
    if child_pid == 0:
        control.close()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for pipe in pipes:
            os.close(pipe)
        _run(child, connection, data)
    connection.close()
    return True


def _run(child: Target, connection: socket.socket, data: bytes) -> NoReturn:
    code = 1
    try:
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        child(connection, *pickle.loads(data))
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # what Python does with it at the end of a program
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            threading._shutdown()  # type: ignore[attr-defined]
            multiprocessing.util._exit_function()  # type: ignore[attr-defined]
            atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(BaseException):
                stream.flush()
        os._exit(code & 0xFF)


def _exactly(connection: socket.socket, size: int) -> bytes | None:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            return None
        data += more
    return data
