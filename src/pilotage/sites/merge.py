"""Deep merging of site tables, with the origin of each value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Path = tuple[str, ...]


@dataclass(frozen=True)
class Origin:
    """Where a value was written.

    ``source`` is a file's path, ``built-in`` or ``--set``; ``line`` counts from 1 and is None where there are no lines.
    """

    source: str
    line: int | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"


@dataclass(frozen=True)
class Table:
    """A nested table and the origin of each of its values (keyed by path, tables themselves included)."""

    data: dict[str, Any] = field(default_factory=dict)
    origins: dict[Path, Origin] = field(default_factory=dict)

    @classmethod
    def of(cls, data: Mapping[str, Any], origin: Callable[[Path], Origin]) -> Table:
        """Return ``data`` with ``origin(path)`` for every value and table in it."""
        return cls(_copy(data), {path: origin(path) for path in walk(data)})

    def under(self, over: Table) -> Table:
        """Return this table with ``over`` merged onto it: tables merge, every other value replaces."""
        data = _copy(self.data)
        origins = dict(self.origins)
        _merge(data, over.data, origins, over.origins, ())
        return Table(data, origins)

    def origin(self, path: Path) -> Origin | None:
        """Return the origin of ``path``, else of the nearest table around it."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.origins:
                return self.origins[path[:length]]
        return None

    def without(self, key: str) -> Table:
        """Return this table less its top-level ``key``."""
        data = {name: value for name, value in self.data.items() if name != key}
        return Table(data, {path: at for path, at in self.origins.items() if path[:1] != (key,)})


def walk(data: Mapping[str, Any], prefix: Path = ()) -> Iterator[Path]:
    """Yield the path of every value and table in ``data``."""
    for key, value in data.items():
        yield (*prefix, key)
        if isinstance(value, Mapping):
            yield from walk(value, (*prefix, key))


def nested(path: Path, value: Any) -> dict[str, Any]:
    """Return ``{a: {b: value}}`` for the path ``(a, b)``."""
    for key in reversed(path):
        value = {key: value}
    result: dict[str, Any] = value
    return result


def _another_class(below: Mapping[str, Any], above: Mapping[str, Any]) -> bool:
    # The arguments of one launcher, provider or kind of environment mean nothing to another.
    return any(key in above and key in below and above[key] != below[key] for key in ("class", "kind"))


def _copy(value: Any) -> Any:
    return {key: _copy(item) for key, item in value.items()} if isinstance(value, Mapping) else value


def _merge(
    data: dict[str, Any],
    over: Mapping[str, Any],
    origins: dict[Path, Origin],
    over_origins: Mapping[Path, Origin],
    prefix: Path,
) -> None:
    for key, value in over.items():
        path = (*prefix, key)
        if isinstance(value, Mapping) and isinstance(data.get(key), dict) and not _another_class(data[key], value):
            _merge(data[key], value, origins, over_origins, path)
            continue
        for old in [known for known in origins if known[: len(path)] == path]:
            del origins[old]
        data[key] = _copy(value)
        for new in (path, *walk(value, path)) if isinstance(value, Mapping) else (path,):
            if new in over_origins:
                origins[new] = over_origins[new]
