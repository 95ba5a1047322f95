"""``pilotage run --env``, with an environment that is built of nearly nothing."""

import os
import subprocess
import sys

import pytest

from pilotage.assembly import own
from pilotage.errors import StorageError

STARTED = """
import sys
from pilotage.cli import main
from pilotage.environments import venv
from pilotage.environments.recipe import Recipe

BUILD = '''set -e
"%s" -m venv --without-pip "$1"
echo "import site; site.addsitedir('%s')" > "$(echo "$1"/lib/python3*/site-packages)/all.pth"
''' % (sys.executable, next(path for path in sys.path if path.endswith("site-packages")))
venv.recipe = lambda wanted, facts, say: Recipe("venv", "a toy", {"file": wanted.requirements}, {}, BUILD)
main(prog_name="pilotage")
"""


@pytest.fixture
def started(tmp_path, private_home):
    """Run ``pilotage``, whose virtual environments are made of this one, in a state folder of an odd name."""
    (tmp_path / "script.py").write_text("import sys; print(sys.prefix, sys.argv[1:])")
    (tmp_path / "a=b.txt").touch()

    def start(*words):
        command = [sys.executable, "-P", "-c", STARTED, *words]
        environment = {**os.environ, "PILOTAGE_STATE": str(tmp_path / "state of=mine")}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)

    return start


def test_the_driver_goes_on_in_it_whatever_its_folder_is_called(started, tmp_path):
    done = started("run", "--env", "a=b.txt", "--site", "threads", "script.py", "--", "an 'odd' word")
    assert done.returncode == 0, done.stderr
    prefix, _, arguments = done.stdout.partition(" [")
    assert prefix.rpartition("/")[0] == f"{tmp_path}/state of=mine/environments"
    assert arguments == "\"an 'odd' word\"]\n"
    again = started("resume", "@last")
    assert (again.returncode, again.stdout) == (0, done.stdout), again.stderr
    assert (done.stderr.count("building a toy"), again.stderr.count("building a toy")) == (1, 0)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("no-such.py",), "no-such.py"),
        (("--site", "no-such", "script.py"), "no-such"),
        (("--on", "nowhere", "script.py"), "leave one out"),
    ],
)
def test_what_is_wrong_with_the_rest_is_told_before_anything_is_built(started, tmp_path, words, told):
    done = started("run", "--env", "a=b.txt", *words)
    assert done.returncode == 2
    assert told in done.stderr
    assert not (tmp_path / "state of=mine" / "environments").exists()


@pytest.mark.parametrize("file", ["~nobody-here/r.txt", 300 * "x", "."])
def test_what_is_no_file_is_told(started, file):
    done = started("run", "--env", file, "script.py")
    assert done.returncode == 2
    assert (f"{file} is no file" if file == "." else f"there is no file {file}") in done.stderr


def test_a_python_that_is_not_of_its_environment_is_not_started_for_ever(monkeypatch, tmp_path):
    monkeypatch.setenv(own.INSIDE, f"{tmp_path}/r.txt={tmp_path}/prefix")
    with pytest.raises(StorageError, match="its Python is not of it"):
        own.is_inside(f"{tmp_path}/r.txt")
    assert own.INSIDE not in os.environ
    assert not own.is_inside(f"{tmp_path}/r.txt")
