"""Asking the interchange without waiting for ever."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import zmq
from parsl.executors.high_throughput.errors import CommandClientBadError, CommandClientTimeoutError
from parsl.executors.high_throughput.zmq_pipes import CommandClient

PORT = "WORKER_BINDS"
"""Parsl's question for the port that workers connect to."""
NO_ANSWER = (CommandClientBadError, CommandClientTimeoutError)
SLICE = 200
"""Milliseconds between two looks whether the interchange is still there."""


class CarefulCommandClient(CommandClient):
    """Parsl's command client, which gives up as soon as nobody is there to answer.

    Parameters
    ----------
    client: Parsl's own, whose socket this one takes over.
    is_gone: whether the interchange has ended.
    port: what the first question for the workers' port is answered with, without asking; None asks.
    """

    def __init__(self, client: CommandClient, is_gone: Callable[[], bool], port: int | None = None) -> None:
        vars(self).update(vars(client))
        self._is_gone = is_gone
        self._known_port = port

    def run(self, message: Any, max_retries: int = 3, timeout_s: float | None = None) -> Any:  # noqa: ARG002
        """Return the answer; see Parsl's. Raises CommandClientTimeoutError when there will be none in time."""
        if message == PORT and self._known_port is not None:
            port, self._known_port = self._known_port, None
            return port
        end = None if timeout_s is None else time.monotonic() + timeout_s
        with self._lock:
            if not self.ok:
                raise CommandClientBadError
            self._wait(zmq.POLLOUT, end)
            self.zmq_socket.send_pyobj(message, copy=True)
            self._wait(zmq.POLLIN, end)
            return self.zmq_socket.recv_pyobj()

    def _wait(self, event: int, end: float | None) -> None:
        while not self.zmq_socket.poll(SLICE, event):
            if self._is_gone() or (end is not None and time.monotonic() >= end):
                self.ok = False  # a late answer would be taken for that to the next question
                raise CommandClientTimeoutError("the interchange has ended or does not answer")
