"""The supervisor: small, without Parsl, and the last to go."""

import json
import os
import re
import signal
import time
from pathlib import Path

import psutil
import pytest

LIMIT = 15_000
"""Kilobytes."""
TEXT = "import time\nprint('ready', flush=True)\nwhile True: time.sleep(0.1)\n"
WITH_PARSL = "import parsl\nparsl.load()\nx = parsl.python_app(lambda: __import__('time').sleep(300))()\n" + TEXT


def awaited(condition, seconds=40):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)
    return found


@pytest.fixture
def started(pilotage, project, private_home):
    """Start a detached run of a script; returns its folder once it has said "ready"."""
    ids = []

    def start(text, *options):
        (project / "s.py").write_text(text)
        done = pilotage("run", "-d", "-q", "--grace", "2", *options, "s.py")
        assert done.returncode == 0, done.stderr
        ids.append(done.stdout.strip())
        folder = private_home / "state" / "runs" / ids[-1]
        awaited(lambda: (folder / "driver.log").exists() and "ready" in (folder / "driver.log").read_text())
        return folder

    yield start
    if ids:
        pilotage("cancel", "--now", *ids)


def record(folder):
    return json.loads((folder / "run.json").read_text())


def supervisor(folder):
    return psutil.Process(record(folder)["owner"]["pid"])


def test_it_is_small_and_knows_no_parsl(started, pilotage):
    folder = started(WITH_PARSL, "--site", "laptop")
    awaited((folder / "progress.json").exists)
    awaited(lambda: json.loads((folder / "progress.json").read_text())["tasks"]["launched"] == 1)
    pid = supervisor(folder).pid
    if not Path(f"/proc/{pid}/status").exists():
        pytest.skip("no /proc here to read its size from")
    status = Path(f"/proc/{pid}/status").read_text()
    size = int(re.search(r"VmRSS:\s+(\d+) kB", status)[1])
    assert size < LIMIT, status
    maps = Path(f"/proc/{pid}/maps").read_text()
    for package in ("parsl", "zmq", "click", "rich", "pydantic", "psutil"):
        assert package not in maps.replace(str(Path.cwd()), ""), package
    assert pilotage("cancel", folder.name).returncode == 0
    assert record(folder)["state"] == "cancelled"


def test_it_ends_what_the_script_has_left(started, pilotage):
    """A daemon in a session of its own, with no environment, by a double fork: it is still the run's."""
    daemon = (
        "import os, subprocess\n"
        "p = subprocess.Popen(['sh', '-c', 'env -i setsid sleep 600 & echo $!'], stdout=subprocess.PIPE)\n"
        "print('left', int(p.stdout.readline()), flush=True)\n"
    )
    folder = started(daemon + TEXT)
    left = psutil.Process(int(re.search(r"left (\d+)", (folder / "driver.log").read_text())[1]))
    assert left.is_running()
    os.kill(record(folder)["driver"]["pid"], signal.SIGKILL)
    awaited(lambda: record(folder)["state"] == "failed")
    assert not left.is_running()
    assert record(folder)["reason"] == "the driver was ended by SIGKILL"
    assert not (folder / "view.sock").exists()
    assert not (folder.parent.parent / "live" / folder.name).exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_it_stops_the_run(number, started):
    folder = started(TEXT)
    supervisor(folder).send_signal(number)
    awaited(lambda: record(folder)["state"] == "cancelled")
    assert record(folder)["reason"] == "it was told to stop by a signal"
    awaited(lambda: not list(Path(folder).glob("*.reserve")))


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGPIPE, signal.SIGTTOU])
def test_other_signals_do_not(number, started):
    folder = started(TEXT)
    process = supervisor(folder)
    process.send_signal(number)
    beat = (folder / "heartbeat").stat().st_mtime_ns
    awaited(lambda: (folder / "heartbeat").stat().st_mtime_ns != beat)
    assert process.is_running()
    assert record(folder)["state"] == "running"


def test_a_request_is_obeyed_and_a_torn_one_is_not(started):
    folder = started(TEXT)
    (folder / "request.json").write_text('{"why": ')
    beat = (folder / "heartbeat").stat().st_mtime_ns
    awaited(lambda: (folder / "heartbeat").stat().st_mtime_ns != beat)
    assert record(folder)["state"] == "running"
    (folder / "request.json").write_text('{"why": "because"}')
    awaited(lambda: record(folder)["state"] == "cancelled")
    assert record(folder)["reason"] == "because"


def test_a_killed_supervisors_run_is_swept_by_the_next_command(started, pilotage):
    folder = started(TEXT)
    driver = psutil.Process(record(folder)["driver"]["pid"])
    supervisor(folder).kill()
    awaited(lambda: not psutil.pid_exists(record(folder)["owner"]["pid"]))
    assert driver.is_running(), "nobody has looked yet"
    done = pilotage("site", "list")
    assert done.returncode == 0
    assert f"run {folder.name} had died; ended what it left" in done.stderr
    awaited(lambda: not driver.is_running())
    assert record(folder)["state"] == "lost"
    assert "had died" not in pilotage("site", "list").stderr, "once"
