"""``pilotage run --on HOST``: the driver is there, and every command about it works from here."""

import json
import os
import signal
import socket
import stat
import subprocess
import termios
import time
import urllib.request

import jsonschema
import psutil
import pytest

from hosts.sshd import free_port
from pilotage.hosts.openssh import OpenSSHHost
from pilotage.runs import shapes
from pilotage.runs.places import kept as keeping
from program import PROGRAM
from runs.away import away as away
from terminals import Terminal

WAITS = """
import os, sys, time
import parsl
from helper import word
with parsl.load():
    print(word, os.environ.get("PILOTAGE_AWAY"), *sys.argv[1:], flush=True)
    print(parsl.python_app(lambda: 6 * 7)().result(), flush=True)
    while not os.path.exists("go"):
        time.sleep(0.1)
print("over")
"""


@pytest.fixture
def script(project):
    (project / "helper.py").write_text("word = 'sent'\n")
    (project / "waits.py").write_text(WAITS)
    return "waits.py"


@pytest.fixture
def begin(pilotage, script, away):
    """Starts a run there; whatever comes of the test, it is ended."""
    started = []

    def start(*options, arguments=()):
        words = ["run", "--on", "far", "--site", "threads", "--send", "helper.py", "--json", *options, script]
        done = pilotage(*words, "--", *arguments)
        assert done.returncode == 0, done.stderr
        started.append(json.loads(done.stdout))
        return started[-1]

    yield start
    for run in started:
        pilotage("cancel", "--now", run["id"])


@pytest.fixture
def row(pilotage):
    """Return a run's line of ``ps --json``."""

    def look(run):
        return next((one for one in json.loads(pilotage("ps", "--json").stdout)["runs"] if one["id"] == run), None)

    return look


def awaited(look, wanted, seconds=60):
    end = time.monotonic() + seconds
    while (found := look()) != wanted:
        assert time.monotonic() < end, found
        time.sleep(0.1)


def test_from_the_start_to_the_end(pilotage, begin, row, away, project):
    run = begin("--name", "first", arguments=["a b", "$x"])
    (folder,) = (away.home / ".pilotage").iterdir()
    assert sorted(path.name for path in folder.iterdir() if path.suffix) == ["helper.py", "waits.py"]
    assert run["folder"].startswith(f"{away.home}/state/runs/")
    jsonschema.validate(run, shapes.schema("run"))
    assert (run["name"], run["host"]) == ("first", "far")
    awaited(lambda: pilotage("logs", "first").stdout, "sent yes a b $x\n42\n")
    found = row(run["id"])
    assert (found["name"], found["host"], found["state"]) == ("first", "far", "running")
    assert f"{run['id']}  first" in pilotage("ps").stdout
    assert "state      running" in pilotage("show", "@last").stdout
    assert json.loads(pilotage("show", "first", "--json").stdout)["id"] == run["id"]
    assert "is not over" in pilotage("rm", "first").stderr
    assert f"run {run['id']} is on far" in pilotage("bundle", "first").stderr
    (folder / "go").touch()
    follows = pilotage("logs", "-f", run["id"])
    assert (follows.returncode, follows.stdout) == (0, "sent yes a b $x\n42\nover\n")
    assert row(run["id"])["state"] == "finished"
    assert pilotage("attach", "first").returncode == 2
    done = pilotage("rm", "first", "--json")
    assert json.loads(done.stdout) == {"removed": [run["id"]]}
    assert list((away.home / ".pilotage").iterdir()) == list((away.home / "state" / "runs").iterdir()) == []
    assert keeping.all_kept() == []
    assert row(run["id"]) is None


def test_cancel_resume_and_clean(pilotage, begin, row, away):
    run = begin("--name", "second")
    awaited(lambda: pilotage("logs", "second").stdout.endswith("42\n"), True)
    done = pilotage("cancel", "second", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["runs"] == [{"id": run["id"], "outcome": "ended", "state": "cancelled"}]
    assert json.loads(pilotage("clean", "--json").stdout) == {"dry_run": False, "runs": [], "expired": []}
    assert list((away.home / ".pilotage").iterdir()) == []
    again = pilotage("resume", "second")
    assert again.returncode == 0, again.stderr
    newer = again.stdout.strip()
    (folder,) = (away.home / ".pilotage").iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert "is not over" in pilotage("resume", newer).stderr
    (folder / "go").touch()
    pilotage("logs", "-f", newer)
    found = row(newer)
    assert (found["state"], found["resumes"], found["tasks"]["reused"]) == ("finished", run["id"], 1)
    assert found["name"] == "second"
    assert pilotage("rm", run["id"], newer).returncode == 0
    assert list((away.home / ".pilotage").iterdir()) == []
    assert keeping.all_kept() == []


def test_what_is_away_is_unreachable_and_the_run_goes_on(pilotage, begin, row, away):
    run = begin()
    awaited(lambda: row(run["id"])["state"], "running")
    away.stop()
    done = pilotage("ps")
    assert done.returncode == 0
    jsonschema.validate(json.loads(pilotage("ps", "--json").stdout), shapes.schema("ps"))
    assert " unreachable " in done.stdout
    assert "warning: far: " in done.stderr
    assert pilotage("logs", run["id"]).returncode == 1
    assert pilotage("rm", run["id"]).returncode == 1
    cleaned = pilotage("clean")
    assert cleaned.returncode == 1
    assert "far: " in cleaned.stdout
    away.start()
    assert row(run["id"])["state"] == "running"
    assert pilotage("cancel", "@last").returncode == 0
    away.stop()
    assert pilotage("rm", "--force", run["id"]).returncode == 0
    assert keeping.all_kept() == []


def test_a_follower_that_is_ended_leaves_nothing_there(pilotage, begin):
    run = begin()
    argv = [PROGRAM, "logs", "-f", run["id"]]
    with subprocess.Popen(argv, env=pilotage.env(), stdout=subprocess.PIPE, text=True) as follower:
        try:
            assert follower.stdout.readline() == "sent yes\n"
            assert followers(pilotage, run)
        finally:
            follower.send_signal(signal.SIGKILL)
    awaited(lambda: followers(pilotage, run), [], 20)
    master = OpenSSHHost("far").master()  # of a command that was killed; by itself it ends a minute later
    assert master is None or "ControlPersist=60" in psutil.Process(master).cmdline()
    OpenSSHHost("far").close()
    assert pilotage("cancel", "--now", run["id"]).returncode == 0


def followers(pilotage, run):
    found = []
    for process in pilotage.left_behind():
        try:
            line = process.cmdline()
        except psutil.NoSuchProcess:
            continue
        found += [line] if "-f" in line and run["id"] in line and os.path.basename(line[0]) != "ssh" else []
    return found


def test_what_cannot_be_is_told_and_leaves_nothing(pilotage, script, away, project):
    other = project / "old"
    other.write_text("#!/bin/sh\necho pilotage, version 0.0.1\n")
    other.chmod(0o755)
    wrong = {
        ("--on", "far", "--remote-python", str(other)): "is version 0.0.1",
        ("--on", "far", "--remote-python", "/no/such/python"): "does not start",
        ("--on", "far", "--site", "nowhere"): "nowhere",
        ("--on", "far", "--send", "none.py"): "no such file",
        ("--on=-oProxyCommand=touch hacked",): "is no host",
        ("--on", ""): "is no host",
        ("--send", "helper.py"): "--send is for a run on another host",
    }
    for options, words in wrong.items():
        done = pilotage("run", *options, script)
        assert done.returncode == 2, done.stderr
        assert words in done.stderr
    assert not (project / "hacked").exists()
    away.stop()
    done = pilotage("run", "--on", "far", script)
    assert done.returncode == 1
    assert "far: " in done.stderr
    assert not list(away.home.glob(".pilotage/*"))
    assert keeping.all_kept() == []


SERVES = """
import parsl
@parsl.python_app
def serve():
    import http.server
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200); self.end_headers(); self.wfile.write(b"from there")
        def log_message(self, *_): pass
    http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Answer).serve_forever()
with parsl.load():
    serve().result()
"""


def test_a_server_there_is_reached_from_here(pilotage, away, project):
    port, local = free_port(), free_port()
    (project / "serves.py").write_text(SERVES.replace("PORT", str(port)))
    assert pilotage("run", "--on", "far", "--site", "threads", "--name", "serves", "serves.py").returncode == 0
    awaited(lambda: accepts(port), True)
    wrong = pilotage("forward", "serves", str(free_port()))
    assert wrong.returncode == 1
    assert "bind it to 0.0.0.0" in wrong.stderr
    argv = [PROGRAM, "forward", "serves", str(port), "--local", str(local)]
    for by in (signal.SIGINT, signal.SIGKILL, None):
        with subprocess.Popen(argv, env=pilotage.env(), stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == f"http://127.0.0.1:{local}\n"
            with urllib.request.urlopen(f"http://127.0.0.1:{local}", timeout=20) as answer:
                assert answer.read() == b"from there"
            if by is None:
                assert pilotage("cancel", "--now", "serves").returncode == 0
            else:
                process.send_signal(by)
        if by == signal.SIGKILL:
            OpenSSHHost("far").close()
        assert process.returncode == (-by if by == signal.SIGKILL else 0)
    assert not accepts(local)


def test_a_forward_there_is_made_anew_with_its_connection(pilotage, away, project):
    port, local = free_port(), free_port()
    (project / "serves.py").write_text(SERVES.replace("PORT", str(port)))
    assert pilotage("run", "--on", "far", "--site", "threads", "--name", "serves", "serves.py").returncode == 0
    awaited(lambda: accepts(port), True)
    argv = [PROGRAM, "forward", "serves", str(port), "--local", str(local)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(argv, env=pilotage.env(), **pipes) as process:
        assert process.stdout.readline() == f"http://127.0.0.1:{local}\n"
        for _ in range(2):
            os.kill(OpenSSHHost("far").master(), signal.SIGKILL)
            assert process.stderr.readline() == "the connection to far is lost; it is made anew\n"
            assert process.stderr.readline() == "the connection to far is back\n"
            with urllib.request.urlopen(f"http://127.0.0.1:{local}", timeout=20) as answer:
                assert answer.read() == b"from there"
        assert pilotage("cancel", "--now", "serves").returncode == 0
        assert process.wait(60) == 0, process.stderr.read()
    assert not accepts(local)


@pytest.mark.slow
def test_a_forward_whose_run_ends_while_there_is_no_connection_ends_too(pilotage, away, project):
    port, local = free_port(), free_port()
    (project / "serves.py").write_text(SERVES.replace("PORT", str(port)))
    assert pilotage("run", "--on", "far", "--site", "threads", "--name", "serves", "serves.py").returncode == 0
    awaited(lambda: accepts(port), True)
    argv = [PROGRAM, "forward", "serves", str(port), "--local", str(local)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(argv, env=pilotage.env(), **pipes) as process:
        assert process.stdout.readline() == f"http://127.0.0.1:{local}\n"
        away.stop()
        os.kill(OpenSSHHost("far").master(), signal.SIGKILL)
        assert process.stderr.readline() == "the connection to far is lost; it is made anew\n"
        (run,) = (away.home / "state" / "runs").glob("2*")
        os.kill(json.loads((run / "run.json").read_text())["owner"]["pid"], signal.SIGTERM)
        awaited(lambda: accepts(port), False)
        away.start()
        assert process.wait(60) == 0, process.stderr.read()
    assert not accepts(local)


def accepts(port):
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def terminal(pilotage):
    opened = []

    def start(*arguments):
        opened.append(Terminal([PROGRAM, *arguments], {**pilotage.env(), "TERM": "xterm"}))
        return opened[-1]

    yield start
    for one in opened:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()
        os.close(one.master)
        os.close(one.slave)


def test_a_view_of_it_on_this_terminal(pilotage, begin, row, terminal, away):
    run = begin("--name", "viewed")
    awaited(lambda: row(run["id"])["tasks"].get("done"), 1)
    view = terminal("attach", "viewed")
    view.wait_for("1 done")  # the live line, which only a terminal has
    view.type("\x1c")
    assert view.finish() == 0
    assert "detached; the run goes on" in view.text()
    assert row(run["id"])["state"] == "running"
    follower = terminal("logs", "-f", "viewed")
    follower.wait_for("42")
    follower.type("\x03")
    assert follower.finish() == 130
    second = terminal("attach", "viewed")
    second.wait_for("1 done")
    (folder,) = (away.home / ".pilotage").iterdir()
    (folder / "go").touch()
    second.wait_for("over")
    assert second.finish() == 0
    assert termios.tcgetattr(second.slave) == second.before


def test_what_only_a_person_can_give_is_asked_once(pilotage, terminal, script, away):
    away.lock("secret words")
    refused = pilotage("run", "--on", "far", script)
    assert refused.returncode == 1
    assert "pilotage login far" in refused.stderr
    started = terminal("run", "--on", "far", "--send", "helper.py", "--site", "threads", "--name", "asked", script)
    started.wait_for("passphrase")
    started.type("secret words\r")
    assert started.finish() == 0
    try:
        awaited(lambda: pilotage("logs", "asked").stdout, "sent yes\n42\n")
        assert pilotage("cancel", "asked").returncode == 0
        assert pilotage("rm", "asked").returncode == 0
    finally:
        assert "has ended" in pilotage("login", "far", "--end").stdout
    assert keeping.all_kept() == []
