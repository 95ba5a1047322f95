"""Settings of the user's own for ssh, with which a connection of ours must be what it is without them."""

import contextlib
import socket
import sys
import threading

import pytest

from pilotage.errors import HostError, LoginError
from pilotage.hosts.openssh import OpenSSHHost


@pytest.fixture
def host_with(sshd, sockets, tmp_path):
    """Returns the host, as it is with more lines for it in the user's settings."""
    made = []

    def host(more):
        config = (sshd.folder / "ssh_config").read_text()
        (tmp_path / "config").write_text(config.replace("Host far", f"Host far\n  {more}"))
        made.append(OpenSSHHost("far", ("-F", str(tmp_path / "config")), sockets))
        return made[-1]

    yield host
    for one in made:
        one.close()


@pytest.mark.parametrize(
    "more",
    [
        "RemoteCommand echo mine",
        "RequestTTY force",
        "SessionType none",
        "ControlMaster auto\n  ControlPath /tmp/%C\n  ControlPersist 1",
        "LogLevel QUIET",
        "LogLevel DEBUG",
    ],
)
def test_commands_files_and_ports(host_with, more, tmp_path):
    host = host_with(more)
    done = host.run(["sh", "-c", "echo out; cat; echo err >&2"], stdin=b"in\n")
    assert (done.stdout, done.stderr) == ("out\nin\n", "err\n")
    with socket.create_server(("127.0.0.1", 0)) as server:
        to = server.getsockname()[1]
        port = host.forward(0, to)
        socket.create_connection(("127.0.0.1", port), 5).close()
        host.cancel_forward(port, to)
    program = host.session([sys.executable, "-c", "print(input())"])
    assert program.communicate(b"words\n", timeout=20)[0] == b"words\n"


def test_ports_of_the_users_own(host_with):
    """Another connection of the user's has them already."""
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as server:
        port, to = taken.getsockname()[1], server.getsockname()[1]
        host = host_with(
            f"LocalForward {port} 127.0.0.1:{to}\n  RemoteForward {port} 127.0.0.1:{to}\n  ExitOnForwardFailure yes"
        )
        assert host.run(["true"]).ok
        there = host.forward(0, to)
        socket.create_connection(("127.0.0.1", there), 5).close()
        host.cancel_forward(there, to)


def test_quiet_settings_hide_no_reason(host_with):
    with pytest.raises(LoginError, match="Permission denied"):
        host_with("LogLevel QUIET\n  PubkeyAuthentication no").run(["true"])


def test_a_host_that_does_not_answer_holds_up_no_other(far, sshd, sockets, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = (
            (sshd.folder / "ssh_config").read_text().replace(f"Port {sshd.port}", f"Port {silent.getsockname()[1]}")
        )
        (tmp_path / "config").write_text(config)
        other = OpenSSHHost("far", ("-F", str(tmp_path / "config")), sockets)

        def attempt():
            with contextlib.suppress(HostError):
                other.connect()

        thread = threading.Thread(target=attempt)
        thread.start()
        accepted, _ = silent.accept()
        assert far.run(["true"]).ok
        assert thread.is_alive(), "it is being waited for still"
        accepted.close()
    thread.join()
    other.close()
