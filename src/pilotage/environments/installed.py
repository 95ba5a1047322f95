"""What a Python has installed, and which of it makes up what a workflow needs.

A Python is seldom tidy: a virtual environment may look into the system's packages, and a base environment of conda has
conda itself. What can be made a wheel again goes along; what cannot is left out where nothing needs it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import Distribution
from pathlib import Path

from packaging.markers import UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from pilotage.errors import UsageError

TOOLS = {"distribute", "pip", "setuptools", "uv", "wheel"}
"""What installs packages: left out unless something needs it."""
ASK = "import json, sys; print(json.dumps([sys.path, '%d.%d' % sys.version_info[:2], sys.base_prefix]))"
LIBRARY = (".so", ".dylib")


@dataclass(frozen=True)
class Python:
    """An interpreter of this machine: how it is started, minor version, where it looks for packages, its own tree."""

    executable: str
    version: str
    path: tuple[str, ...]
    base: str

    @classmethod
    def of(cls, executable: str = sys.executable) -> Python:
        """Ask an interpreter; raises UsageError where it does not answer."""
        try:
            done = subprocess.run([executable, "-P", "-c", ASK], capture_output=True, text=True, check=True, timeout=60)
            path, version, base = json.loads(done.stdout)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            raise UsageError(f"this Python does not answer: {error}", where=executable) from error
        return cls(executable, version, tuple(path), base)


@dataclass(frozen=True)
class Installed:
    """One distribution that is installed: its normalized name, its version, and the folder of its metadata."""

    name: str
    version: str
    info: Path

    @cached_property
    def metadata(self) -> Distribution:
        """What it says of itself."""
        return Distribution.at(self.info)

    @cached_property
    def installer(self) -> str:
        """What has installed it: ``pip``, ``uv``, ``conda``, ``debian``, or nothing."""
        return (self.metadata.read_text("INSTALLER") or "").strip().lower()

    @cached_property
    def origin(self) -> dict[str, object]:
        """Where it comes from, as ``direct_url.json`` says; nothing where that is an index."""
        try:
            known = json.loads(self.metadata.read_text("direct_url.json") or "{}")
        except ValueError:
            return {}
        return known if isinstance(known, dict) else {}

    @property
    def editable(self) -> bool:
        """Whether it is a link to its source."""
        folder = self.origin.get("dir_info")
        return isinstance(folder, dict) and bool(folder.get("editable"))

    @property
    def label(self) -> str:
        """Name and version as pip writes them."""
        return f"{self.name}=={self.version}"

    @cached_property
    def trouble(self) -> str | None:
        """Why it cannot be made a wheel again, and what can be done; None where it can."""
        if self.editable:
            return None
        record = self.metadata.read_text("RECORD")
        if record is None or self.info.suffix != ".dist-info":
            return "nothing says which files are its own (it is the system's, or was installed long ago)"
        if self.installer == "conda" and _has_libraries(record):
            return "it is conda's, and its libraries need others of conda's"
        return None

    def needs(self, extras: Iterable[str] = ()) -> Iterator[Requirement]:
        """Yield what it requires here, with extras."""
        for line in self.metadata.requires or ():
            try:
                requirement = Requirement(line)
                marker = requirement.marker
                if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                    yield requirement
            except (InvalidRequirement, UndefinedEnvironmentName):  # of a package that is older than the rules
                continue


def installed(path: Sequence[str]) -> dict[str, Installed]:
    """Return what folders to import from have installed, by normalized name; the first of a name counts."""
    found: dict[str, Installed] = {}
    for folder in dict.fromkeys(path):
        for info in _metadata(Path(folder)):
            try:
                metadata = Distribution.at(info).metadata
            except OSError:
                continue
            name, version = metadata["Name"], metadata["Version"]
            if name and version:
                found.setdefault(canonicalize_name(name), Installed(canonicalize_name(name), version, info))
    return found


def to_carry(
    found: dict[str, Installed], given: Iterable[str] = (), *, named: bool = False
) -> tuple[list[Installed], list[Installed]]:
    """Return of what is installed what goes along, and what is left out, each by name.

    Parameters
    ----------
    found: what is installed.
    given: those for which there is a wheel already.
    named: whether names and versions are enough, of which the other side gets the rest.

    Raises UsageError, which names what would have to go but cannot.
    """
    given = set(given)
    conda = {name for name, it in found.items() if it.installer == "conda"}
    fit = {name for name, it in found.items() if it.trouble is None or name in given}
    # What a person has conda install is for the workflow, though nothing that is installed may ask for it.
    roots = (fit | conda) - TOOLS - _of_conda(found)
    needed = _closure(found, roots)
    if (bad := needed - fit) and not named:
        raise _cannot_go([found[name] for name in sorted(bad)])
    return [found[name] for name in sorted(needed)], [found[name] for name in sorted(set(found) - needed)]


def _closure(found: dict[str, Installed], roots: Iterable[str]) -> set[str]:
    """Return the names of what is installed of what ``roots`` require, and of what that requires, with the roots."""
    seen: set[tuple[str, frozenset[str]]] = set()
    todo = [(name, frozenset[str]()) for name in roots]
    while todo:
        if (one := todo.pop()) in seen:
            continue
        seen.add(one)
        name, extras = one
        todo += [
            (canonicalize_name(need.name), frozenset(need.extras))
            for need in found[name].needs(extras)
            if canonicalize_name(need.name) in found
        ]
    return {name for name, _ in seen}


def _of_conda(found: dict[str, Installed]) -> set[str]:
    """Return what only conda itself needs, in an environment that has conda."""
    tools = {
        name for name, it in found.items() if it.installer == "conda" and re.match(r"conda\b|libmamba|mamba", name)
    }
    if "conda" not in tools:
        return set()
    return {name for name in _closure(found, tools) if found[name].installer == "conda"}


def _cannot_go(bad: Sequence[Installed]) -> UsageError:
    words = ", ".join(it.label for it in bad[:5]) + (f" and {len(bad) - 5} more" if len(bad) > 5 else "")
    first = bad[0]
    if any(it.installer == "conda" for it in bad):
        hint = 'describe the environment to conda itself: kind = "conda"'
    else:
        hint = f"install it in a virtual environment of its own (pip install {first.label}), or give its wheel"
    return UsageError(
        f"{words} cannot be taken along: {first.trouble}",
        where=str(first.info),
        hint=f'{hint}; or name what workers need: requirements = "requirements.txt"',
    )


def _metadata(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError:  # a zip file, or nothing
        return []
    # What pip could not remove has a name with a tilde.
    return [it for it in entries if it.suffix in (".dist-info", ".egg-info") and not it.name.startswith("~")]


def _has_libraries(record: str) -> bool:
    paths = (line.rpartition(",")[0].rpartition(",")[0].strip('"') for line in record.splitlines())
    return any(path.endswith(LIBRARY) or ".so." in path for path in paths)
