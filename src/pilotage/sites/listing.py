"""Sites as rows and text, for people and programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pilotage.errors import SiteError
from pilotage.sites.catalogue import Catalogue, Resolved


def summaries(catalogue: Catalogue) -> list[dict[str, Any]]:
    """Return name, scheduler, source and description of each site; a broken one says so in its description."""
    rows = []
    for name in catalogue.names():
        row: dict[str, Any] = {"name": name, "source": catalogue.source(name), "error": None}
        try:
            site = catalogue.resolve(name).site
            row |= {"scheduler": site.scheduler, "description": site.description}
        except SiteError as error:
            row |= {
                "scheduler": "?",
                "description": f"cannot be used: {error.message}",
                "error": error.as_dict(),
            }
        rows.append(row)
    return rows


def values_of(resolved: Resolved) -> dict[str, Any]:
    """Return all values of a site, defaults included, less those that are not set."""
    return resolved.site.values()


def origins_of(resolved: Resolved) -> list[dict[str, str]]:
    """Return key, value and origin of every value of a site, in the order of the model."""
    rows = []
    for path, value in _leaves(values_of(resolved), ()):
        rows.append({"key": ".".join(path), "value": toml_value(value), "origin": str(resolved.origin(*path))})
    return rows


def resolved_toml(resolved: Resolved) -> str:
    """Return a site as resolved, as TOML that could stand in a site file."""
    import tomlkit

    document = tomlkit.document()
    table = tomlkit.table()
    for key, value in values_of(resolved).items():
        if value not in ({}, [], ""):
            table.add(key, value)
    document.add("site", tomlkit.table(is_super_table=True).add(resolved.name, table))
    return tomlkit.dumps(document)


def toml_value(value: Any) -> str:
    """Return a value as TOML writes it."""
    import tomlkit

    return str(tomlkit.item(value).as_string())


def _leaves(data: Mapping[str, Any], prefix: tuple[str, ...]) -> list[tuple[tuple[str, ...], Any]]:
    found: list[tuple[tuple[str, ...], Any]] = []
    for key, value in data.items():
        if isinstance(value, Mapping):
            found += _leaves(value, (*prefix, key))
        else:
            found.append(((*prefix, key), value))
    return found
