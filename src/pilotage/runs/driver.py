"""The driver: the process in which the script runs, as it would under ``python SCRIPT``.

Started as ``python -c BOOTSTRAP FOLDER`` (see `command`): with ``-m`` or a path, Python would put a folder of its
own choice first on the import path before the script's.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pilotage.errors import PilotageError
from pilotage.paths import RunFolder, write_json
from pilotage.runs.talk import Talk

if TYPE_CHECKING:
    from parsl.dataflow.dflow import DataFlowKernel

    from pilotage.runs.order import Order

# Under -P or PYTHONSAFEPATH Python has put no folder of its own choice first.
BOOTSTRAP = "import sys; sys.flags.safe_path or sys.path.pop(0); from pilotage.cli.driver import main; main()"
PACKAGE = str(Path(__file__).parents[1]) + os.sep


def command(folder: RunFolder) -> list[str]:
    """Return the argument list that starts the driver of the run in ``folder`` under this Python and its flags."""
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # -O, -W and -X of ours
    return [sys.executable, *flags, "-c", BOOTSTRAP, str(folder.path)]


def drive(folder: RunFolder, talk_of: Callable[[bool], Talk]) -> None:
    """Run the script of the run in ``folder``; exits with the script's code.

    Parameters
    ----------
    folder: the run's folder, which holds the order.
    talk_of: returns where messages for people go, given whether they are to be kept back.
    """
    # Heavy imports come after the bootstrap has cleaned the import path.
    from pilotage.worker.sparing import sparing

    with sparing():  # what a script constructs is checked all the same, when it does
        import parsl  # noqa: F401
    from pilotage import events, journal, steps
    from pilotage.runs import progress as sampling
    from pilotage.runs.hooks import Hooks
    from pilotage.runs.order import Order

    order = Order.read(folder)
    if order.environment is not None:
        from pilotage.environments.alone import hold_own

        hold_own()
    _write_versions(folder)
    journal.current = journal.Journal(folder.journal)
    events.current = events.Events(folder.events)
    steps.current = steps.Steps(folder.steps)
    talk = talk_of(order.quiet)
    progress = sampling.current = sampling.Progress(folder)

    def started(kernel: DataFlowKernel) -> None:
        progress.watch(kernel, own_config=hooks.own_config)
        unwind_on_termination()

    hooks = Hooks(
        order,
        folder,
        started=started,
        report=lambda error: _report(talk, folder, error),
        say=lambda message: talk.say(f"pilotage: {message}"),
    )
    progress.changed = lambda: hooks.checkpoint.changed
    hooks.install()
    driver = os.getpid()
    module = _main_module(order.script, order.arguments)
    outcome = _outcome(lambda: _run(module, order.script))
    tell_stopping(outcome)
    if os.getpid() != driver:  # a child that the script forked: what Parsl has started is not its own
        # Parsl's log may have been locked, when we were forked, by a thread that we do not have.
        atexit.unregister(logging.shutdown)
        for kernel in hooks.kernels:
            atexit.unregister(kernel.atexit_cleanup)
        _leave(outcome, order, talk)
    graceful = True
    if outcome is not None and not isinstance(outcome, SystemExit):
        graceful = False
        progress.failures.was_shown(outcome)
        outcome = _shown(outcome, order, talk)
    interrupted = _outcome(lambda: _finish(hooks.kernels, wait=graceful, talk=talk))
    if interrupted is not None:  # Ctrl-C or a signal while tasks were awaited
        outcome = _shown(interrupted, order, talk)
        _outcome(lambda: _finish(hooks.kernels, wait=False, talk=talk))
    progress.stop()
    hooks.tell_of_checkpoint()
    if hooks.stopped is not None:
        outcome = SystemExit(hooks.stopped.exit_code)
    _exit(outcome)


class Terminated(BaseException):
    """SIGTERM or SIGHUP, raised in the script so that it unwinds and its workers can be ended.

    Parameters
    ----------
    number: the signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


_control: int | None = None
"""Descriptor on which the supervisor is told what it cannot see."""


def take_control() -> None:
    """Keep the supervisor's descriptor from the script's children."""
    global _control
    given = os.environ.pop("PILOTAGE_CONTROL", "")
    if given.isdigit():
        _control = int(given)
        os.set_inheritable(_control, False)


def tell_stopping(outcome: BaseException | None) -> None:
    """Tell the supervisor that the script is being unwound by Ctrl-C or a signal: from now on it has a grace period."""
    if _control is None or not isinstance(outcome, (KeyboardInterrupt, Terminated)):
        return
    why = "Ctrl-C" if isinstance(outcome, KeyboardInterrupt) else signal.Signals(outcome.number).name
    try:
        os.write(_control, f"stopping {why}\n".encode())
    except OSError:  # the supervisor has been killed
        return


def unwind_on_termination() -> None:
    """Let SIGTERM and SIGHUP unwind the script, where it has not said itself what they do."""

    def unwind(number: int, frame: types.FrameType | None) -> None:  # noqa: ARG001  a handler's signature
        signal.signal(number, signal.SIG_DFL)  # a second one ends at once
        raise Terminated(number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        try:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, unwind)
        except ValueError:  # Parsl was loaded in a thread, and only the main one sets handlers
            return


def _write_versions(folder: RunFolder) -> None:
    from pilotage.runs.details import versions

    try:
        write_json(folder.path / "versions.json", versions())
    except OSError:  # a full disk stops what needs it
        return


def _outcome(call: Callable[[], None]) -> BaseException | None:
    """Return what ``call`` raised, or None."""
    try:
        call()
    except BaseException as error:  # whatever ends a script is this process's to report
        return error
    return None


def _leave(outcome: BaseException | None, order: Order, talk: Talk) -> NoReturn:
    """End a child that the script forked: its exit handlers run, but Parsl's sockets are the driver's to close.

    Closing them here would wait for threads that a forked child does not have.
    """
    if outcome is not None and not isinstance(outcome, SystemExit):
        outcome = _shown(outcome, order, talk)
    code = outcome.code if isinstance(outcome, SystemExit) else int(outcome is not None)
    if not isinstance(code, (int, type(None))):
        sys.stderr.write(f"{code}\n")
        code = 1
    atexit._run_exitfuncs()
    _flush()
    os._exit((code or 0) & 0xFF)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # closed by the caller: >&-
            stream.flush()


def _exit(outcome: BaseException | None) -> None:
    """End this process as Python would have ended the script."""
    if isinstance(outcome, SystemExit):
        raise outcome
    if outcome is None:
        sys.exit(0)
    if isinstance(outcome, (KeyboardInterrupt, Terminated)):
        number = outcome.number if isinstance(outcome, Terminated) else signal.SIGINT
        # Python dies by the signal, so that a shell loop around it stops too.
        _flush()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    sys.exit(1)


def _shown(error: BaseException, order: Order, talk: Talk) -> BaseException:
    """Report what ended the script as Python does, or as ours where it is; return what the process ends with."""
    if isinstance(error, Terminated):
        return error
    if isinstance(error, PilotageError) and not order.debug:
        talk.error(error)
        return SystemExit(error.exit_code)
    traceback = error.__traceback__ if order.debug else without_our_frames(error.__traceback__)
    # The script may have a hook of its own.
    sys.excepthook(type(error), error.with_traceback(traceback), traceback)
    return error


def _main_module(script: Path, arguments: Sequence[str]) -> types.ModuleType:
    """Make the script's ``__main__``, ``sys.argv`` and ``sys.path[0]`` what Python would make them."""
    # The module that is there, emptied: dill and others have taken hold of it when they were imported.
    module = sys.modules["__main__"]
    vars(module).clear()
    vars(module).update(
        {
            "__name__": "__main__",
            "__doc__": None,
            "__package__": None,
            "__file__": str(script),
            "__builtins__": __builtins__,
            "__cached__": None,
            "__annotations__": {},
            # No spec, as for a plain script: multiprocessing's spawn then imports the file by its path.
            "__spec__": None,
            "__loader__": None,
        }
    )
    sys.argv = [os.environ.pop("PILOTAGE_SCRIPT_AS_GIVEN", str(script)), *arguments]
    if not sys.flags.safe_path:
        sys.path.insert(0, str(script.resolve().parent))
    return module


def _run(module: types.ModuleType, script: Path) -> None:
    code = compile(script.read_bytes(), str(script), "exec", dont_inherit=True)
    exec(code, module.__dict__)  # noqa: S102  running the user's script is what this process is for


def without_our_frames(traceback: types.TracebackType | None) -> types.TracebackType | None:
    """Return the traceback less the frames of this package."""
    if traceback is None:
        return None
    rest = without_our_frames(traceback.tb_next)
    frame = traceback.tb_frame
    if frame.f_code.co_filename.startswith(PACKAGE):
        return rest
    return types.TracebackType(rest, frame, traceback.tb_lasti, traceback.tb_lineno)


def _finish(kernels: Sequence[DataFlowKernel], *, wait: bool, talk: Talk) -> None:
    """End the kernels that the script left running, their tasks awaited first unless the script failed.

    A script that ends while tasks are running has them finished on threads; so it is on every site.
    """
    for kernel in kernels:
        if kernel.cleanup_called:
            continue
        if wait:
            kernel.wait_for_current_tasks()
        try:
            kernel.cleanup()
        except Exception as error:  # Parsl's own clean-up may fail in many ways, and the script's result stands
            talk.warn(f"ending Parsl's workers failed: {type(error).__name__}: {error}")
        kernel.cleaned_by_pilotage = True  # type: ignore[attr-defined]


def _report(talk: Talk, folder: RunFolder, error: PilotageError) -> None:
    talk.error(error)
    try:
        write_json(folder.path / "error.json", error.as_dict())
    except OSError:  # reported above; the file only serves --json
        return


def read_error(folder: RunFolder) -> dict[str, Any] | None:
    """Return what `Hooks` reported when it stopped the script, or None."""
    import json

    try:
        found: dict[str, Any] = json.loads((folder.path / "error.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found
