"""The catalogue: all sites that are known here, and where each value comes from.

Precedence, lowest first: built in, the centre's own (entry points, then ``/etc/xdg/pilotage``), the user's, the
project's, and ``--set``. A site of the same name is merged onto the one below it; ``extends`` takes another site
as the base.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from pilotage import paths
from pilotage.errors import ExtendsError, SiteFileError, SiteValueError, UnknownSiteError, UsageError, did_you_mean
from pilotage.sites import keeping
from pilotage.sites.lines import key_lines
from pilotage.sites.merge import Origin, Table
from pilotage.sites.models import Site
from pilotage.sites.validation import validated

TOP_LEVEL = ("site", "default_site", "runs")
ENTRY_POINTS = "pilotage.sites"
BUILT_IN = Path(__file__).with_name("builtin.toml")


@dataclass(frozen=True)
class Layer:
    """One source of sites: a name for people, the text, and its parsed content."""

    source: str
    text: str
    data: Mapping[str, Any]

    @cached_property
    def _lines(self) -> dict[tuple[str, ...], int]:
        return key_lines(self.text)

    def origin(self, path: tuple[str, ...]) -> Origin:
        """Return file and line of ``path`` (the table around it where the key has none)."""
        for length in range(len(path), 0, -1):
            if path[:length] in self._lines:
                return Origin(self.source, self._lines[path[:length]])
        return Origin(self.source)

    def table(self, name: str) -> Table:
        """Return the site ``name`` of this layer with the origins of its values."""
        return Table.of(self.data["site"][name], lambda path: self.origin(("site", name, *path)))

    @classmethod
    def parse(cls, source: str, text: str) -> Layer:
        """Read ``text``; raises SiteFileError naming source and line."""
        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise SiteFileError(f"not valid TOML: {error}", where=source) from error
        layer = cls(source, text, data)
        layer._check_shape()
        return layer

    @classmethod
    def read(cls, path: Path) -> Layer:
        """Read a file; raises SiteFileError."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SiteFileError(f"cannot be read: {error}", where=str(path)) from error
        return cls.parse(str(path), text)

    def _check_shape(self) -> None:
        for key in self.data:
            if key not in TOP_LEVEL:
                at = self.origin((key,))
                raise SiteValueError(
                    f"unknown key {key!r}; a site file has {', '.join(TOP_LEVEL)}",
                    where=str(at),
                    hint=did_you_mean(key, TOP_LEVEL) or f"sites are tables: [site.{key}]",
                )
        sites = self.data.get("site", {})
        if not isinstance(sites, dict):
            raise SiteValueError(
                f"expected a table, got {sites!r}",
                where=f"{self.origin(('site',))}: site",
                hint="sites are [site.NAME]",
            )
        for name, table in sites.items():
            if not isinstance(table, dict):
                at = self.origin(("site", name))
                raise SiteValueError(
                    f"expected a table, got {table!r}",
                    where=f"{at}: site.{name}",
                    hint=f"write [site.{name}]",
                )
        if not isinstance(self.data.get("default_site", ""), str):
            raise SiteValueError("expected a site's name", where=f"{self.origin(('default_site',))}: default_site")
        self._check_runs()

    def _check_runs(self) -> None:
        table = self.data.get("runs", {})
        place = f"{self.origin(('runs',))}: runs"
        if not isinstance(table, dict):
            raise SiteValueError(f"expected a table, got {table!r}", where=place, hint='[runs], then keep = "30d"')
        for key, value in table.items():
            try:
                keeping.limits({key: value})
            except SiteValueError as error:
                place = f"{self.origin(('runs', key))}: runs.{key}"
                raise SiteValueError(error.message, where=place, hint=error.hint) from error


@dataclass(frozen=True)
class Resolved:
    """A site ready for use: its model, the merged table, and the origin of each value."""

    name: str
    site: Site
    table: Table

    def origin(self, *path: str) -> Origin:
        """Return where the value at ``path`` was written; ``default`` where nobody wrote it."""
        return self.table.origins.get(path) or Origin("default")

    def place(self, *path: str) -> str:
        """Return ``file:line: site.NAME.key`` for messages."""
        at = self.table.origin(path)
        return f"{at}: {key_name(self.name, path)}" if at else key_name(self.name, path)


def key_name(site: str, path: Sequence[str]) -> str:
    """Return the dotted name of a key as it is written in a site file."""
    return ".".join(("site", site, *path))


@dataclass(frozen=True)
class Catalogue:
    """Sites by name, from layers of rising precedence."""

    layers: Sequence[Layer]
    warnings: Sequence[str] = field(default=())

    @classmethod
    def load(cls, fallback: Path | None = None) -> Catalogue:
        """Read all layers.

        The project's file is looked for in the current folder and above, then in ``fallback`` (a script's folder)
        and above.
        """
        layers = [_builtin(), *_entry_points()]
        warnings: list[str] = []
        project = paths.project_site_file(Path.cwd())
        if project is None and fallback is not None:
            project = paths.project_site_file(fallback)
        for path in (*paths.system_site_files(), paths.user_site_file(), project):
            if path is None or not _exists(path) or any(layer.source == str(path) for layer in layers):
                continue
            if path == project and not _trusted(path):
                warnings.append(f"{path} is ignored: it belongs to another user, and a site file can run commands")
                continue
            layers.append(Layer.read(path))
        return cls(layers, warnings)

    def names(self) -> list[str]:
        """Return the names of all sites, sorted."""
        return sorted({name for layer in self.layers for name in layer.data.get("site", {})})

    @property
    def place_of_default(self) -> str | None:
        """Where ``default_site`` was written, or None."""
        chosen = [layer.origin(("default_site",)) for layer in self.layers if "default_site" in layer.data]
        return f"{chosen[-1]}: default_site" if chosen else None

    @property
    def default_site(self) -> str:
        """The site that is used when none is named."""
        chosen = [layer.data["default_site"] for layer in self.layers if "default_site" in layer.data]
        return chosen[-1] if chosen else "laptop"

    def resolve(self, name: str, overrides: Sequence[Table] = ()) -> Resolved:
        """Return the site ``name`` with ``overrides`` merged on top.

        Raises UnknownSiteError, ExtendsError or SiteValueError.
        """
        table, over = self._extended(name, ()), Table()
        for override in overrides:
            if "extends" in override.data:
                where = str(override.origin(("extends",)))
                raise UsageError("extends cannot be set from outside", where=where, hint="name the other site instead")
            over = over.under(override)  # together, in whichever order: a class or a kind replaces what is below
        table = _merged(table, over).without("extends")
        return Resolved(name, validated(name, table), table)

    def source(self, name: str) -> str:
        """Return the source of highest precedence that has the site ``name``."""
        found = next(layer.source for layer in reversed(self.layers) if name in layer.data.get("site", {}))
        return "built-in" if found == str(BUILT_IN) else found

    def _table(self, name: str) -> Table:
        table = Table()
        for layer in self.layers:
            if name in layer.data.get("site", {}):
                table = _merged(table, layer.table(name))
                table.origins[()] = layer.origin(("site", name))
        return table

    def _extended(self, name: str, seen: tuple[str, ...]) -> Table:
        if name not in self.names():
            raise UnknownSiteError(f"there is no site {name!r}", hint=self._suggestion(name))
        table = self._table(name)
        base = table.data.get("extends")
        if base is None:
            return table
        at = f"{table.origin(('extends',))}: {key_name(name, ('extends',))}"
        if not isinstance(base, str):
            raise SiteValueError(f"expected a site's name, got {base!r}", where=at)
        if base in (*seen, name):
            circle = " -> ".join((*seen[seen.index(base) if base in seen else len(seen) :], name, base))
            raise ExtendsError(
                f"extends comes back to where it started: {circle}",
                where=at,
                hint="a site of the same name in a file of higher precedence is merged without extends",
            )
        if base not in self.names():
            raise ExtendsError(f"extends {base!r}, and there is no such site", where=at, hint=self._suggestion(base))
        below = self._extended(base, (*seen, name))
        merged = _merged(below, table)
        merged.origins[()] = table.origins[()]
        return merged

    def _suggestion(self, name: str) -> str:
        near = did_you_mean(name, self.names())
        known = f"known sites: {', '.join(self.names())}"
        return f"{near}; {known}" if near else known


def _merged(below: Table, above: Table) -> Table:
    """Return a site with what is said above merged onto it; what starts the workers is said one way at a time."""
    environment = above.data.get("environment")
    if "python" not in above.data and isinstance(environment, Mapping) and "kind" in environment:
        below = below.without("python")
    elif "python" in above.data and environment is None:
        below = below.without("environment")
    return below.under(above)


def _builtin() -> Layer:
    return Layer.parse(str(BUILT_IN), BUILT_IN.read_text(encoding="utf-8"))


def _entry_points() -> list[Layer]:
    """Return the layers of installed packages: each entry point is a path or text resource, or a call giving one."""
    layers = []
    for entry in sorted(metadata.entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        try:
            found = entry.load()
            path = Path(found() if callable(found) else found)
        except Exception as error:  # a centre's package is foreign code: name it, whatever it raised
            raise SiteFileError(
                f"the entry point {entry.value!r} failed: {error}", where=f"{ENTRY_POINTS}:{entry.name}"
            ) from error
        layers.append(Layer.read(path))
    return layers


def _exists(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def _trusted(path: Path) -> bool:
    return path.stat().st_uid in (0, os.geteuid())
