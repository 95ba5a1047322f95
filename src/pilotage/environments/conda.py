"""The recipe of a conda environment: exact packages for another host, and what pilotage needs beside them."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path

from packaging.tags import Tag
from packaging.utils import canonicalize_name

from pilotage import paths
from pilotage.environments import conda_build, conda_solve
from pilotage.environments.conda_fetch import fetch
from pilotage.environments.conda_file import CondaFile, hide, missing_extra, read
from pilotage.environments.conda_pip import pip_wheels
from pilotage.environments.conda_solve import Package
from pilotage.environments.fitting import tags_of
from pilotage.environments.installed import Installed, installed
from pilotage.environments.recipe import Facts, Recipe, file_digest
from pilotage.environments.wheels import Wheel, wheels_of
from pilotage.errors import UnsupportedError
from pilotage.sites.environments import Conda
from pilotage.worker.expected import PACKAGES

VERSION = 1
"""Of the way that these environments are made."""
TOOLS = ("conda", "mamba", "micromamba")
MINOR = "{}.{}".format(*sys.version_info[:2])
LIMIT = 3600.0


def recipe(environment: Conda, facts: Facts, say: Callable[[str], None], *, refresh: bool = False) -> Recipe:
    """Return how the environment is made on a host.

    Solves where that has not been done for this file, this Python and this platform, or where ``refresh`` asks for it,
    and fetches what is to be taken along. ``say`` is told of what takes time.

    Raises UsageError for what is wrong with the file, HostError for a channel that does not answer, UnsupportedError
    for a host that cannot have it, MissingExtraError, StorageError.
    """
    file = read(Path(environment.file).expanduser())
    target = conda_solve.target(facts.platform, facts.libc, MINOR)
    here = installed(sys.path)
    tool = _tool(environment, facts)
    rattler = _rattler(here, facts) if tool == "rattler" else None
    pinned = {name: here[name].version for name in PACKAGES if name in here}
    packages = conda_solve.solve(file, target, pinned, say, refresh=refresh)
    wheels = _wheels(packages, here, file, facts, say)
    carried = environment.source == "carried"
    if not carried:
        _check_channels(file, packages)
    files = fetch(packages, file.channels, say) if carried else {}
    digests = {package.file_name: package.sha256 or package.md5 for package in packages}
    files |= {wheel.path.name: wheel.path for wheel in wheels}
    starting = conda_build.start(file.variables)
    files["start"] = _kept(starting)
    if wheels:
        files["unpack_wheels.py"] = _program("unpack_wheels.py")
    if rattler:
        files |= {rattler.path.name: rattler.path, "link_packages.py": _program("link_packages.py")}
    return Recipe(
        kind="conda",
        title=f"{len(packages)} conda packages" + (f" and {len(wheels)} wheels" if wheels else ""),
        content={
            "version": VERSION,
            "python": MINOR,
            "platform": target.platform,
            "packages": {package.file_name: digests[package.file_name] for package in packages},
            "wheels": {wheel.path.name: wheel.digest for wheel in wheels},
            "start": hashlib.sha256(starting.encode()).hexdigest(),
            "programs": {name: file_digest(path) for name, path in sorted(files.items()) if name.endswith(".py")},
        },
        files=files,
        build=conda_build.script(
            packages,
            platform=target.platform,
            tool="" if rattler else facts.programs[tool],
            carried=carried,
            wheels=[wheel.path.name for wheel in wheels],
            rattler=rattler.path.name if rattler else "",
            oldest=_oldest(rattler),
        ),
        python=words(environment, "{prefix}"),
        expected={"python": MINOR} | pinned,
        limit=LIMIT,
    )


def words(environment: Conda, prefix: str, folders: Sequence[str] = ()) -> Sequence[str]:  # noqa: ARG001
    """Return the words that start Python of an environment in ``prefix``, with all that activation would set."""
    return [f"{prefix}/bin/{conda_build.STARTER}"]


def _tool(environment: Conda, facts: Facts) -> str:
    """Return what makes the environment there; raises UnsupportedError where it is not there."""
    if environment.tool == "auto":
        return next((tool for tool in TOOLS if tool in facts.programs), "rattler")
    if environment.tool != "rattler" and environment.tool not in facts.programs:
        raise UnsupportedError(
            f"there is no {environment.tool} on the host",
            where="environment.tool",
            hint='tool = "rattler" takes what is needed along; it needs any Python 3.10 there',
        )
    return environment.tool


def _rattler(here: Mapping[str, Installed], facts: Facts) -> Wheel:
    """Return the wheel of py-rattler, which runs on hosts of this machine's platform."""
    if "py-rattler" not in here:
        raise missing_extra(ModuleNotFoundError("py-rattler", name="py-rattler"))
    (wheel,) = wheels_of([here["py-rattler"]])
    if not _runs(wheel, facts):
        raise UnsupportedError(
            f"this machine's py-rattler does not run on {facts.platform} with glibc {facts.libc or '(none)'}",
            where="environment.tool",
            hint="install conda, mamba or micromamba there",
        )
    return wheel


def _runs(wheel: Wheel, facts: Facts) -> bool:
    """Return whether a wheel is for a host's system, processor and C library."""
    fit = tags_of(facts, MINOR)
    return any(Tag(*tag.split("-")) in fit for tag in wheel.tags)


def _oldest(rattler: Wheel | None) -> tuple[int, int]:
    """Return the oldest Python that runs a wheel of the stable interface, such as ``cp310-abi3``."""
    found = re.match(r"cp3(\d+)-abi3", rattler.tags[0]) if rattler else None
    return (3, int(found[1])) if found else (3, 10)


def _wheels(
    packages: Sequence[Package],
    here: Mapping[str, Installed],
    file: CondaFile,
    facts: Facts,
    say: Callable[[str], None],
) -> list[Wheel]:
    """Return wheels of what the file has for pip, and of what pilotage needs that is not among the packages."""
    there: dict[str, str] = {canonicalize_name(package.name): package.version for package in packages}
    if file.pip:
        wheels = [wheel for wheel in pip_wheels(file, there, say) if wheel.name not in there]
    else:
        missing = _missing("pilotage", here, there, say)
        wheels = wheels_of([here[name] for name in sorted(missing)], say)
    bad = [wheel for wheel in wheels if not _runs(wheel, facts)]
    if bad:
        raise UnsupportedError(
            f"what is installed here of {', '.join(wheel.name for wheel in bad)} is not for {facts.platform} with "
            f"glibc {facts.libc or '(none)'}",
            where=str(file.path),
            hint="add to its dependencies: " + ", ".join(f"{wheel.name}={wheel.version}" for wheel in bad),
        )
    return wheels


def _missing(
    root: str, here: Mapping[str, Installed], there: Mapping[str, str], say: Callable[[str], None]
) -> set[str]:
    """Return the names of what ``root`` needs that is installed here, and is not there."""
    seen: set[tuple[str, frozenset[str]]] = set()
    todo: list[tuple[str, frozenset[str]]] = [] if root in there else [(root, frozenset())]
    names: set[str] = set()
    while todo:
        one = todo.pop()
        name, extras = one
        if one in seen or name not in here:
            continue
        seen.add(one)
        names.add(name)
        for need in here[name].needs(extras):
            other = canonicalize_name(need.name)
            if other not in there:
                todo.append((other, frozenset(need.extras)))
            elif not need.specifier.contains(there[other], prereleases=True):
                say(f"{other} {there[other]} of the file is not what {name} asks for: {need.specifier}")
    return names


def _check_channels(file: CondaFile, packages: Sequence[Package]) -> None:
    """Raise UnsupportedError where the other side could not fetch by the channels' names alone."""
    for channel in file.channels:
        if channel.private != channel.url and hide(channel.private) != channel.private:
            raise UnsupportedError(
                f"the channel {channel.url} needs a password or token, which is not sent anywhere",
                where=str(file.path),
                hint='source = "carried" fetches here, and takes the packages along',
            )
    for package in packages:
        if not (package.sha256 or package.md5):
            raise UnsupportedError(
                f"the channel of {package.file_name} does not say its digest",
                where=str(file.path),
                hint='source = "carried" fetches here, and takes the packages along',
            )


def _program(name: str) -> Path:
    """Return the file of a program that is taken along."""
    return Path(str(resources.files("pilotage.environments.there") / name))


def _kept(text: str) -> Path:
    """Return a file with a text, which is kept under its digest."""
    path = conda_solve.folder("texts") / hashlib.sha256(text.encode()).hexdigest()
    if not path.exists():
        with paths.storage(path):
            paths.write_atomically(path, text)
    return path
