"""Parsl's HighThroughputExecutor with our serializer and our start of its processes.

Scaling, status and monitoring stay Parsl's.
"""

from __future__ import annotations

import inspect
import os
import shlex
import sys
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import parsl.executors
from parsl.executors.high_throughput.executor import HTEXFuture
from parsl.serialize.errors import SerializationError
from parsl.serialize.facade import pack_buffers, serialize

from pilotage.engine.commands import with_our_interchange, with_our_pool
from pilotage.worker.serializer import ToWorker


class HighThroughputExecutor(parsl.executors.HighThroughputExecutor):
    """Parsl's executor, under which a script that is right on threads is right.

    Parameters
    ----------
    arguments: those of ``parsl.executors.HighThroughputExecutor``.
    serializer: ``cloudpickle`` sends calls with our plug-in, ``parsl`` with Parsl's own.
    script_path: folders that the workers import from; the driver's own at the start when empty.
    worker_cwd: folder that the workers work in; the driver's current one at the start when None.
    """

    def __init__(
        self,
        *arguments: Any,
        serializer: Literal["cloudpickle", "parsl"] = "cloudpickle",
        script_path: Sequence[str] = (),
        worker_cwd: str | None = None,
        **named: Any,
    ) -> None:
        super().__init__(*arguments, **named)
        self.serializer = serializer
        self.script_path = tuple(script_path)
        self.worker_cwd = worker_cwd
        self._to_worker = ToWorker()
        self._composing = False

    def start(self) -> None:
        """Start the interchange; where that fails half-way, what was started is ended."""
        self.script_path = self.script_path or tuple(driver_script_path())
        self.worker_cwd = self.worker_cwd or str(Path.cwd())
        try:
            super().start()
        except BaseException:
            self._result_queue_thread_exit.set()
            if self.interchange_proc is not None and self.interchange_proc.poll() is None:
                self.interchange_proc.kill()
                self.interchange_proc.wait()
            raise

    def submit(
        self, func: Callable[..., Any], resource_specification: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HTEXFuture:
        """Send a call to the workers; see Parsl's. Raises SerializationError where it cannot be sent."""
        if self.serializer == "parsl":
            return super().submit(func, resource_specification, *args, **kwargs)
        self.validate_resource_spec(resource_specification)
        try:
            buffer = pack_buffers([self._message(part) for part in (func, args, kwargs)])
        except Exception as error:  # pickling runs the objects' own code, which may raise anything
            raise SerializationError(getattr(func, "__name__", repr(func))) from error
        context = {"resource_spec": resource_specification} if resource_specification else {}
        return self.submit_payload(context, buffer)

    def _message(self, part: Any) -> bytes:
        try:
            return self._to_worker.identifier + b"\n" + self._to_worker.serialize(part)
        except Exception as reason:
            try:
                return serialize(part)  # dill sends some things that cloudpickle does not, such as open files
            except Exception:
                raise reason from None  # the first reason is the one that helps

    def initialize_scaling(self) -> None:
        """Compose the launch command, with folders quoted for the shell, which Parsl leaves to luck."""
        plain = self.cert_dir, self.logconf_path
        self.cert_dir, self.logconf_path = (_for_shell(path) for path in plain)
        self._composing = True
        try:
            super().initialize_scaling()
        finally:
            self._composing = False
            self.cert_dir, self.logconf_path = plain

    @property
    def worker_logdir(self) -> str:
        """Folder of the workers' logs."""
        folder: str = super().worker_logdir
        return _for_shell(folder) or folder if self._composing else folder

    def _get_launch_command(self, block_id: str) -> str:
        command: str = super()._get_launch_command(block_id)
        return with_our_pool(command, self.worker_cwd or ".", self.script_path)

    def _start_local_interchange_process(self) -> None:
        given = self.interchange_launch_cmd
        self.interchange_launch_cmd = with_our_interchange(given)
        try:
            super()._start_local_interchange_process()
        finally:
            self.interchange_launch_cmd = given

    def connected_managers(self) -> list[dict[str, Any]]:
        """Return the connected managers; none when the interchange has ended (Parsl would wait for ever)."""
        found: list[dict[str, Any]] = [] if self._interchange_is_gone() else super().connected_managers()
        return found

    def connected_blocks(self) -> list[str]:
        """Return the blocks with a connected manager; none when the interchange has ended."""
        found: list[str] = [] if self._interchange_is_gone() else super().connected_blocks()
        return found

    def _interchange_is_gone(self) -> bool:
        return self.interchange_proc is None or self.interchange_proc.poll() is not None


def _for_shell(path: str | None) -> str | None:
    # Parsl fills the command in once more for each block, where a brace would be a field.
    return None if path is None else shlex.quote(path).replace("{", "{{").replace("}", "}}")


def _signature() -> inspect.Signature:
    theirs = inspect.signature(parsl.executors.HighThroughputExecutor.__init__)
    ours = inspect.signature(HighThroughputExecutor.__init__).parameters.values()
    added = [parameter for parameter in ours if parameter.kind is parameter.KEYWORD_ONLY]
    return theirs.replace(parameters=[*theirs.parameters.values(), *added])


# Parsl writes a config into its log, and checks of a site's arguments read the constructor: both see all of it.
HighThroughputExecutor.__init__.__signature__ = _signature()  # type: ignore[attr-defined]


def driver_script_path() -> list[str]:
    """Return the folders of this process's import path that a worker's Python does not have by itself.

    Those are the script's folder, and what the script or PYTHONPATH added; the current folder by its full path.
    """
    own = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    dynamic = sysconfig.get_config_var("DESTSHARED")
    known = {os.path.realpath(folder) for folder in (*own, dynamic, *_linked_folders(own)) if folder}
    found = []
    for entry in sys.path:
        folder = str(Path(entry or Path.cwd()).absolute())
        if os.path.realpath(folder) not in known and not folder.endswith(".zip") and Path(folder).is_dir():
            found.append(folder)
    return list(dict.fromkeys(found))


def _linked_folders(site_packages: Sequence[str | None]) -> list[str]:
    """Return the folders that .pth files add, such as those of editable installs."""
    found = []
    for folder in {folder for folder in site_packages if folder}:
        for file in Path(folder).glob("*.pth"):
            try:
                lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            except OSError:
                continue
            found += [line for line in lines if line.startswith("/")]
    return found
