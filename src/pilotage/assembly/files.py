"""Any module with a Parsl config, wherever a site's name is accepted."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pilotage.errors import LabelError, SiteFileError

if TYPE_CHECKING:
    from parsl.config import Config
    from parsl.executors.base import ParslExecutor


def config_from_file(path: Path) -> Config:
    """Return the config of the Python file ``path``: ``fresh_config()`` where it has one, else ``config``.

    Raises SiteFileError where the file is missing, fails, or has neither.
    """
    from parsl.config import Config

    if not path.is_file():
        raise missing(path)
    before = list(sys.path)
    sys.path.insert(0, str(path.absolute().parent))  # as under `python FILE`: it may import what lies beside it
    try:
        # Not __main__: these files may end in a parsl.load() under the usual guard.
        names: dict[str, Any] = runpy.run_path(str(path), run_name="pilotage_config_file")
        found = names["fresh_config"]() if callable(names.get("fresh_config")) else names.get("config")
    except Exception as error:  # foreign code may raise anything; its own words are what helps
        raise SiteFileError(f"failed: {type(error).__name__}: {error}", where=_place(path, error)) from error
    finally:
        sys.path[:] = before
    if not isinstance(found, Config):
        raise SiteFileError(
            "it defines neither config (a parsl.config.Config) nor fresh_config()",
            where=str(path),
            hint="config = parsl.config.Config(executors=[...])",
        )
    for executor in found.executors:
        start_by_absolute_path(executor)
        keep_journal(executor)
    return found


def missing(path: Path) -> SiteFileError:
    """Return the error for a config file that is not there."""
    return SiteFileError(
        "there is no such file", where=str(path), hint="a site's name has no slash and does not end in .py"
    )


def start_by_absolute_path(executor: ParslExecutor) -> None:
    """Let an executor that starts Parsl's programs by PATH, its default, start those of this Python."""
    from parsl.executors import HighThroughputExecutor
    from parsl.executors.high_throughput.executor import DEFAULT_INTERCHANGE_LAUNCH_CMD, DEFAULT_LAUNCH_CMD

    from pilotage.engine.commands import interchange_command, worker_command

    if isinstance(executor, HighThroughputExecutor):
        if executor.launch_cmd == DEFAULT_LAUNCH_CMD:
            executor.launch_cmd = worker_command(sys.executable)
        if executor.interchange_launch_cmd == DEFAULT_INTERCHANGE_LAUNCH_CMD:
            executor.interchange_launch_cmd = interchange_command(sys.executable)


def keep_journal(executor: ParslExecutor) -> None:
    """Let what an executor's provider submits be in the run's journal."""
    from parsl.providers.base import ExecutionProvider

    from pilotage.providers.journaled import journaled

    provider = getattr(executor, "provider", None)
    if isinstance(provider, ExecutionProvider):
        journaled(provider)


def executor_from_file(path: Path, label: str) -> ParslExecutor:
    """Return the one executor of a config file under ``label``; raises LabelError where it has several."""
    executors = list(config_from_file(path).executors)
    if len(executors) != 1:
        labels = ", ".join(executor.label for executor in executors)
        raise LabelError(
            f"the config has {len(executors)} executors ({labels}), and only one can be called {label!r}",
            where=str(path),
            hint="use the file as the only --site, or split it",
        )
    executors[0].label = label
    return executors[0]


def _place(path: Path, error: Exception) -> str:
    line = None
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == str(path):
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    if isinstance(error, SyntaxError) and error.filename == str(path):
        line = error.lineno
    return f"{path}:{line}" if line else str(path)
