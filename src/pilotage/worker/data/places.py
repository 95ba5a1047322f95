"""A URL taken apart, as data stores mean it.

Names of files and objects are taken as they are written: ``#``, ``?`` and ``%`` are part of the name, but for http,
whose URLs are the server's own. Python's `urlsplit` would cut them off.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from pilotage.errors import UsageError, did_you_mean

ALIASES = {"pw": "driver", "sftp": "ssh", "gcs": "gs", "s3a": "s3"}
PATHS = frozenset({"file", "driver"})
"""Schemes of which all but the scheme is a path of some machine."""
WEB = frozenset({"http", "https"})
SCHEMES = ("file", "driver", "ssh", "s3", "gs", "http", "https")
"""Schemes that pilotage knows itself, without aliases."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")  # one letter is a drive of another system


class Place(NamedTuple):
    """Where something is kept.

    ``scheme`` is the store's kind, without aliases. ``host`` is what stands between ``//`` and the next ``/``: a
    bucket, a host with user and port, empty for paths. ``path`` is the rest: absolute or relative for paths, without
    a slash in front for buckets, absolute (or below home, ``~/x``) for hosts.
    """

    scheme: str
    host: str
    path: str
    url: str

    @property
    def name(self) -> str:
        """The last part of the path."""
        path = self.path.partition("?")[0] if self.scheme in WEB else self.path
        return path.rstrip("/").rpartition("/")[2]

    def __str__(self) -> str:
        return shown(self.url)


def place_of(url: str | os.PathLike[str]) -> Place:
    """Return where ``url`` points; what has no scheme is a path. Raises UsageError for a URL that points nowhere."""
    url = os.fspath(url)
    found = _SCHEME.match(url)
    if found is None:
        return Place("file", "", _path(url, url), url)
    scheme = found[1].lower()
    scheme, rest = ALIASES.get(scheme, scheme), url[found.end() :]
    if scheme in PATHS:
        return Place(scheme, "", _path(rest.removeprefix("//").removeprefix("localhost/") or rest, url), url)
    if not rest.startswith("//"):
        near = did_you_mean(scheme, [*SCHEMES, *ALIASES])
        raise UsageError(
            f"{shown(url)} has no // after its scheme",
            hint=near if near and scheme not in SCHEMES else f"such as {scheme}://somewhere/name",
        )
    host, slash, path = rest[2:].partition("/")
    if not host:
        raise UsageError(f"{shown(url)} names no host or bucket", hint=f"such as {scheme}://somewhere/name")
    if scheme == "ssh":
        path = path if path.startswith("~") else slash + path
    return Place(scheme, host, path, url)


def _path(path: str, url: str) -> str:
    if not path or "\0" in path:
        raise UsageError(f"{url!r} names no file")
    return path


def shown(url: str) -> str:
    """Return a URL without what it may have of secrets: a password before ``@``, and what signs a web address.

    Of a web address the user is not shown either.
    """
    found = _SCHEME.match(url)
    if found is None or not url.startswith("//", found.end()) or found[1].lower() in PATHS | {"pw"}:
        return url
    host, slash, path = url[found.end() + 2 :].partition("/")
    user, at, name = host.rpartition("@")
    is_web = found[1].lower() in WEB
    if at and is_web:  # a token may be in the user's place
        host = f"***@{name}"
    elif at and ":" in user:
        host = f"{user.partition(':')[0]}:***@{name}"
    if is_web and "?" in path:
        path = f"{path.partition('?')[0]}?..."
    return f"{url[: found.end()]}//{host}{slash}{path}"


def below(folder: str, path: str) -> str:
    """Return ``path`` below ``folder``; raises ValueError where it would not be below it.

    ``path`` comes from a listing, which may be anybody's.
    """
    padded = f"/{path}/"
    if "\0" in path or "//" in padded or "/./" in padded or "/../" in padded:
        raise ValueError(f"{path!r} would not be below its folder")
    return os.path.join(folder, path)
