"""The open stores of this process: one for each host or bucket, for as long as the process lives."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from collections.abc import Sequence
from typing import Any

from pilotage.worker.data.base import Store, open_store
from pilotage.worker.data.context import Context
from pilotage.worker.data.places import Place

_lock = threading.Lock()
_open: dict[tuple[Any, ...], Store] = {}


def store_of(context: Context, place: Place, grant: Sequence[str] | None = None) -> Store:
    """Return the store that a place is in, with what a site says of its scheme.

    Parameters
    ----------
    grant: by which the driver lets a node have the place.
    """
    if place.scheme == "driver" and context.shared:
        place = place._replace(scheme="file")
    options = dict(context.options.get(place.scheme, {}))
    if grant and place.scheme == "driver":
        options["grant"] = grant
    # A child that a task forks has none of its parent's connections.
    key = (os.getpid(), place.scheme, place.host, *sorted((name, str(value)) for name, value in options.items()))
    with _lock:
        if key not in _open:
            if "grant" in options:
                return open_store(place, options)  # one for each file, over the process's one connection
            _open[key] = open_store(place, options)
        return _open[key]


@atexit.register
def close_all() -> None:
    """Close what is open."""
    with _lock:
        for key in [key for key in _open if key[0] == os.getpid()]:
            with contextlib.suppress(Exception):  # the process ends, and may have lost what it would need
                _open.pop(key).close()


__all__ = ["Store", "close_all", "store_of"]
