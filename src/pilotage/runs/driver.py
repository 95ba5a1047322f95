"""The driver: the process in which the script runs, as it would under ``python SCRIPT``.

Started as ``python -c BOOTSTRAP FOLDER`` (see `command`): with ``-m`` or a path, Python would put a folder of its
own choice first on the import path before the script's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pilotage.errors import PilotageError
from pilotage.paths import RunFolder, write_json
from pilotage.runs.talk import Talk

if TYPE_CHECKING:
    from parsl.dataflow.dflow import DataFlowKernel

BOOTSTRAP = "import sys; sys.path.pop(0); from pilotage.cli.driver import main; main()"
PACKAGE = str(Path(__file__).parents[1]) + os.sep


def command(folder: RunFolder) -> list[str]:
    """Return the argument list that starts the driver of the run in ``folder`` under this Python and its flags."""
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # -O, -W and -X of ours
    return [sys.executable, *flags, "-c", BOOTSTRAP, str(folder.path)]


def drive(folder: RunFolder, talk: Talk) -> None:
    """Run the script of the run in ``folder``; exits with the script's code.

    Parameters
    ----------
    folder: the run's folder, which holds the order.
    talk: where messages for people go.
    """
    # Heavy imports come after the bootstrap has cleaned the import path.
    from pilotage.runs.hooks import Hooks
    from pilotage.runs.order import Order
    from pilotage.runs.progress import Progress

    order = Order.read(folder)
    progress = Progress(folder)
    hooks = Hooks(
        order,
        folder,
        started=progress.watch,
        report=lambda error: _report(talk, folder, error),
        say=lambda message: talk.say(f"pilotage: {message}"),
    )
    hooks.install()
    module = _main_module(order.script, order.arguments)
    try:
        code = _run(module, order.script)
    except SystemExit:
        _finish(hooks.kernels, wait=True, talk=talk)
        progress.stop()
        raise
    except BaseException as error:
        _show(error, keep_frames=order.debug)
        _finish(hooks.kernels, wait=False, talk=talk)
        progress.stop()
        _exit_as_python(error)
    else:
        try:
            _finish(hooks.kernels, wait=True, talk=talk)
        except KeyboardInterrupt as error:
            _show(error, keep_frames=order.debug)
            _finish(hooks.kernels, wait=False, talk=talk)
            progress.stop()
            _exit_as_python(error)
        progress.stop()
        sys.exit(code)


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
    sys.path.insert(0, str(script.resolve().parent))
    return module


def _run(module: types.ModuleType, script: Path) -> int:
    code = compile(script.read_bytes(), str(script), "exec", dont_inherit=True)
    exec(code, module.__dict__)  # noqa: S102  running the user's script is what this process is for
    return 0


def _show(error: BaseException, *, keep_frames: bool) -> None:
    """Report an uncaught exception as Python does, through the script's own excepthook if it has set one."""
    traceback = error.__traceback__ if keep_frames else without_our_frames(error.__traceback__)
    # An exception of ours that reaches the top is a message for people, like any other of our errors.
    sys.excepthook(type(error), error.with_traceback(traceback), traceback)


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


def _exit_as_python(error: BaseException) -> None:
    if isinstance(error, KeyboardInterrupt):
        # Python dies by the signal, so that a shell loop around it stops too.
        sys.stdout.flush()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    sys.exit(1)


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
