"""How long runs are kept, as the user's files say."""

from __future__ import annotations

from pilotage.sites import keeping
from pilotage.sites.catalogue import Catalogue


def limits() -> tuple[float | None, int | None]:
    """Return seconds and bytes; see `pilotage.sites.keeping.limits`. Raises SiteError."""
    table: dict[str, object] = {}
    for layer in Catalogue.load().layers:
        table.update(layer.data.get("runs", {}))
    return keeping.limits(table)
