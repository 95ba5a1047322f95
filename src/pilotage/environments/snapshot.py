"""Folders as they are at one moment: each file by what is in it, and all of it by one digest."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True)
class Snapshot:
    """Folders and their files.

    ``trees`` has for each folder its files' names in ``contents``, by their path below it.
    """

    trees: Sequence[Mapping[str, str]]
    contents: Mapping[str, bytes]

    @classmethod
    def of(cls, folders: Iterable[Mapping[str, Path]]) -> Snapshot:
        """Read the files of folders, each by its path below its folder; one that cannot be read is left out."""
        contents: dict[str, bytes] = {}
        trees = []
        for files in folders:
            tree = {}
            for path, file in files.items():
                try:
                    content, mode = file.read_bytes(), file.stat().st_mode
                except OSError:
                    continue
                name = hashlib.sha256(content).hexdigest() + ("x" if mode & 0o100 else "")
                contents[name] = content
                tree[path] = name
            trees.append(tree)
        return cls(trees, contents)

    @property
    def digest(self) -> str:
        """What tells it from all others."""
        return hashlib.sha256(json.dumps(self.trees, sort_keys=True).encode()).hexdigest()[:32]

    def archive(self, names: Iterable[str], place: str) -> bytes:
        """Return an archive of files under ``files/``, and of an archive ``links.tar`` of folders that link to them.

        ``place`` is where the links are unpacked, below the folder that then has ``files/`` with all of them in it.
        """
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
            for name in names:
                # Shared by all trees that have it: nobody may write to it.
                _add(archive, f"files/{name}", self.contents[name], 0o500 if name.endswith("x") else 0o400)
            _add(archive, "links.tar", self._links(place), 0o600)
        return out.getvalue()

    def _links(self, place: str) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
            for folder in self._folders():
                entry = tarfile.TarInfo(f"{place}/{folder}")
                entry.type, entry.mode = tarfile.DIRTYPE, 0o700
                archive.addfile(entry)
            for number, tree in enumerate(self.trees):
                for path, name in tree.items():
                    entry = tarfile.TarInfo(f"{place}/{number}/{path}")
                    entry.type, entry.linkname = tarfile.LNKTYPE, f"files/{name}"
                    archive.addfile(entry)
        return out.getvalue()

    def _folders(self) -> list[str]:
        found = {"."}
        for number, tree in enumerate(self.trees):
            found.add(str(number))
            found.update(str(above) for path in tree for above in PurePosixPath(f"{number}/{path}").parents)
        return sorted(found)


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))
