"""From a call of an app to what travels: the function serialized, and its arguments."""

from __future__ import annotations

import functools
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from parsl.serialize.errors import SerializationError

from pilotage.engine.coalescing import Call, Kept
from pilotage.engine.diagnosis import culprit
from pilotage.engine.functions import Functions
from pilotage.engine.pace import Known, Pace
from pilotage.engine.rules import said_by
from pilotage.worker.serializer import ToWorker

KEPT = 1000
RESOURCES = "parsl_resource_specification"
_FILES = frozenset({"inputs", "outputs", "stdout", "stderr", "_parsl_staging_inhibit"})
"""Arguments by which Parsl makes a call read or write files."""
_NUMBERS = frozenset({int, float, bool, complex, type(None), range})
_TEXTS = frozenset({str, bytes})


class Keeper(Protocol):
    """Keeps the results of a run, those of plain calls a batch at a time."""

    def mark(self, task: Any) -> Any:
        """Return what the function of Parsl's task record ``task`` is kept by."""

    def note(self, task: Any) -> None:
        """Take in that the result of this task is to be kept by itself."""

    def keep(self, kept: Kept) -> None:
        """Keep results; they are safe when it returns."""


class Outbox:
    """Makes `Call` objects; for one thread at a time, as Parsl submits.

    Parameters
    ----------
    coalesce: whether short calls travel together.
    rerun_lost: times that a call which may have begun is sent again free of charge when it was lost.
    apps: both, for single apps by the function's name.
    """

    def __init__(self, *, coalesce: bool, rerun_lost: int, apps: Mapping[str, Mapping[str, Any]]) -> None:
        self._site = {"coalesce": coalesce, "rerun_lost": rerun_lost}
        self._apps = apps
        self._functions = Functions()
        self._arguments = ToWorker()
        self._known: OrderedDict[int, Known] = OrderedDict()
        self.keeper: Keeper | None = None
        """Who keeps results."""

    def call(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        task: int | None,
        offered: Any = None,
    ) -> Call:
        """Return a call of ``function``; raises SerializationError where it cannot be sent.

        Parameters
        ----------
        task: the kernel's number of the task.
        offered: Parsl's record of the task where its result may be kept with those of its batch, else None.
        """
        kept = self._functions.kept(function)
        known: Known | None = kept.note if kept is not None else None
        if known is None:
            target = getattr(function, "__wrapped__", function)  # a wrapper may be made anew for each call
            known = self._known.get(id(target))
            if known is None or known.function() is not target:
                known = self._get_to_know(function, target)
        classes: list[type] = []
        try:
            if kept is None:
                kept = self._functions.serialized(function, classes)
            kept.note = known
            size = plain_size(args, kwargs)
            if size is not None:
                if RESOURCES in kwargs:
                    kwargs = {**kwargs, RESOURCES: {}} if len(kwargs) > 1 else {RESOURCES: {}}
                call = Call(known, task, kept.message, (args, kwargs), size, classes)
                if offered is not None and self.keeper is not None:
                    self._offer(self.keeper, call, offered, function, args, kwargs)
                return call
            arguments = self._arguments.serialize_and_keep((args, kwargs), classes)
        except Exception as error:  # pickling runs the objects' own code, which may raise anything
            raise unsendable(error, function, args, kwargs) from error
        if offered is not None and self.keeper is not None:
            self.keeper.note(offered)
        return Call(known, task, kept.message, arguments, len(arguments), classes)

    @staticmethod
    def _offer(
        keeper: Keeper,
        call: Call,
        offered: Any,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> None:
        """Let the result be kept with those of its batch where the call is plain, else by itself."""
        monitored = offered["func"] is not function
        if monitored or not _FILES.isdisjoint(kwargs) or range in map(type, args):
            keeper.note(offered)
        else:
            call.mark = call.known.mark = call.known.mark or keeper.mark(offered)

    def _get_to_know(self, function: Callable[..., Any], target: Callable[..., Any]) -> Known:
        name = getattr(target, "__name__", repr(target))
        rules = {**self._site, **self._apps.get(name, {}), **said_by(target), **said_by(function)}
        try:
            reference: Callable[[], Any] = weakref.ref(target)  # a closure may hold much
        except TypeError:
            reference = functools.partial(_itself, target)
        known = Known(reference, Pace(alone=not rules["coalesce"]), int(rules["rerun_lost"]), name)
        self._known[id(target)] = known
        if len(self._known) > KEPT:
            self._known.popitem(last=False)
        return known


def _itself(thing: Any) -> Any:
    return thing


def plain_size(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
    """Return the bytes of arguments that are plain values, about; None where one is more than that.

    Plain values cannot change after the call, and mean the same to any pickler.
    """
    size = 0
    for value in args:
        if type(value) in _NUMBERS:
            continue
        if type(value) not in _TEXTS:
            return None
        size += len(value)
    for name, value in kwargs.items():
        if type(name) is not str:
            return None
        if type(value) in _NUMBERS or (name == RESOURCES and value == {}):
            continue
        if type(value) not in _TEXTS:
            return None
        size += len(value)
    return size


def unsendable(
    error: Exception, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> SerializationError:
    """Return what is raised for a call that ``error`` keeps from being sent; the error gets a note of what it is."""
    if reason := culprit(function, args, kwargs, _can_send):
        error.add_note(f"What cannot be sent is {reason}.")
    return SerializationError(getattr(function, "__name__", repr(function)))


def _can_send(value: Any) -> bool:
    try:
        ToWorker().serialize(value)
    except Exception:  # whatever pickling raised, the answer is no
        return False
    return True
