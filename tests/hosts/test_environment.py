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
