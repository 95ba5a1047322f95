"""Which folders of the driver's path go to the workers."""

import os
import site
import subprocess
import sys
import sysconfig
import zipfile

import pytest

from pilotage.engine.script_path import driver_script_path


def test_only_what_the_script_brought(monkeypatch, tmp_path):
    lib, archive, gone = tmp_path / "lib", tmp_path / "code.zip", tmp_path / "gone"
    lib.mkdir()
    (tmp_path / "link").symlink_to(lib)
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("zipped.py", "")
    monkeypatch.chdir(tmp_path)
    usual = [sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), *site.getsitepackages()]
    paths = ["", str(tmp_path / "link"), *usual, "lib", str(archive), str(gone), "lib", tmp_path]
    monkeypatch.setattr(sys, "path", paths)
    assert driver_script_path() == [str(tmp_path), str(tmp_path / "link"), str(lib), str(archive)]


def test_nothing_of_a_bare_python():
    """The installed packages, this one among them, and the standard library are no part of a script."""
    code = "import sys; del sys.path[0]; from pilotage.engine.script_path import driver_script_path as d; print(d())"
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize("line", ["/linked/folder", "../beside"])
def test_folders_of_editable_installs(line, monkeypatch, tmp_path):
    packages = tmp_path / "site-packages"
    packages.mkdir()
    linked = tmp_path / "beside" if line.startswith("..") else tmp_path / "linked"
    linked.mkdir()
    text = line if line.startswith("..") else str(linked)
    (packages / "editable.pth").write_text(f"# a comment\nimport sys; x = 1\n\n{text}\n")
    monkeypatch.setattr(site, "getsitepackages", lambda prefixes=None: [str(packages)])
    monkeypatch.setattr(sys, "path", [str(linked), str(packages), str(tmp_path)])
    assert driver_script_path() == [str(tmp_path)]


def test_python_path_counts(tmp_path):
    code = "import sys; del sys.path[0]; from pilotage.engine.script_path import driver_script_path as d; print(d())"
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.stdout == f"[{str(tmp_path)!r}]\n", done.stderr
