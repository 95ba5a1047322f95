"""Where a call goes on when its site has failed: an ordered list of executor labels for its retries.

Parsl asks the retry handler of its config what a failed try costs, and looks up the executor of the task anew for the
next one: a handler may have changed it meanwhile.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, overload

from parsl.app.app import AppBase
from parsl.dataflow.errors import DependencyError
from parsl.executors.errors import BadStateException, ScalingFailed
from parsl.executors.high_throughput.errors import (
    CommandClientBadError,
    CommandClientTimeoutError,
    ManagerLost,
    VersionMismatch,
    WorkerLost,
)
from parsl.jobs.errors import TooManyJobFailuresError
from parsl.providers.errors import ExecutionProviderException

from pilotage import events
from pilotage.errors import UsageError

if TYPE_CHECKING:
    from parsl.dataflow.taskrecord import TaskRecord

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])

ORDER = "__pilotage_fallback__"
"""Attribute of a function whose calls have an order of sites."""
LONGEST = 300
"""Characters of a failure's words that are told."""
RESERVED = ("all", "_parsl_internal")

OF_THE_SITE = (
    BadStateException,
    CommandClientBadError,
    CommandClientTimeoutError,
    ExecutionProviderException,
    ManagerLost,
    ScalingFailed,
    TooManyJobFailuresError,
    VersionMismatch,
    WorkerLost,
)
"""What says that a site has failed, and not the app."""


class Fallback:
    """A decorator of apps, and a retry handler of Parsl's; see `fallback`."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self._told: set[tuple[str, str, str]] = set()

    @overload
    def __call__(self, app: AnyFunction, /) -> AnyFunction: ...

    @overload
    def __call__(self, error: Exception, record: TaskRecord, /) -> float: ...

    def __call__(self, first: Any, record: TaskRecord | None = None, /) -> Any:
        """Mark an app, or return what a failed try costs."""
        return self._mark(first) if record is None else self._cost(first, record)

    def _mark(self, app: Any) -> Any:
        if not self.labels or not callable(app):
            raise UsageError(
                "fallback as a decorator needs labels, and an app to decorate",
                hint='@pilotage.fallback("gpu", "cpu") above @python_app',
            )
        setattr(vars(app).get("func", app), ORDER, self.labels)  # of an app of Parsl's, what it is made of
        if isinstance(app, AppBase) and app.executors == "all":
            app.executors = [self.labels[0]]
        return app

    def _cost(self, error: Exception, record: TaskRecord) -> float:
        executors, here = record["dfk"].executors, record["executor"]
        if record["join"] or isinstance(error, DependencyError):  # they ran in the driver, or not at all
            return 1
        there = following(order_of(record["func"]) or self.labels, here, executors)
        failed = isinstance(error, OF_THE_SITE) or is_bad(executors.get(here))
        if there is None or not (failed or record["fail_cost"] < record["dfk"].config.retries):
            return 1
        record["executor"] = there
        if failed:
            self._tell(record["dfk"].run_id, here, there, error)
        return 0 if failed else 1

    def _tell(self, run: str, here: str, there: str, error: Exception) -> None:
        if (run, here, there) in self._told:
            return
        self._told.add((run, here, there))
        why = " ".join(str(error).split())[:LONGEST] or type(error).__name__
        words = f"tasks of {here!r} that may, go on at {there!r}: {why}"
        events.tell("fallback", words, "warning", executor=here, to=there)


def fallback(*labels: str) -> Fallback:
    """Return an ordered list of sites for the retries of an app: a decorator, and a retry handler of Parsl's.

    ``@pilotage.fallback("gpu", "cpu")`` above ``@python_app`` marks an app: its calls start at ``gpu``, unless the app
    names its executors itself, and a try that failed is followed by one at the next label. Where it was the site that
    failed (a worker, a manager, blocks, the whole executor), the next try is free: it is made whatever ``retries`` is.
    After an exception of the app's own it costs one of Parsl's ``retries``, and so does each at the last label.
    Configs of pilotage's see to it. A Config of your own needs ``retry_handler=pilotage.fallback()``; with labels, they
    hold for all its apps that have none of their own.

    Parameters
    ----------
    labels: of executors, in order. Those that a run does not have are left out.

    Raises UsageError for labels that are none, or one that is there twice.
    """
    for number, label in enumerate(labels):
        if not isinstance(label, str) or not label or label in RESERVED:
            raise UsageError(f"{label!r} is no label of an executor", hint='pilotage.fallback("gpu", "cpu")')
        if label in labels[:number]:
            raise UsageError(f"the label {label!r} is there twice", hint="a site is tried once")
    return Fallback(labels)


def order_of(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the labels that an app's function is marked with, under all that Parsl has wrapped it in."""
    layer: Any = function
    while layer is not None:
        inside = layer.args[:1] if isinstance(layer, functools.partial) else ()  # of a bash_app
        for one in (layer, *inside):
            if labels := getattr(one, ORDER, ()):
                found: tuple[str, ...] = labels
                return found
        layer = getattr(layer, "__wrapped__", None)
    return ()


def following(labels: Sequence[str], here: str, executors: Mapping[str, Any]) -> str | None:
    """Return the next of ``labels`` behind ``here`` that there is and has not failed, None where there is none."""
    behind = labels[labels.index(here) + 1 :] if here in labels else labels
    return next((label for label in behind if label in executors and not is_bad(executors[label])), None)


def is_bad(executor: Any) -> bool:
    """Return whether an executor has failed for good."""
    return bool(getattr(executor, "bad_state_is_set", False))
