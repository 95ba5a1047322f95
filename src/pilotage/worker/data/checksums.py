"""Checksums of what has come, against those that a store has of what it keeps."""

from __future__ import annotations

import hashlib

from pilotage.errors import BrokenTransferError
from pilotage.worker.data.base import Entry
from pilotage.worker.data.places import shown


def check(path: str, entry: Entry, url: str) -> None:
    """Raise BrokenTransferError where the file at ``path`` is not what ``entry`` says."""
    if entry.md5 and (found := md5(path)) != entry.md5:
        raise BrokenTransferError(f"its MD5 is {entry.md5}, and of what has come {found}", where=shown(url))


def md5(path: str) -> str:
    """Return the MD5 of a file, which is not for security here."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
