"""Executor labels that a run does not have.

A script written for one machine names that machine's executors. In a run with one site such a label means that
site; with several, only the user can say which.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import TYPE_CHECKING, Any

from pilotage.errors import LabelError, did_you_mean

if TYPE_CHECKING:
    from parsl.dataflow.dflow import DataFlowKernel
    from parsl.executors.base import ParslExecutor

INTERNAL = "_parsl_internal"


class Labels(dict[str, "ParslExecutor"]):
    """The executors of a DataFlowKernel by label, answering for labels that are not there."""

    def __init__(self, executors: dict[str, ParslExecutor], say: Callable[[str], None], said: set[str]) -> None:
        super().__init__(executors)
        self._say = say
        self._said = said

    def __missing__(self, label: str) -> ParslExecutor:
        own = [known for known in self if known != INTERNAL]
        if len(own) == 1:
            if label not in self._said:
                self._said.add(label)
                self._say(f"no executor {label!r} in this run: its tasks go to {own[0]!r}")
            return self[own[0]]
        near = did_you_mean(label, own)
        raise LabelError(
            f"an app asks for the executor {label!r}, and this run has {', '.join(own)}",
            hint=f"{near + ' ' if near else ''}give the run that label: --site {label}=SITE",
        )


def redirect_labels(
    dfk: DataFlowKernel, say: Callable[[str], None] | None = None, said: set[str] | None = None
) -> None:
    """Let unknown executor labels of ``dfk`` go to its only site; ``say`` hears of each label once.

    ``said`` holds the labels that were told already, for runs with several kernels. Without ``say`` the message goes
    to the log of pilotage.
    """
    import logging

    from pilotage.engine.fallback import order_of

    logger = logging.getLogger("pilotage")
    dfk.executors = Labels(dfk.executors, say or logger.warning, set() if said is None else said)
    original = dfk.submit

    def submit(func: Callable[..., Any], app_args: Any, executors: Any, *rest: Any, **more: Any) -> Any:
        # Parsl draws from the list first and looks the label up in its own thread, where an error of ours would
        # reach the user as a ValueError about a task; here it is raised where the app is called.
        if order := order_of(func):
            executors = first_of(order, executors, dfk.executors)
        for label in executors if isinstance(executors, list) else ():
            dfk.executors[label]
        return original(func, app_args, executors, *rest, **more)

    dfk.submit = submit  # type: ignore[method-assign]


def first_of(order: Sequence[str], executors: Any, known: Container[str]) -> Any:
    """Return where calls of an app with an order of sites start: where it says, else at the first that there is."""
    if executors != "all" and any(label in known for label in executors):
        return executors
    return [next((label for label in order if label in known), order[0])]
