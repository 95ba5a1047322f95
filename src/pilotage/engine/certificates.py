"""What workers on another machine need of a connection's keys: theirs, and of the interchange's the public one only."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from pilotage.errors import HostError
from pilotage.hosts.far import FarFolder

SECRET = re.compile(r'secret-key = "([^"]*)"')
CLIENT, SERVER = "client.key_secret", "server.key_secret"


def send_client_keys(folder: Path, far: FarFolder) -> None:
    """Send the keys in ``folder`` (Parsl's ``certificates``), without the interchange's secret one; raises HostError.

    Parsl reads its public key from the file of both, and refuses one without a secret key: it gets the workers' own.
    """
    client, server = (folder / CLIENT).read_text(), (folder / SERVER).read_text()
    own = SECRET.search(client)
    if own is None or SECRET.search(server) is None:
        raise HostError("the connection's keys are not as Parsl writes them", where=str(folder))
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".keys-") as made:  # 0700, as Parsl wants it
        for name, text in ((CLIENT, client), (SERVER, SECRET.sub(lambda _: own[0], server))):
            path = Path(made) / name
            path.touch(mode=0o600)
            path.write_text(text)
        far.send(folder, Path(made))
