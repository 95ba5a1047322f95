"""The folders that workers import the script's own modules from."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Iterable


def driver_script_path() -> list[str]:
    """Return the entries of this process's import path that a worker's Python does not have by itself.

    Those are the script's folder, and what the script or PYTHONPATH added; the current folder by its full path. Not the
    standard library, nor what is installed, editable installs included.
    """
    own = {os.path.realpath(folder) for folder in _of_the_interpreter()}
    found = []
    for entry in sys.path:
        if not isinstance(entry, str):  # the import system ignores it too
            continue
        full = os.path.abspath(entry)  # noqa: PTH100  '' is the current folder, and links stay links
        if os.path.realpath(full) not in own and os.path.exists(full):  # noqa: PTH110  a folder, or a zip file
            found.append(full)
    return list(dict.fromkeys(found))


def _of_the_interpreter() -> list[str]:
    installed = [sysconfig.get_path(name) for name in ("purelib", "platlib")]
    # A virtual environment may see the packages of the Python that it was made with.
    installed += site.getsitepackages(list({sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}))
    installed.append(site.getusersitepackages())
    library = sysconfig.get_path("stdlib")
    archive = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
    standard = [
        library,
        sysconfig.get_path("platstdlib"),
        sysconfig.get_config_var("DESTSHARED"),
        os.path.join(library, "lib-dynload"),  # noqa: PTH118
        os.path.join(os.path.dirname(library), archive),  # noqa: PTH118, PTH120
    ]
    return [folder for folder in (*standard, *installed, *_linked(installed)) if folder]


def _linked(installed: Iterable[str]) -> list[str]:
    """Return the folders that .pth files add, such as those of editable installs."""
    found = []
    for folder in set(installed):
        try:
            names = [name for name in os.listdir(folder) if name.endswith(".pth")]  # noqa: PTH208
        except OSError:
            continue
        for name in names:
            try:
                with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:  # noqa: PTH118
                    lines = file.read().splitlines()
            except OSError:
                continue
            # As site.py reads them: other lines are comments or code.
            found += [
                os.path.join(folder, line.rstrip())  # noqa: PTH118
                for line in lines
                if line.strip() and not line.startswith(("#", "import ", "import\t"))
            ]
    return found
