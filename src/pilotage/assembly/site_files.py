"""Writing sites into a site file: what else is in it stays as it is."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Table

from pilotage import paths
from pilotage.errors import SiteFileError, StorageError, UsageError
from pilotage.sites.catalogue import Catalogue, Layer


def file_to_write(*, project: bool) -> Path:
    """Return the user's site file, or that of the project in the current folder."""
    return Path.cwd() / paths.FILE_NAME if project else paths.user_site_file()


def document(path: Path, names: Iterable[str], *, force: bool) -> tomlkit.TOMLDocument:
    """Return what is in a site file, which is to get the sites ``names``.

    Raises SiteFileError for a file that cannot be kept intact, UsageError where it has one of them and not ``force``.
    """
    if not path.exists():
        return tomlkit.document()
    Layer.read(path)  # a file that is wrong already is not written to
    try:
        found = tomlkit.parse(path.read_text(encoding="utf-8"))
    except TOMLKitError as error:
        raise SiteFileError(f"cannot be edited: {error}", where=str(path), hint="write the site by hand") from error
    for name in names:
        if name in found.get("site", {}) and not force:
            raise UsageError(f"the file has a site {name!r} already", where=str(path), hint="--force replaces it")
    return found


def put(into: tomlkit.TOMLDocument, tables: Mapping[str, Table]) -> str:
    """Put sites into a document; returns its text."""
    sites = into.setdefault("site", tomlkit.table(is_super_table=True))
    for name, table in tables.items():
        sites.pop(name, None)
        sites.add(name, table)
    return tomlkit.dumps(into)


def alone(tables: Mapping[str, Table]) -> str:
    """Return the text of sites without anything else."""
    return put(tomlkit.document(), tables).strip()


def check(path: Path, text: str, names: Iterable[str]) -> None:
    """Raise SiteError where one of the sites would be wrong with ``text`` in the file ``path``."""
    layers = [layer for layer in Catalogue.load().layers if layer.source != str(path)]
    catalogue = Catalogue([*layers, Layer.parse(str(path), text)])
    for name in names:
        catalogue.resolve(name)


def write(path: Path, text: str, *, project: bool) -> None:
    """Replace a site file; raises StorageError."""
    if not project:
        paths.private_folder(path.parent)
    try:
        # A project's file is the project's, one in the home folder nobody else's; a file that is there keeps its mode.
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else (0o644 if project else 0o600)
        paths.write_atomically(path, text, mode)
    except OSError as error:
        raise StorageError(f"cannot write: {error.strerror}", where=str(path)) from error
