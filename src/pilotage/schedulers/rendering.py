"""From a block to text: the templates, and what may stand in a line of them."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pilotage.errors import SiteValueError
from pilotage.schedulers.base import Block, seconds

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, block: Block, **values: object) -> str:
    """Return a template of this package filled with a block's fields and ``values``, which win over the fields.

    ``exports`` of ``values`` are pairs of further variables and values for the job's environment.

    Raises SiteValueError where the block cannot be a job, or its text cannot be a UTF-8 file.
    """
    _check(block)
    fields: dict[str, object] = {
        "name": block.name,
        "command": block.command,
        "stdout": block.stdout,
        "stderr": block.stderr,
        "nodes": block.nodes,
        "tasks_per_node": block.tasks_per_node,
        "walltime": block.walltime,
        "worker_init": block.worker_init,
        "scheduler_options": given(block.settings, "scheduler_options") or "",
        "exports": (),
    }
    text = _environment().get_template(template).render({**fields, **values})
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise SiteValueError(
            f"a batch script is UTF-8, and cannot hold {text[error.start : error.end]!r}",
            hint="a path whose name is not UTF-8 has to be renamed",
        ) from None
    return text


def given(settings: Mapping[str, object], key: str) -> object | None:
    """Return a setting, or None where it is missing, None or empty text: then it is not asked for."""
    value = settings.get(key)
    return None if value == "" else value


def given_count(settings: Mapping[str, object], key: str) -> int | None:
    """Return a setting that counts something (1 or more), or None where it is not given; raises SiteValueError."""
    value = given(settings, key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SiteValueError(f"{key} is {value!r}; expected a whole number, 1 or more")
    return value


def one_line(value: object, key: str) -> str:
    """Return a value for a directive, which ends with its line.

    Raises SiteValueError for one that is empty, neither text nor a number, or has a line break or control character.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise SiteValueError(f"{key} is {value!r}; expected text or a number")
    text = str(value)
    if not text:
        raise SiteValueError(f"{key} is empty")
    if re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", text):
        raise SiteValueError(
            f"{key} {text!r} has a line break or control character, which would end the directive it stands in",
            hint="keep it on one line; further directives go into scheduler_options",
        )
    return text


def _check(block: Block) -> None:
    for key, number in (("nodes", block.nodes), ("tasks per node", block.tasks_per_node)):
        if number < 1:
            raise SiteValueError(f"a block of {number} {key} cannot be asked for")
    if block.walltime is not None and seconds(block.walltime) == 0:
        # Slurm and Flux would read it as no limit at all.
        raise SiteValueError(f"the wall time {block.walltime!r} is no time")
    texts = (block.name, block.command, block.worker_init, str(block.settings.get("scheduler_options")))
    if any("\0" in text for text in texts):
        raise SiteValueError("a batch script cannot hold a NUL character")


def _lines(text: object) -> str:
    # With a carriage return at the end of its lines, bash runs other commands and sbatch refuses the script.
    return str(text).replace("\r\n", "\n").strip("\r\n")


def _quoted(value: object) -> str:
    return shlex.quote(str(value))


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # What is rendered is shell and YAML, where HTML's escapes would be wrong.
    environment = Environment(  # noqa: S701
        loader=PackageLoader("pilotage.schedulers", "templates"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(quoted=_quoted, lines=_lines)
    return environment
