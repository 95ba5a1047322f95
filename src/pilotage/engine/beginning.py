"""What begins with an executor: a port for the workers, and the first blocks.

Parsl starts its interchange, waits until that has chosen a port, and leaves the first blocks to the next look of its
strategy: one Python starts after the other. Here the port is known at once, so the first blocks start beside the
interchange, and the strategy is given them when it asks for them.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from parsl.jobs.states import TERMINAL_STATES, JobState, JobStatus

from pilotage import journal, paths
from pilotage.engine.asking import NO_ANSWER, PORT, CarefulCommandClient
from pilotage.engine.commands import POOL, is_usual_interchange, with_our_interchange
from pilotage.engine.granting import Grants
from pilotage.engine.ports import reserve
from pilotage.engine.routing import RoutedExecutor
from pilotage.worker import logs, processes


class FirstBlocks:
    """Blocks that are being started on threads of their own: a scheduler may take its time.

    Parameters
    ----------
    start: starts one and returns its id; none where it could not be started.
    wanted: how many.
    at_once: how many are being started at the same time.
    """

    def __init__(self, start: Callable[[], list[str]], wanted: int, at_once: int = 1) -> None:
        self._beginner = threading.get_ident()
        self._start = start
        self._wanted = wanted
        self._blocks: list[str] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._over = threading.Event()  # Ctrl-C within Thread.join makes Python 3.11 take a thread for ended
        self._starting = max(1, min(wanted, at_once))
        for _ in range(self._starting):
            threading.Thread(target=self._run, name="HTEX-First-Blocks", daemon=True).start()

    def _run(self) -> None:
        try:
            while self._is_one_more_wanted():
                self._blocks.extend(self._start())
        finally:
            with self._lock:
                self._starting -= 1
                if not self._starting:
                    self._over.set()

    def _is_one_more_wanted(self) -> bool:
        with self._lock:
            self._wanted -= 1
            return self._wanted >= 0 and not self._stopping.is_set()

    def stop(self) -> None:
        """Start no more of them."""
        self._stopping.set()

    def are_over(self, patience: float) -> bool:
        """Return whether no more will be started, at the latest after so many seconds."""
        return self._over.wait(patience)

    def wait(self) -> list[str]:
        """Return the ids of those that were started, once no more will be."""
        self._over.wait()
        return self._blocks

    def are_asked_for(self) -> bool:
        """Return whether a request for blocks that is made on this thread is the strategy's first one.

        It has a thread of its own. Who starts an executor and then asks for a block on the same thread wants one more.
        """
        return threading.get_ident() != self._beginner


class EarlyExecutor(RoutedExecutor):
    """Parsl's executor, whose interchange and first blocks start side by side; the arguments are Parsl's."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._interchange_key = ""
        self._first: FirstBlocks | None = None
        self._reserved: socket.socket | None = None
        self._port_is_early = False
        self._grants = Grants()

    @property
    def grants(self) -> Grants | None:
        """What lets nodes read and write files of this machine; None where they have no way to them: not our processes.

        ``grants.grant(path, "read")`` is the option ``grant`` of the store of ``driver:`` on the worker.
        """
        ours = is_usual_interchange(self.interchange_launch_cmd) and f"-m {POOL}" in self.launch_cmd
        return self._grants if ours else None

    def start(self) -> None:
        """Start the interchange and the first blocks; raises ExecutorError where the interchange does not come."""
        command = self.launch_cmd
        super().start()
        self._start_first_blocks()
        if self._listens_elsewhere():
            self._cancel_first_blocks()
            self.launch_cmd = command
            self.initialize_scaling()
            self._start_first_blocks()

    def _start_local_interchange_process(self) -> None:
        given, reserved, port = self.interchange_launch_cmd, None, self.worker_port
        if is_usual_interchange(given) and port is None:
            reserved = reserve(self.address, self.worker_port_range)
            port = reserved.getsockname()[1] if reserved is not None else None
        known = port if is_usual_interchange(given) else None
        self.command_client = CarefulCommandClient(self.command_client, self._interchange_is_gone, known)
        self.interchange_launch_cmd = with_our_interchange(
            given,
            self.heartbeat_period,
            port if reserved is not None else None,
            one_way=getattr(self.route, "is_shared", False),
            options=self._files_options() if is_usual_interchange(given) else (),
        )
        self._reserved, self._port_is_early = reserved, known is not None
        self._interchange_key = journal.intend("process", role="interchange", name=self.label)
        try:
            super()._start_local_interchange_process()
        finally:
            self.interchange_launch_cmd = given
            if self.interchange_proc is not None:
                journal.identify(self._interchange_key, **processes.identity(self.interchange_proc.pid))

    def _files_options(self) -> list[str]:
        """Return what our interchange is told of files, and write the key of grants where it finds it."""
        os.makedirs(self.logdir, mode=0o700, exist_ok=True)  # noqa: PTH103  Parsl's own is a string
        key = Path(self.logdir) / "files.key"
        paths.write_atomically(key, self._grants.key)
        return ["--files-key", str(key), *(["--journal", journal.current.path] if journal.current is not None else [])]

    def _listens_elsewhere(self) -> bool:
        """Wait until the interchange is there, and return whether it has another port than was thought.

        Raises ExecutorError where it does not start.
        """
        if not self._port_is_early:
            return False
        try:
            port = self.command_client.run(PORT, timeout_s=120)
        except NO_ANSWER as error:
            raise self._gone() from error
        self._release_port()
        before, self.worker_port = self.worker_port, port
        return bool(port != before)

    def _release_port(self) -> None:
        if self._reserved is not None:
            self._reserved.close()

    def _start_first_blocks(self) -> None:
        wanted = self.provider.init_blocks if self.provider is not None else 0
        if wanted > 0:
            self._first = self._being_started(wanted)

    def _being_started(self, wanted: int) -> FirstBlocks:
        start = super().scale_out_facade
        return FirstBlocks(lambda: list(start(1)), wanted, self._at_once)

    @property
    def _at_once(self) -> int:
        """How many blocks the provider starts at the same time, one unless it says otherwise."""
        return int(getattr(self.provider, "at_once", 1))

    def scale_out_facade(self, n: int) -> list[str]:
        """Start blocks, and return which; see Parsl's. Those that its strategy asks for first have begun already."""
        first = self._first
        if first is not None and first.are_asked_for():
            self._first = None
            return first.wait()
        if n > 1 and self._at_once > 1:
            return self._being_started(n).wait()
        started: list[str] = super().scale_out_facade(n)
        return started

    def _cancel_first_blocks(self) -> None:
        """End the first blocks where no strategy has taken them."""
        first, self._first = self._first, None
        if first is None or self.provider is None:
            return
        first.stop()
        running = [block for block in first.wait() if self._status[block].state not in TERMINAL_STATES]
        for block in running:
            logs.ends_in_order(self.worker_logdir, block)
        self.provider.cancel([self.blocks_to_job_id[block] for block in running])
        ended = {block: JobStatus(JobState.SCALED_IN) for block in running}
        self._status.update(ended)
        self._simulated_status.update(ended)
        self.send_monitoring_info(ended)
