"""``pilotage site import``: from an ``executors.json`` to sites in a file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.items import Table

from pilotage.assembly import site_files
from pilotage.errors import SiteFileError
from pilotage.sites.executors_json import Pool, printable, read


@dataclass(frozen=True)
class Imported:
    """What an import has made: the pools, the text of their sites, and the file that has them (None: none)."""

    pools: list[Pool]
    text: str
    path: Path | None

    def as_dict(self) -> dict[str, Any]:
        """Return it for ``--json``."""
        sites = [
            {
                "site": pool.label,
                "values": pool.values,
                "became": pool.became,
                "notes": [asdict(note) for note in pool.notes],
                "remark": pool.remark,
            }
            for pool in self.pools
        ]
        return {"sites": sites, "toml": self.text, "path": str(self.path) if self.path else None}


def import_executors(source: Path, *, project: bool, force: bool, keep_going: bool, dry_run: bool) -> Imported:
    """Make a site of each pool in an ``executors.json``, and write them all, or none.

    Parameters
    ----------
    source: the file.
    project: write ``pilotage.toml`` of the current folder instead of the user's.
    force: replace sites of those names in that file.
    keep_going: keep keys that are not known as comments.
    dry_run: write nothing.

    Raises SiteFileError and SiteValueError for a file that is wrong, UsageError for a site that is there already,
    StorageError where nothing can be written.
    """
    try:
        text = source.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SiteFileError("not UTF-8", where=str(source)) from error
    except OSError as error:
        raise SiteFileError(f"cannot be read: {error.strerror}", where=str(source)) from error
    pools = read(text, str(source), keep_going=keep_going)
    names = [pool.label for pool in pools]
    path = site_files.file_to_write(project=project)
    document = site_files.document(path, names, force=force)
    whole = site_files.put(document, {pool.label: _table(pool, source.name) for pool in pools})
    site_files.check(path, whole, names)
    if not dry_run:
        site_files.write(path, whole, project=project)
    alone = site_files.alone({pool.label: _table(pool, source.name) for pool in pools})
    return Imported(pools, alone, None if dry_run else path)


def _table(pool: Pool, source: str) -> Table:
    """Return a site's table; what has become no value is a comment in it."""
    table = tomlkit.table()
    table.add(tomlkit.comment(f"from {printable(source)}"))
    for key, value in pool.values.items():
        if key == "worker_init":  # line by line, as one would write it
            table.add(key, tomlkit.string(value, multiline=True))
        else:
            table.add(key, value)
    for note in pool.notes:
        table.add(tomlkit.comment(printable(f"{note.key} = {json.dumps(note.value)}: {note.reason}")))
    return table
