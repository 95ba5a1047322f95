"""Parsl's interchange, which neither ends before its driver nor outlives it, and tells the driver a little more.

``python -m pilotage.engine.interchange --driver PID [--heartbeat-period SECONDS] [--worker-port PORT] [--one-way]``

In a session of its own: a Ctrl-C for the terminal's process group must not reach it, since a driver whose interchange
is gone waits for an answer for ever. And it ends with the driver, however that ends.

Of a block that its scheduler says has ended, the managers are forgotten without waiting for heartbeats.

Messages go to the driver that Parsl's interchange does not know: what came of a batch that is still going on, the
number of tasks that all connected managers can hold, who has connected, that nothing is heard of a manager, what tasks
have moved, and what nodes have to tell. And it hears at once of a manager that has ended.

With managers that are reached through a tunnel it speaks so that nothing is lost when that breaks (`Conversations`).

Nodes may ask for files of the driver's machine over the same port: a thread of its own sees to that (`FileThread`).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pickle
import resource
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import zmq

from pilotage import system
from pilotage.engine.absence import Absences
from pilotage.engine.conversing import Conversations
from pilotage.engine.file_server import FileServer
from pilotage.engine.file_thread import FileThread
from pilotage.engine.granting import Grants
from pilotage.engine.incoming import BLOCK_ENDED, CAPACITY, JOINED, SILENCE
from pilotage.engine.ports import may_listen
from pilotage.journal import Journal
from pilotage.worker.reliable import NUMBERED
from pilotage.worker.sparing import sparing

with sparing(__name__ == "__main__"):
    from parsl.app.errors import RemoteExceptionWrapper
    from parsl.executors.high_throughput import interchange as parsls
    from parsl.executors.high_throughput.errors import ManagerLost
    from parsl.serialize import serialize

    from pilotage.engine.silence import Silences
    from pilotage.worker.data.accounts import MOVED
    from pilotage.worker.farewell import FAREWELL, LastWords
    from pilotage.worker.news import NEWS
    from pilotage.worker.report import PARTIAL, Report

KEPT = 64
"""Tasks that are kept at least before those that are done are dropped."""
IN_A_ROW = 16
"""Messages of files that are passed on before tasks are looked after again."""


class Interchange(parsls.Interchange):
    """See the module; all arguments but the first are Parsl's.

    Parameters
    ----------
    heartbeat_period: seconds between two heartbeats of a manager.
    one_way: whether all managers come by the same way, so that who is silent while others are heard is gone.
    files: answers nodes that ask for the driver's files; None where nobody is to.
    """

    def __init__(
        self,
        heartbeat_period: float = 30.0,
        *,
        one_way: bool = False,
        files: FileServer | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self._silences = Silences(heartbeat_period)
        # A manager probes under the name with which it then connects: where the probe's connection is not yet gone,
        # the second would be refused without a word, and the manager would wait for ever.
        self.manager_sock.setsockopt(zmq.ROUTER_HANDOVER, 1)
        self._conversations = Conversations(
            self.manager_sock,
            self.heartbeat_threshold,
            parsls.PKL_SHUTDOWN_CODE,
            absences=Absences(heartbeat_period) if one_way else None,
        )
        self.files: FileThread | None = None
        if files is not None:
            context = self.zmq_context._ctx
            self.files = FileThread(files, self.manager_sock, context, self.heartbeat_threshold)
        self._told = 0
        self._counted: tuple[int, int] | None = None
        self._commands = 0
        self._sent: dict[int, dict[str, Any]] = {}
        self._sent_at_most = KEPT

    def process_command(self, monitoring_radio: Any) -> None:
        """Answer the driver: Parsl's commands, of which one holds a manager, and that a block has ended."""
        if self.socks.get(self.command_channel) != zmq.POLLIN:
            return
        self._commands += 1
        command: Any = self.command_channel.recv_pyobj()
        if isinstance(command, list) and command[:1] == [BLOCK_ENDED]:
            for manager in self._ready_managers.values():
                if manager["block_id"] == command[1]:
                    manager["last_heartbeat"] = 0.0  # no need to wait for those it will not send
            self.command_channel.send_pyobj(None)
            return
        real = self.command_channel
        self.command_channel = _AskedAlready(real, command)  # type: ignore[assignment]
        self.socks[self.command_channel] = zmq.POLLIN
        try:
            super().process_command(monitoring_radio)
        finally:
            self.command_channel = real

    def process_manager_socket_message(
        self, interesting_managers: set[bytes], monitoring_radio: Any, kill_event: Any
    ) -> None:
        """Pass on what came of a batch that goes on; everything else is Parsl's."""
        if self.manager_sock not in self.socks:
            return
        parts = self._next_for_managers()
        if parts is None:
            return
        if len(parts) == 2 and parts[1].startswith(NUMBERED):
            complete = self._conversations.hear(*parts)
            if complete is None:
                return
            parts[1] = complete
        elif self._conversations:
            self._conversations.forget(parts[0])
        if len(parts) == 2 and parts[1].startswith((PARTIAL, NEWS, MOVED)):
            self.results_outgoing.send(parts[1])
            return
        if len(parts) == 2 and parts[1].startswith(FAREWELL):
            self.manager_sock.send_multipart([parts[0], b"heard"])
            words = pickle.loads(memoryview(parts[1])[len(FAREWELL) :])
            self._take_leave(words, interesting_managers, monitoring_radio)
            return
        is_new = parts[0] not in self._ready_managers
        before = [] if is_new else list(self._ready_managers[parts[0]]["tasks"])
        real = self.manager_sock
        self.manager_sock = _AlreadyRead(self._conversations, parts)  # type: ignore[assignment]
        self.socks[self.manager_sock] = zmq.POLLIN
        try:
            super().process_manager_socket_message(interesting_managers, monitoring_radio, kill_event)
        finally:
            self.manager_sock = real
        after = self._ready_managers.get(parts[0])
        if is_new and after is not None:
            self.results_outgoing.send(JOINED + pickle.dumps((after["block_id"], after["hostname"])))
        for number in before:
            if after is None or number not in after["tasks"]:
                self._sent.pop(number, None)

    def _next_for_managers(self) -> list[bytes] | None:
        """Return the next message of the managers' socket; those of files are passed on. None where there is none."""
        with contextlib.suppress(zmq.Again):
            for _ in range(IN_A_ROW):
                name = self.manager_sock.recv(zmq.NOBLOCK)
                if self.files is None or not self.files.is_for(name):
                    return [name, *self.manager_sock.recv_multipart()]
                frames = self.manager_sock.recv_multipart(copy=False)
                if not self.files.passes(name, frames):
                    return [name, *(frame.bytes for frame in frames)]
        return None

    def process_tasks_to_send(self, interesting_managers: set[bytes], monitoring_radio: Any) -> None:
        """Send tasks to managers, and tell the driver when their capacity has changed."""
        counted = len(self._ready_managers), self._commands
        if counted != self._counted:
            self._counted = counted
            managers = self._ready_managers.values()
            capacity = sum(m["max_capacity"] for m in managers if m["active"] and not m["draining"])
            if capacity != self._told:
                self._told = capacity
                self.results_outgoing.send(CAPACITY + str(capacity).encode())
        with self._conversing():
            super().process_tasks_to_send(interesting_managers, monitoring_radio)

    def expire_drained_managers(self, interesting_managers: set[bytes], monitoring_radio: Any) -> None:
        """Let managers end that take no new tasks and have done theirs."""
        with self._conversing():
            super().expire_drained_managers(interesting_managers, monitoring_radio)

    @contextlib.contextmanager
    def _conversing(self) -> Iterator[None]:
        """Send to managers behind a tunnel so that it arrives."""
        real = self.manager_sock
        self.manager_sock = self._conversations or real  # type: ignore[assignment]
        try:
            yield
        finally:
            self.manager_sock = real

    def expire_bad_managers(self, interesting_managers: set[bytes], monitoring_radio: Any) -> None:
        """Give up managers that have been silent for too long, as Parsl does; tell of them long before."""
        before = set(self._ready_managers) if self._conversations else set()
        super().expire_bad_managers(interesting_managers, monitoring_radio)
        for name in before.difference(self._ready_managers):
            self._conversations.forget(name)  # what it has not received, it may not run: that is lost, or another's
        for silence in self._silences.look(self._ready_managers):
            self.results_outgoing.send(SILENCE + pickle.dumps(silence))
        if self._conversations:
            for name in self._conversations.look(self._ready_managers):
                self._ready_managers[name]["last_heartbeat"] = 0.0  # given up with the next look

    def get_tasks(self, count: int) -> Sequence[dict[str, Any]]:
        """Take tasks from the queue, and keep them until they are known to be done: their manager may end."""
        tasks = super().get_tasks(count)
        self._sent.update((task["task_id"], task) for task in tasks)
        if len(self._sent) > self._sent_at_most:
            running = {number for manager in self._ready_managers.values() for number in manager["tasks"]}
            running.update(task["task_id"] for task in tasks)
            self._sent = {number: task for number, task in self._sent.items() if number in running}
            self._sent_at_most = max(KEPT, 2 * len(self._sent))
        return tasks

    def _take_leave(self, words: LastWords, interesting_managers: set[bytes], monitoring_radio: Any) -> None:
        """Forget a manager that has ended; what it had not begun goes to another, under its own number."""
        manager = self._ready_managers.pop(words.manager, None)
        interesting_managers.discard(words.manager)
        self._conversations.forget(words.manager)
        if manager is None:
            return
        parsls.logger.warning("manager %r %s; it had %d tasks", words.manager, words.how, len(manager["tasks"]))
        for number in manager["tasks"]:
            left, task = words.left.get(number), self._sent.get(number)
            untouched = number not in words.given if left is None else not left.begun and not left.limited
            if task is not None and untouched:
                self.pending_task_queue.add(queue_entry(task))
            elif left is not None and left.calls:
                how = f"was ended with its manager, which {words.how}"
                lost = (left.begun - 1, left.rank, words.host, how) if left.begun else None
                report = Report(left.records, left.begun, lost)
                self._answer(number, result=serialize(report))
            else:
                error = ManagerLost(words.manager, words.host)
                self._answer(number, exception=serialize(RemoteExceptionWrapper(ManagerLost, error, None)))
        interesting_managers.update(self._ready_managers)
        manager["active"] = False
        self._send_monitoring_info(monitoring_radio, manager)

    def _answer(self, number: int, **outcome: bytes) -> None:
        self.results_outgoing.send(pickle.dumps({"type": "result", "task_id": number, **outcome}))


def queue_entry(task: dict[str, Any]) -> tuple[float, int, dict[str, Any]]:
    """Return what Parsl's queue of tasks holds of one: first those of the lowest priority, then the oldest."""
    priority = task["context"].get("resource_spec", {}).get("priority", float("inf"))
    return -priority, -task["task_id"], task


class _AskedAlready:
    """The driver's socket for one command that has been read from it."""

    def __init__(self, socket: Any, command: Any) -> None:
        self._socket = socket
        self._command = command

    def recv_pyobj(self) -> Any:
        return self._command

    def send_pyobj(self, reply: Any) -> None:
        self._socket.send_pyobj(reply)


class _AlreadyRead:
    """The managers' socket for one message that has been read from it."""

    def __init__(self, socket: Any, parts: list[bytes]) -> None:
        self._socket = socket
        self._parts = parts

    def recv_multipart(self) -> list[bytes]:
        return self._parts

    def send_multipart(self, parts: list[bytes]) -> None:
        self._socket.send_multipart(parts)


def main(argv: Sequence[str]) -> None:
    """Run the interchange; it reads its configuration from stdin, as Parsl sends it."""
    from parsl.utils import setproctitle

    parser = argparse.ArgumentParser(prog="pilotage.engine.interchange")
    parser.add_argument("--driver", type=int, required=True, help="process id of the driver, with which to end")
    parser.add_argument("--heartbeat-period", type=float, default=30.0, help="seconds between a manager's heartbeats")
    parser.add_argument("--one-way", action="store_true", help="all managers come by the same way")
    parser.add_argument("--worker-port", type=int, help="a port that the driver has reserved for workers")
    parser.add_argument(
        "--files-key", type=Path, help="a file with the key of grants, which is removed once it is read"
    )
    parser.add_argument("--journal", help="the run's, for what nodes write here")
    given = parser.parse_args(argv)
    try:
        os.setsid()
    except PermissionError:  # we lead a session already
        pass
    ending = _Ending()
    system.when_process_ends(given.driver, ending.end)
    signal.signal(signal.SIGTERM, lambda *_: ending.end())
    _allow_many_connections()
    if not sys.flags.safe_path:
        sys.path[:1] = []  # -m has put the current folder first, where a file may be called like a module of ours
    setproctitle("parsl: HTEX interchange")
    arguments = pickle.load(sys.stdin.buffer)
    # A program that shares ports may have taken it meanwhile: then the driver is told another, as ever.
    if given.worker_port is not None and may_listen(arguments["interchange_address"], given.worker_port):
        arguments["worker_port"] = given.worker_port
    files = None
    if given.files_key is not None:
        files = FileServer(Grants(given.files_key.read_bytes()), Journal(given.journal) if given.journal else None)
        given.files_key.unlink()
    interchange = Interchange(given.heartbeat_period, one_way=given.one_way, files=files, **arguments)
    ending.files = interchange.files
    interchange.start()
    ending.end()


class _Ending:
    """The end of this process, for whatever reason: what nodes have not written as a whole is removed."""

    files: FileThread | None = None

    def __init__(self) -> None:
        self._begun = threading.Lock()

    def end(self) -> None:
        if not self._begun.acquire(blocking=False):  # another thread is at it
            return
        try:
            if self.files is not None:
                self.files.end()
        finally:
            os._exit(0)


def _allow_many_connections() -> None:
    """Let this process have as many descriptors as the system lets it: each manager, and each worker, takes one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):  # some systems refuse what they have promised
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    main(sys.argv[1:])
