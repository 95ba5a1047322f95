"""From a site's ``environment`` to the Python that its workers are started by."""

from __future__ import annotations

import os
from pathlib import Path

from pilotage.environments.equipment import Environment
from pilotage.errors import SiteValueError
from pilotage.paths import expanded
from pilotage.sites.catalogue import Resolved
from pilotage.sites.environments import BUILT, PYTHON, Built, Container
from pilotage.sites.models import BlockSite, Site

FILES = ("requirements", "wheelhouse", "file", "definition")
"""Keys that name a file or folder of this machine."""


def python_of(site: Site) -> str | None:
    """Return what a site says that its workers' Python is: a path, a word, one that stands for what is yet to be made.

    None where it says nothing.
    """
    if not isinstance(site, BlockSite):
        return None
    if isinstance(site.environment, BUILT):
        return PYTHON
    return site.environment.python if site.environment is not None else site.python


def equipment(resolved: Resolved, site: BlockSite) -> Environment | None:
    """Return what makes the workers' Python of a site, None where nothing has to; nothing is made yet.

    Raises SiteValueError where a file that it is made of is not there.
    """
    if not isinstance(site.environment, BUILT):
        return None
    return Environment(with_files(resolved, site.environment))


def with_files(resolved: Resolved, environment: Built) -> Built:
    """Return an environment whose files are absolute paths: in a site file they are from that file's folder."""
    found = {}
    for key in FILES:
        given = getattr(environment, key, None)
        if given is not None:
            path = _folder_of(resolved, key) / expanded(given)
            if not os.path.exists(path):  # noqa: PTH110  whatever is wrong with it
                raise SiteValueError(f"there is no {path}", where=resolved.place("environment", key))
            found[key] = str(path)
    if isinstance(environment, Container) and (environment.image or "").startswith(("./", "../")):
        path = _folder_of(resolved, "image") / str(environment.image)
        if not path.is_file():
            hint = "of a folder there is to be an archive: tar -C FOLDER -cf image.tar ." if path.is_dir() else None
            raise SiteValueError(f"there is no file {path}", where=resolved.place("environment", "image"), hint=hint)
        found["image"] = f"file:{path}"
    return environment.model_copy(update=found)


def _folder_of(resolved: Resolved, key: str) -> Path:
    source = Path(resolved.origin("environment", key).source)
    return source.parent if source.is_absolute() else Path.cwd()
