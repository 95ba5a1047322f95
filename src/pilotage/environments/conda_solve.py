"""The exact packages of a conda environment: solved here, for the platform of another host.

A solution is kept under the digest of what was asked, so that an unchanged file needs no network. py-rattler solves,
which is imported only here and where packages are fetched.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from platform import mac_ver
from typing import Any, TypeVar

from pilotage import paths
from pilotage.environments.conda_file import Channel, CondaFile, Entry, hide, missing_extra
from pilotage.errors import HostError, UnsupportedError, UsageError

VERSION = 1
"""Of the way that solutions are made and kept."""
_PLATFORMS = {
    "linux-x86_64": "linux-64",
    "linux-aarch64": "linux-aarch64",
    "linux-ppc64le": "linux-ppc64le",
    "darwin-x86_64": "osx-64",
    "darwin-arm64": "osx-arm64",
}
LINGER = 0.05
"""Seconds in which rattler's threads let go of Python: an interpreter that ends before is ended by a fatal error."""
T = TypeVar("T")
_WORDS = 20
"""Lines of the solver's that are shown."""


@dataclass(frozen=True)
class Package:
    """One exact package.

    Parameters
    ----------
    name, version, build, subdir: as conda has them; ``subdir`` is a platform or ``noarch``.
    file_name: of its archive.
    url: where it comes from, without what is secret.
    sha256, md5: of its archive, in hex digits; empty where the channel does not say.
    size: of its archive, in bytes; 0 where the channel does not say.
    """

    name: str
    version: str
    build: str
    subdir: str
    file_name: str
    url: str
    sha256: str
    md5: str
    size: int


@dataclass(frozen=True)
class Target:
    """What packages are to run on.

    Parameters
    ----------
    platform: conda's name of it, such as ``linux-64``.
    virtual: versions by name of what conda counts as packages of the system: ``{"__glibc": "2.28"}``.
    python: minor version, such as ``3.11``.
    """

    platform: str
    virtual: Mapping[str, str]
    python: str


def target(platform: str, libc: str, python: str) -> Target:
    """Return what to solve for on a host (``linux-x86_64``, glibc's version); raises UnsupportedError.

    ``$CONDA_OVERRIDE_CUDA`` and ``$CONDA_OVERRIDE_GLIBC`` say, as they do to conda, what nodes have that the host's
    login node does not show.
    """
    if platform not in _PLATFORMS:
        raise UnsupportedError(
            f"there are no conda packages for {platform}", hint=f"there are for {', '.join(_PLATFORMS)}"
        )
    subdir = _PLATFORMS[platform]
    virtual = {"__unix": "0"}
    if subdir.startswith("linux"):
        virtual["__linux"] = "4.18"  # the oldest kernel that is still kept up; few packages ask
        glibc = os.environ.get("CONDA_OVERRIDE_GLIBC") or libc
        if glibc:
            virtual["__glibc"] = glibc
    else:
        virtual["__osx"] = os.environ.get("CONDA_OVERRIDE_OSX") or mac_ver()[0] or "11.0"
    if os.environ.get("CONDA_OVERRIDE_CUDA"):
        virtual["__cuda"] = os.environ["CONDA_OVERRIDE_CUDA"]
    return Target(subdir, virtual, python)


def solve(
    file: CondaFile, target: Target, pinned: Mapping[str, str], say: Callable[[str], None], *, refresh: bool = False
) -> list[Package]:
    """Return the exact packages of a file, what others need before them: so conda wants an explicit list.

    Parameters
    ----------
    pinned: versions by package that are taken where the packages come in at all.
    refresh: ask the channels even where the answer is kept.

    Raises UsageError where there are no such packages, or a spec is none, UnsupportedError, MissingExtraError.
    """
    try:
        import rattler  # noqa: F401  a part of it is imported where it is used
    except ImportError as error:
        raise missing_extra(error) from error
    specs = [_spec(file, entry, target) for entry in file.dependencies] + [_Spec(f"python {target.python}.*")]
    channels = list(file.channels)
    for spec in specs:
        if spec.channel and spec.channel not in channels:
            channels.append(spec.channel)
    question = {
        "version": VERSION,
        "channels": [channel.url for channel in channels],
        "specs": [spec.text for spec in specs],
        "target": asdict(target),
        "pinned": dict(pinned),
    }
    digest = hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()
    kept = folder("solutions") / f"{digest}.json"
    if not refresh and (answer := _kept(kept)) is not None:
        return answer
    say(f"solving {file.path.name} for {target.platform} and Python {target.python}")
    packages = apart(_solve(file, channels, [spec.private or spec.text for spec in specs], target, pinned))
    with paths.storage(kept):
        paths.write_json(kept, [asdict(package) for package in packages])
    return packages


def folder(name: str) -> Path:
    """Return a folder of what is kept of conda's: it can be fetched again."""
    return paths.private_folder(paths.state_folder() / "conda" / name)


def _kept(path: Path) -> list[Package] | None:
    """Return the solution that is kept, unless there is none that can be read."""
    try:
        return [Package(**package) for package in json.loads(path.read_text())]
    except (OSError, ValueError, TypeError):
        return None


@dataclass(frozen=True)
class _Spec:
    """A match spec: as it may be shown, as the solver gets it where that is another, and the channel that it names."""

    text: str
    private: str = field(default="", repr=False)
    channel: Channel | None = None


def _spec(file: CondaFile, entry: Entry, target: Target) -> _Spec:
    """Return the match spec of an entry of the file."""
    from rattler import MatchSpec
    from rattler.exceptions import InvalidMatchSpecError

    def error(message: str, hint: str) -> UsageError:
        return UsageError(message, where=file.where(entry), hint=hint)

    channel, _, rest = entry.text.rpartition("::")
    if hide(channel) != channel:
        raise error(
            f"a spec has what is secret in it: {hide(entry.text)}",
            "name the channel with its password or token under channels:, and here without",
        )
    if "/" in rest.split("[")[0]:
        raise error(f"{hide(entry.text)!r} names a package by its place", "name its channel: CHANNEL::NAME")
    if channel == "defaults":
        raise error(f"{entry.text!r} names two channels", "write pkgs/main::NAME or pkgs/r::NAME")
    if channel.startswith("pkgs/"):
        channel = f"https://repo.anaconda.com/{channel}"
    text = f"{channel}::{rest}" if channel else rest
    try:
        spec = MatchSpec(text, strict=False)
        shown = str(spec)
        MatchSpec(shown, strict=True)  # what is read leniently may be nonsense
    except InvalidMatchSpecError as reason:
        raise error(
            f"{entry.text!r} is no spec of a conda package: {hide(str(reason)).splitlines()[0]}",
            "such as numpy, numpy=1.26, numpy>=1.26,<2, conda-forge::numpy",
        ) from reason
    if spec.name.normalized == "python" and spec.version:
        _check_python(spec.version, target.python, entry.text, error)
    if spec.channel is None:
        return _Spec(shown)
    url = spec.channel.base_url.rstrip("/")
    found = next((one for one in file.channels if one.url == url), Channel(url, url))
    return _Spec(shown, f"{found.private}::{rest}" if found.private != url else "", found)


def _check_python(version: str, driver: str, text: str, error: Callable[[str, str], UsageError]) -> None:
    """Raise an error where no patch release of the driver's minor version fits."""
    from rattler.version import Version, VersionSpec

    spec = VersionSpec(version)
    if not any(spec.matches(Version(f"{driver}.{patch}")) for patch in range(60)):
        raise error(
            f"{text!r} is another Python than the driver's {driver}: calls travel between them, which needs one "
            "minor version",
            f"write python={driver}, or run the driver with the Python of the file",
        )


class _Cache:
    """Where rattler keeps the indexes of channels, with their URLs: for once only where these have what is secret."""

    def __init__(self, *, secret: bool) -> None:
        self.folder = folder("repodata")
        if secret:
            self.folder = Path(tempfile.mkdtemp(dir=self.folder, prefix=".once-"))
        self._secret = secret

    def close(self) -> None:
        if self._secret:
            shutil.rmtree(self.folder, ignore_errors=True)


async def _solve(
    file: CondaFile, channels: Sequence[Channel], specs: Sequence[str], target: Target, pinned: Mapping[str, str]
) -> list[Package]:
    """Ask the channels, and solve."""
    import rattler
    from rattler import exceptions
    from rattler.package import BuildString, PackageName
    from rattler.version import Version

    virtual = [(name, version, "0") for name, version in target.virtual.items()]
    processor = target.platform.partition("-")[2]
    virtual.append(("__archspec", "1", "x86_64" if processor == "64" else processor))
    secrets = {channel.private: channel.url for channel in channels}
    cache = _Cache(secret=any(hide(channel.private) != channel.private for channel in channels))
    try:
        records = await rattler.solve(
            sources=[rattler.Channel(channel.private) for channel in channels],
            specs=[rattler.MatchSpec(spec, strict=False) for spec in specs],
            gateway=rattler.Gateway(cache_dir=cache.folder, client=client()),
            platforms=[rattler.Subdir(target.platform), rattler.Subdir("noarch")],
            virtual_packages=[
                rattler.GenericVirtualPackage(PackageName(name), Version(version), BuildString(build))
                for name, version, build in virtual
            ],
            constraints=[f"{name} =={version}" for name, version in pinned.items()],
            channel_relations="disabled",
        )
    except exceptions.SolverError as error:
        raise UsageError(
            f"there are no packages for {target.platform} and Python {target.python} that fit together:\n"
            + _words(error, secrets),
            where=str(file.path),
        ) from None  # its words may have a password in them
    except (exceptions.GatewayError, exceptions.FetchRepoDataError, exceptions.InvalidChannelError) as error:
        raise HostError(
            f"a channel could not be asked: {_words(error, secrets)}",
            where=str(file.path),
            hint="see that the channels are named rightly and can be reached from this machine",
        ) from None
    finally:
        cache.close()
    packages = {record.name.normalized: _package(record, secrets) for record in records}
    ordered = rattler.PackageRecord.sort_topologically(list(records))
    return [packages[record.name.normalized] for record in ordered]


def _package(record: Any, secrets: Mapping[str, str]) -> Package:
    return Package(
        name=record.name.normalized,
        version=str(record.version),
        build=str(record.build),
        subdir=record.subdir,
        file_name=record.file_name,
        url=plain(record.url, secrets),
        sha256=record.sha256.hex() if record.sha256 else "",
        md5=record.md5.hex() if record.md5 else "",
        size=record.size or 0,
    )


def plain(text: str, secrets: Mapping[str, str]) -> str:
    """Return a text without what is secret in the URLs of channels, which are given as asked and as named."""
    for private, url in secrets.items():
        text = text.replace(private, url)
    return hide(text)


def _words(error: BaseException, secrets: Mapping[str, str]) -> str:
    """Return what the solver or a channel said, in few lines."""
    lines = [line.rstrip() for line in plain(str(error), secrets).splitlines() if line.strip()]
    return "\n".join(lines[:_WORDS] + (["..."] if len(lines) > _WORDS else []))


def client() -> Any:
    """Return what asks channels: by the user's proxies, and with the passwords that rattler and pixi keep for hosts."""
    from rattler import Client

    return Client.default_client(user_agent="pilotage")


def apart(work: Coroutine[Any, Any, T]) -> T:
    """Return what ``work`` returns, in a thread of its own: the caller's may have a loop already, as in a notebook."""
    try:
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, work).result()
    finally:
        time.sleep(LINGER)
