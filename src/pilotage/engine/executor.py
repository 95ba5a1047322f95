"""Parsl's HighThroughputExecutor with our serializer and our start of its processes.

Scaling, status and monitoring stay Parsl's.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import os
import pickle
import shlex
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Literal, TypeVar

import parsl.executors
import typeguard
import zmq
from parsl.executors.errors import BadStateException, ExecutorError
from parsl.executors.high_throughput.errors import CommandClientBadError, CommandClientTimeoutError
from parsl.executors.high_throughput.executor import HTEXFuture
from parsl.jobs.states import TERMINAL_STATES, JobState, JobStatus
from parsl.serialize.facade import pack_buffers

from pilotage import journal
from pilotage.engine import collector
from pilotage.engine.asking import CarefulCommandClient
from pilotage.engine.coalescing import Coalescer
from pilotage.engine.commands import POOL, with_our_interchange, with_our_pool
from pilotage.engine.current import current
from pilotage.engine.incoming import BLOCK_ENDED, CAPACITY, Incoming
from pilotage.engine.outbox import Keeper, Outbox, unsendable
from pilotage.engine.script_path import driver_script_path as driver_script_path
from pilotage.engine.watching import BlockWatch
from pilotage.schedulers.base import seconds
from pilotage.worker import logs, processes
from pilotage.worker.channel import EXECUTE
from pilotage.worker.report import NUMBER, PARTIAL
from pilotage.worker.serializer import FunctionToWorker, ToWorker

T = TypeVar("T")
NO_ANSWER = (CommandClientBadError, CommandClientTimeoutError)
ENDED = (JobState.COMPLETED, JobState.FAILED, JobState.TIMEOUT, JobState.CANCELLED)
"""States of a block whose nodes are its no more; of one that has vanished, only heartbeats can tell."""
LOSSES = 3
"""Blocks in a row that must have failed before an executor is given up though they had worked."""


class HighThroughputExecutor(parsl.executors.HighThroughputExecutor):
    """Parsl's executor, under which a script that is right on threads is right.

    Parameters
    ----------
    arguments: those of ``parsl.executors.HighThroughputExecutor``.
    serializer: ``cloudpickle`` sends calls with our plug-in, ``parsl`` with Parsl's own.
    script_path: folders that the workers import from; the driver's own at the start when empty.
    worker_cwd: folder that the workers work in; the driver's current one at the start when None.
    driver: identity of the driver, with which everything on a node ends; this process at the start when None.
    coalesce: whether short calls travel together.
    rerun_lost: times that a call which may have begun is sent again free of charge when it was lost.
    apps: what holds for single apps, by the function's name: ``coalesce`` and ``rerun_lost``.
    relax_collector: whether Python's garbage collector looks less often in this process until the shutdown.
    """

    @typeguard.typechecked
    def __init__(
        self,
        *arguments: Any,
        serializer: Literal["cloudpickle", "parsl"] = "cloudpickle",
        script_path: Sequence[str] = (),
        worker_cwd: str | None = None,
        driver: str | None = None,
        coalesce: bool = True,
        rerun_lost: int = 0,
        apps: Mapping[str, Mapping[str, Any]] | None = None,
        relax_collector: bool = False,
        **named: Any,
    ) -> None:
        super().__init__(*arguments, **named)
        self.serializer = serializer
        self.script_path = tuple(script_path)
        self.worker_cwd = worker_cwd
        self.driver = driver
        self.coalesce = coalesce
        self.rerun_lost = rerun_lost
        self.apps = apps
        self.relax_collector = relax_collector
        self._coalescer: Coalescer | None = None
        self._outbox = Outbox(coalesce=coalesce, rerun_lost=rerun_lost, apps=apps or {})
        self._lock = threading.Lock()
        self._plugins = (FunctionToWorker(), ToWorker(), ToWorker())
        self._composing = False
        self._ending = False
        self._interchange_key = ""
        self._block_watch: BlockWatch | None = None
        self._our_pool = False
        self._relaxed = False
        self._told_ended: set[str] = set()

    def start(self) -> None:
        """Start the interchange; where that fails half-way, what was started is ended."""
        self.script_path = self.script_path or tuple(driver_script_path())
        self.worker_cwd = self.worker_cwd or str(Path.cwd())
        self.driver = self.driver or processes.as_text(processes.identity(os.getpid()))
        # Only our pool is sure to have us where its workers are, and tells them where their logs go.
        self._our_pool = f"-m {POOL}" in self.launch_cmd
        if self.coalesce and self.serializer != "parsl" and self._our_pool:
            self._coalescer = Coalescer(self._send_batch)
        try:
            super().start()
        except BaseException:
            self._end_half_started()
            raise
        if self.relax_collector:
            collector.relax()
            self._relaxed = True

    def submit(  # type: ignore[override]
        self, func: Callable[..., Any], resource_specification: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Future[Any]:
        """Send a call to the workers; see Parsl's. Raises SerializationError where it cannot be sent."""
        offered = current.offered
        if offered is not None:
            current.offered, current.task = None, offered["id"]
        if self._coalescer is not None and not resource_specification:
            if self.bad_state_is_set:  # whether the interchange is there is asked for each batch
                raise BadStateException(self, self.executor_exception)
            call = self._outbox.call(func, args, kwargs, current.task, offered)
            self._coalescer.add(call)
            return call
        if offered is not None and self._outbox.keeper is not None:
            self._outbox.keeper.note(offered)
        if self.serializer == "parsl":
            return super().submit(func, resource_specification, *args, **kwargs)
        self.validate_resource_spec(resource_specification)
        return self._submit_alone(func, resource_specification, args, kwargs)

    def _submit_alone(
        self,
        func: Callable[..., Any],
        resource_specification: dict[str, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> HTEXFuture:
        classes: list[type] = []
        try:
            parts = zip(self._plugins, (func, args, kwargs), strict=True)
            buffer = pack_buffers(
                [plugin.identifier + b"\n" + plugin.serialize_and_keep(part, classes) for plugin, part in parts]
            )
        except Exception as error:  # pickling runs the objects' own code, which may raise anything
            raise unsendable(error, func, args, kwargs) from error
        context: dict[str, Any] = {"resource_spec": resource_specification} if resource_specification else {}
        if current.task is not None and self._our_pool:
            context["task_executor"] = {"f": "pilotage.worker.task.execute", "a": (current.task,)}
        future = self.submit_payload(context, buffer)
        # A class made in a function may live by this call alone, and its instances are yet to come back.
        vars(future)["classes_sent"] = classes
        return future

    def submit_payload(self, context: dict[str, Any], buffer: bytes) -> HTEXFuture:
        """Send a message to the workers; see Parsl's. Raises ExecutorError when the interchange has ended."""
        self._refuse_if_bad()
        with self._lock:  # Parsl's method knows one thread only
            try:
                return super().submit_payload(context, buffer)
            except zmq.Again as error:  # it has ended since
                self.tasks.pop(self._task_counter, None)
                raise self._gone() from error

    def _refuse_if_bad(self) -> None:
        # A new exception for each call: Parsl raises one and the same, whose traceback grows with each.
        if self.bad_state_is_set:
            raise BadStateException(self, self.executor_exception)
        if self._interchange_is_gone():
            raise self._gone()

    def _send_batch(self, buffer: bytes, calls: int, budget: float) -> tuple[HTEXFuture, int]:
        future = self.submit_payload({"task_executor": {"f": EXECUTE, "a": (calls, budget)}}, buffer)
        number: int = future.parsl_executor_task_id
        return future, number

    def _heard(self, message: bytes) -> None:
        """Take in what our interchange says beside Parsl's results."""
        if self._coalescer is None:
            return
        if message.startswith(CAPACITY):
            self._coalescer.connected(int(message[len(CAPACITY) :]))
        else:
            (number,) = NUMBER.unpack_from(message, len(PARTIAL))
            self._coalescer.heard(number, pickle.loads(memoryview(message)[len(PARTIAL) + NUMBER.size :]))

    def _tick(self) -> None:
        if self._coalescer is not None:
            self._coalescer.tick()

    def _start_result_queue_thread(self) -> None:
        # Without a reader a socket waits for ever, and everybody for what it holds.
        self.outgoing_q.zmq_socket.setsockopt(zmq.SNDTIMEO, 1000)
        self.incoming_q = Incoming(self.incoming_q, self._heard, self._tick)  # type: ignore[assignment]
        super()._start_result_queue_thread()

    def keep_results(self, keeper: Keeper) -> bool:
        """Let ``keeper`` have the results of the tasks that are offered (`current`); False where none will be taken."""
        if self._coalescer is None:
            return False
        self._outbox.keeper, self._coalescer.keep = keeper, keeper.keep
        return True

    def outstanding(self) -> int:
        """Return the number of calls without an outcome."""
        if self._coalescer is None:
            return len(self.tasks)
        return len(self.tasks) - self._coalescer.on_the_way + self._coalescer.outstanding

    def set_bad_state_and_fail_all(self, exception: Exception) -> None:
        """Let all calls fail, now and from now on; see Parsl's."""
        super().set_bad_state_and_fail_all(exception)
        if self._coalescer is not None:
            self._coalescer.fail_all(BadStateException(self, self.executor_exception))

    def initialize_scaling(self) -> None:
        """Compose the launch command, with folders quoted for the shell, which Parsl leaves to luck."""
        plain: Any = self.cert_dir, self.logconf_path
        quoted: Any = [_for_shell(path) for path in plain]
        self.cert_dir, self.logconf_path = quoted
        self._composing = True
        try:
            super().initialize_scaling()
        finally:
            self._composing = False
            self.cert_dir, self.logconf_path = plain

    @property
    def worker_logdir(self) -> str:
        """Folder of the workers' logs."""
        folder: str = super().worker_logdir
        return _for_shell(folder) or folder if self._composing else folder

    def _get_launch_command(self, block_id: str) -> str:
        command: str = super()._get_launch_command(block_id)
        return with_our_pool(command, self.worker_cwd or ".", self.script_path, self.driver or "")

    def _start_local_interchange_process(self) -> None:
        self.command_client = CarefulCommandClient(self.command_client, self._interchange_is_gone)
        given = self.interchange_launch_cmd
        self.interchange_launch_cmd = with_our_interchange(given)
        self._interchange_key = journal.intend("process", role="interchange", name=self.label)
        try:
            super()._start_local_interchange_process()
        finally:
            self.interchange_launch_cmd = given
            if self.interchange_proc is not None:
                journal.identify(self._interchange_key, **processes.identity(self.interchange_proc.pid))

    def connected_managers(self) -> list[dict[str, Any]]:
        """Return the connected managers; none when the interchange has ended."""
        return self._ask(super().connected_managers, [])

    def connected_managers_packages(self) -> dict[str, dict[str, str]]:
        """Return the packages that each manager has; none when the interchange has ended."""
        return self._ask(super().connected_managers_packages, {})

    def connected_blocks(self) -> list[str]:
        """Return the blocks with a connected manager; none when the interchange has ended."""
        return self._ask(super().connected_blocks, [])

    def scale_in(self, blocks: int, max_idletime: float | None = None) -> list[str]:
        """End blocks, and return which; see Parsl's, which takes none to mean all that have not connected yet."""
        ended: list[str] = super().scale_in(blocks, max_idletime) if blocks > 0 else []
        return ended

    def _hold_block(self, block_id: str) -> None:
        logs.ends_in_order(self.worker_logdir, block_id)
        super()._hold_block(block_id)

    def _hold_manager(self, manager_id: str) -> None:
        self._ask(lambda: super(HighThroughputExecutor, self)._hold_manager(manager_id), None)

    def _ask(self, question: Callable[[], T], otherwise: T) -> T:
        if self._interchange_is_gone():
            return otherwise
        try:
            return question()
        except NO_ANSWER:
            if not self._interchange_is_gone():
                raise
            return otherwise

    def _interchange_is_gone(self) -> bool:
        return self.interchange_proc is None or self.interchange_proc.poll() is not None

    def _gone(self) -> ExecutorError:
        code = self.interchange_proc.returncode if self.interchange_proc is not None else None
        return ExecutorError(self, f"its interchange has ended (exit code {code}); its log is in {self.logdir}")

    def poll_facade(self) -> None:
        """Ask for the blocks' states; where the interchange has ended, fail the tasks, which will not return."""
        if self._interchange_is_gone() and not self._ending:
            if not self.bad_state_is_set:
                self.set_bad_state_and_fail_all(self._gone())
            # Calls may have been on their way into the list while it was gone through.
            for future in [future for future in list(self.tasks.values()) if not future.done()]:
                future.set_exception(BadStateException(self, self.executor_exception))
            if self._coalescer is not None:
                self._coalescer.fail_all(BadStateException(self, self.executor_exception))
        super().poll_facade()
        if self._ending:
            return
        if self.bad_state_is_set:
            self._watch().failed(self.executor_exception)
        self._watch().look(self._status, self.outstanding())
        self._tell_of_ended_blocks()

    def _tell_of_ended_blocks(self) -> None:
        """Let the interchange forget what was on blocks that have ended: else it waits for heartbeats, two minutes."""
        for block, status in list(self._status.items()):
            if status.state in ENDED and block not in self._told_ended:
                self._told_ended.add(block)
                self._ask(functools.partial(self.command_client.run, [BLOCK_ENDED, block], timeout_s=10), None)

    def _watch(self) -> BlockWatch:
        if self._block_watch is None:
            walltime = getattr(self.provider, "walltime", None)
            self._block_watch = BlockWatch(
                self.label, seconds(walltime) if walltime else None, lambda: list(self.connected_blocks())
            )
        return self._block_watch

    def handle_errors(self, status: dict[str, JobStatus]) -> None:
        """Give up for blocks that never worked, as Parsl does; one that did, or that was killed, is replaced.

        But a node on which each manager dies, or a task that ends each, may not go on for ever.
        """
        if not any(map(_has_failed, status.values())):  # polled ten times a second, and asking costs the interchange
            super().handle_errors(status)
            return
        worked = set(self.connected_blocks())
        in_a_row = itertools.takewhile(_has_failed, (status[block] for block in sorted(status, key=int, reverse=True)))
        if len(list(in_a_row)) < LOSSES:
            lost = {
                block for block, one in status.items() if _has_failed(one) and (block in worked or _was_killed(one))
            }
            status = {block: one for block, one in status.items() if block not in lost}
        super().handle_errors(status)

    def shutdown(self, timeout: float = 10.0) -> None:
        """End the interchange, and in a bad state the blocks too, which Parsl then leaves running."""
        self._ending = True
        if self.bad_state_is_set and self.provider is not None:
            running = [block for block, status in self._status.items() if status.state not in TERMINAL_STATES]
            self.provider.cancel([self.blocks_to_job_id[block] for block in running if block in self.blocks_to_job_id])
        if self._relaxed:
            self._relaxed = False
            collector.restore()
        super().shutdown(timeout)
        if self._interchange_is_gone():
            journal.ended(self._interchange_key, "shut down")

    def _end_half_started(self) -> None:
        self._ending = True
        if self.interchange_proc is not None:
            super().shutdown()
            return
        self._result_queue_thread_exit.set()
        if self._result_queue_thread is not None:
            self._result_queue_thread.join()  # it closes its own socket
        elif hasattr(self, "incoming_q"):
            self.incoming_q.close()
        for name in ("outgoing_q", "command_client"):
            if hasattr(self, name):
                getattr(self, name).close()
        if self.zmq_monitoring is not None:
            self.zmq_monitoring.close()


def _has_failed(status: JobStatus) -> bool:
    return status.state in (JobState.FAILED, JobState.MISSING)


def _was_killed(status: JobStatus) -> bool:
    return (status.exit_code or 0) > 128  # a shell's code for a signal


def _for_shell(path: str | None) -> str | None:
    # Parsl fills the command in once more for each block, where a brace would be a field.
    return None if path is None else shlex.quote(path).replace("{", "{{").replace("}", "}}")


def _signature() -> inspect.Signature:
    theirs = inspect.signature(parsl.executors.HighThroughputExecutor.__init__)
    ours = inspect.signature(HighThroughputExecutor.__init__).parameters.values()
    added = [parameter for parameter in ours if parameter.kind is parameter.KEYWORD_ONLY]
    # As if they could be given by place: RepresentationMixin shows no others.
    shown = [parameter.replace(kind=parameter.POSITIONAL_OR_KEYWORD) for parameter in added]
    return theirs.replace(parameters=[*theirs.parameters.values(), *shown])


# Parsl writes a config into its log, and checks of a site's arguments read the constructor: both see all of it.
HighThroughputExecutor.__init__.__signature__ = _signature()  # type: ignore[attr-defined]
