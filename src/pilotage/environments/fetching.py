"""Packages for a host of another kind than this machine: the same versions, which uv fetches here in its place."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from packaging.tags import Tag

from pilotage.environments.fitting import OTHERWISE, misfits, version_of
from pilotage.environments.installed import Python, installed
from pilotage.environments.recipe import Facts
from pilotage.environments.resolving import keep, kept, resolution, run_uv
from pilotage.environments.wheels import Wheel, wheels_folder, wheels_of
from pilotage.errors import MissingExtraError, UnsupportedError, UsageError
from pilotage.paths import private_folder

GLIBC = (40, 39, 38, 37, 36, 35, 34, 33, 32, 31, 28, 17)
"""Minor versions of glibc that uv knows as platforms."""


def for_host(
    wheels: Sequence[Wheel], facts: Facts, tags: frozenset[Tag], python: Python, say: Callable[[str], object]
) -> list[Wheel]:
    """Return wheels for a host: where one is for this machine alone, that for the host in its place.

    Raises UnsupportedError where one cannot be had. It is not looked for where there is no uv, nor where the package
    came from no index; what then stays unfit is for `fitting.check_fit` to tell.
    """
    wanted = [it for it in misfits(wheels, tags) if it.indexed]
    platform = _platform(facts)
    if not wanted or platform is None:
        return list(wheels)
    try:
        fetched = {it.name: it for it in _fetched(wanted, platform, python, say)}
    except MissingExtraError:
        return list(wheels)
    except UsageError as error:
        raise UnsupportedError(
            f"what is installed here is not for the other side, which is {platform}, and {error.message}",
            hint=OTHERWISE,
        ) from error
    return [fetched.get(it.name, it) for it in wheels]


def _fetched(wanted: Sequence[Wheel], platform: str, python: Python, say: Callable[[str], object]) -> list[Wheel]:
    text = "".join(f"{it.name}=={it.version}\n" for it in sorted(wanted, key=lambda it: it.name))
    known = resolution(hashlib.sha256(f"{platform} {python.version}\n{text}".encode()).hexdigest()[:32])
    if (found := kept(known)) is not None:
        return found
    say(f"fetching {len(wanted)} packages for {platform}")
    with tempfile.TemporaryDirectory(dir=private_folder(wheels_folder()), prefix=".resolving-") as folder:
        listed = Path(folder, "requirements.txt")
        listed.write_text(text)
        words = ["pip", "install", "--python", python.executable, "--prefix", f"{folder}/prefix", "--no-deps"]
        words += ["--python-platform", platform, "--python-version", python.version, "--only-binary", ":all:"]
        run_uv([*words, "-r", str(listed)], Path.cwd(), listed)
        packages = [str(path) for path in Path(folder).glob("prefix/lib/python3*/site-packages")]
        wheels = wheels_of(sorted(installed(packages).values(), key=lambda it: it.name))
    keep(known, wheels)
    return wheels


def _platform(facts: Facts) -> str | None:
    """Return what uv calls the platform of a host, None where it has no name for it."""
    system, _, processor = facts.platform.partition("-")
    processor = {"arm64": "aarch64"}.get(processor, processor)
    if system == "darwin":
        return f"{processor}-apple-darwin"
    libc = version_of(facts.libc)
    if system != "linux" or libc is None:
        return f"{processor}-unknown-linux-musl" if system == "linux" else None
    minor = next((minor for minor in GLIBC if minor <= libc[1]), None)
    return f"{processor}-manylinux_2_{minor}" if minor is not None else None
