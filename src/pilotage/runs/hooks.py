"""Where a script meets Parsl: ``parsl.load()`` without a config gets the site's.

Two places of Parsl are wrapped, and only in a driver, a process of our own: ``DataFlowKernelLoader.load`` (which
``parsl.load`` is) and the constructor of DataFlowKernel, for scripts that make one themselves.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from pilotage import events
from pilotage.assembly import configs
from pilotage.assembly.labels import redirect_labels
from pilotage.engine.current import tell_tasks
from pilotage.errors import PilotageError
from pilotage.paths import RunFolder, storage_error
from pilotage.runs.checkpoint import Checkpoint
from pilotage.runs.driver import tell_stopping
from pilotage.runs.order import Order
from pilotage.runs.script import own_config_error
from pilotage.staging.handing_on import hand_on

if TYPE_CHECKING:
    from parsl.config import Config
    from parsl.dataflow.dflow import DataFlowKernel

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class Hooks:
    """Gives the script's kernels their config, and remembers them.

    Parameters
    ----------
    order: what is run.
    folder: the run's folder.
    started: called with each kernel when it is up.
    report: told of an error before the script is stopped for it.
    say: told what a person should know.
    """

    def __init__(
        self,
        order: Order,
        folder: RunFolder,
        *,
        started: Callable[[DataFlowKernel], None],
        report: Callable[[PilotageError], None],
        say: Callable[[str], None],
    ) -> None:
        self.order = order
        self.folder = folder
        self.kernels: list[DataFlowKernel] = []
        self._started = started
        self._report = report
        self._say = say
        self.stopped: PilotageError | None = None
        """Why the script was stopped, for good: a script may catch what stops it."""
        self.own_config = False
        """Whether the script has loaded a config that is not the site's."""
        self._said: set[str] = set()
        self._ours: set[int] = set()
        self.checkpoint = Checkpoint(folder.checkpoint, ignore_changes=order.ignore_changes)
        self._kept: list[Any] = []  # ids are compared, so what they belong to must stay

    def install(self) -> None:
        """Wrap Parsl's two entrances."""
        import parsl
        from parsl.dataflow import dflow

        configs.run_config = self._site_config
        configs.folder_of_run = str(self.folder.parsl)
        original_load = dflow.DataFlowKernelLoader.load.__func__  # type: ignore[attr-defined]
        original_init = dflow.DataFlowKernel.__init__

        def load(cls: type, config: Config | None = None) -> DataFlowKernel:
            made: DataFlowKernel = original_load(cls, self._choose(cls, config))
            return made

        def init(kernel: DataFlowKernel, config: Config, *rest: Any, **more: Any) -> None:
            self._refuse_if_own(config)
            if config.memoizer is None:
                config.memoizer = self.checkpoint
            self._guarded(lambda: original_init(kernel, config, *rest, **more), config)
            self._adopt(kernel, config)

        dflow.DataFlowKernelLoader.load = classmethod(load)  # type: ignore[assignment]
        parsl.load = dflow.DataFlowKernelLoader.load
        dflow.DataFlowKernel.__init__ = init  # type: ignore[method-assign,assignment]

    def _choose(self, loader: Any, config: Config | None) -> Config | None:
        if loader._dfk is not None:
            return config  # Parsl refuses a second kernel in its own words
        if config is not None and not self.order.override:
            self._refuse_if_own(config)  # also where the kernel is made; here at once, before Parsl looks at it
            return config
        return self._site_config()

    def _site_config(self) -> Config:
        try:
            made = configs.config_of(
                self.order.targets,
                run_dir=str(self.folder.parsl),
                script_path=_script_path(self.order.script),
                full_logs=self.order.debug,
            )
        except PilotageError as error:
            self.stop(error)
        self._ours.add(id(made))
        self._kept.append(made)
        return made

    def _refuse_if_own(self, config: Config) -> None:
        if id(config) not in self._ours and self.order.site_given and not self.order.override:
            self.stop(own_config_error(_place_in_script()))

    def _guarded(self, start: Callable[[], None], config: Config) -> None:
        if id(config) not in self._ours:  # the script's own: it deals with what may happen
            start()
            return
        before, logging.raiseExceptions = logging.raiseExceptions, False  # a full disk is told once, below
        handlers = set(logging.getLogger("parsl").handlers)
        try:
            start()
        except OSError as error:
            configs.end_started(config)
            if error.errno in FULL:
                self.stop(storage_error(config.run_dir, error))
            raise
        except BaseException:
            configs.end_started(config)
            raise
        finally:
            logging.raiseExceptions = before
            for handler in set(logging.getLogger("parsl").handlers) - handlers:
                # Parsl's log may not be written to the end; that is no reason for a traceback at each task.
                handler.handleError = _stay_quiet  # type: ignore[method-assign]

    def _adopt(self, kernel: DataFlowKernel, config: Config) -> None:
        if id(config) in self._ours:
            redirect_labels(kernel, self._say, self._said)
            hand_on(kernel)
        _make_cleanup_repeatable(kernel)
        if kernel.memoizer is self.checkpoint:
            self.checkpoint.serve(kernel)
        else:
            tell_tasks(kernel)
        self.kernels.append(kernel)
        self.own_config = self.own_config or id(config) not in self._ours
        self._started(kernel)

    def tell_of_checkpoint(self) -> None:
        """Write down what came of the checkpoint, for the end of the run."""
        found = self.checkpoint
        if found.broken:
            words = f"results are not kept for a resume any more: {found.broken}"
            events.tell("checkpoint-broken", words, "warning")
            self._say(words)  # the disk may be too full for an event
        if self.order.resumes:
            hint = " (--ignore-changes reuses theirs too)" if found.changed else ""
            again = found.inputs_changed
            inputs = f"; {again:,} since a file that they read has changed" if again else ""
            events.tell(
                "resumed",
                f"{found.reused:,} results of run {self.order.resumes} were reused; "
                f"{found.changed:,} calls ran again since their app has changed{hint}{inputs}",
                reused=found.reused,
                changed=found.changed,
            )

    def stop(self, error: PilotageError) -> Any:
        """Report ``error`` and end the script with its exit code."""
        self.stopped = error
        self._report(error)
        # No handler of the script's for ordinary exceptions swallows it, and in a thread it ends that without a word.
        raise SystemExit(error.exit_code)


def _make_cleanup_repeatable(kernel: DataFlowKernel) -> None:
    # The driver cleans up after the script; a script's own atexit handler that does so too must not fail then.
    original = kernel.cleanup

    def cleanup() -> None:
        tell_stopping(sys.exc_info()[1])
        if not getattr(kernel, "cleaned_by_pilotage", False):
            original()

    kernel.cleanup = cleanup  # type: ignore[method-assign]


def _script_path(script: Path) -> list[str]:
    """Return the folders that the script imports from: its own first, then those it has added."""
    from pilotage.engine.executor import driver_script_path

    return list(dict.fromkeys([str(script.parent), *driver_script_path()]))


def _place_in_script() -> str:
    """Return ``file:line`` of the nearest frame that is neither ours nor Parsl's."""
    import parsl
    import typeguard

    inner = [os.path.dirname(str(module.__file__)) + os.sep for module in (parsl, typeguard)]  # noqa: PTH120
    inner.append(str(Path(__file__).parents[1]) + os.sep)
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(tuple(inner)):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else "the script"


def _stay_quiet(record: logging.LogRecord) -> None:  # noqa: ARG001  a handler's signature
    return
