"""What an environment is made of, and how: data alone, by which it is known from all others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pilotage.paths import storage


@dataclass(frozen=True)
class Recipe:
    """How one environment is made.

    Parameters
    ----------
    kind: the site's ``environment.kind``.
    title: what it is, in a few words.
    content: all that decides what comes out, as JSON has it: packages by their digests, Python, platform.
    files: files of this machine that are needed there, by the names under which the build finds them.
    build: for ``sh``, with the folder that it is to be in, which is empty and the current one, and the folder with
        the files as arguments. It finds no input, and what it writes is read by nobody but where it fails.
    python: the words that start its Python, with ``{prefix}`` where its folder is meant.
    expected: versions by package that are to be in it, and of ``python`` its minor version.
    limit: seconds that the build may take.
    """

    kind: str
    title: str
    content: Mapping[str, Any]
    files: Mapping[str, Path]
    build: str
    python: Sequence[str] = ("{prefix}/bin/python",)
    expected: Mapping[str, str] = field(default_factory=dict)
    limit: float = 3600

    @property
    def digest(self) -> str:
        """What tells it from all others."""
        whole = {"kind": self.kind, "build": self.build, "content": self.content}
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:32]

    def start(self, prefix: str) -> list[str]:
        """Return the words that start its Python, which is in ``prefix``."""
        return [word.replace("{prefix}", prefix) for word in self.python]


@dataclass(frozen=True)
class Facts:
    """What of a host decides how an environment is made there.

    Parameters
    ----------
    platform: system and processor, such as ``linux-x86_64``.
    libc: version of its C library (glibc), empty where it has another.
    programs: paths of the programs that it has, by name: ``python3.11``, ``uv``, ``conda``, ``podman``...
    home: the user's home folder.
    """

    platform: str
    libc: str
    programs: Mapping[str, str]
    home: str


def file_digest(path: Path) -> str:
    """Return the sha256 of a file's content in hex. Raises StorageError."""
    with storage(path), open(path, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
