"""From pydantic's errors to messages with file, line, key, expectation and hint."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pilotage.errors import SiteValueError, did_you_mean
from pilotage.sites.environments import KINDS
from pilotage.sites.merge import Path, Table
from pilotage.sites.models import MODELS, SCHEDULERS, Site


def validated(name: str, table: Table) -> Site:
    """Return the model of the merged table of site ``name``; raises SiteValueError with every problem."""
    model = _model(name, table)
    try:
        return model.model_validate(_with_numbers_as_text(table, model))
    except ValidationError as error:
        problems = [_problem(name, table, detail) for detail in error.errors(include_url=False)]
    first = problems[0]
    if len(problems) == 1:
        raise first
    others = "".join(f"\n{problem.where}: {problem.message}" for problem in problems[1:])
    hints = [problem.hint for problem in problems if problem.hint]
    together = SiteValueError(first.message + others, where=first.where, hint="; ".join(hints) or None)
    together.problems = tuple(problems)
    raise together


def _model(name: str, table: Table) -> type[Site]:
    """Return the model that the key ``scheduler`` chooses."""
    given = table.data.get("scheduler")
    if isinstance(given, str) and given in MODELS:
        return MODELS[given]
    where = _place(name, table, ("scheduler",) if given is not None else ())
    if given is None:
        hint = f'one of {", ".join(SCHEDULERS)}; or extends = "a site"'
        raise SiteValueError("missing required key 'scheduler'", where=where, hint=hint)
    near = did_you_mean(str(given), SCHEDULERS)
    known = f"known schedulers: {', '.join(SCHEDULERS)}"
    hint = f"{near}; {known}" if near else known
    raise SiteValueError(f"unknown scheduler {str(given)!r}", where=where, hint=hint)


def _place(name: str, table: Table, path: Path) -> str:
    at = table.origin(path)
    key = ".".join(("site", name, *path))
    return f"{at}: {key}" if at else key


def _with_numbers_as_text(table: Table, model: type[Site]) -> dict[str, Any]:
    # `--set account=1234` reads as a number, and a shell user has no easy way to quote it for TOML.
    data = dict(table.data)
    for key, field in model.model_fields.items():
        given = data.get(key)
        origin = table.origins.get((key,))
        if isinstance(given, int) and not isinstance(given, bool) and origin and origin.source == "--set":
            data[key] = str(given) if _takes_only_text(field.annotation) and key != "walltime" else given
    return data


def _takes_only_text(annotation: Any) -> bool:
    inner = [part for part in get_args(annotation) if isinstance(part, type) or get_args(part)]
    if annotation is str or annotation is type(None):
        return True
    return bool(inner) and all(_takes_only_text(part) for part in inner)


def _problem(name: str, table: Table, detail: ErrorDetails) -> SiteValueError:
    path = _key_path(detail["loc"], table)
    message, hint = _words(detail, path, table)
    return SiteValueError(message, where=_place(name, table, path), hint=hint)


def _key_path(location: Sequence[int | str], table: Table) -> Path:
    # List indices and union members are no keys of the file.
    path: Path = ()
    node: Any = table.data
    for part in location:
        if not isinstance(part, str) or (not isinstance(node, dict)):
            break
        if part not in node and part == node.get("kind"):  # the member that this key has chosen
            continue
        path += (part,)
        node = node.get(part)
    return path


def _words(detail: ErrorDetails, path: Path, table: Table) -> tuple[str, str | None]:
    kind = detail["type"]
    value = detail.get("input")
    scheduler = str(table.data.get("scheduler", ""))
    if kind == "missing":
        chosen = _at(table.data, path[:-1]).get("kind") if len(path) > 1 else None
        owner = f"an environment of kind {chosen!r}" if chosen else f"a site of scheduler {scheduler!r}"
        return f"missing required key {path[-1]!r}", f"{owner} needs it"
    if kind == "union_tag_not_found":
        return f"missing required key 'kind' in {path[-1]!r}", f"one of {', '.join(KINDS)}"
    if kind == "union_tag_invalid":
        given = str(_at(table.data, path).get("kind"))
        return f"unknown kind {given!r}", did_you_mean(given, KINDS) or f"one of {', '.join(KINDS)}"
    if kind == "extra_forbidden":
        known_keys = _fields(scheduler, path[:-1], table.data)
        near = did_you_mean(path[-1], known_keys)
        return f"unknown key {path[-1]!r}", near or f"known keys: {', '.join(sorted(known_keys))}"
    if isinstance(value, (datetime.time, datetime.date)):
        return f"expected a string, got the TOML time {value}", f'put it in quotes: {path[-1]} = "{value}"'
    if path == ("walltime",) and kind == "string_pattern_mismatch":
        return f"expected HH:MM:SS, got {value!r}", 'such as walltime = "01:30:00"'
    if kind == "string_pattern_mismatch":
        return f"expected one line without a line break, got {value!r}", None
    if kind == "value_error":
        return detail["msg"].removeprefix("Value error, "), None
    expected = detail["msg"].replace("Input should be", "expected")
    return f"{expected}, got {value!r}", None


def _at(data: Any, path: Path) -> dict[str, Any]:
    """Return the table at a path, an empty one where there is none."""
    for part in path:
        data = data.get(part) if isinstance(data, dict) else None
    return data if isinstance(data, dict) else {}


def _fields(scheduler: str, path: Path, data: Any) -> list[str]:
    model: Any = MODELS.get(scheduler, Site)
    for number, part in enumerate(path, 1):
        inner = model.model_fields.get(part)
        model = _member(getattr(inner, "annotation", None), _at(data, path[:number]).get("kind"))
        if model is None:
            return []
    return [*model.model_fields, *([] if path else ["extends"])]


def _member(annotation: Any, kind: Any) -> Any:
    """Return the model that an annotation stands for, of several the one that the key ``kind`` chooses."""
    if hasattr(annotation, "model_fields"):
        field = annotation.model_fields.get("kind")
        return annotation if field is None or kind in get_args(field.annotation) else None
    found = (_member(part, kind) for part in get_args(annotation))
    return next((one for one in found if one is not None), None)
