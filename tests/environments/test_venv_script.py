"""The script that makes a virtual environment, held in golden files; ``make golden`` writes them anew."""

import os
import subprocess
from pathlib import Path

import pytest

from pilotage.environments.interpreter import Interpreter
from pilotage.environments.venv_script import PIP, UV, build

GOLDEN = Path(__file__).parent / "golden"
THERE = Interpreter("3.11", "/opt/python 3/bin/python3.11")
ALONG = Interpreter("3.11", archive=Path("python.tar.gz"), digest="0123")
CASES = {
    "uv": build(THERE, UV, carried=True, named=False),
    "host_uv_and_python_along": build(ALONG, "/opt/uv/uv", carried=True, named=False),
    "pip": build(THERE, PIP, carried=True, named=False),
    "index_with_uv": build(THERE, "/opt/uv/uv", carried=True, named=True),
    "index_with_pip": build(THERE, "", carried=False, named=True),
}


@pytest.mark.parametrize("name", CASES)
def test_golden_script(name):
    path = GOLDEN / f"venv_{name}.sh"
    if os.environ.get("PILOTAGE_UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(CASES[name])
    assert path.exists(), f"no golden file: make golden, and read {path}"
    assert CASES[name] == path.read_text()


@pytest.mark.parametrize("name", CASES)
def test_it_is_a_script_of_any_shell(name):
    for shell in ("sh", "bash"):
        done = subprocess.run([shell, "-n", "-c", CASES[name]], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")


def test_no_password_of_an_index_is_told(tmp_path):
    """A tool that fails with an index's URL in its words."""
    uv = tmp_path / "uv"
    uv.write_text("#!/bin/sh\necho 'cannot fetch https://ada:sekret@index.example/simple/x' >&2; exit 2\n")
    uv.chmod(0o755)
    script = build(Interpreter("3", "/bin/true"), str(uv), carried=False, named=True)
    done = subprocess.run(["sh", "-c", script, "sh", tmp_path, tmp_path], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "uv cannot make it: cannot fetch https://***@index.example/simple/x "
    assert "sekret" not in done.stdout + done.stderr
