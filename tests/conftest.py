"""A private home for every test: no file of the person's who runs the tests is read or written."""

import signal
import time
import uuid
from pathlib import Path

import psutil
import pytest
from hypothesis import settings

from pilotage.worker import tails
from program import Command

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts its background jobs so; whatever the tests start would inherit a Ctrl-C that nobody hears.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure():
    """Let programs under test have a signal that nohup, under which these tests may run, makes all of them ignore.

    And let no example of a property fail because the machine is busy.
    """
    settings.register_profile("untimed", deadline=None)
    settings.load_profile("untimed")
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def private_home(tmp_path_factory, monkeypatch):
    """HOME, XDG folders and the state folder of a test, and none of the caller's site files."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PILOTAGE_STATE", str(home / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(home / "xdg"))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    return home


@pytest.fixture
def user_file(private_home):
    """Write the user's site file; returns its path."""

    def write(text):
        path = private_home / "config" / "pilotage" / "pilotage.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty current folder."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def rings_left(home):
    """Return the folders of rings that are left of runs in a test's home that have ended."""
    runs = [run for run in home.glob("state/runs/*") if not (home / "state" / "live" / run.name).exists()]
    names = [tails.place(str(kernel), "parsl")[0] for run in runs for kernel in run.glob("parsl/*")]
    return [one for base in tails.bases() for name in names if Path(one := f"{tails.home(base)}/{name}").exists()]


@pytest.fixture
def rings(private_home):
    """Return the folders of rings that are left of what has ended, see `rings_left`, whenever it is called."""
    return lambda: rings_left(private_home)


@pytest.fixture
def pilotage(private_home):
    """Run commands of pilotage; fails when a process of theirs is left, or a ring of a run that has ended."""
    command = Command(uuid.uuid4().hex)
    yield command
    left = command.left_behind()
    psutil.wait_procs(left, timeout=20)  # a guard whose interchange is gone has tried for seconds to tell it
    stubborn = [process for process in left if process in command.left_behind()]
    lines = [" ".join(process.cmdline()) for process in stubborn]
    for process in stubborn:
        process.kill()
    assert not lines, f"left behind: {lines}"
    end = time.monotonic() + 5
    while (rings := rings_left(private_home)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not rings, f"left behind: {rings}"


@pytest.fixture(scope="session")
def examples():
    return Path(__file__).parents[1] / "examples"


_left_out = []


def pytest_deselected(items):
    _left_out.extend(item.nodeid.partition("[")[0] for item in items if item.get_closest_marker("slow"))


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):  # one of several processes: the first of them reports
        session.config.workeroutput["left_out"] = list(_left_out)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    # Every process has collected all tests.
    if not _left_out:
        _left_out.extend(getattr(node, "workeroutput", {}).get("left_out", []))


def pytest_terminal_summary(terminalreporter):
    """Say of tests that were left out what is said of skipped ones: how many, which, why."""
    for name in dict.fromkeys(_left_out):
        terminalreporter.write_line(f"LEFT OUT [{_left_out.count(name)}] {name}: slow; make test-all runs it")
