"""What managers on another machine read before they connect."""

import re
import stat

import pytest
import zmq.auth
from parsl.curvezmq import create_certificates

from pilotage.engine.sending import send
from pilotage.errors import HostError
from pilotage.hosts.far import FarFolder


@pytest.fixture
def folder(far, tmp_path):
    it = FarFolder(far, str(tmp_path / "there"))
    (tmp_path / "run").mkdir()
    it.begin(tmp_path / "run")
    yield it
    it.end()


def test_in_one_piece_and_without_the_interchanges_secret(folder, tmp_path):
    label = tmp_path / "run" / "lab"
    keys = create_certificates(str(label))
    (label / "log_config").mkdir()
    (label / "log_config" / "it.pkl").write_bytes(b"x")
    (label / "expected.py").write_text("y")
    before = sorted(label.rglob("*"))
    for _ in range(2):  # again, where the port is another than was thought
        send(label, folder, label / "certificates", [label / "log_config" / "it.pkl", label / "expected.py"])
    assert sorted(label.rglob("*")) == before, "something is left here"
    there = (tmp_path / "there").glob("*/lab")
    (there,) = there
    assert sorted(str(path.relative_to(there)) for path in there.rglob("*") if path.is_file()) == [
        "certificates/client.key_secret",
        "certificates/server.key_secret",
        "expected.py",
        "log_config/it.pkl",
    ]
    assert {stat.S_IMODE(path.stat().st_mode) for path in (there, *there.iterdir()) if path.is_dir()} == {0o700}
    theirs = {name: zmq.auth.load_certificate(f"{keys}/{name}.key_secret") for name in ("client", "server")}
    sent = {name: zmq.auth.load_certificate(there / "certificates" / f"{name}.key_secret") for name in theirs}
    assert sent["client"] == theirs["client"]
    assert sent["server"] == (theirs["server"][0], theirs["client"][1])
    secret = theirs["server"][1]
    assert not any(secret in path.read_bytes() for path in there.rglob("*") if path.is_file())


def test_without_keys(folder, tmp_path):
    label = tmp_path / "run" / "lab"
    label.mkdir()
    (label / "expected.py").write_text("y")
    send(label, folder, None, [label / "expected.py"])
    assert [path.name for path in (tmp_path / "there").glob("*/lab/*")] == ["expected.py"]


def test_keys_of_another_form(folder, tmp_path):
    label = tmp_path / "run" / "lab"
    create_certificates(str(label))
    (label / "certificates" / "client.key_secret").write_text("nothing")
    with pytest.raises(HostError, match=re.escape("the connection's keys are not as Parsl writes them")):
        send(label, folder, label / "certificates", [])
