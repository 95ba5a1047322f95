"""Virtual environments with the driver's packages, or those of a requirements file: wheels that are taken along.

The other side needs no index and no network. It needs a Python of the driver's minor version, and nothing else: uv goes
along where it has none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pilotage import events
from pilotage.environments.fetching import for_host
from pilotage.environments.fitting import Wheelhouse, check_fit, here, tags_of
from pilotage.environments.installed import Installed, Python, installed, to_carry
from pilotage.environments.interpreter import interpreter
from pilotage.environments.recipe import Facts, Recipe
from pilotage.environments.resolving import hashes, resolved, uv
from pilotage.environments.venv_script import PIP, REQUIREMENTS, TREE, UV, build
from pilotage.environments.wheels import Wheel, wheel_of, wheels_folder, wheels_of
from pilotage.errors import MissingExtraError, UsageError
from pilotage.paths import private_folder, storage, write_atomically
from pilotage.sites.environments import Venv

MADE = 1
"""Changes with the way in which environments are made."""

Say = Callable[[str], object]


def recipe(wanted: Venv, facts: Facts, say: Say = lambda _: None, python: Python | None = None) -> Recipe:
    """Return how the environment is made on such a host.

    Parameters
    ----------
    wanted: what the site says.
    facts: of the host.
    say: told what is being done.
    python: whose packages they are, and whose minor version; the one that this runs in, when not given.

    Raises UsageError where packages cannot be taken along or a requirements file cannot be resolved, UnsupportedError
    where they or their Python are not for the host, MissingExtraError where a requirements file wants uv.
    """
    python = python or Python.of()
    tags = tags_of(facts, python.version)
    source = interpreter(wanted.python, facts, python)
    by_name = wanted.source == "index"
    wheels, named = _packages(wanted, python, facts, say)
    if not by_name:
        wheels = for_host(wheels, facts, tags, python, say)
    check_fit(wheels, facts, tags)
    files = {wheel.path.name: wheel.path for wheel in wheels}
    tool = _tool(facts, python, files, of_host=by_name)
    if source.archive is not None:
        files[TREE] = source.archive
    lines = ""
    if named:
        files[REQUIREMENTS], lines = _list(wanted, named)
    versions = dict(sorted([*((wheel.name, wheel.version) for wheel in wheels), *named.items()]))
    content = {
        "made": MADE,
        "python": source.version,
        "interpreter": source.digest or source.path,
        "platform": facts.platform,
        "wheels": {wheel.name: [wheel.version, wheel.digest] for wheel in wheels},
        "requirements": lines,
    }
    return Recipe(
        "venv",
        f"{len(versions)} packages on Python {source.version}",
        content,
        files,
        build(source, tool, carried=bool(wheels), named=bool(named)),
        expected={"python": source.version, **versions},
    )


def _packages(wanted: Venv, python: Python, facts: Facts, say: Say) -> tuple[list[Wheel], dict[str, str]]:
    """Return the wheels to take along, and versions by name of what the other side gets from an index."""
    house = _folder(wanted.wheelhouse)
    by_name = wanted.source == "index"
    if wanted.requirements is not None:
        wheels = resolved(Path(wanted.requirements).expanduser().absolute(), house, python, say)
        if by_name:
            return _divided(wheels)
        return wheels, {}
    found = installed(python.path)
    given = _given(found, house, python, facts)
    chosen, left = to_carry(found, given, named=by_name)
    if left:
        names = [it.name for it in left]
        events.tell("left-out", f"workers go without what no package needs: {', '.join(names)}", packages=names)
    ready = [given[it.name] for it in chosen if it.name in given]
    rest = [it for it in chosen if it.name not in given]
    packed = [it for it in rest if it.origin or not by_name]
    named = {it.name: it.version for it in rest if it not in packed}
    return sorted([*ready, *wheels_of(packed, say)], key=lambda wheel: wheel.name), named


def _divided(wheels: Sequence[Wheel]) -> tuple[list[Wheel], dict[str, str]]:
    return [it for it in wheels if not it.indexed], {it.name: it.version for it in wheels if it.indexed}


def _given(found: Mapping[str, Installed], house: Path | None, python: Python, facts: Facts) -> dict[str, Wheel]:
    """Return what a folder has of wheels of what is installed, in the same versions and for the host."""
    if house is None:
        return {}
    wheels = Wheelhouse(house, tags_of(facts, python.version))
    known = ((name, wheels.find(name, it.version)) for name, it in found.items() if not it.editable)
    return {name: wheel for name, wheel in known if wheel is not None}


def _folder(name: str | None) -> Path | None:
    if name is None:
        return None
    folder = Path(name).expanduser().absolute()
    if not folder.is_dir():
        raise UsageError("there is no such folder of wheels", where=str(folder), hint="pip wheel -w FOLDER fills one")
    return folder


def _list(wanted: Venv, named: Mapping[str, str]) -> tuple[Path, str]:
    """Return a file with names, versions and what is known of hashes, and what it says."""
    known = {} if wanted.requirements is None else hashes(Path(wanted.requirements).expanduser().absolute())
    lines = []
    for name, version in sorted(named.items()):
        line = f"{name}=={version}"
        lines.append(" ".join([line, *(f"--hash={one}" for one in known.get(line, ()))]) + "\n")
    if not all("--hash" in line for line in lines):  # with one of them, pip wants all
        lines = [line.partition(" ")[0].rstrip() + "\n" for line in lines]
    text = "".join(lines)
    folder = private_folder(wheels_folder() / "resolved")
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.txt"
    with storage(path):
        write_atomically(path, text)
    return path, text


def _tool(facts: Facts, python: Python, files: dict[str, Path], *, of_host: bool) -> str:
    """Return what installs there: the path of a uv, or a name of `venv_script`; what goes along comes into ``files``.

    With ``of_host`` it is one that the host's own configuration is for: pip, where there is no uv.
    """
    if found := facts.programs.get("uv"):
        return found
    if not of_host and facts.platform == here().platform and facts.libc:
        try:
            files[UV] = Path(uv())
            return UV
        except MissingExtraError:
            pass
    pip = installed(python.path).get("pip")
    if pip is not None and pip.trouble is None:
        files[PIP] = wheel_of(pip).path
        return PIP
    return ""
