"""``pilotage run --env FILE``: driver and workers in an environment that is made of a file, here without a network."""

import json
import os
import shutil
import sys

import pytest

import conda_channel
from environments import made_up
from pilotage.environments.installed import installed
from pilotage.environments.wheels import wheels_of

SCRIPT = """
import sys
import far_thing, parsl

@parsl.python_app
def where():
    import sys, far_thing
    return sys.prefix, far_thing.ORIGIN

with parsl.load():
    print(sys.prefix, *where().result())
    if "fail" in sys.argv:
        sys.exit(3)
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """A folder with all that a driver needs, and one package that this Python does not have."""
    made_up.needs_uv()
    folder = tmp_path_factory.mktemp("packages")
    here = installed(sys.path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PILOTAGE_STATE", str(tmp_path_factory.mktemp("state")))
        for wheel in wheels_of([here[name] for name in conda_channel.closure(["pilotage"])]):
            shutil.copy(wheel.path, folder)
    made_up.wheel(folder, "far-thing", files={"far_thing.py": b'ORIGIN = "wheel"\n'})
    return folder


@pytest.fixture
def offline(packages, project, monkeypatch):
    """The current folder, with a script and a file that asks for the package; no index is asked."""
    (project / "script.py").write_text(SCRIPT)
    (project / "needs.txt").write_text("far-thing\n")
    monkeypatch.setenv("UV_FIND_LINKS", str(packages))
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(project / "cache"))  # another may know of newer versions in an index
    return project


def environments(home):
    return [path for path in (home / "state" / "environments").iterdir() if (path / ".pilotage.json").exists()]


def test_driver_and_workers_are_in_it_and_the_second_run_makes_nothing(offline, pilotage, private_home):
    done = pilotage("run", "--env", "needs.txt", "script.py")
    assert done.returncode == 0, done.stderr
    (made,) = environments(private_home)
    assert done.stdout == f"{made} {made} wheel\n"
    assert "building " in done.stderr
    done = pilotage("run", "--env", "needs.txt", "script.py", "--", "fail")
    assert done.returncode == 3
    assert done.stdout == f"{made} {made} wheel\n"
    assert "building " not in done.stderr
    again = pilotage("resume", "@last")
    assert (again.returncode, again.stdout) == (3, f"{made} {made} wheel\n"), again.stderr
    shown = json.loads(pilotage.ask("env", "list", "laptop", "--json").stdout)["hosts"][0]["environments"]
    assert [one["digest"] for one in shown] == [made.name]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--env", "none.txt", "script.py"], 2, "there is no file none.txt"),
        (["--env", "needs.txt", "--on", "far", "script.py"], 2, "--env makes an environment here"),
        (["--env", "other.txt", "script.py"], 2, "no-such-package"),
    ],
)
def test_bad_input(offline, pilotage, words, code, told):
    (offline / "other.txt").write_text("no-such-package\n")
    done = pilotage("run", *words)
    assert done.returncode == code
    assert told in done.stderr
    assert not os.path.exists(os.environ["PILOTAGE_STATE"] + "/runs")
