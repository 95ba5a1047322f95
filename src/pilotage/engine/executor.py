"""Parsl's HighThroughputExecutor with our serializer and our start of its processes.

Scaling, status and monitoring stay Parsl's.
"""

from __future__ import annotations

import functools
import inspect
import os
import pickle
import threading
import time
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Literal

import parsl.executors
import typeguard
import zmq
from parsl.executors.errors import BadStateException, InvalidResourceSpecification
from parsl.executors.high_throughput.executor import HTEXFuture
from parsl.jobs.states import TERMINAL_STATES, JobState, JobStatus
from parsl.serialize.facade import pack_buffers

from pilotage import events, journal
from pilotage.engine import collector
from pilotage.engine.beginning import EarlyExecutor
from pilotage.engine.coalescing import Coalescer
from pilotage.engine.commands import POOL, with_our_pool
from pilotage.engine.current import current
from pilotage.engine.incoming import BLOCK_ENDED, CAPACITY, JOINED, SILENCE, Incoming
from pilotage.engine.outbox import Keeper, Outbox, unsendable
from pilotage.engine.replacing import GOING, LOSSES, failed_in_a_row, has_failed, in_vain_in_a_row, pause, was_killed
from pilotage.engine.script_path import driver_script_path as driver_script_path
from pilotage.engine.verifying import WorkersRefusedError, together
from pilotage.engine.watching import BlockWatch
from pilotage.hosts.far import Equipment
from pilotage.hosts.route import Route
from pilotage.schedulers.base import seconds
from pilotage.worker import logs, processes
from pilotage.worker.channel import EXECUTE
from pilotage.worker.data import accounts
from pilotage.worker.data.staged import in_sandbox
from pilotage.worker.expected import requirement
from pilotage.worker.news import NEWS, news_of
from pilotage.worker.report import NUMBER, PARTIAL
from pilotage.worker.serializer import FunctionToWorker, ToWorker

MPI_KEYS = {"num_nodes", "num_ranks", "ranks_per_node", "launcher_options"}
ENDED = (JobState.COMPLETED, JobState.FAILED, JobState.TIMEOUT, JobState.CANCELLED)
"""States of a block whose nodes are its no more; of one that has vanished, only heartbeats can tell."""


class HighThroughputExecutor(EarlyExecutor):
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
    workers_per_place: workers on each accelerator, where ``available_accelerators`` are places in what the scheduler
        gives to a job; 0 where they are ids, to be taken as they are.
    route: a way by which workers reach the port at ``address``, which is then to be this machine's loopback; it may
        break and be made anew without loss. None where they reach it by themselves.
    verify: whether each node compares its Python with this one before it starts a manager.
    require: packages that it must have beside, such as ``numpy>=2``; ValueError where one is none.
    environment: the workers' Python, where it is made for them; ``launch_cmd`` then has `sites.environments.PYTHON`.
    data: what holds for the files of tasks on the nodes (`worker.data.context`), as ``name=value``.
    """

    on_moved: Callable[[dict[str, Any]], None] | None = None
    """Called with each record of what a task has moved (`worker.data.accounts.moved`), on the thread of results;
    it is to be quick, and to raise nothing."""

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
        workers_per_place: int = 0,
        route: Route | None = None,
        verify: bool = False,
        require: Sequence[str] = (),
        environment: Equipment | None = None,
        data: Sequence[str] = (),
        **named: Any,
    ) -> None:
        _check_types(locals())
        super().__init__(*arguments, **named)
        self.serializer = serializer
        self.script_path = tuple(script_path)
        self.worker_cwd = worker_cwd
        self.driver = driver
        self.coalesce = coalesce
        self.rerun_lost = rerun_lost
        self.apps = apps
        self.relax_collector = relax_collector
        self.workers_per_place = workers_per_place
        self.route = route
        self.verify = verify
        self.require = tuple(require)
        for text in self.require:
            requirement(text)
        self.environment = environment
        self.data = tuple(data)
        self._coalescer: Coalescer | None = None
        self._outbox = Outbox(coalesce=coalesce, rerun_lost=rerun_lost, apps=apps or {})
        self._lock = threading.Lock()
        self._plugins = (FunctionToWorker(), ToWorker(), ToWorker())
        self._ending = False
        self._block_watch: BlockWatch | None = None
        self._our_pool = False
        self._relaxed = False
        self._told_ended: set[str] = set()
        self._asked_for_blocks = 0.0
        self._in_vain = 0
        self._passed_over: dict[str, bool] = {}

    def start(self) -> None:
        """Start the interchange and the first blocks; where that fails half-way, what was started is ended."""
        self.script_path = self.script_path or tuple(driver_script_path())
        self.worker_cwd = self.worker_cwd or str(Path.cwd())
        self.driver = self.driver or processes.as_text(processes.identity(os.getpid()))
        # Only our pool is sure to have us where its workers are, and tells them where their logs go.
        self._our_pool = f"-m {POOL}" in self.launch_cmd
        if self.coalesce and self.serializer != "parsl" and self._our_pool:
            self._coalescer = Coalescer(self._send_batch)
        self._watch()
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
        func = in_sandbox(func)
        if self._far is not None:
            from pilotage.engine.carrying import carried, landing

            call, args, kwargs = carried(func, args, kwargs)
            if call is not func:
                return landing(self._submit(call, resource_specification, args, kwargs, offered))
        return self._submit(func, resource_specification, args, kwargs, offered)

    def _submit(
        self,
        func: Callable[..., Any],
        resource_specification: dict[str, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        offered: Any,
    ) -> Future[Any]:
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

    def validate_resource_spec(self, resource_specification: dict[str, Any]) -> None:
        """Raise InvalidResourceSpecification for a call that this executor has no place for; see Parsl's."""
        if wanted := MPI_KEYS & set(resource_specification):
            words = "this site runs no MPI programs: [site.NAME.mpi] lets it, or --set mpi.launcher=mpiexec"
            raise InvalidResourceSpecification(wanted, words)
        super().validate_resource_spec(resource_specification)

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
        if message.startswith(NEWS):
            news = news_of(message)
            words = f"{news.host} (block {news.block} of {self.label}): {news.words}"
            events.tell(news.kind, words, news.level, executor=self.label, block=news.block)
            return
        if message.startswith(accounts.MOVED):
            record = accounts.record_of(message)
            if not accounts.deliver(record) and self.on_moved is not None:
                self.on_moved(record)
            return
        if message.startswith(JOINED):
            self._watch().joined(*pickle.loads(memoryview(message)[len(JOINED) :]))
            return
        if message.startswith(SILENCE):
            self._watch().silent(pickle.loads(memoryview(message)[len(SILENCE) :]))
            return
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

    def _get_launch_command(self, block_id: str) -> str:
        command: str = super()._get_launch_command(block_id)
        options = [*self._pool_options(), *self._route_options()]
        options += [part for line in self.data for part in ("--data", line)]
        path = self._path_there(self.script_path)
        ours = with_our_pool(command, self.worker_cwd or ".", path, self.driver or "", options)
        return self._with_python(self._verified(ours))

    def _pool_options(self) -> list[str]:
        """Return what our start of the pool is told beside where it works."""
        return ["--on-each", str(self.workers_per_place)] if self.workers_per_place else []

    def scale_in(self, blocks: int, max_idletime: float | None = None) -> list[str]:
        """End blocks, and return which; see Parsl's, which takes none to mean all that have not connected yet."""
        if blocks <= 0:
            return []
        if (first := self._first) is not None:  # before the strategy has begun, it is the end that asks
            first.stop()
            first.wait()  # Parsl goes through the blocks, of which there must not become more meanwhile
        ended: list[str] = super().scale_in(blocks, max_idletime)
        return ended

    def _hold_block(self, block_id: str) -> None:
        logs.ends_in_order(self.worker_logdir, block_id)
        super()._hold_block(block_id)

    def poll_facade(self) -> None:
        """Ask for the blocks' states; where the interchange has ended, fail the tasks, which will not return."""
        while (first := self._first) is not None and not first.are_over(0.5):  # a scheduler may take minutes for them
            self._fail_if_gone()
        self._fail_if_gone()
        super().poll_facade()
        if self._ending:
            return
        if self.bad_state_is_set:
            self._watch().failed(self.executor_exception)
        self._watch().look(self._status, self.outstanding())
        self._tell_of_ended_blocks()

    def _fail_if_gone(self) -> None:
        if not self._interchange_is_gone() or self._ending:
            return
        if not self.bad_state_is_set:
            self.set_bad_state_and_fail_all(RuntimeError(self._gone().reason))  # Parsl says whose it is
        # Calls may have been on their way into the list while it was gone through.
        for future in [future for future in list(self.tasks.values()) if not future.done()]:
            future.set_exception(BadStateException(self, self.executor_exception))
        if self._coalescer is not None:
            self._coalescer.fail_all(BadStateException(self, self.executor_exception))

    def _tell_of_ended_blocks(self) -> None:
        """Let the interchange forget what was on blocks that have ended: else it waits for heartbeats, two minutes."""
        for block, status in list(self._status.items()):
            if status.state in ENDED and block not in self._told_ended:
                self._told_ended.add(block)
                self._ask(functools.partial(self.command_client.run, [BLOCK_ENDED, block], timeout_s=10), None)

    def _managers_a_block(self) -> int:
        return int(getattr(self.provider, "nodes_per_block", 1) or 1)

    def _watch(self) -> BlockWatch:
        if self._block_watch is None:
            walltime = getattr(self.provider, "walltime", None)
            self._block_watch = BlockWatch(
                self.label,
                seconds(walltime) if walltime else None,
                lambda: list(self.connected_blocks()),
                nodes=self._managers_a_block(),
                drain=self.drain_period,
            )
        return self._block_watch

    def connected_hosts(self) -> list[str]:
        """Return the hosts of the managers that have connected and whose blocks have not ended."""
        return self._watch().hosts(self._status)

    def handle_errors(self, status: dict[str, JobStatus]) -> None:
        """Give up for blocks that never worked, as Parsl does; one that did, or that was killed, is replaced.

        But a node on which each manager dies, or a task that ends each, may not go on for ever. Where the workers'
        Python is the wrong one, the first block is the last.
        """
        if not any(map(has_failed, status.values())):  # polled ten times a second, and asking costs the interchange
            super().handle_errors(status)
            return
        worked = set(self.connected_blocks())
        over = {block: one for block, one in status.items() if has_failed(one) and block not in worked}
        refused = self._look_for_refusals(over)
        hopeless = not worked or len(refused) >= LOSSES <= failed_in_a_row(status)
        if refused and not self._others_may_do(refused, status) and hopeless:
            if not self.bad_state_is_set:
                self.set_bad_state_and_fail_all(WorkersRefusedError(together(refused.values())))
            return
        status = {block: one for block, one in status.items() if block not in refused}
        if failed_in_a_row(status) < LOSSES:
            lost = {block for block, one in status.items() if has_failed(one) and (block in worked or was_killed(one))}
            status = {block: one for block, one in status.items() if block not in lost}
        super().handle_errors(status)

    def _others_may_do(self, refused: Collection[str], states: Mapping[str, JobStatus]) -> bool:
        """Return whether hosts with a Python of their own are left; those that have refused are passed over."""
        pass_over: Callable[[object], bool] = getattr(self.provider, "pass_over", lambda _: False)
        new = [block for block in refused if block not in self._passed_over]
        for block in new:
            self._passed_over[block] = pass_over(self.blocks_to_job_id[block])
        left = all(self._passed_over[block] for block in refused)
        if new and left and not any(one.state in GOING for one in states.values()):
            self.scale_out_facade(1)  # whatever the strategy is: it was to be there
        return left

    def scale_out_facade(self, n: int) -> list[str]:
        """Start blocks, and return which; none for a while where the newest were all in vain."""
        if n > 0 and self._first is None and (self._must_pause() or not getattr(self.route, "is_up", True)):
            return []
        self._asked_for_blocks = time.monotonic()
        return super().scale_out_facade(n)

    def _must_pause(self) -> bool:
        refused = self._refusals()
        states = {block: status for block, status in self._status.items() if block not in refused}
        if in_vain_in_a_row(states) < LOSSES:
            return False
        in_vain = in_vain_in_a_row(states, set(self.connected_blocks()))
        left = pause(in_vain) - (time.monotonic() - self._asked_for_blocks)
        if left > 0 and in_vain > self._in_vain:
            words = f"{in_vain} blocks of {self.label} in a row were in vain; another is asked for in {left:.0f} s"
            events.tell("blocks-in-vain", words, "warning", executor=self.label)
        self._in_vain = in_vain
        return left > 0

    def shutdown(self, timeout: float = 10.0) -> None:
        """End the interchange, and in a bad state the blocks too, which Parsl then leaves running."""
        self._ending = True
        self._cancel_first_blocks()
        if self.bad_state_is_set and self.provider is not None:
            running = [block for block, status in self._status.items() if status.state not in TERMINAL_STATES]
            self.provider.cancel([self.blocks_to_job_id[block] for block in running if block in self.blocks_to_job_id])
        if self._relaxed:
            self._relaxed = False
            collector.restore()
        try:
            super().shutdown(timeout)
        finally:
            self._close_route()
            self._end_far()
        if self._interchange_is_gone():
            journal.ended(self._interchange_key, "shut down")

    def _end_half_started(self) -> None:
        self._ending = True
        self._cancel_first_blocks()
        self._release_port()
        self._close_route()
        self._end_far()
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


def _check_types(given: Mapping[str, Any]) -> None:
    """Raise TypeCheckError for an argument of ours that is none; typeguard's decorator would compile this file anew."""
    for name, wanted in typing.get_type_hints(HighThroughputExecutor.__init__).items():
        if name not in ("arguments", "named", "return"):
            try:
                typeguard.check_type(given[name], wanted)
            except typeguard.TypeCheckError as error:
                raise typeguard.TypeCheckError(f'argument "{name}": {error}') from None


def keyword_only(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return the parameters of ``function`` that can only be given by name."""
    return [one for one in inspect.signature(function).parameters.values() if one.kind is one.KEYWORD_ONLY]


def extended(theirs: type, added: Sequence[inspect.Parameter]) -> inspect.Signature:
    """Return the signature of a constructor that takes what Parsl's does and more."""
    known = inspect.signature(theirs.__init__)  # type: ignore[misc]
    # As if they could be given by place: RepresentationMixin shows no others.
    shown = [parameter.replace(kind=parameter.POSITIONAL_OR_KEYWORD) for parameter in added]
    return known.replace(parameters=[*known.parameters.values(), *shown])


# Parsl writes a config into its log, and checks of a site's arguments read the constructor: both see all of it.
ADDED = keyword_only(HighThroughputExecutor.__init__)
HighThroughputExecutor.__init__.__signature__ = extended(  # type: ignore[attr-defined]
    parsl.executors.HighThroughputExecutor, ADDED
)
