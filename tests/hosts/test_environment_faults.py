"""What goes wrong with a small virtual environment that is made behind a real sshd, as a person sees it."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import conda_channel
from environments import made_up
from pilotage.environments.installed import installed
from pilotage.environments.wheels import wheels_of
from pilotage.events import Events
from pilotage.hosts.openssh import OpenSSHHost
from program import PROGRAM

MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
FLEET = """
[site.fleet]
scheduler = "ssh"
hosts = ["far"]
run_folder = "{there}"
max_workers_per_node = 1

[site.fleet.environment]
kind = "venv"
python = "{python}"
requirements = "{wheels}/requirements.txt"
wheelhouse = "{wheels}"
"""
SCRIPT = """
import parsl

@parsl.python_app
def where():
    import os, sys, far_thing
    return os.path.realpath(sys.prefix), far_thing.ORIGIN

if __name__ == "__main__":
    with parsl.load():
        print(*where().result())
"""
# Of all calls of the Python that it is made from, one in each build imports ssl.
PYTHON = """#!/bin/sh
case $* in *ssl*) echo "$$ $PPID" >> {calls}; while [ -e {hold} ]; do sleep 0.1; done;; esac
exec {python} "$@"
"""


@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    """A folder with wheels of what pilotage needs, and of one more."""
    made_up.needs_uv()
    folder = tmp_path_factory.mktemp("wheels")
    here = installed(sys.path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PILOTAGE_STATE", str(tmp_path_factory.mktemp("state")))
        for wheel in wheels_of([here[name] for name in conda_channel.closure(["pilotage"])]):
            shutil.copy(wheel.path, folder)
    made_up.wheel(folder, "far-thing", files={"far_thing.py": b'ORIGIN = "wheel"\n'})
    (folder / "requirements.txt").write_text("far-thing\n")
    return folder


class There:
    """The far side: ``folder`` is where runs are, ``hold`` lets builds wait while it is there."""

    def __init__(self, folder, base):
        self.folder = folder
        self.hold = base / "hold"
        self._calls = base / "calls"
        self.python = base / "python"
        self.python.write_text(
            PYTHON.format(calls=self._calls, hold=self.hold, python=f"{sys.base_prefix}/bin/python{MINOR}")
        )
        self.python.chmod(0o755)

    @property
    def builds(self):
        """Process numbers of each build that has begun: its Python's and its script's."""
        return [list(map(int, line.split())) for line in self._calls.read_text().splitlines()] if self.began else []

    @property
    def began(self):
        return self._calls.exists() and self._calls.read_text().endswith("\n")

    def environments(self):
        return [path for path in (self.folder / "environments").glob("[!.]*") if path.name != "files"]


@pytest.fixture
def there(server, user_file, project, wheels, tmp_path, pilotage):
    """The far side of a site ``fleet``, for a script in the current folder."""
    it = There(tmp_path / "there", tmp_path)
    user_file(FLEET.format(there=it.folder, python=it.python, wheels=wheels))
    (project / "script.py").write_text(SCRIPT)
    yield it
    OpenSSHHost("far").close()  # ten commands share it, and the first to end does not end it for the others


def run(pilotage, **options):
    return pilotage("run", "--site", "fleet", "script.py", timeout=200, **options)


def told(private_home):
    newest = sorted(private_home.glob("state/runs/2*"))[-1]
    found = [(one["kind"], one["level"]) for one in Events(newest / "events.jsonl").read()[0]]
    return [one for one in found if one[0].startswith("environment")]


def wait_for(what, seconds=60):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_ten_that_ask_at_once_are_one_build(there, pilotage, tmp_path):
    """Half of them are of another machine: they share no lock here."""
    states = [tmp_path / "one", tmp_path / "other"]
    words = [PROGRAM, "env", "build", "fleet", "--json"]
    asking = [
        subprocess.Popen(
            words, env=pilotage.env(PILOTAGE_STATE=states[number % 2]), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for number in range(10)
    ]
    answers = [process.communicate(timeout=200) for process in asking]
    assert [process.returncode for process in asking] == [0] * 10, answers
    (path,) = {json.loads(out)["hosts"][0]["path"] for out, _ in answers}
    assert [str(one) for one in there.environments()] == [path]
    assert len(there.builds) == 1


@pytest.mark.timeout(400)
def test_a_builder_killed_half_way_is_none(there, pilotage):
    there.hold.touch()
    with subprocess.Popen([PROGRAM, "env", "build", "fleet"], env=pilotage.env(), stderr=subprocess.PIPE) as first:
        wait_for(lambda: there.began)
        (half,) = there.environments()
        (python, script), *_ = there.builds
        above = psutil.Process(script).parents()
        builder = [one for one in above if half.name in " ".join(one.cmdline()) and "sshd" not in one.name()]
        for pid in (*(one.pid for one in builder), script, python):
            with contextlib.suppress(ProcessLookupError):  # it has ended with the one before
                os.kill(pid, signal.SIGKILL)
        said = first.communicate(timeout=60)[1].decode()
    assert first.returncode not in (0, None), said
    assert not (half / ".pilotage.json").exists()
    there.hold.unlink()
    done = run(pilotage)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{half} wheel\n"
    assert len(there.builds) == 2


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_who_asks_is_killed_and_the_next_has_it_whole(there, pilotage, private_home):
    there.hold.touch()
    with subprocess.Popen([PROGRAM, "run", "--site", "fleet", "script.py"], env=pilotage.env()) as first:
        wait_for(lambda: there.began)
        for process in [*psutil.Process(first.pid).children(recursive=True), psutil.Process(first.pid)]:
            process.kill()
    there.hold.unlink()
    done = run(pilotage)
    assert done.returncode == 0, done.stderr
    (made,) = there.environments()
    assert done.stdout == f"{made} wheel\n"
    assert pilotage("clean").returncode == 0


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 20 MB where runs are there, which only root can mount."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    folder = tmp_path / "there"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", folder]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"this machine does not let root mount: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.timeout(400)
def test_a_full_disk_there_is_told(small_disk, there, pilotage):  # in this order: the sshd has mounts of its own
    done = pilotage("env", "build", "fleet")
    assert done.returncode == 1, done.stderr
    assert "No space left on device" in done.stderr
    assert "environment.folder" in done.stderr
    assert there.environments() == []
    done = run(pilotage)
    assert done.returncode != 0
    assert "No space left on device" in done.stderr
    assert there.environments() == []


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_what_has_been_removed_from_it_is_seen_and_made_anew(there, pilotage, private_home):
    done = run(pilotage)
    assert done.returncode == 0, done.stderr
    made = Path(done.stdout.split()[0])
    assert told(private_home) == [("environment", "info")]
    assert pilotage("env", "verify", "fleet").stdout == "far: as it should be\n"
    (module,) = made.glob("lib/python3*/site-packages/far_thing.py")
    module.unlink()
    done = pilotage("env", "verify", "fleet")
    assert (done.returncode, done.stdout) == (1, "far: it has no far_thing.py any more\n"), done.stderr
    done = run(pilotage)
    assert (done.returncode, done.stdout) == (0, f"{made} wheel\n"), done.stderr
    assert told(private_home) == [("environment-changed", "warning"), ("environment", "info")]
    assert pilotage("env", "verify", "fleet").stdout == "far: as it should be\n"

    module.unlink()
    user = there.folder / "a-run"
    user.mkdir()
    (user / "environment").symlink_to(made)
    done = pilotage("env", "build", "fleet")
    assert done.returncode == 1
    assert "has no far_thing.py any more, and used by a-run" in " ".join(done.stderr.split())
    assert made.exists()
