"""What stores are told, from texts such as ``s3.endpoint_url=http://localhost:9000``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pilotage.errors import UsageError
from pilotage.sites.overrides import value
from pilotage.worker.data.places import ALIASES


def merged(options: Mapping[str, Mapping[str, Any]], assignments: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return options by scheme, with ``scheme.key=value`` in place of what they have.

    A value is TOML where it is TOML, else the text itself. Raises UsageError.
    """
    found = {scheme: dict(known) for scheme, known in options.items()}
    for one in assignments:
        path, equals, text = one.partition("=")
        scheme, dot, key = path.strip().partition(".")
        if not (equals and dot and scheme and key):
            raise UsageError(
                f"cannot read {path!r}", where="--option", hint="such as --option s3.endpoint_url=http://localhost:9000"
            )
        schemes = ("http", "https") if scheme == "http" else (ALIASES.get(scheme, scheme),)
        for name in schemes:
            found.setdefault(name, {})[key] = value(text)
    return found
