"""A login host for runs whose driver is there: a real sshd whose sessions have a home and a store of their own."""

import shutil
import tempfile
from pathlib import Path

import pytest

from clusters.labs import CACHE
from hosts.sshd import Sshd, reason
from program import MARK

MORE = """
SetEnv HOME={home} PILOTAGE_STATE={home}/state XDG_CONFIG_HOME={home}/config PILOTAGE_AWAY=yes NO_COLOR=1
AcceptEnv {mark}
"""


@pytest.fixture
def away(tmp_path, monkeypatch):
    """An sshd that ssh knows as ``far``; ``away.home`` is the home of its sessions. No connection may be left."""
    if why := reason():
        pytest.skip(why)
    with monkeypatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", CACHE)
        home = tmp_path / "away"
        home.mkdir()
        it = Sshd(tmp_path / "sshd", MORE.format(home=home, mark=MARK))
    it.home = home
    it.options += ("-o", f"SendEnv={MARK}")
    monkeypatch.setenv("PATH", it.program(tmp_path / "programs"))
    sockets = Path(tempfile.mkdtemp(prefix="pilotage-"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(sockets))
    it.start()
    yield it
    it.stop()
    left = [str(path) for path in sockets.glob("*/*")]
    shutil.rmtree(sockets)
    assert not left, "a connection is left"
