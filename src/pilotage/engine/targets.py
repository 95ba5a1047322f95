"""What a map calls: a plain function or an app, and where its calls go."""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Literal

from parsl.app.app import AppBase
from parsl.app.python import PythonApp, timeout
from parsl.data_provider.files import File
from parsl.dataflow.dependency_resolvers import SHALLOW_DEPENDENCY_RESOLVER
from parsl.dataflow.dflow import DataFlowKernelLoader
from parsl.errors import NoDataFlowKernelError
from parsl.jobs.states import JobState

from pilotage.engine.fallback import ORDER
from pilotage.engine.rules import RULES
from pilotage.errors import LabelError, UsageError, did_you_mean
from pilotage.worker.chunks import PLAIN, chunked, one

if TYPE_CHECKING:
    from parsl.dataflow.dflow import DataFlowKernel
    from parsl.dataflow.futures import AppFuture

Executors = Sequence[str] | Literal["all"] | None
INTERNAL = "_parsl_internal"
STREAMS = ("inputs", "outputs", "stdout", "stderr")
"""Parameters of an app that Parsl itself does something with."""
RESOURCES = "parsl_resource_specification"
REFRESH = 1.0
"""Seconds for which a number of workers is taken as it was, and a kernel to be open."""


class Target:
    """A function or app, and the kernel that its calls go to.

    Parameters
    ----------
    function: a plain function, or an app.
    executors: labels as ``python_app`` has them; the app's own when None.
    caller: the public function that was called, for errors.

    Raises UsageError where it cannot be called or no kernel is loaded, LabelError for an unknown label.
    """

    def __init__(self, function: Callable[..., Any], executors: Executors, caller: str) -> None:
        if not callable(function):
            raise UsageError(f"{caller} needs a function or an app, not {function!r}", hint=f"{caller}(f, items)")
        self.caller = caller
        self.app = function if isinstance(function, AppBase) else None
        self.kernel = self._kernel()
        self.executors = self._labels(executors)
        self.cache = self.app is not None and bool(self.app.cache)
        self._known: set[type] = set(PLAIN)
        self._workers = 1, -math.inf
        if self.app is None:
            call = one(function)
            call.__name__ = call.__qualname__ = str(getattr(function, "__name__", type(function).__name__))
            _mark_like(call, function)
            # Parsl looks at the signature of what it makes an app of, and not every builtin has one.
            self._single: AppBase = PythonApp(call, self.kernel, executors=self.executors)
            self.function = function
        else:
            self._single = copy.copy(self.app)
            self._single.executors = self.executors
            self.function = getattr(self.app.func, "__wrapped__", self.app.func)  # without Parsl's wrapper

    @property
    def only_single(self) -> bool:
        """Whether each item has to be a call of the app's own: Parsl does more for it than call a function."""
        app = self.app
        if app is None:
            return False
        return type(app) is not PythonApp or app.join or any(app.kwargs.get(name) for name in STREAMS)

    def call(self, arguments: Sequence[Any]) -> AppFuture:
        """Submit one call as the app's own; raises UsageError when the kernel has been closed."""
        return self._submitting(lambda: self._single(*arguments))

    def chunk(self, star: bool) -> Callable[[Sequence[Any]], AppFuture]:
        """Return what submits a chunk of items as one task, each item as ``*item`` when ``star``."""
        function, options = self.function, dict[str, Any]()
        if self.app is not None:
            if (seconds := self.app.kwargs.get("walltime")) is not None:
                function = timeout(function, seconds)
            if resources := self.app.kwargs.get(RESOURCES):
                options[RESOURCES] = resources
        run = chunked(function, star)
        run.__name__ = self._single.__name__
        _mark_like(run, self.app.func if self.app is not None else self.function)
        place = getattr(self.function, "__module__", None), getattr(self.function, "__qualname__", None), star
        which = "{} {} {}".format(*place)
        executors, cache, submit = self.executors, self.cache, self.kernel.submit

        def send(items: Sequence[Any]) -> AppFuture:
            return self._submitting(
                lambda: submit(
                    run,
                    app_args=(which, items),
                    executors=executors,
                    cache=cache,
                    ignore_for_cache=None,
                    app_kwargs=dict(options),
                )
            )

        return send

    def special(self, items: Iterable[Any]) -> Callable[[Any], bool] | None:
        """Return what tells the arguments that Parsl has to see (a Future, a File); None where there are none."""
        resolver = self.kernel.dependency_resolver
        kinds = set(map(type, items)) - self._known
        if not kinds:
            return None
        if resolver is not SHALLOW_DEPENDENCY_RESOLVER:
            return lambda item: isinstance(item, (Future, File)) or bool(resolver.traverse_to_gather(item))
        fine = {kind for kind in kinds if not issubclass(kind, (Future, File))}
        self._known |= fine
        return None if fine == kinds else lambda item: isinstance(item, (Future, File))

    def workers(self) -> int:
        """Return how many workers there are for the calls, as of a second ago at most."""
        count, seen = self._workers
        now = time.monotonic()
        if now - seen > REFRESH:
            known = self.kernel.executors
            labels = [x for x in known if x != INTERNAL] if self.executors == "all" else self.executors
            count = sum(workers_of(known[label]) for label in labels)
            self._workers = count, now
        return count

    def _kernel(self) -> DataFlowKernel:
        if self.app is not None and self.app.data_flow_kernel is not None:
            kernel: DataFlowKernel = self.app.data_flow_kernel
            return kernel
        try:
            return DataFlowKernelLoader.dfk()
        except NoDataFlowKernelError as error:
            raise UsageError(
                f"{self.caller} has no DataFlowKernel to submit to", hint='with pilotage.load("laptop"): ...'
            ) from error

    def _labels(self, executors: Executors) -> list[str] | Literal["all"]:
        given = executors if executors is not None else (self.app.executors if self.app is not None else "all")
        if isinstance(given, str):
            if given.lower() == "all":
                return "all"
            raise UsageError(f"executors is {given!r}, and has to be 'all' or labels", hint=f"executors=[{given!r}]")
        known = self.kernel.executors
        for label in given:
            try:
                known[label]  # a run of pilotage's has an answer for labels that are not there
            except KeyError:
                others = [name for name in known if name != INTERNAL]
                near = did_you_mean(str(label), others)
                raise LabelError(f"there is no executor {label!r}, but {', '.join(others)}", hint=near) from None
        return list(given)

    def wait(self, ended: SimpleQueue[int]) -> int:
        """Return the next of ``ended``; raises UsageError when there will be none, since the kernel has been closed."""
        while True:
            over = self._is_over()
            try:
                return ended.get(timeout=0 if over else REFRESH)
            except Empty:
                if over:
                    raise self._closed() from None

    def _is_over(self) -> bool:
        """Whether the kernel has been closed and its executors, some of which finish what they have, have ended."""
        # Its pool is what a kernel ends after them.
        return self.kernel.cleanup_called and bool(self.kernel._task_launch_pool._shutdown)

    def _submitting(self, submit: Callable[[], AppFuture]) -> AppFuture:
        try:
            return submit()
        except NoDataFlowKernelError as error:
            raise self._closed() from error

    def _closed(self) -> UsageError:
        return UsageError(
            f"the DataFlowKernel of this {self.caller} has been closed, and there are items left",
            hint=f"it submits as its results are taken: take them before the kernel is closed "
            f"(list({self.caller}(...)) takes all)",
        )


def _mark_like(call: Any, function: Callable[..., Any]) -> None:
    """Let what Parsl calls say of itself what the function says."""
    for name in (RULES, ORDER):
        if said := getattr(function, name, None):
            vars(call)[name] = said


def workers_of(executor: Any) -> int:
    """Return the number of workers that an executor has now, one block's where none has begun; 1 at least."""
    if (threads := getattr(executor, "max_threads", None)) is not None:
        return max(int(threads), 1)
    provider = getattr(executor, "provider", None)
    if provider is None:
        return os.cpu_count() or 1
    most = getattr(executor, "max_workers_per_node", math.inf)
    if most == math.inf and hasattr(executor, "connected_managers"):
        # What a node gives is known by its managers only.
        connected = sum(manager["worker_count"] for manager in executor.connected_managers())
        return max(int(connected), 1)
    active = (JobState.RUNNING, JobState.PENDING)
    blocks = sum(status.state in active for status in list(executor.status_facade.values()))
    return max(int(executor.workers_per_node) * int(provider.nodes_per_block) * max(blocks, 1), 1)
