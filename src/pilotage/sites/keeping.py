"""How long runs are kept: the table ``[runs]`` of a site file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pilotage.errors import SiteValueError, did_you_mean

KEYS = ("keep", "max_size")
SPANS = {"m": 60, "h": 3600, "d": 86400, "w": 604800}
SIZES = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def seconds(text: object) -> float:
    """Return a span such as ``30d``, ``12h`` or ``2w`` in seconds; raises SiteValueError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([mhdw])", str(text), re.ASCII)
    if not found or not isinstance(text, str):
        raise SiteValueError(f"{text!r} is no span of time", hint='such as "30d", "12h" or "2w"')
    return float(found[1]) * SPANS[found[2]]


def size(text: object) -> int:
    """Return a size such as ``10GB`` in bytes; raises SiteValueError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]B)", str(text), re.ASCII)
    if not found or not isinstance(text, str):
        raise SiteValueError(f"{text!r} is no size", hint='such as "500MB" or "10GB"')
    return int(float(found[1]) * SIZES[found[2]])


def limits(table: Mapping[str, Any]) -> tuple[float | None, int | None]:
    """Return seconds that ended runs are kept and bytes that all of them may take, None for no limit.

    Raises SiteValueError for an unknown key and a wrong value.
    """
    for key in table:
        if key not in KEYS:
            raise SiteValueError(f"unknown key {key!r}", hint=did_you_mean(key, KEYS) or f"known: {', '.join(KEYS)}")
    keep, largest = table.get("keep"), table.get("max_size")
    return None if keep is None else seconds(keep), None if largest is None else size(largest)
