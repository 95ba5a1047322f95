"""What managers on another machine read before they connect, in one piece: several would be several round trips.

Of a connection's keys they get theirs, and of the interchange's the public one only.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pilotage.errors import HostError
from pilotage.hosts.far import FarFolder

SECRET = re.compile(r'secret-key = "([^"]*)"')
CLIENT, SERVER = "client.key_secret", "server.key_secret"


def send(folder: Path, far: FarFolder, keys: Path | None, files: Sequence[Path]) -> None:
    """Make a folder of the run there that holds nothing yet. Raises HostError.

    Parameters
    ----------
    folder: the folder here.
    far: the run's folder there.
    keys: Parsl's ``certificates`` in the folder, None where there are none.
    files: others in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)  # without keys nobody has made it yet
    with tempfile.TemporaryDirectory(dir=folder, prefix=".sent-") as made:  # 0700, as Parsl wants it
        if keys is not None:
            _write_client_keys(keys, Path(made) / keys.relative_to(folder))
        for file in files:
            copy = Path(made) / file.relative_to(folder)
            copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copy(file, copy)
        far.send(folder, Path(made))


def _write_client_keys(keys: Path, into: Path) -> None:
    """Write what a client needs of keys; Parsl reads the server's public one from a file that must have a secret one.

    It gets the client's own.
    """
    client, server = (keys / CLIENT).read_text(), (keys / SERVER).read_text()
    own = SECRET.search(client)
    if own is None or SECRET.search(server) is None:
        raise HostError("the connection's keys are not as Parsl writes them", where=str(keys))
    into.mkdir(mode=0o700)
    for name, text in ((CLIENT, client), (SERVER, SECRET.sub(lambda _: own[0], server))):
        path = into / name
        path.touch(mode=0o600)
        path.write_text(text)
