"""Options that every command has, and the one place where errors become exit codes."""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pilotage.errors import PilotageError, UsageError
from pilotage.output import Output


def command_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--json``, ``--quiet`` and ``--debug``, an Output as first argument, and our error handling.

    No traceback reaches a user unless ``--debug``.
    """

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
    @click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors on stderr.")
    @click.option("--debug", is_flag=True, help="Show tracebacks.")
    @functools.wraps(function)
    def wrapper(*args: Any, as_json: bool, quiet: bool, debug: bool, **kwargs: Any) -> Any:
        output = Output(as_json=as_json, quiet=quiet, debug=debug)
        try:
            _require_current_folder()
            _sweep(output)
            return function(output, *args, **kwargs)
        except PilotageError as error:
            output.error(error)
            sys.exit(error.exit_code)
        except (click.exceptions.ClickException, click.exceptions.Exit, click.exceptions.Abort):
            raise
        except KeyboardInterrupt:
            sys.exit(130)
        except Exception as error:
            if debug:
                raise
            output.error(
                PilotageError(
                    f"unexpected {type(error).__name__}: {error}",
                    hint="this is a defect of pilotage: --debug shows where; please report it",
                )
            )
            sys.exit(1)

    return wrapper


def _require_current_folder() -> None:
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise UsageError("the current folder is not there any more", hint="cd to one that is") from error


def _sweep(output: Output) -> None:
    """End what dead runs of this host have left, whatever the command is for."""
    from pilotage.paths import state_folder

    try:
        if not any((state_folder() / "live").iterdir()):
            return
    except (OSError, PilotageError):
        return
    from pilotage.runs.sweep import sweep

    for found in sweep():
        if lines := found.ended():
            output.say(f"run {found.folder.id} had died; ended what it left: {'; '.join(lines)}")
        for problem in found.problems:
            output.warn(problem)


class FiniteRange(click.FloatRange):
    """A range of numbers; neither NaN, which lies in every range, nor infinity is one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number; fails as click's own type does."""
        found = super().convert(value, param, ctx)
        if not math.isfinite(found):
            self.fail(f"{value} is no number to count with", param, ctx)
        return found


def set_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--set key=value``, repeatable."""
    return click.option(
        "--set",
        "assignments",
        multiple=True,
        metavar="KEY=VALUE",
        help="Override a value of the site, such as walltime=01:00:00; label:key=value for one of several.",
    )(function)
