"""What a site says of its data, where its workers are: on a node by its pool's options, in a driver by its config."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

VARIABLE = "PILOTAGE_DATA"
"""Environment variable with a line ``name=value`` for each option; set by `pilotage.worker.pool`."""
SIZE = 20 * 10**9


@dataclass(frozen=True)
class Context:
    """What holds on a site.

    ``shared``: whether workers see the driver's filesystem. ``cache``: the folder in which inputs are kept for later
    runs too; None for one that ends with its block. ``cache_size``: bytes that are kept there at most. ``keep``:
    folder for those of failed tasks. ``options``: of each scheme's store.
    """

    shared: bool = True
    cache: str | None = None
    cache_size: int = SIZE
    keep: str | None = None
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """Return what differs from the default as ``name=value``, as `parsed` reads it."""
        found = [] if self.shared else ["shared=no"]
        found += [f"cache={self.cache}"] if self.cache is not None else []
        found += [f"cache_size={self.cache_size}"] if self.cache_size != SIZE else []
        found += [f"keep={self.keep}"] if self.keep is not None else []
        for scheme, options in sorted(self.options.items()):
            found += [f"{scheme}.{name}={_text(value)}" for name, value in sorted(options.items())]
        return found


def parsed(lines: Iterable[str]) -> Context:
    """Return what lines ``name=value`` say; raises ValueError for one that says nothing."""
    values: dict[str, Any] = {}
    options: dict[str, dict[str, Any]] = {}
    for line in lines:
        name, equals, value = line.partition("=")
        scheme, dot, option = name.partition(".")
        if not equals:
            raise ValueError(f"{line!r} is no name=value")
        if dot:
            options.setdefault(scheme, {})[option] = _value(value)
        elif name == "shared":
            values[name] = value != "no"
        elif name == "cache_size":
            values[name] = int(value)
        elif name in ("cache", "keep"):
            values[name] = os.path.expandvars(os.path.expanduser(value))
        else:
            raise ValueError(f"{name!r} is nothing that is said of data")
    return Context(**values, options=options)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    # A profile may be called 2024: in quotes, a text that looks like something else is a text.
    return (
        json.dumps(text) if isinstance(value, str) and (text[:1] == '"' or not isinstance(_value(text), str)) else text
    )


def _value(text: str) -> Any:
    if text[:1] == '"':
        return json.loads(text)
    if text in ("yes", "no"):
        return text == "yes"
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        return text


_here: list[Context] = []


def here() -> Context:
    """Return what holds in this process."""
    if not _here:
        given = os.environ.pop(VARIABLE, "")
        _here.append(parsed(given.splitlines()) if given else Context())
    return _here[0]


def set_here(context: Context) -> None:
    """Let ``context`` hold in this process, such as a driver whose workers are its threads."""
    _here[:] = [context]
