"""A server that a task has started is reached from here, and nothing of the way is left."""

import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.request

import jsonschema
import pytest

from pilotage import journal
from pilotage.hosts.openssh import OpenSSHHost
from pilotage.journal import Journal
from pilotage.paths import RunFolder
from pilotage.runs import ending, shapes
from pilotage.runs.forward import HINT, Server, _Brought, answers, server
from pilotage.runs.record import read_json
from pilotage.worker import processes
from program import PROGRAM
from runs.away import away as away

SERVES = """
import parsl
@parsl.python_app
def serve(port):
    import http.server
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200); self.end_headers(); self.wfile.write(b"from the node")
        def log_message(self, *_): pass
    http.server.ThreadingHTTPServer(("127.0.0.1", port), Answer).serve_forever()
with parsl.load():
    serve(PORT).result()
"""


def free():
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return tried.getsockname()[1]


def awaited(look, seconds=60):
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end
        time.sleep(0.1)
    return found


def accepts(port):
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def run(project, pilotage):
    """A run whose task serves; returns its id and the server's port."""
    port = free()
    (project / "serves.py").write_text(SERVES.replace("PORT", str(port)))
    started = pilotage("run", "--detach", "--json", "serves.py", "--site", "laptop")
    assert started.returncode == 0, started.stderr
    run = json.loads(started.stdout)
    folder = RunFolder(type(project)(run["folder"]))
    try:
        awaited(lambda: accepts(port))
        awaited(lambda: read_json(folder.progress).get("nodes"))
        yield folder, port
    finally:
        pilotage("cancel", "--now", folder.id)


@pytest.fixture
def begin(pilotage):
    """Starts a forward; whatever comes of the test, it is ended."""
    begun = []

    def start(*arguments):
        argv = [PROGRAM, "forward", *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        begun.append(subprocess.Popen(argv, env=pilotage.env(), **pipes))
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.communicate()


def forwards(folder):
    return [entry for entry in Journal(folder.journal).open_entries() if entry.what.get("role") == "forward"]


def test_of_a_run_of_this_machine_the_address_is_told(run, pilotage):
    folder, port = run
    done = pilotage("forward", folder.id, str(port))
    assert (done.returncode, done.stdout) == (0, f"http://127.0.0.1:{port}\n"), done.stderr
    assert f"{processes.host()} is this machine" in done.stderr
    told = json.loads(pilotage("forward", "@last", str(port), "--json").stdout)
    jsonschema.validate(told, shapes.schema("forward"))
    assert (told["run"], told["local"]) == (folder.id, port)
    wrong = pilotage("forward", "@last", str(free()), "--json")
    assert wrong.returncode == 1
    assert json.loads(wrong.stdout)["hint"] == HINT
    assert "cannot be reached: Connection refused" in wrong.stderr


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL, "end"])
def test_another_port_leads_there_until_it_is_ended(run, begin, pilotage, by):
    folder, port = run
    local = free()
    process = begin("@last", port, "--local", local)
    assert process.stdout.readline() == f"http://127.0.0.1:{local}\n", process.stderr.read()
    with urllib.request.urlopen(f"http://127.0.0.1:{local}/", timeout=20) as answer:
        assert answer.read() == b"from the node"
    assert [entry.id["pid"] for entry in forwards(folder)] == [process.pid]
    if by == "end":
        os.kill(process.pid, signal.SIGSTOP)  # it does not see the end of the run, which ends it
        pilotage("cancel", "--now", folder.id)
    else:
        process.send_signal(by)
    # Its run's end lets it go on for a moment before it is killed: it may see the end itself.
    expected = {"end": (0, -signal.SIGKILL), signal.SIGKILL: (-signal.SIGKILL,)}
    assert process.wait(30) in expected.get(by, (0,))
    assert not accepts(local)
    if by == signal.SIGKILL:
        assert pilotage("cancel", "--now", folder.id).returncode == 0
    assert not forwards(folder)


def test_a_port_that_is_taken(run, pilotage):
    folder, port = run
    done = pilotage("forward", folder.id, str(free()), "--local", str(port))
    assert done.returncode == 2
    assert f"port {port} of this machine cannot be had" in done.stderr


@pytest.fixture
def made(tmp_path):
    """A run's folder as one leaves it that goes on, with some nodes."""

    def make(*nodes, state="running"):
        folder = RunFolder(tmp_path / "runs" / "20261127-101500-aaaa")
        folder.path.mkdir(parents=True, exist_ok=True)
        record = {"id": folder.id, "folder": str(folder.path), "state": state, "script": "s", "sites": {}}
        folder.record.write_text(json.dumps({**record, "owner": processes.identity(os.getpid())}))
        folder.progress.write_text(json.dumps({"nodes": [{"executor": "lab", "node": node} for node in nodes]}))
        return folder

    return make


def test_which_node_is_meant(made):
    from pilotage.errors import UsageError

    assert server(made("node1"), 80, None) == Server("node1", 80, None, ("node1",))
    assert server(made("node1", "node2"), 80, "node2").node == "node2"
    with pytest.raises(UsageError, match="has 2 nodes: node1, node2"):
        server(made("node1", "node2"), 80, None)
    with pytest.raises(UsageError, match="no node yet"):
        server(made(), 80, None)
    with pytest.raises(UsageError, match="is over"):
        server(made("node1", state="finished"), 80, None)


def test_what_closes_at_once_does_not_answer():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert answers(silent.getsockname()[1], 0.2)
    assert not answers(free(), 0.2)


@pytest.mark.usefixtures("away")
def test_a_connection_that_is_lost_is_made_anew(made, monkeypatch):
    """What goes over a login host, in this process; on the lab it is the command (clusters.test_forward)."""
    folder, local, said, stop = made("node1"), free(), [], threading.Event()
    ours = Journal(folder.journal)
    ours.create()
    monkeypatch.setattr(journal, "current", ours)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        to = Server("node1", silent.getsockname()[1], "far", ("127.0.0.1",))
        brought = _Brought(folder, to, "far", local, said.append)
        ready = threading.Event()
        thread = threading.Thread(target=brought.keep, args=(lambda _: ready.set(), stop), kwargs={"ask": False})
        thread.start()
        assert ready.wait(30)
        kinds = [(entry.kind, entry.what.get("port")) for entry in ours.open_entries()]
        assert ("tunnel", local) in kinds
        os.kill(OpenSSHHost("far").master(), signal.SIGKILL)
        awaited(lambda: len(said) == 2, 30)
        assert said == [
            "the connection to far is lost; it is made anew",
            "the connection to far is back",
        ]
        assert answers(local, 0.5)
        stop.set()
        thread.join(30)
    assert not ours.open_entries()
    assert not accepts(local)


@pytest.mark.usefixtures("away")
def test_what_a_killed_one_has_left_is_ended_with_the_run(made):
    folder, local = made("node1"), free()
    host, ours = OpenSSHHost("far"), Journal(folder.journal)
    ours.create()
    host.connect()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        to = silent.getsockname()[1]
        ours.intend("tunnel", login="far", brings=True, port=local, to=to, address="127.0.0.1", name="node1:80")
        host.bring(local, to)
        assert accepts(local)
        assert ending.describe(ours.open_entries()) == [f"tunnel {local} node1:80 on far"]
        assert ending.end_all(ours) == []
        assert not accepts(local)
    assert not ours.open_entries()
    host.close()
