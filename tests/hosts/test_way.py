"""The way through a login host: that what goes in comes out, that it heals, and that nothing of it is left."""

import contextlib
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hosts.sshd import Sshd
from pilotage import events, journal
from pilotage.errors import HostError
from pilotage.hosts.far import LOGS, FarFolder, unpack_over
from pilotage.hosts.openssh import OpenSSHHost
from pilotage.hosts.way import Way


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(1 << 16):
            self.request.sendall(data)


@pytest.fixture
def echo():
    """The port of a server that answers with what it is sent."""
    socketserver.ThreadingTCPServer.daemon_threads = True
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


class Between:
    """A port that leads to another, whose side keeps its connections when those here have ended."""

    def __init__(self, to):
        self.there = []
        self._here = []
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *error):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in [*self.there, *self._here]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                self._here.append(here)
                self.there.append(socket.create_connection(("127.0.0.1", self._to)))
                for source, target in ((here, self.there[-1]), (self.there[-1], here)):
                    threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    @staticmethod
    def _pump(source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        # The other side is told nothing.


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The journal and the events of a run."""
    folder = tmp_path / "some-run"
    (folder / "parsl").mkdir(parents=True)
    monkeypatch.setattr(journal, "current", journal.Journal(folder / "journal.jsonl"))
    monkeypatch.setattr(events, "current", events.Events(folder / "events.jsonl"))
    return folder


@pytest.fixture
def gateway(tmp_path, cache, sockets):
    """A host whose sshd listens where it is asked to; its server may be stopped."""
    server = Sshd(tmp_path / "gateway", "GatewayPorts clientspecified")
    server.start()
    host = OpenSSHHost("far", server.options, sockets)
    host.server = server
    yield host
    host.close()
    server.stop()


@pytest.fixture
def begun(far, run, tmp_path):
    """Open ways over an sshd that listens for its own host only; see `opened`."""
    yield from opened(far, run, tmp_path)


@pytest.fixture
def begun_on_gateway(gateway, run, tmp_path):
    """Open ways over one that listens where it is asked to."""
    yield from opened(gateway, run, tmp_path)


def opened(host, run, tmp_path):
    """Yield what opens ways; all must be closed without anything being left."""
    base, ways = tmp_path / "there", []

    def begin(to, reach="auto", inside="127.0.0.2"):
        folder = FarFolder(host, str(base), "label")
        folder.begin(run / "parsl")
        ways.append(Way(folder, sys.executable, reach, inside))
        return ways[-1], ways[-1].open(to)

    yield begin
    for way in ways:
        way.close()
        way.folder.end()
    assert not list(base.glob("*"))
    left = [entry for entry in journal.current.open_entries() if entry.what.get("role") != "ssh"]
    assert not left


def talk(place, words=b"hello"):
    with socket.create_connection(place, 5) as connection:
        connection.sendall(words)
        found = b""
        while len(found) < len(words):
            more = connection.recv(1 << 16)
            if not more:
                break
            found += more
        return found


def listens(place):
    with contextlib.suppress(OSError):
        socket.create_connection(place, 1).close()
        return True
    return False


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "not in time"
        time.sleep(0.05)
    return found


def answers(place):
    with contextlib.suppress(OSError):
        return talk(place) == b"hello"
    return False


@pytest.mark.parametrize("reach", ["auto", "relay"])
def test_a_relay_where_sshd_listens_for_itself_only(begun, echo, reach):
    """The sshd here has GatewayPorts no: it says nothing, and binds its loopback."""
    way, place = begun(echo, reach)
    assert way.reach == "relay"
    assert place[0] == "127.0.0.2"
    assert talk(place) == b"hello"
    big = os.urandom(3 << 20)
    assert talk(place, big[: 1 << 20]) == big[: 1 << 20]
    assert not listens(("127.0.0.3", place[1])), "exactly one address"
    way.close()
    assert not listens(place)


def test_a_gateway_that_is_refused_is_told(begun, echo, far, run, tmp_path):
    folder = FarFolder(far, str(tmp_path / "other"))
    folder.begin(run / "parsl")
    way = Way(folder, sys.executable, "gateway", "127.0.0.2")
    with pytest.raises(HostError, match="does not listen at 127") as caught:
        way.open(echo)
    assert "GatewayPorts" in caught.value.hint
    way.close()
    folder.end()


def test_a_gateway_needs_nothing_else(begun_on_gateway, echo):
    way, place = begun_on_gateway(echo)
    assert way.reach == "gateway"
    assert way._relay is None
    assert talk(place) == b"hello"
    assert not listens(("127.0.0.3", place[1])), "exactly one address"


@pytest.mark.parametrize("reach", ["relay", "gateway"])
def test_a_lost_connection_is_made_anew_with_the_same_port(begun_on_gateway, gateway, echo, run, reach):
    way, place = begun_on_gateway(echo, reach)
    os.kill(gateway.master(), signal.SIGKILL)
    wait_for(lambda: len(events.current.read()[0]) == 3)
    assert way.is_up
    assert answers(place)
    kinds = [event["kind"] for event in events.current.read()[0]]
    assert kinds == ["way", "connection-lost", "connection-back"]


def test_a_host_that_is_away_for_a_while(begun_on_gateway, gateway, echo):
    _, place = begun_on_gateway(echo)
    port = gateway.server.port
    gateway.server.stop()
    os.kill(gateway.master(), signal.SIGKILL)
    time.sleep(3)
    gateway.server.start()
    assert gateway.server.port == port
    wait_for(lambda: answers(place))


def test_a_relay_that_was_killed_is_started_anew(begun, echo, run):
    way, place = begun(echo, "relay")
    relay = int(Path(way.folder.there, "relay.py.pid").read_text())
    os.kill(relay, signal.SIGKILL)
    wait_for(lambda: len(events.current.read()[0]) == 3)
    wait_for(lambda: answers(place))
    assert int(Path(way.folder.there, "relay.py.pid").read_text()) != relay


def test_a_relay_ends_with_what_has_started_it(begun, far, echo):
    way, place = begun(echo, "relay")
    way._stop.set()  # nobody is to start it anew
    way._thread.join()
    os.kill(way._relay.pid, signal.SIGKILL)
    wait_for(lambda: not listens(place))


def test_an_sshd_that_has_not_noticed_the_end_gives_up_its_port(gateway, echo, run, tmp_path, sockets):
    """A laptop that was asleep has another address when it wakes: nobody tells the far side."""
    with Between(gateway.server.port) as between:
        settings = (gateway.server.folder / "ssh_config").read_text()
        known = f"HostKeyAlias [127.0.0.1]:{gateway.server.port}"
        settings = settings.replace(f"Port {gateway.server.port}", f"Port {between.port}\n  {known}")
        (tmp_path / "config").write_text(settings)
        host = OpenSSHHost("far", ("-F", str(tmp_path / "config")), sockets)
        for begin in opened(host, run, tmp_path):
            _, place = begin(echo)
            assert answers(place)
            os.kill(host.master(), signal.SIGKILL)
            wait_for(lambda place=place: answers(place))
            assert len(between.there) == 2
        host.close()


@contextlib.contextmanager
def taken(gateway, place):
    """Somebody else listens at ``place`` when the connection, which is lost, is made anew."""
    gateway.server.stop()
    os.kill(gateway.master(), signal.SIGKILL)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

        def take():
            with contextlib.suppress(OSError):
                listener.bind(place)
                listener.listen()
                return True
            return False

        wait_for(take)
        gateway.server.start()
        yield
        assert not answers(place), "nobody but us answers"


@pytest.mark.slow
def test_a_port_that_others_have_taken_meanwhile_is_told(begun_on_gateway, gateway, echo, run, monkeypatch):
    """Workers know the port: nothing else will do, so it is tried until it is free."""
    monkeypatch.setattr("pilotage.hosts.way.TOLD", 0.0)
    _, place = begun_on_gateway(echo, "gateway")
    with taken(gateway, place):
        wait_for(lambda: said("connection-away"))
        assert f"port {place[1]} at {place[0]} is refused" in said("connection-away")[0]
        assert not said("connection-back")
    wait_for(lambda: answers(place), 60)
    wait_for(lambda: said("connection-back"))  # a moment later


def connects(host):
    with contextlib.suppress(HostError):
        host.connect()
        return True
    return False


def said(kind):
    return [event["message"] for event in events.current.read()[0] if event["kind"] == kind]


def test_ssh_itself_does_not_get_a_port_that_is_taken(begun_on_gateway, gateway, echo, run):
    """And with another port, which it would get, workers would not find us."""
    way, place = begun_on_gateway(echo, "gateway")
    way._stop.set()
    way._thread.join()
    with taken(gateway, place):
        ask = ["ssh", *gateway.options, "-N", "-o", "ExitOnForwardFailure=yes", "-R"]
        done = subprocess.run([*ask, f"{place[0]}:{place[1]}:127.0.0.1:{echo}", "far"], capture_output=True, text=True)
        assert done.returncode == 255
        assert f"remote port forwarding failed for listen port {place[1]}" in done.stderr


@pytest.mark.slow
def test_who_tries_once_does_not_get_a_port_that_is_free_later(begun_on_gateway, gateway, echo, run, monkeypatch):
    tried = []

    def once(self, words, again):
        wait_for(lambda: connects(gateway) or self._stop.is_set())
        try:
            again()
        except HostError as error:
            tried.append(str(error))
        self._stop.wait()

    monkeypatch.setattr("pilotage.hosts.way.STALE", 0.0)
    monkeypatch.setattr(Way, "_heal", once)
    _, place = begun_on_gateway(echo, "gateway")
    with taken(gateway, place):
        wait_for(lambda: tried)
    assert f"port {place[1]} at {place[0]} is refused" in tried[0]
    with pytest.raises(AssertionError, match="not in time"):
        wait_for(lambda: answers(place), 6)


def test_the_nodes_connection(begun, echo):
    """What each node does itself is begun from the loopback of the login host."""
    way, place = begun(echo, "node")
    assert place[0] == "127.0.0.1"
    assert talk(place) == b"hello"
    assert way.reach == "node"


def test_a_far_folder(far, run, tmp_path):
    folder = FarFolder(far, str(tmp_path / "runs"), "gpu")
    there = Path(folder.begin(run / "parsl"))
    assert there.name == "some-run.gpu"
    assert there.stat().st_mode & 0o777 == 0o700
    (entry,) = [entry for entry in journal.current.open_entries() if entry.kind == "remote_folder"]
    assert entry.what["path"] == str(there)
    keys = run / "parsl" / "certificates"
    keys.mkdir(mode=0o700)
    (keys / "key").write_text("secret")
    assert folder.send(keys) == str(there / "certificates")
    assert folder.path("/scratch/logs") == "/scratch/logs"
    (there / "block-0").mkdir()
    (there / "block-0" / "manager.log").write_text("words")
    (there / "certificates" / "more").write_text("x")
    (there / "large").write_bytes(b"x" * (17 << 20))
    folder.end()
    assert not there.exists()
    assert (run / "parsl" / "block-0" / "manager.log").read_text() == "words"
    assert not (run / "parsl" / "large").exists()
    assert not (keys / "more").exists()
    assert not [entry for entry in journal.current.open_entries() if entry.kind == "remote_folder"]


def test_a_far_folder_that_cannot_be_made(far, run, tmp_path):
    (tmp_path / "file").write_text("")
    folder = FarFolder(far, str(tmp_path / "file"))
    with pytest.raises(HostError, match="cannot be made") as caught:
        folder.begin(run / "parsl")
    assert "run_folder" in caught.value.hint
    assert not [entry for entry in journal.current.open_entries() if entry.kind == "remote_folder"]


def test_logs_are_brought_without_anything_being_written_there(far, run, tmp_path):
    """The disk there may be full."""
    folder = FarFolder(far, str(tmp_path / "there"), "label")
    there = Path(folder.begin(run / "parsl"))
    (there / "a log").write_text("words")
    before = {path: path.stat().st_mtime_ns for path in [there, *there.iterdir()]}
    archive = far.read(["sh", "-c", LOGS, "sh", str(there)])
    assert {path: path.stat().st_mtime_ns for path in [there, *there.iterdir()]} == before
    unpack_over(archive, run)
    assert (run / "a log").read_text() == "words"
    folder.end()
