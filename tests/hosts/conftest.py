"""An sshd that all tests of a process share, and one that a test may stop."""

import shutil
import tempfile
from pathlib import Path

import pytest

from clusters.labs import CACHE
from hosts.sshd import Sshd, reason
from pilotage.hosts.openssh import OpenSSHHost


@pytest.fixture(scope="session")
def cache():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", CACHE)
        yield


@pytest.fixture(scope="session")
def sshd(tmp_path_factory, cache):
    """One that goes on."""
    if why := reason():
        pytest.skip(why)
    server = Sshd(tmp_path_factory.mktemp("sshd") / "it")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def sockets():
    """A folder with a short path."""
    folder = Path(tempfile.mkdtemp(prefix="pilotage-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def far(sshd, sockets):
    """A host behind the sshd; fails when its connection is left."""
    host = OpenSSHHost("far", sshd.options, sockets)
    yield host
    host.close()
    assert not list(sockets.iterdir())


@pytest.fixture
def server(request, tmp_path, cache, sockets, monkeypatch):
    """An sshd of the test's own, which ssh knows as ``far``; no connection with it may be left.

    Its parameter, if any, are more lines of its settings, or options of `Sshd`.
    """
    given = getattr(request, "param", "")
    options = given if isinstance(given, dict) else {"more": given.replace("TMP", str(tmp_path))}
    it = Sshd(tmp_path / "sshd", **options)
    it.start()
    monkeypatch.setenv("PATH", it.program(tmp_path / "programs"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(sockets))
    monkeypatch.setenv("SSH_ASKPASS", "/bin/false")
    monkeypatch.setenv("DISPLAY", ":77")
    yield it
    it.stop()
    left = [path for folder in sockets.iterdir() for path in folder.iterdir()]
    OpenSSHHost("far").close()
    assert not left, "a connection is left"
