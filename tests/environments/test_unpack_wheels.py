"""What installs wheels in a Python without pip, run as it is run there: in a Python of another environment."""

import json
import subprocess
import zipfile

import pytest

from environments.made_up import environment, wheel
from pilotage.environments.there import unpack_wheels


def run(python, *wheels):
    words = [python, "-I", unpack_wheels.__file__, *map(str, wheels)]
    return subprocess.run(words, capture_output=True, text=True)


def said(python, code):
    return json.loads(subprocess.check_output([python, "-I", "-c", f"import json; {code}"], text=True))


@pytest.mark.parametrize("where", ["short", "a folder with a long name " * 6])
def test_modules_scripts_and_data_come_where_pip_puts_them(tmp_path, where):
    python = environment(tmp_path / where.strip())
    made = wheel(
        tmp_path,
        "little-thing",
        files={"little_thing/__init__.py": b"def main():\n    print('by entry point')\n"},
        scripts=["little"],
        data={
            "scripts/hand": (b"#!python\nprint('by hand')\n", 0o755),
            "scripts/shell": (b"#!/bin/sh\necho shell\n", 0o755),
            "data/share/little.txt": b"data\n",
            "headers/little.h": b"int little;\n",
            "purelib/more.py": b"here = 1\n",
        },
    )
    done = run(python, made)
    assert done.returncode == 0, done.stderr
    prefix = tmp_path / where.strip()
    scripts = {
        name: subprocess.check_output([prefix / "bin" / name], text=True) for name in ("little", "hand", "shell")
    }
    assert scripts == {"little": "by entry point\n", "hand": "by hand\n", "shell": "shell\n"}
    assert (prefix / "share" / "little.txt").read_text() == "data\n"
    assert [path.name for path in prefix.glob("include/python*/little_thing/*")] == ["little.h"]
    found = said(
        python,
        "import importlib.metadata as m, more; d = m.distribution('little-thing'); "
        "print(json.dumps([d.version, sorted(str(f) for f in d.files), all(f.locate().exists() for f in d.files)]))",
    )
    assert found[0] == "1.0"
    assert found[2], found[1]
    assert len([name for name in found[1] if name.endswith("/RECORD")]) == 1


def test_what_is_there_stays(tmp_path):
    python = environment(tmp_path / "env")
    first = wheel(tmp_path, "little", "1.0", files={"little.py": b"version = 1\n"})
    second = wheel(tmp_path, "Little", "2.0", files={"little.py": b"version = 2\n"})
    assert run(python, first).returncode == 0
    assert run(python, second).returncode == 0
    assert said(
        python, "import little, importlib.metadata as m; print(json.dumps([little.version, m.version('little')]))"
    ) == [1, "1.0"]


@pytest.mark.parametrize(
    "name", ["../outside.py", "little/../../outside.py", "little-1.0.data/scripts/../../outside", "/outside.py"]
)
def test_nothing_is_written_outside_of_the_environment(tmp_path, name):
    python = environment(tmp_path / "env")
    made = wheel(tmp_path, "little", "1.0")
    with zipfile.ZipFile(made, "a") as archive:
        archive.writestr(name, b"bad")
    done = run(python, made)
    assert done.returncode == 1
    assert f"{name} is outside of the environment" in done.stderr
    assert not list(tmp_path.rglob("outside*"))
