"""Parsl's executor, whose questions end when its interchange has ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import parsl.executors
from parsl.executors.errors import ExecutorError

from pilotage.engine.asking import NO_ANSWER

T = TypeVar("T")


class AnsweringExecutor(parsl.executors.HighThroughputExecutor):
    """Parsl's executor, which knows that an interchange that has ended has no managers; the arguments are Parsl's."""

    def connected_managers(self) -> list[dict[str, Any]]:
        """Return the connected managers; none when the interchange has ended."""
        return self._ask(super().connected_managers, [])

    def connected_managers_packages(self) -> dict[str, dict[str, str]]:
        """Return the packages that each manager has; none when the interchange has ended."""
        return self._ask(super().connected_managers_packages, {})

    def connected_blocks(self) -> list[str]:
        """Return the blocks with a connected manager; none when the interchange has ended."""
        return self._ask(super().connected_blocks, [])

    def _hold_manager(self, manager_id: str) -> None:
        self._ask(lambda: super(AnsweringExecutor, self)._hold_manager(manager_id), None)

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
        if not self._interchange_is_gone():
            return ExecutorError(self, f"its interchange does not answer; its log is in {self.logdir}")
        return ExecutorError(self, f"its interchange has ended (exit code {code}); its log is in {self.logdir}")
