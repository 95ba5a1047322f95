"""``--set key=value`` and keyword overrides, as tables that merge onto a site."""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from pilotage.errors import UsageError
from pilotage.sites.merge import Origin, Table, nested

SOURCE = Origin("--set")


def parse(assignments: Sequence[str], label: str | None = None) -> list[Table]:
    """Return the tables of ``key=value`` texts that apply to ``label``.

    A key is dotted (``engine.serializer``), and may be bound to one site of several (``gpu:walltime``). A value
    is read as TOML (``4``, ``true``, ``["0,1"]``); what is not TOML, and a bare time, is a string.
    """
    tables = []
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        target, colon, rest = key.partition(":")
        key = (rest if colon else key).strip()
        if not equals or not key or not all(part.strip() for part in key.split(".")):
            raise UsageError(
                f"cannot read {assignment!r}",
                where="--set",
                hint="write --set key=value, such as --set max_blocks=4",
            )
        if colon and target.strip() != label:
            continue
        path = tuple(part.strip() for part in key.split("."))
        tables.append(Table.of(nested(path, value(text)), lambda _: SOURCE))
    return tables


def labels(assignments: Sequence[str]) -> set[str]:
    """Return the labels to which assignments are bound (``gpu`` of ``gpu:walltime=...``)."""
    bound = (assignment.partition("=")[0].partition(":") for assignment in assignments)
    return {label.strip() for label, colon, _ in bound if colon}


def from_mapping(values: Mapping[str, Any]) -> list[Table]:
    """Return keyword overrides as a table; nested dictionaries merge like nested TOML tables."""
    return [Table.of(values, lambda _: Origin("override"))] if values else []


def value(text: str) -> Any:
    """Return a ``--set`` value: TOML where it is TOML, else the text itself."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    if parsed.keys() != {"value"} or isinstance(parsed["value"], (datetime.date, datetime.time)):
        return text  # 01:00:00 is a wall time here, not a time of day
    return parsed["value"]
