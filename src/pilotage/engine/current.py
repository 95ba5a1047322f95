"""The task that is being launched on this thread, for the executor that it is submitted to.

Parsl does not tell an executor which task a call belongs to; its kernel submits within ``launch_task``, on one thread.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parsl.dataflow.dflow import DataFlowKernel


class Current(threading.local):
    """What one thread is doing."""

    task: int | None = None
    """The kernel's number of the task that is being launched, None outside a launch."""
    offered: Any = None
    """Parsl's record of that task where the executor may keep its result (see `Outbox`), else None."""


current = Current()


def tell_tasks(kernel: DataFlowKernel) -> None:
    """Let `current` hold the number of each task of ``kernel`` while it is launched."""
    original = kernel.launch_task

    def launch_task(task_record: Any) -> Future[Any]:
        before, current.task = current.task, task_record["id"]
        try:
            launched: Future[Any] = original(task_record)
            return launched
        finally:
            current.task = before

    kernel.launch_task = launch_task  # type: ignore[method-assign]
