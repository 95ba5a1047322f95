"""Files and folders as one stream of bytes, which is what goes through a command's input and output.

The stream is a tar archive with one top entry, whose name says nothing: a file or folder may be called anything. It is
held in memory here: this is for scripts, certificates and logs, not for data.
"""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
from pathlib import Path

from pilotage.errors import HostError

TOP = "it"

PUT = (
    'set -e; folder=$(dirname -- "$1"); mkdir -p -- "$folder"; new=$(mktemp -d -- "$folder/.pilotage-XXXXXX"); '
    'trap \'rm -rf -- "$new"\' EXIT; tar -xpof - -C "$new"; '
    'if [ -e "$1" ] || [ -L "$1" ]; then mv -- "$1" "$new/before"; fi; mv -- "$new/it" "$1"'
)
"""For ``sh -c``: unpack what is read at the path that is the first argument, in the place of what is there.

For root, files are not to be another user's there: the one who has the number that their owner has here.
"""
GET = 'cd -- "$(dirname -- "$1")" && { tar -cf - -- "$(basename -- "$1")" || [ "$?" = 1 ]; }'
"""For ``sh -c``: write the archive of the path that is the first argument; with 1 tar says that a file has grown."""


def packed(source: Path) -> bytes:
    """Return a file or folder as an archive. Raises HostError where it cannot be read."""
    out = io.BytesIO()
    try:
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
            archive.add(source, TOP)
    except OSError as error:
        raise HostError(f"cannot be read: {error.strerror}", where=str(source)) from error
    return out.getvalue()


def unpack(archive: bytes, target: Path) -> None:
    """Write an archive's content to ``target``, in the place of what is there. Raises HostError where that fails."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".pilotage-") as new:
            with tarfile.open(fileobj=io.BytesIO(archive)) as found:
                found.extractall(new, filter="data")
            (top,) = Path(new).iterdir()
            _replace(top, target)
    except OSError as error:
        raise HostError(f"cannot be written: {error.strerror}", where=str(target)) from error
    except (tarfile.TarError, ValueError) as error:
        raise HostError(f"what has arrived is no archive: {error}", where=str(target)) from error


def _replace(new: Path, target: Path) -> None:
    if os.path.lexists(target):
        target.rename(new.parent / "before")
    new.rename(target)
