"""A server on a compute node, from a laptop that reaches only the login host's sshd."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from clusters.test_login import laptop_site as laptop_site
from clusters.test_login import nothing_is_left
from program import PROGRAM

SERVES = """
import parsl
@parsl.python_app
def serve():
    import http.server, os
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200); self.end_headers(); self.wfile.write(os.uname().nodename.encode())
        def log_message(self, *_): pass
    http.server.ThreadingHTTPServer(("0.0.0.0", 8888), Answer).serve_forever()
with parsl.load():
    serve().result()
"""
GET = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=20).read().decode())"


@pytest.fixture
def cancelled(laptop):
    """Cancels the run called server, whatever comes of the test."""
    yield
    laptop.pilotage("cancel", "--now", "server")


def nodes_of(laptop):
    paths = list(laptop.outside(f"{laptop.home}/.local/state/pilotage/runs").glob("*/progress.json"))
    return [one["node"] for path in paths for one in json.loads(path.read_text())["nodes"]]


@pytest.mark.usefixtures("cancelled")
def test_a_server_on_a_node_is_reached_from_the_laptop(laptop, laptop_site):
    laptop_site()
    laptop.place("serves.py", SERVES)
    started = laptop.pilotage("run", "--detach", "--name", "server", "--site", "lab", "serves.py")
    assert started.returncode == 0, started.stderr
    end = time.monotonic() + 120
    while len(nodes_of(laptop)) < 2 or not serving(laptop):
        assert time.monotonic() < end
        time.sleep(0.5)
    (node,) = serving(laptop)
    assert laptop.run(sys.executable, "-c", GET, f"http://{node}:8888").returncode  # there is no direct way
    which = laptop.pilotage("forward", "server", "8888")
    assert which.returncode == 2
    assert "has 2 nodes: node1, node2" in which.stderr
    wrong = laptop.pilotage("forward", "server", "9999", "--node", node, "--json")
    assert wrong.returncode == 1
    assert json.loads(wrong.stdout)["where"] == node
    assert "bind it to 0.0.0.0" in wrong.stderr
    there = laptop.argv(PROGRAM, "forward", "server", "8888", "--node", node)
    for local, by in ((8888, "INT"), (8888, "KILL"), (None, "the run's end")):
        with subprocess.Popen(there, env=laptop.command.env(), stdout=subprocess.PIPE, text=True) as forward:
            address = forward.stdout.readline().strip()
            # What a killed one has left is taken away by the run's end; until then the port is not to be had.
            assert address == f"http://127.0.0.1:{local}" if local else address.startswith("http://127.0.0.1:")
            assert laptop.run(sys.executable, "-c", GET, address).stdout == f"{node}\n"
            if by == "the run's end":
                laptop.pilotage("cancel", "--now", "server")
            else:
                os.kill(forwarding(laptop), getattr(signal, f"SIG{by}"))
        assert by != "INT" or forward.returncode == 0
    assert laptop.run(sys.executable, "-c", GET, "http://127.0.0.1:8888").returncode
    assert nothing_is_left(laptop)


def forwarding(laptop):
    """Return the process that forwards; nsenter's, which has started it, has its words too."""
    lines = laptop.running().items()
    (pid,) = [pid for pid, line in lines if " forward server 8888 " in line and not line.startswith("nsenter")]
    return pid


def serving(laptop):
    """Return the nodes on which the head reaches the server."""
    urls = {node: f"http://{node}:8888" for node in ("node1", "node2")}
    return [
        node for node, url in urls.items() if not laptop.run(sys.executable, "-c", GET, url, host="head").returncode
    ]
