"""A folder of this machine behind a real sshd, which the store reaches as another host."""

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from clusters.labs import CACHE
from hosts.sshd import CLIENT, Sshd, reason
from stores.keeper import Disk

GUEST = "guest:x:65534:65534::/:/bin/sh\n"


class KEEPER(Disk):
    @contextmanager
    def refused(self, path):
        """As somebody else, where the tests run as root, to whom nothing is forbidden."""
        there = self.path / path
        mode = there.parent.stat().st_mode
        there.parent.chmod(0)
        try:
            yield self.at(path).replace("//far/", "//guest/" if os.getuid() == 0 else "//far/")
        finally:
            there.parent.chmod(mode)


@contextmanager
def running(folder, more=""):
    """Start an sshd that keeps its things in a new folder, which anybody may come to. ssh knows it as ``far``.

    Where root starts it, ssh knows it as ``guest`` too, who is nobody. Yields the `Sshd`, of which ``config`` is the
    ssh_config.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", CACHE)
        if why := reason():
            pytest.skip(why)
        server = Sshd(folder, more)
    server.folder.chmod(0o755)
    with open(server.folder / "passwd", "a") as accounts:
        accounts.write(GUEST)
    server.config = server.folder / "ssh_config"
    guest = CLIENT.format(port=server.port, folder=server.folder, user="guest").replace("Host far", "Host guest")
    server.config.write_text(server.config.read_text() + guest)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextmanager
def serve(folder):
    """Elsewhere than in ``folder``, whose folder is its maker's alone."""
    with tempfile.TemporaryDirectory() as base:
        Path(base).chmod(0o755)
        with running(Path(base) / "sshd") as server:
            options = {"config": str(server.config)}
            yield lambda name: KEEPER(f"{base}/{name}", f"ssh://far{base}/{name}", options)
