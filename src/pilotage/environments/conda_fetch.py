"""The archives of conda packages, fetched once and kept under their digests."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pilotage import paths
from pilotage.environments.conda_file import Channel, hide
from pilotage.environments.conda_solve import Package, apart, client, folder, plain
from pilotage.errors import HostError, StorageError

AT_ONCE = 8
"""Downloads at a time."""


def fetch(packages: Sequence[Package], channels: Sequence[Channel], say: Callable[[str], None]) -> dict[str, Path]:
    """Return the archive of each package by its file's name; raises HostError, StorageError.

    An archive that is not the one that the channel's index names is refused.
    """
    kept = folder("packages")
    archives = {
        package.file_name: kept / f"{package.sha256 or package.md5}-{package.file_name}" for package in packages
    }
    missing = [package for package in packages if not archives[package.file_name].exists()]
    for package in packages:
        if package not in missing:
            os.utime(archives[package.file_name])
    if missing:
        size = sum(package.size for package in missing) / 1e6
        say(f"fetching {len(missing)} conda packages" + (f", {size:.0f} MB" if size >= 1 else ""))
        apart(_fetch_all([(package, archives[package.file_name]) for package in missing], channels))
    return archives


async def _fetch_all(wanted: Sequence[tuple[Package, Path]], channels: Sequence[Channel]) -> None:
    places = asyncio.Semaphore(AT_ONCE)
    asking = client()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_caught(_fetch(package, to, channels, asking, places))) for package, to in wanted]
    for task in tasks:
        if (error := task.result()) is not None:
            raise error


async def _caught(work: Any) -> Exception | None:
    """Return what ``work`` raises, so that the others come to their end: what they fetch is kept."""
    try:
        await work
    except Exception as error:
        return error
    return None


async def _fetch(
    package: Package, to: Path, channels: Sequence[Channel], asking: Any, places: asyncio.Semaphore
) -> None:
    from rattler.package_streaming import download_to_path

    part = to.with_name(f".{secrets.token_hex(4)}-{to.name}")
    async with places:
        try:
            if package.url.startswith("file:"):
                shutil.copyfile(unquote(urlsplit(package.url).path), part)
            else:
                await download_to_path(asking, _private(package.url, channels), part)
            _check(package, part)
            with paths.storage(to):
                part.replace(to)
        except (HostError, StorageError):
            raise
        except Exception as error:  # rattler's many, none of which shall show a password
            words = plain(str(error), {channel.private: channel.url for channel in channels})
            raise HostError(
                f"the package {package.file_name} could not be fetched: {words}",
                where=package.url,
                hint="see that the channel can be reached; what has been fetched is kept",
            ) from None
        finally:
            part.unlink(missing_ok=True)


def _check(package: Package, path: Path) -> None:
    """Raise HostError where an archive is not the one that was chosen."""
    for kind, wanted in (("sha256", package.sha256), ("md5", package.md5)):
        if not wanted:
            continue
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, kind).hexdigest()
        if found != wanted:
            raise HostError(
                f"the package {package.file_name} is not the one that its channel names: it has {kind} {found}, and "
                f"{wanted} was named",
                where=hide(package.url),
                hint="something between here and the channel has changed it, or the channel's index is old",
            )
        return


def _private(url: str, channels: Sequence[Channel]) -> str:
    """Return a package's URL with what its channel needs to be asked."""
    for channel in sorted(channels, key=lambda channel: len(channel.url), reverse=True):
        if url.startswith(channel.url + "/"):
            return channel.private + url.removeprefix(channel.url)
    return url
