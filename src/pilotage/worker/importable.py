"""Whether another process finds a module by its name."""

from __future__ import annotations

import functools
import sys
from pathlib import Path


@functools.cache
def is_importable(name: str) -> bool:
    """Return whether importing ``name`` elsewhere gives the module that is here under this name.

    It does not for a file that was loaded from its path, without a folder of ``sys.path`` leading to it.
    """
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if name == "__main__" or module is None:
        return False
    if not file or not file.endswith(".py") or module.__name__ != name:
        return True  # built in, an extension, made by a library's own importer, or a second name
    package, _, _ = name.rpartition(".")
    path = getattr(sys.modules.get(package), "__path__", None) if package else None
    if package and (path is None or not is_importable(package)):
        return False
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        spec = find(name, path) if find is not None else None
        if spec is not None and spec.loader is not None:
            # A frozen module of the standard library has a file, but its spec does not say so.
            return not spec.has_location or _same_file(str(spec.origin), file)
    return False


def _same_file(one: str, other: str) -> bool:
    try:
        return Path(one).samefile(other)
    except OSError:  # frozen and zipped modules have no file
        return one == other
