"""What stores of objects share: names that stand for folders, and a file's mode as metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pilotage.worker.data.base import FOLDER, Entry

MODE = "mode"
"""The metadata that has a file's mode in octal, as rclone writes it."""
EXECUTABLE = {MODE: "0100755"}


def folder_of(path: str) -> str:
    """Return what the names of all that is in a folder begin with."""
    return path if not path or path.endswith("/") else f"{path}/"


def listed(entry: Entry) -> Entry | None:
    """Return what an object below a folder stands for; None for the one that stands for the folder itself.

    One with content is a file, even if its name is that of a folder, which copying then refuses.
    """
    if entry.size or (entry.path and not entry.path.endswith("/")):
        return entry
    return Entry(entry.path[:-1], FOLDER) if entry.path else None


def executable(metadata: Mapping[str, Any]) -> bool:
    """Return whether metadata says so, in octal: s3fs-fuse writes the same in decimal, such as 33188."""
    mode = str(metadata.get(MODE, ""))
    octal = mode.startswith(("0", "100")) and mode.isdigit() and not set(mode) & {"8", "9"}
    return octal and bool(int(mode, 8) & 0o100)
