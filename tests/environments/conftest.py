"""A conda channel in a folder that all tests of a process share."""

import pytest

import conda_channel


@pytest.fixture(scope="session")
def channel(tmp_path_factory):
    pytest.importorskip("rattler", reason="py-rattler is not installed: pip install 'pilotage[conda]'")
    return conda_channel.make(tmp_path_factory.mktemp("channel") / "packages", ["parsl", "iniconfig"])


@pytest.fixture
def no_index(monkeypatch):
    """Whatever would ask the network, but for this machine's own servers, fails."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
