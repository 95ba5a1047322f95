"""Editable installs of this Python: source that workers elsewhere have no link to.

How a package is laid out decides how it was linked: by a line of a ``.pth`` file with the folder that it is in, or by a
finder of setuptools with a table of its packages.
"""

from __future__ import annotations

import ast
import importlib.metadata
import json
import re
from collections.abc import Iterator
from pathlib import Path

from pilotage.environments.sources import sources

OURS = {"pilotage", "parsl"}
"""Those that the workers' Python must have by itself."""
FINDER = re.compile(r"import (__editable___\w+_finder)\b")


def editable() -> Iterator[tuple[str, list[Path]]]:
    """Yield the name of each package that is installed so, with its folders or modules; ours are left out."""
    for found in importlib.metadata.distributions():
        name = found.metadata["Name"]
        if name and name.lower() not in OURS and _is_editable(found):
            yield name, list(linked_by(found))


def files_of(paths: list[Path]) -> dict[str, Path]:
    """Return the files of a package by their path in a folder to import from; raises UsageError where it is large."""
    files: dict[str, Path] = {}
    for path in paths:
        if path.is_file():
            files[path.name] = path
        elif (path / "__init__.py").exists():
            files.update({f"{path.name}/{below}": file for below, file in sources(path).items()})
        else:
            files.update(sources(path))
    return files


def _is_editable(found: importlib.metadata.Distribution) -> bool:
    try:
        return bool(json.loads(found.read_text("direct_url.json") or "{}").get("dir_info", {}).get("editable"))
    except (ValueError, AttributeError):
        return False


def linked_by(found: importlib.metadata.Distribution) -> Iterator[Path]:
    """Yield the folders and modules that an editable install is a link to."""
    for file in found.files or ():
        if file.suffix == ".pth":
            yield from _linked(Path(str(file.locate())))


def _linked(link: Path) -> Iterator[Path]:
    """Yield what a ``.pth`` file leads to."""
    try:
        lines = link.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        if finder := FINDER.match(line):
            yield from _of_finder(link.with_name(f"{finder[1]}.py"))
        elif line.strip() and not line.startswith(("#", "import ", "import\t")):
            folder = link.parent / line.rstrip()
            if folder.is_dir():
                yield folder


def _of_finder(finder: Path) -> Iterator[Path]:
    """Yield what the table of a finder names; it is read, not run: it may be another Python's."""
    for package, place in _mapping(finder).items():
        path = Path(place)
        if "." in package or path.with_suffix("").name != package:  # it is called otherwise, or within another
            continue
        yield path if path.is_dir() else path.with_suffix(".py")


def _mapping(finder: Path) -> dict[str, str]:
    try:
        lines = ast.parse(finder.read_bytes()).body
        for line in lines:
            target = line.targets[0] if isinstance(line, ast.Assign) else getattr(line, "target", None)
            if isinstance(target, ast.Name) and target.id == "MAPPING":
                return dict(ast.literal_eval(line.value))  # type: ignore[attr-defined]
    except (OSError, SyntaxError, TypeError, ValueError):
        pass
    return {}
