"""Connections that a person makes: by `pilotage login`, or where a run begins; and runs that wait for one."""

import calendar
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import jsonschema
import pytest

from clusters.cluster_run import WITHIN
from pilotage.events import Events
from pilotage.hosts.openssh import A_DAYS_WORK, OpenSSHHost
from pilotage.runs import shapes
from pilotage.runs.record import read_json
from program import PROGRAM
from terminals import Terminal

POOL = """
[site.pool]
scheduler = "ssh"
hosts = ["far"]
python = "{python}"
run_folder = "{folder}/there"
max_workers_per_node = 1
"""
SCRIPT = """
import parsl, sys, time
@parsl.python_app
def turn(number, folder):
    import pathlib, time
    with open(f"{folder}/{number}", "a") as file:
        file.write("x")
    while not pathlib.Path(f"{folder}/go").exists():
        time.sleep(0.05)
    return number
print("first line", flush=True)
with parsl.load():
    print(sum(one.result() for one in [turn(number, sys.argv[1]) for number in range(5)]))
"""

has_pam = pytest.mark.skipif(
    os.getuid() != 0 or not Path("/etc/pam.d").is_dir() or shutil.which("openssl") is None,
    reason="PAM with accounts of the test's own needs mounts",
)


@pytest.fixture
def site(server, user_file, tmp_path):
    """A pool of that one host, a script, and a folder of files that say how often each of its tasks has begun."""
    user_file(POOL.format(python=sys.executable, folder=tmp_path))
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "ran").mkdir()
    yield ["--site", "pool", str(tmp_path / "script.py"), str(tmp_path / "ran")]
    left = [path.name for path in (tmp_path / "there").glob("*")]
    assert left in ([], ["code"]), "a folder is left on the host, but for code, which runs share"


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "not in time"
        time.sleep(0.05)
    return found


def the_run(home):
    (folder,) = (home / "state" / "runs").glob("2*")
    return folder


def test_a_connection_for_the_day(server, pilotage):
    before = time.time()
    done = pilotage.ask("login", "far", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    jsonschema.validate(told, shapes.schema("login"))
    assert told["site"] is None
    (host,) = told["hosts"]
    assert (host["host"], host["connected"], host["made"]) == ("far", True, True)
    until = calendar.timegm(time.strptime(host["until"], "%Y-%m-%dT%H:%M:%SZ"))
    assert int(before) + A_DAYS_WORK <= until <= time.time() + A_DAYS_WORK
    assert OpenSSHHost("far").is_connected()
    again = pilotage.ask("login", "far")
    assert again.stdout.startswith("far is connected already: until ")
    assert pilotage.ask("login", "far", "--end").stdout == "far: the connection has ended\n"
    assert not OpenSSHHost("far").is_connected()
    assert pilotage.ask("login", "far", "--end").stdout == "far: there was no connection\n"


def test_a_connection_that_hangs_is_made_anew(server, pilotage, monkeypatch):
    monkeypatch.setattr("pilotage.hosts.logins.ANSWER", 0.0)
    monkeypatch.setattr("pilotage.hosts.openssh.GRACE", 1)
    pilotage.ask("login", "far")
    monkeypatch.setattr("pilotage.hosts.openssh.CONTROL", 2)
    master = OpenSSHHost("far").master()
    os.kill(master, signal.SIGSTOP)
    try:
        done = pilotage.ask("login", "far", "--json")
        assert json.loads(done.stdout)["hosts"][0]["made"], done.stderr
        assert OpenSSHHost("far").master() != master
    finally:
        os.kill(master, signal.SIGKILL)
        pilotage.ask("login", "far", "--end")


def test_one_that_a_run_has_made_is_that_runs(server, pilotage):
    host = OpenSSHHost("far")
    host.connect()
    assert pilotage.ask("login", "far").stdout == "far is connected already: the run that has made it ends it\n"
    assert json.loads(pilotage.ask("login", "far", "--json").stdout)["hosts"][0]["until"] is None
    host.close()


def test_the_hosts_of_a_pool_one_after_the_other(server, pilotage, user_file):
    user_file('[site.pool]\nscheduler = "ssh"\nhosts = ["far", "nobody@localhost.invalid"]\n')
    done = pilotage.ask("login", "pool")
    assert done.returncode == 1
    assert done.stdout.startswith("far is connected: until ")
    assert "localhost.invalid" in done.stderr
    told = json.loads(pilotage.ask("login", "pool", "--json").stdout)
    jsonschema.validate(told, shapes.schema("login"))
    assert [(one["connected"], one["error"] is None) for one in told["hosts"]] == [(True, True), (False, False)]
    assert pilotage.ask("login", "pool", "--end").returncode == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["laptop"], "'laptop' is not reached by SSH"),
        (["labtop"], "there is no site 'labtop', and no host of that name\n\nhint: did you mean 'laptop'?"),
        (["a b"], "'a b' is no host"),
        (["far", "--set", "a=1"], "--set is for a site"),
    ],
)
def test_what_is_no_host(server, pilotage, words, said):
    done = pilotage.ask("login", *words)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_passphrase_is_asked_for_on_the_terminal(server, pilotage):
    server.lock("open sesame")
    done = pilotage("login", "far")
    assert done.returncode == 1
    assert "a person has to log in, on a terminal: pilotage login far" in done.stderr
    terminal = Terminal([PROGRAM, "login", "far"], pilotage.env())
    terminal.wait_for("passphrase for key")
    terminal.type("open sesame\n")
    assert terminal.finish() == 0, terminal.text()
    close(terminal)
    assert "far is connected: until" in terminal.text()
    assert pilotage.ask("login", "far", "--end").returncode == 0


def test_a_run_asks_once_before_its_first_line(server, site, pilotage, tmp_path, private_home):
    server.lock("open sesame")
    terminal = Terminal([PROGRAM, "run", *site], pilotage.env())
    terminal.wait_for("passphrase for key")
    assert "first line" not in terminal.text()
    terminal.type("open sesame\n")
    terminal.wait_for("first line")
    (tmp_path / "ran" / "go").touch()
    assert terminal.finish(90) == 0, terminal.text()
    close(terminal)
    assert "10" in terminal.text().split("first line")[1]
    assert terminal.text().count("passphrase") == 1
    assert (server.folder / "log").read_text().count("Accepted publickey") == 1


@has_pam
@pytest.mark.parametrize("server", [{"code": "493817"}], indirect=True)
def test_a_second_factor(server, site, pilotage, tmp_path):
    """A key alone is refused; the code is asked for once, and what a run does over the connection asks for none."""
    done = pilotage("run", *site)
    assert done.returncode == 1
    assert "pilotage login far" in done.stderr
    terminal = Terminal([PROGRAM, "login", "far"], pilotage.env())
    terminal.wait_for("assword:")
    terminal.type("493817\n")
    assert terminal.finish() == 0, terminal.text()
    close(terminal)
    (tmp_path / "ran" / "go").touch()
    done = pilotage("run", *site)
    assert (done.returncode, done.stdout) == (0, "first line\n10\n"), done.stderr
    assert (server.folder / "log").read_text().count("Accepted keyboard-interactive") == 1
    assert pilotage.ask("login", "far", "--end").returncode == 0


@has_pam
@pytest.mark.parametrize("server", [{"code": "493817"}], indirect=True)
def test_a_second_factor_that_is_wrong(server, site, pilotage):
    terminal = Terminal([PROGRAM, "run", *site], pilotage.env())
    terminal.wait_for("assword:")
    for _ in range(3):
        terminal.seen = b""
        terminal.type("000000\n")
        terminal.wait_for("assword:" if _ < 2 else "error: far: ")
    assert terminal.finish() == 1
    close(terminal)
    assert "Permission denied" in terminal.text()
    assert "first line" not in terminal.text()
    assert (server.folder / "log").read_text().count("PAM: Authentication failure") == 3


@has_pam
@pytest.mark.parametrize("server", [{"code": "493817"}], indirect=True)
def test_a_second_factor_that_is_right_at_last(server, site, pilotage, tmp_path):
    """It is the code that the other was refused for. Without anybody to give one, ssh itself is refused, too."""
    alone = subprocess.run(["ssh", "-o", "BatchMode=yes", "far", "true"], capture_output=True, text=True)
    assert alone.returncode == 255
    assert "Permission denied (keyboard-interactive)" in alone.stderr
    (tmp_path / "ran" / "go").touch()
    terminal = Terminal([PROGRAM, "run", *site], pilotage.env())
    for code in ("000000", "000000", "493817"):
        terminal.wait_for("assword:")
        terminal.seen = b""
        terminal.type(f"{code}\n")
    terminal.wait_for("first line")
    assert terminal.finish(90) == 0, terminal.text()
    close(terminal)


def test_a_question_that_nobody_answers_leaves_the_terminal_as_it_was(server, pilotage):
    server.lock("open sesame")
    script = "from pilotage.hosts import openssh; openssh.PERSON = 2; openssh.OpenSSHHost('far').connect(ask=True)"
    terminal = Terminal([sys.executable, "-c", script], pilotage.env())
    terminal.wait_for("passphrase for key")
    assert not termios.tcgetattr(terminal.slave)[3] & termios.ECHO
    assert terminal.finish() == 1
    assert termios.tcgetattr(terminal.slave) == terminal.before
    assert "has not let us in in time" in terminal.text()
    close(terminal)


def close(terminal):
    os.close(terminal.master)
    os.close(terminal.slave)


def test_without_a_terminal_nobody_is_asked(server, site, pilotage, private_home):
    server.lock("open sesame")
    done = pilotage("run", *site)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "error: far: " in done.stderr
    assert "a person has to log in, on a terminal: pilotage login far" in done.stderr
    assert read_json(the_run(private_home) / "run.json")["state"] == "failed"


def test_a_question_that_is_left_unanswered(server, site, pilotage, private_home):
    server.lock("open sesame")
    terminal = Terminal([PROGRAM, "run", *site], pilotage.env())
    terminal.wait_for("passphrase for key")
    terminal.type("\x03")
    assert terminal.finish() == 130, terminal.text()
    close(terminal)
    assert read_json(the_run(private_home) / "run.json")["state"] == "cancelled"


def test_a_run_that_wants_a_person_waits_and_a_login_revives_it(server, site, pilotage, tmp_path, private_home):
    ran, keys = tmp_path / "ran", server.folder / "authorized_keys"
    process = subprocess.Popen([PROGRAM, "run", *site], env=pilotage.env(), stdout=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: list(ran.iterdir()))
        keys.rename(server.folder / "elsewhere")
        os.kill(OpenSSHHost("far").master(), signal.SIGKILL)
        events = Events(the_run(private_home) / "events.jsonl")
        (away,) = wait_for(lambda: [one for one in events.read()[0] if one["kind"] == "connection-away"])
        assert "run `pilotage login far`" in away["message"]
        tried = wait_for(lambda: refusals(server))  # sshd writes that when it likes
        time.sleep(5)
        assert process.poll() is None
        assert refusals(server) == tried > 0, "an account would be locked"
        assert pilotage.ask("login", "far").returncode == 1
        (server.folder / "elsewhere").rename(keys)
        (ran / "go").touch()
        assert pilotage.ask("login", "far").returncode == 0
        out, _ = process.communicate(timeout=90)
    finally:
        with contextlib.suppress(OSError):
            process.kill()
        process.stdout.close()
        process.wait()
    assert (process.returncode, out) == (0, "first line\n10\n")
    assert {path.name: path.read_text() for path in ran.iterdir() if path.name != "go"} == dict.fromkeys("01234", "x")
    assert OpenSSHHost("far").is_connected(), "it is the person's, and not the run's to end"
    assert pilotage.ask("login", "far", "--end").returncode == 0


@pytest.mark.slow
def test_without_waiting_for_the_person_an_account_would_be_locked(server, site, pilotage, tmp_path, private_home):
    ran, keys = tmp_path / "ran", server.folder / "authorized_keys"
    more = {"PYTHONPATH": str(WITHIN), "CLUSTERS_WITHOUT": "person"}
    process = subprocess.Popen([PROGRAM, "run", *site], env=pilotage.env(**more), stdout=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: list(ran.iterdir()))
        keys.rename(server.folder / "elsewhere")
        os.kill(OpenSSHHost("far").master(), signal.SIGKILL)
        tried = wait_for(lambda: refusals(server))
        wait_for(lambda: refusals(server) > tried)
        (server.folder / "elsewhere").rename(keys)
        (ran / "go").touch()
        out, _ = process.communicate(timeout=90)
    finally:
        with contextlib.suppress(OSError):
            process.kill()
        process.stdout.close()
        process.wait()
    assert (process.returncode, out) == (0, "first line\n10\n")


def refusals(server):
    return (server.folder / "log").read_text().count("Connection closed by authenticating user")
