"""The shared connection: that there is one, that it comes back, and what is said when it cannot."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from contracts.test_hosts import AWKWARD
from hosts.sshd import Sshd, free_port
from pilotage import journal
from pilotage.clusters import packages
from pilotage.errors import HostError, LoginError, PilotageError
from pilotage.hosts import openssh
from pilotage.hosts.openssh import OpenSSHHost, ended, quoted, remote_command, socket_folder
from pilotage.runs.forward import answers
from pilotage.system import users_of_socket
from pilotage.worker import processes


def test_commands_share_one_connection(far, sshd):
    def logins():
        return (sshd.folder / "log").read_text().count("Accepted publickey")

    before = logins()
    threads = [threading.Thread(target=far.run, args=(["true"],)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert far.is_connected()
    assert logins() == before + 1


def test_a_connection_that_was_lost_is_made_anew(far):
    far.run(["true"])
    os.kill(far._master(), signal.SIGKILL)
    assert far.run(["echo", "again"]).stdout == "again\n"


def test_one_that_does_not_answer_is_ended_before_another_is_made(far, monkeypatch):
    monkeypatch.setattr(openssh, "CONTROL", 1)
    far.connect()
    hangs = far.master()
    os.kill(hangs, signal.SIGSTOP)
    assert far.run(["true"]).ok
    assert far.master() != hangs
    assert not processes.is_alive(processes.identity(hangs))


def test_whoever_leaves_ends_no_connection_of_others(far, sshd, sockets):
    """The first one's was lost, and the second has made another at the same place."""
    second = OpenSSHHost("far", sshd.options, sockets)
    far.connect()
    os.kill(far.master(), signal.SIGKILL)
    second.connect()
    far.leave()
    assert second.is_connected()
    second.leave()
    assert not far.is_connected()


def test_a_connection_that_another_command_uses_is_left_to_it(sshd, sockets, tmp_path):
    one, other = (OpenSSHHost("far", sshd.options, sockets, stays=60) for _ in range(2))
    one.connect()
    try:
        with ThreadPoolExecutor(1) as pool:
            begun = pool.submit(
                other.run, ["sh", "-c", 'touch "$1"; sleep 2; echo whole', "sh", str(tmp_path / "begun")]
            )
            end = time.monotonic() + 20
            while not (tmp_path / "begun").exists():
                assert time.monotonic() < end
                time.sleep(0.02)
            assert users_of_socket(one.socket) == 1
            one.leave()
            done = begun.result()
        assert (done.exit_code, done.stdout) == (0, "whole\n")
        one.connect()  # which is there still
        assert other.is_connected()
    finally:
        other.close()
    assert not other.is_connected()


def test_a_connection_that_nobody_uses_ends_with_who_has_made_it(sshd, sockets):
    host = OpenSSHHost("far", sshd.options, sockets, stays=60)
    host.connect()
    assert host.run(["true"]).ok
    host.leave()
    assert not host.is_connected()


def test_it_is_in_the_journal_before_it_is_there(far, tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "current", journal.Journal(tmp_path / "journal.jsonl"))
    far.connect()
    (entry,) = journal.Journal(tmp_path / "journal.jsonl").open_entries()
    assert entry.kind == "process"
    assert entry.id["pid"] == far._master()
    far.close()
    assert not journal.Journal(tmp_path / "journal.jsonl").open_entries()


def test_another_host_key_is_refused(sshd, sockets, tmp_path):
    config = (sshd.folder / "ssh_config").read_text()
    user_key = (sshd.folder / "user_key.pub").read_text()
    (tmp_path / "known").write_text(f"[127.0.0.1]:{sshd.port} {user_key}")
    (tmp_path / "config").write_text(config.replace(f"{sshd.folder}/known_hosts", str(tmp_path / "known")))
    with pytest.raises(HostError, match="its host key is not the known one") as caught:
        OpenSSHHost("far", ("-F", str(tmp_path / "config")), sockets).run(["true"])
    assert "ask its staff" in caught.value.hint
    (tmp_path / "known").write_text("")
    with pytest.raises(HostError, match="its host key is not the known one"):
        OpenSSHHost("far", ("-F", str(tmp_path / "config")), sockets).run(["true"])
    assert not (tmp_path / "known").read_text()


def test_a_key_that_is_not_let_in(sshd, sockets, tmp_path):
    config = (sshd.folder / "ssh_config").read_text()
    (tmp_path / "config").write_text(config.replace("user_key", "host_key"))
    with pytest.raises(LoginError, match="Permission denied") as caught:
        OpenSSHHost("far", ("-F", str(tmp_path / "config")), sockets).run(["true"])
    assert caught.value.hint == "a person has to log in, on a terminal: pilotage login far"


def test_nobody_answers(sockets, tmp_path, cache):
    server = Sshd(tmp_path / "sshd")
    host = OpenSSHHost("far", server.options, sockets)
    with pytest.raises(HostError, match="Connection refused"):
        host.run(["true"])
    server.start()
    try:
        assert host.run(["true"]).ok
    finally:
        server.stop()
    host.close()


def test_a_command_whose_connection_breaks_is_told(far):
    timer = threading.Timer(1, lambda: os.kill(far._master(), signal.SIGKILL))
    timer.start()
    with pytest.raises(HostError):
        far.run(["sleep", "5"])
    timer.join()


def test_its_folder_is_for_nobody_else(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    folder = socket_folder()
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o755)
    with pytest.raises(HostError, match="not a folder of ours alone"):
        socket_folder()


def test_a_run_outlives_the_session_that_its_sockets_were_of(sshd, sockets, monkeypatch):
    """systemd removes the folder when the user has logged out everywhere."""
    (sockets / "runtime").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(sockets / "runtime"))
    monkeypatch.setattr(tempfile, "tempdir", str(sockets))
    host = OpenSSHHost("far", sshd.options)
    assert host.run(["true"]).ok
    first = processes.identity(host.master())
    shutil.rmtree(sockets / "runtime")
    assert host.run(["true"]).ok
    assert not processes.is_alive(first)
    host.close()


def test_a_path_that_is_too_long(tmp_path):
    folder = tmp_path / ("x" * 100)
    with pytest.raises(HostError, match="may not be so long"):
        OpenSSHHost("far", (), folder).connect()


def test_what_the_other_side_is_given():
    command = remote_command(["echo", "a'b!"], 1.5, "mark")
    assert "\n" not in command
    assert command.endswith(f"sh 2 mark echo {quoted(chr(97) + chr(39) + 'b!')}")
    assert ended("words\nmark 7\nmore\n", "mark") == ("words\nmore\n", 7)
    assert ended("Welcome\nmark\nwords\nmark 7\nmore\n", "mark") == ("words\nmore\n", 7)
    assert ended("words", "mark") == ("words", None)


@pytest.mark.parametrize("program", ["sh", "fish", "tcsh"])
def test_login_shells_of_all_kinds(cache, tmp_path, program):
    """What they hand on is what they were given."""
    try:
        root = packages.fetch(["fish", "fish-common", "tcsh"]) if program != "sh" else Path("/")
    except PilotageError as error:
        pytest.skip(str(error))
    (shell,) = [path for path in (root / "bin" / program, root / "usr/bin" / program) if path.exists()][:1]
    libraries = str(root / f"usr/lib/{os.uname().machine}-linux-gnu")
    words = [*AWKWARD, "ends in \\", "\\'", "\\\\", "!\\!"]
    command = remote_command(["printf", "%s\\0", *words], 20, "mark")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LD_LIBRARY_PATH": libraries, "TERM": "dumb"}
    done = subprocess.run([shell, "-c", command], capture_output=True, env=environment, check=False)
    assert ended(done.stderr.decode(), "mark") == ("", 0)
    assert done.stdout.decode() == "mark\n" + "\0".join([*words, ""])


def test_a_port_of_ours_is_brought_to_one_there(far):
    far.connect()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0)) as taken:
        port, to = free_port(), server.getsockname()[1]
        far.bring(port, to)
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            accepted, _ = server.accept()
            accepted.sendall(b"here")
            accepted.close()
            assert connection.recv(10) == b"here"
        assert answers(port, 0.5)
        with pytest.raises(HostError, match="is refused"):
            far.bring(taken.getsockname()[1], to)
    assert not answers(port, 5)  # nobody listens there any more
    far.cancel_bringing(port, to)
    with socket.socket() as tried:
        assert tried.connect_ex(("127.0.0.1", port))
    far.cancel_bringing(port, to)
