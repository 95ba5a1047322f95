"""The driver's own environment: ``pilotage run --env FILE`` makes it on this machine, and goes on in it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from pilotage.assembly.configs import Target
from pilotage.assembly.login import hosts_of
from pilotage.environments.equipment import Environment
from pilotage.errors import StorageError, UsageError
from pilotage.hosts.local import LocalHost
from pilotage.paths import expanded
from pilotage.sites.environments import Built, Conda, Venv
from pilotage.sites.models import BlockSite

INSIDE = "PILOTAGE_ENVIRONMENT"
"""Set for the process that goes on in an environment, to that environment."""
YAML = (".yml", ".yaml")


def wanted(file: str) -> Built:
    """Return the environment that a file describes: a conda YAML, or requirements. Raises UsageError."""
    path = expanded(file).absolute()
    if not os.path.isfile(path):  # noqa: PTH113  whatever is wrong with it
        what = f"{file} is no file" if os.path.exists(path) else f"there is no file {file}"  # noqa: PTH110
        raise UsageError(what, hint="--env takes a conda YAML, requirements.txt, uv.lock...")
    if "\n" in str(path) or "\r" in str(path):
        raise UsageError(f"--env: {str(path)!r} cannot be taken: its path has a line break in it")
    if path.suffix in YAML:
        return Conda(kind="conda", file=str(path))
    return Venv(kind="venv", requirements=str(path))


def is_inside(file: str) -> bool:
    """Return whether this process is the one that goes on in the environment of a file; it is to be asked once.

    Raises StorageError where it was to be, and is not: the environment's Python is in another place than it.
    """
    given, begin = os.environ.pop(INSIDE, ""), f"{expanded(file).absolute()}="
    if not given.startswith(begin):
        return False
    prefix = given.removeprefix(begin)
    if os.path.realpath(prefix) != os.path.realpath(sys.prefix):  # or it would be started for ever
        raise StorageError(f"its Python is not of it, but of {sys.prefix}", where=prefix)
    return True


def go_on_inside(file: str, words: Sequence[str], say: Callable[[str], object]) -> NoReturn:
    """Make the environment of a file where it is not there, and become ``pilotage WORDS`` in it.

    Raises a PilotageError where it cannot be made.
    """
    environment = Environment(wanted(file))
    here = LocalHost()
    store = environment.store(here)
    recipe = environment.recipe(store.facts(), say)
    prefix = store.ensure(recipe, say=say)
    python, *arguments = recipe.start(prefix)
    inside = {**os.environ, INSIDE: f"{expanded(file).absolute()}={prefix}"}
    try:
        os.execve(python, [python, *arguments, "-P", "-m", "pilotage", *words], inside)  # noqa: S606
    except OSError as error:
        raise StorageError(f"cannot be started: {error.strerror}", where=python) from error


def for_workers(file: str, chosen: Sequence[Target]) -> list[str]:
    """Return the assignments by which sites on other hosts get the environment that the driver is in.

    Where workers see this machine's files, they have it anyhow.
    """
    made = wanted(file)
    found = []
    for target in chosen:
        site = target.resolved.site if target.resolved is not None else None
        if not isinstance(site, BlockSite) or site.environment is not None or site.python is not None:
            continue
        if hosts_of(site):
            found.append(f"{target.label}:environment.kind={made.kind}")
            if isinstance(made, Conda):
                found.append(f"{target.label}:environment.file={made.file}")
    return found
