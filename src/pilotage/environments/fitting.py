"""Which wheels are for a host: the tags of its system, processor and C library."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from pilotage.environments.recipe import Facts, file_digest
from pilotage.environments.wheels import Wheel
from pilotage.errors import UnsupportedError

MAC = (15, 0)
"""The version that a Mac is taken to have at least."""
OLD = {(2, 17): "manylinux2014", (2, 12): "manylinux2010", (2, 5): "manylinux1"}
OTHERWISE = 'let the other side fetch the same versions: source = "index"; or give a folder of its wheels: wheelhouse'
"""What can be done where packages are not for a host."""
FIRST = 5
"""The oldest minor version of glibc that wheels are for."""


def here() -> Facts:
    """Return what is known of this machine, but for its programs."""
    libc, version = platform.libc_ver()
    system = f"{platform.system()}-{platform.machine()}".lower()
    return Facts(system, version if libc == "glibc" else "", {}, str(Path.home()))


def tags_of(facts: Facts, python: str) -> frozenset[Tag]:
    """Return the tags of the wheels that a Python of a host takes; ``python`` is its minor version, as 3.11."""
    minor = int(python.partition(".")[2])
    platforms = list(_platforms(facts))
    return frozenset(
        [*cpython_tags((3, minor), platforms=platforms), *compatible_tags((3, minor), f"cp3{minor}", platforms)]
    )


def misfits(wheels: Iterable[Wheel], tags: frozenset[Tag]) -> list[Wheel]:
    """Return those of wheels that are not for the Python whose ``tags`` are given."""
    return [it for it in wheels if not any(Tag(*tag.split("-")) in tags for tag in it.tags)]


def check_fit(wheels: Iterable[Wheel], facts: Facts, tags: frozenset[Tag]) -> None:
    """Raise UnsupportedError, which names them, where wheels are not for a host whose ``tags`` are given."""
    if not (bad := misfits(wheels, tags)):
        return
    words = ", ".join(f"{it.name} {it.version}" for it in bad[:5]) + (f", {len(bad) - 5} more" if len(bad) > 5 else "")
    there, own = (f"{one.platform}{f' with glibc {one.libc}' if one.libc else ''}" for one in (facts, here()))
    raise UnsupportedError(
        f"what is installed here is not for the other side, which is {there}; this machine is {own}: {words}",
        hint=OTHERWISE,
    )


class Wheelhouse:
    """A folder of this machine with wheels.

    Parameters
    ----------
    folder: the folder.
    tags: those of the Python that is to have them.
    """

    def __init__(self, folder: Path, tags: frozenset[Tag]) -> None:
        self._found: dict[tuple[str, Version], Path] = {}
        self._tags: dict[Path, Sequence[Tag]] = {}
        for path in sorted(folder.glob("*.whl")):
            try:
                name, version, _, own = parse_wheel_filename(path.name)
            except (InvalidWheelFilename, InvalidVersion):
                continue
            if own & tags:
                self._found[name, version] = path
                self._tags[path] = sorted(own, key=str)

    def find(self, name: str, version: str) -> Wheel | None:
        """Return the wheel of a version of a package that is for that Python, None where there is none."""
        try:
            path = self._found.get((canonicalize_name(name), Version(version)))
        except InvalidVersion:
            return None
        if path is None:
            return None
        return Wheel(name, version, path, file_digest(path), tuple(str(tag) for tag in self._tags[path]))


def _platforms(facts: Facts) -> Iterator[str]:
    system, _, processor = facts.platform.partition("-")
    if system == "darwin":
        yield from mac_platforms(MAC, processor)
    elif system == "linux" and (libc := version_of(facts.libc)):
        for minor in range(libc[1], FIRST - 1, -1):
            yield f"manylinux_2_{minor}_{processor}"
            if (2, minor) in OLD:
                yield f"{OLD[2, minor]}_{processor}"
        own = version_of(here().libc)
        if own and own <= libc:  # what was compiled here is for what is here
            yield f"linux_{processor}"
    elif system == "linux":
        yield from (f"musllinux_1_{minor}_{processor}" for minor in (2, 1, 0))


def version_of(libc: str) -> tuple[int, int] | None:
    """Return a version of glibc as numbers, None where it is of another C library."""
    found = re.match(r"(2)\.(\d+)", libc)
    return (int(found[1]), int(found[2])) if found else None
