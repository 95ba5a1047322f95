"""What every host keeps: this machine, and one behind a real sshd."""

import os
import stat
import threading
import time

import pytest

from hosts.conftest import cache, far, sockets, sshd  # noqa: F401  fixtures
from pilotage.errors import HostError
from pilotage.hosts.base import LATE, MISSING
from pilotage.hosts.local import LocalHost

AWKWARD = ["", " ", "a b", "'", '"', "$HOME", "`id`", "a;b", "!1", "*", "\\", "é", "-n", "a\tb", "#", "~", "a'b\"c$d"]


@pytest.fixture(params=["local", "openssh"])
def host(request):
    return LocalHost() if request.param == "local" else request.getfixturevalue("far")


def test_words_arrive_as_they_are(host):
    done = host.run(["printf", "%s\\0", *AWKWARD])
    assert (done.exit_code, done.stdout, done.stderr) == (0, "\0".join([*AWKWARD, ""]), "")
    assert done.ok


def test_output_errors_and_exit_code(host):
    done = host.run(["sh", "-c", "echo out; echo error >&2; exit 7"])
    assert (done.exit_code, done.stdout, done.stderr, done.ok) == (7, "out\n", "error\n", False)
    assert host.run(["sh", "-c", "exit 255"]).exit_code == 255


def test_what_it_reads(host):
    assert host.run(["cat"], stdin=b"a\nb\xff").stdout == "a\nb\ufffd"
    assert host.run(["cat"]).stdout == ""


def test_a_program_that_is_missing(host):
    done = host.run(["no-such-program", "x"])
    assert done.exit_code == MISSING
    assert "no-such-program" in done.stderr
    assert not host.has("no-such-program")
    assert host.has("sh")


def test_one_that_is_late_is_ended(host):
    begun = time.monotonic()
    done = host.run(["sh", "-c", "echo early; echo $$; exec sleep 60"], timeout=1)
    assert done.exit_code == LATE
    assert "no answer within 1 s" in done.stderr
    assert time.monotonic() - begun < 30
    early, process = done.stdout.split()
    assert early == "early"
    with pytest.raises(ProcessLookupError):
        os.kill(int(process), 0)


def test_who_we_are(host):
    found = host.identity()
    assert found.user == host.run(["id", "-un"]).stdout.strip()
    assert found.host == os.uname().nodename
    assert found.home.startswith("/")
    assert found.boot


@pytest.mark.parametrize("name", ["plain", "with space", 'it\'s "$odd"', "-dash", "é"])
def test_a_file_goes_there_and_comes_back(name, host, tmp_path):
    source, there, back = tmp_path / name, tmp_path / "far" / name, tmp_path / "back" / name
    source.write_bytes(b"x\0\n" * 1000)
    source.chmod(0o640)
    host.send(source, str(there))
    host.fetch(str(there), back)
    for one in (there, back):
        assert one.read_bytes() == source.read_bytes()
        assert stat.S_IMODE(one.stat().st_mode) == 0o640
    assert sorted(path.name for path in there.parent.iterdir()) == [name]


def test_a_folder_replaces_what_was_there(host, tmp_path):
    source, there, back = tmp_path / "source", tmp_path / "there", tmp_path / "back"
    (source / "deep er").mkdir(parents=True)
    (source / "deep er" / "file").write_text("new")
    (source / "link").symlink_to("deep er/file")
    there.mkdir()
    (there / "old").write_text("old")
    host.send(source, str(there))
    host.send(source, str(there))
    host.fetch(str(there), back)
    for one in (there, back):
        assert sorted(path.name for path in one.iterdir()) == ["deep er", "link"]
        assert (one / "link").read_text() == "new"
        assert (one / "link").is_symlink()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".pilotage")]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_what_arrives_is_ours(host, tmp_path):
    (tmp_path / "given").write_text("x")
    os.chown(tmp_path / "given", 12345, 12345)
    host.send(tmp_path / "given", str(tmp_path / "there"))
    assert (tmp_path / "there").stat().st_uid == os.getuid()


def test_a_file_that_grows_comes_back_as_it_is_now(host, tmp_path):
    growing, stop = tmp_path / "growing", threading.Event()
    growing.write_bytes(b"x" * (1 << 20))

    def grow():
        with growing.open("ab", buffering=0) as file:
            while not stop.is_set():
                file.write(b"more\n")

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        for number in range(5):
            host.fetch(str(growing), tmp_path / f"back{number}")
    finally:
        stop.set()
        thread.join()
    assert (tmp_path / "back0").stat().st_size >= 1 << 20


def test_what_cannot_be_copied(host, tmp_path):
    with pytest.raises(HostError, match="nothing-here"):
        host.send(tmp_path / "nothing-here", str(tmp_path / "there"))
    with pytest.raises(HostError, match="nothing-here"):
        host.fetch(str(tmp_path / "nothing-here"), tmp_path / "there")
    (tmp_path / "file").write_text("x")
    with pytest.raises(HostError, match="file/below"):
        host.send(tmp_path / "file", str(tmp_path / "file" / "below"))
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("sshd")) == ["file"]
