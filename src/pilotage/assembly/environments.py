"""The environments of a site's workers, on each host that it is reached by."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pilotage.assembly.configs import machine
from pilotage.assembly.equipping import equipment
from pilotage.assembly.login import hosts_of
from pilotage.environments.recipe import Recipe
from pilotage.environments.store import Kept, Store
from pilotage.errors import UnsupportedError
from pilotage.hosts.base import Host
from pilotage.hosts.local import LocalHost
from pilotage.hosts.openssh import A_MOMENT, OpenSSHHost
from pilotage.paths import state_folder
from pilotage.sites.catalogue import Resolved
from pilotage.sites.models import BlockSite, KubernetesSite
from pilotage.worker import expected

Say = Callable[[str], object]


@dataclass(frozen=True)
class Place:
    """A host of a site, and the environments that are kept there.

    Parameters
    ----------
    host: the host.
    name: what it is called.
    store: its environments.
    """

    host: Host
    name: str
    store: Store


def block_site(resolved: Resolved) -> BlockSite:
    """Return the site as one whose workers have a Python of their own; raises UnsupportedError for others."""
    site = resolved.site
    if not isinstance(site, BlockSite) or not site.uses_blocks or isinstance(site, KubernetesSite):
        why = "its workers have their image" if isinstance(site, KubernetesSite) else "its tasks run in the driver"
        raise UnsupportedError(f"{resolved.name!r} has no environment: {why}", where=resolved.place("environment"))
    return site


def places(resolved: Resolved) -> Iterator[Place]:
    """Yield the hosts of a site with their environments; none is asked yet. Raises UnsupportedError, SiteValueError."""
    site = block_site(resolved)
    wanted = equipment(resolved, site)
    names = hosts_of(site)
    if not names:
        here = LocalHost()
        yield Place(here, "this machine", wanted.store(here) if wanted else _unnamed(here, ""))
    for name in names:
        host, runs = OpenSSHHost(name, stays=A_MOMENT), str(getattr(site, "run_folder", "~/.pilotage"))
        yield Place(host, name, wanted.store(host, runs) if wanted else _unnamed(host, runs))


def _unnamed(host: Host, runs: str) -> Store:
    return Store(host, f"{runs}/environments" if host.place else str(state_folder() / "environments"), runs)


def recipe(resolved: Resolved, place: Place, say: Say) -> Recipe | None:
    """Return how the environment is made on a host, None where nothing is; may take long."""
    wanted = equipment(resolved, block_site(resolved))
    if wanted is None:
        return None
    say(f"looking at {place.name}")
    return wanted.recipe(place.store.facts(), say)


def described(resolved: Resolved, place: Place, made: Recipe | None) -> dict[str, Any]:
    """Return what the environment of a site is on a host, as ``pilotage env show --json`` has it."""
    site = block_site(resolved)
    kind = site.environment.kind if site.environment is not None else "same"
    shown: dict[str, Any] = {"host": place.name, "kind": kind, "title": None, "digest": None, "path": None}
    shown |= {"built": None, "packages": {}, "python": machine(resolved).python, "activation": site.initialization}
    if made is None:
        return shown
    path = place.store.path(made)
    wanted = equipment(resolved, site)
    words = wanted.words(path, ()) if wanted is not None else []
    shown |= {"title": made.title, "digest": made.digest, "path": path, "packages": dict(made.expected)}
    return {**shown, "built": place.store.has(made), "python": shlex.join(words)}


def build(resolved: Resolved, place: Place, say: Say) -> tuple[Recipe | None, bool]:
    """Have the environment of a site on a host; return how it is made, and whether it was made now."""
    made = recipe(resolved, place, say)
    if made is None or (place.store.has(made) and not place.store.gone(made)):
        return made, False
    place.store.ensure(made, say=say)
    place.store.release()
    return made, True


def verify(resolved: Resolved, place: Place, say: Say) -> str | None:
    """Return what is wrong with the workers' Python on a host, None where it is as the driver needs it.

    Of one that is made there, that it is not there is wrong too.
    """
    site = block_site(resolved)
    made = recipe(resolved, place, say)
    if made is None:
        return _verify_there(site, place, [machine(resolved).python])
    if not place.store.has(made):
        return f"it is not there yet: pilotage env build {resolved.name}"
    return place.store.verify(made) or _verify_there(site, place, made.start(place.store.path(made)))


def _verify_there(site: BlockSite, place: Place, python: Sequence[str]) -> str | None:
    """Return what is wrong with a Python that is there, after the site's shell lines."""
    with open(expected.__file__, encoding="utf-8") as file:
        source = file.read()
    require = site.environment.require if site.environment is not None else []
    words = [f"{name}={version}" for name, version in expected.driver().items()]
    words += [f"require={''.join(expected.requirement(text))}" for text in require]
    # From a file, as on a node: what it does differs by how it is started.
    script = 'set -e; file=$(mktemp); trap \'rm -f -- "$file"\' EXIT; cat > "$file"; lines=$1; shift; '
    script += f'set +e; eval "$lines" </dev/null; {shlex.join(python)} "$file" "$@" -- -c pass </dev/null'
    argv = ["bash", "-c", script, "bash", site.initialization, *words]
    done = place.host.run(argv, timeout=120, stdin=source.encode())
    if done.ok:
        return None
    said = done.stderr.strip().splitlines()
    if not said:
        return f"exit code {done.exit_code}"
    before = [line for line in said[:-1] if line.strip()] if site.initialization else []
    why = f" (before, the site's shell lines said: {' / '.join(before[-3:])})" if before else ""
    return said[-1].removeprefix(expected.SAYS) + why


def prune(place: Place, days: float, digests: Sequence[str] = ()) -> list[tuple[Kept, str]]:
    """Remove what no run has asked for in so many days, or what is named alone; return what became of each."""
    before = time.time() - days * 86400
    chosen = [one for one in place.store.kept() if (one.digest in digests if digests else one.used <= before)]
    outcome = [(one, place.store.remove(one.digest)) for one in chosen]
    place.store.clear(max(math.ceil(days), 1))
    return outcome
