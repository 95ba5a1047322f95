"""What a scheduler is, and the pieces that several share."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from pilotage.errors import SiteValueError

if TYPE_CHECKING:
    from jinja2 import Environment


@dataclass(frozen=True, kw_only=True)
class Block:
    """One block to render; every field is decided, or is a named placeholder such as ``@job_name@``.

    ``command`` is the shell text that starts the managers, the launcher's wrapping included; ``walltime`` is
    HH:MM:SS; ``settings`` are the provider's by Parsl's argument names.
    """

    name: str
    command: str
    stdout: str
    stderr: str
    nodes: int = 1
    tasks_per_node: int = 1
    walltime: str | None = None
    worker_init: str = ""
    settings: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Queue:
    """A partition or queue as its scheduler describes it; None is "not said".

    ``max_walltime`` is HH:MM:SS, ``memory_per_node`` in GB.
    """

    name: str
    default: bool = False
    available: bool = True
    max_walltime: str | None = None
    max_nodes: int | None = None
    cores_per_node: int | None = None
    memory_per_node: int | None = None
    gpus_per_node: int | None = None


class Scheduler(Protocol):
    """A batch scheduler.

    ``commands`` are the programs that a machine which has it has on its PATH.
    """

    name: str
    commands: tuple[str, ...]

    def render(self, block: Block) -> str:
        """Return the batch script (or manifest) of a block; raises SiteValueError for a value it cannot hold."""

    def queue_queries(self) -> tuple[tuple[str, ...], ...]:
        """Return the argument lists whose answers `parse_queues` reads."""

    def parse_queues(self, outputs: Sequence[str]) -> list[Queue]:
        """Return the queues in the answers; what cannot be read is left out."""

    def account_query(self, user: str) -> tuple[str, ...] | None:
        """Return the argument list that asks for the accounts of ``user``, or None where there are none."""

    def parse_accounts(self, output: str, user: str) -> list[str]:
        """Return the accounts in the answer."""


class WithoutQueues:
    """The detection half of a scheduler that has no queues and no accounts."""

    def queue_queries(self) -> tuple[tuple[str, ...], ...]:
        """Return nothing to ask."""
        return ()

    def parse_queues(self, outputs: Sequence[str]) -> list[Queue]:  # noqa: ARG002  the contract's signature
        """Return no queues."""
        return []

    def account_query(self, user: str) -> tuple[str, ...] | None:  # noqa: ARG002
        """Return None: there are no accounts."""
        return None

    def parse_accounts(self, output: str, user: str) -> list[str]:  # noqa: ARG002
        """Return no accounts."""
        return []


def render(template: str, block: Block, **values: Any) -> str:
    """Return a template of this folder filled with a block's fields, its settings as ``settings``, and ``values``."""
    text = _environment().get_template(template)
    return text.render(
        name=block.name,
        command=block.command.strip("\n"),
        stdout=block.stdout,
        stderr=block.stderr,
        nodes=block.nodes,
        tasks_per_node=block.tasks_per_node,
        walltime=block.walltime,
        worker_init=block.worker_init.strip("\n"),
        settings=block.settings,
        **values,
    )


def one_line(value: object) -> str:
    """Return a value for a directive, which ends with its line; raises SiteValueError where it would not."""
    text = str(value)
    if re.search(r"[\x00-\x1f\x7f\x85\u2028\u2029]", text):
        raise SiteValueError(
            f"a line break or control character in {text!r} would end the directive it stands in",
            hint="keep the value on one line; whole directive lines go into scheduler_options",
        )
    return text


def word(value: object) -> str:
    """Return a value for a directive that takes one word, such as a queue's name; raises SiteValueError else."""
    text = one_line(value)
    if not text or re.search(r"\s", text):
        raise SiteValueError(f"{text!r} must be one word to stand in a directive")
    return text


def directive_path(value: object) -> str:
    """Return a path for a directive, in double quotes where it has a space (Slurm, PBS and Flux read them)."""
    text = one_line(value)
    if '"' in text:
        raise SiteValueError(f"a double quote in the path {text!r} cannot stand in a directive")
    return f'"{text}"' if re.search(r"\s", text) else text


def seconds(walltime: str) -> int:
    """Return a wall time HH:MM:SS (hours may exceed 24) in seconds; raises ValueError."""
    hours, minutes, rest = (int(part) for part in walltime.split(":"))
    return hours * 3600 + minutes * 60 + rest


def clock(total: int) -> str:
    """Return seconds as HH:MM:SS."""
    return f"{total // 3600:02}:{total % 3600 // 60:02}:{total % 60:02}"


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # What is rendered is shell and YAML, where HTML's escapes would be wrong; both have filters of their own.
    environment = Environment(  # noqa: S701
        loader=PackageLoader("pilotage.schedulers", "templates"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(shell=shlex.quote, line=one_line, word=word, path=directive_path, yaml=_yaml)
    return environment


def _yaml(value: object) -> str:
    import json

    return json.dumps(value)  # every JSON text is YAML
