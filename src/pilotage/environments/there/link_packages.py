"""Make a conda environment of archives of packages, with py-rattler from a folder.

Run as ``python link_packages.py RATTLER PREFIX WORK LIST`` by any Python that py-rattler knows. A line of LIST is a
package's URL, and after ``#`` the sha256 of its archive where it is fetched. Link scripts run, as conda runs them.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

AT_ONCE = 8


async def fetch(client: Any, url: str, digest: str, target: Path, places: asyncio.Semaphore) -> None:
    """Fetch an archive; raises ValueError where it is not the one that was chosen."""
    from rattler.package_streaming import download_to_path

    async with places:
        await download_to_path(client, url, target)
    found = hashlib.sha256(target.read_bytes()).hexdigest()
    if found != digest:
        raise ValueError(f"{url}: it has sha256 {found}, and {digest} was chosen")


async def link(prefix: Path, work: Path, lines: list[str]) -> None:
    """Fetch what is not here, and make the environment."""
    import rattler

    archives = []
    fetching = []
    client = rattler.Client.default_client()
    places = asyncio.Semaphore(AT_ONCE)
    for line in lines:
        url, _, digest = line.partition("#")
        path = unquote(urlsplit(url).path)
        if url.startswith("file:"):
            archives.append(Path(path))
        else:
            archives.append(work / Path(path).name)
            fetching.append(fetch(client, url, digest, archives[-1], places))
    await asyncio.gather(*fetching)
    records = [await rattler.RepoDataRecord.from_package_archive(path) for path in archives]
    await rattler.install(
        records,
        target_prefix=prefix,
        cache_dir=work / "cache",
        execute_link_scripts=True,
        show_progress=False,
    )


def main() -> None:
    """Read the arguments and the list."""
    rattler, prefix, work, listed = sys.argv[1:]
    sys.path.insert(0, rattler)
    lines = [line for line in Path(listed).read_text().splitlines() if line.startswith(("file:", "http"))]
    code = 0
    try:
        asyncio.run(link(Path(prefix), Path(work), lines))
    except Exception as error:  # py-rattler has many; what they say is what can be told
        sys.stderr.write(f"{error}\n")
        code = 1
    # py-rattler's threads may still hold Python, which ends with a fatal error then.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
