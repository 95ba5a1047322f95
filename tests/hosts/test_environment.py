"""A run whose workers, behind a real sshd, have a virtual environment with all that the driver has."""

import sys
from pathlib import Path

import pytest

MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
POOL = """
[site.pool]
scheduler = "ssh"
hosts = ["far"]
run_folder = "{there}"
max_workers_per_node = 1

[site.pool.environment]
kind = "venv"
python = "{python}"
"""
SCRIPT = """
import parsl

@parsl.python_app
def where():
    import os, sys, numpy, pilotage
    return [os.path.realpath(path) for path in (sys.prefix, pilotage.__file__)]

if __name__ == "__main__":
    with parsl.load():
        print(*where().result())
"""


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_workers_of_a_pool_have_all_that_the_driver_has(server, user_file, pilotage, project, tmp_path):
    there = tmp_path / "there"
    user_file(POOL.format(there=there, python=f"{sys.base_prefix}/bin/python{MINOR}"))
    (project / "script.py").write_text(SCRIPT)
    places = []
    for _ in range(2):
        done = pilotage("run", "--site", "pool", "script.py", timeout=300)
        assert done.returncode == 0, done.stderr
        places.append(done.stdout.split())
    prefix, module = places[0]
    assert Path(prefix).parent == there / "environments"
    assert module.startswith(f"{prefix}/lib/")
    assert places[1] == places[0]


TWO = """
import sys
import parsl
from pilotage.environments import venv
from pilotage.environments.recipe import Recipe

PACKAGES = next(path for path in sys.path if path.endswith("site-packages"))
BUILD = f'''set -e; sleep 2; echo one >> "$1/../builds"
"{sys.executable}" -m venv --without-pip "$1"
echo "import site; site.addsitedir('{PACKAGES}')" > "$(echo "$1"/lib/python3*/site-packages)/all.pth"
'''
venv.recipe = lambda wanted, facts, say: Recipe("venv", f"a toy {wanted.python}", {"python": wanted.python}, {}, BUILD)

def where():
    import os, sys
    return os.path.realpath(sys.prefix)

if __name__ == "__main__":
    with parsl.load():
        apps = [parsl.python_app(where, executors=[label]) for label in ("one", "same", "another")]
        print(*(future.result() for future in [app() for app in apps]), sep="\\n")
"""


@pytest.mark.timeout(300)
def test_sites_on_one_host_have_each_their_own_or_the_same(server, user_file, pilotage, project, tmp_path):
    there = tmp_path / "an 'odd' place {of} $mine"
    user_file(POOL.format(there=there, python="first"))
    (project / "script.py").write_text(TWO)
    sites = [word for label in ("one", "same", "another") for word in ("--site", f"{label}=pool")]
    done = pilotage("run", *sites, "--set", "another:environment.python=second", "script.py")
    assert done.returncode == 0, done.stderr
    one, same, another = done.stdout.splitlines()
    assert (one, Path(one).parent) == (same, there / "environments")
    assert another != one
    assert (there / "environments" / "builds").read_text() == "one\none\n"
