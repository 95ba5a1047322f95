"""The script that makes a conda environment: as it is rendered, and as it is run without a network."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conda_channel import MINOR, PLATFORM
from pilotage.environments import conda_build, conda_solve
from pilotage.environments.conda_fetch import fetch
from pilotage.environments.conda_file import read
from pilotage.environments.conda_solve import Package
from pilotage.environments.installed import installed
from pilotage.environments.there import link_packages, unpack_wheels
from pilotage.environments.wheels import wheels_of

GOLDEN = Path(__file__).parent / "golden"


def package(name, version, build, form, md5):
    file_name = f"{name}-{version}-{build}.{form}"
    return Package(name, version, build, PLATFORM, file_name, f"https://h/c/{PLATFORM}/{file_name}", "a" * 64, md5, 1)


PACKAGES = [
    package("python", "3.11.9", "h1_cpython", "conda", "b" * 32),
    package("numpy", "2.1.0", "py311_0", "tar.bz2", ""),
]


@pytest.mark.parametrize("carried", [True, False], ids=["carried", "channels"])
@pytest.mark.parametrize("tool", ["", "/opt/conda/bin/conda", "/opt/my mamba/micromamba"])
def test_golden_build_script(tool, carried):
    rattler = "" if tool else "py_rattler-1-cp310-abi3-any.whl"
    wheels = ["pilotage-1-py3-none-any.whl"]
    text = conda_build.script(
        PACKAGES, platform=PLATFORM, tool=tool, carried=carried, wheels=wheels, rattler=rattler, oldest=(3, 10)
    )
    text += "\n# start\n" + conda_build.start({"A": "1", "B": "it's\n$two"})
    path = GOLDEN / f"conda-{Path(tool).name or 'rattler'}-{'carried' if carried else 'channels'}.sh"
    if os.environ.get("PILOTAGE_UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert path.exists(), f"no golden file: make golden, and read {path}"
    assert text == path.read_text()
    assert subprocess.run(["sh", "-n", path], capture_output=True).returncode == 0


@pytest.mark.slow
def test_the_script_makes_an_environment_without_a_network(channel, tmp_path, no_index):
    """In a folder with a space in its name; the interpreter's files that name their prefix name this one."""
    file = tmp_path / "environment.yml"
    file.write_text(f'channels: [{channel.as_uri()}]\ndependencies: [parsl]\nvariables: {{GREETING: "it\'s"}}\n')
    asked = read(file)
    packages = conda_solve.solve(asked, conda_solve.target("linux-x86_64", "2.36", MINOR), {}, print)
    archives = fetch(packages, asked.channels, print)
    rattler, wheel = wheels_of([installed(sys.path)[name] for name in ("py-rattler", "iniconfig")])
    prefix, files = tmp_path / "a b" / "prefix", tmp_path / "a b" / "files"
    prefix.mkdir(parents=True)
    files.mkdir()
    (files / "start").write_text(conda_build.start(asked.variables))
    programs = {Path(one.__file__).name: Path(one.__file__) for one in (link_packages, unpack_wheels)}
    for name, path in {**archives, **programs, rattler.path.name: rattler.path, wheel.path.name: wheel.path}.items():
        shutil.copy(path, files / name)
    script = conda_build.script(
        packages, platform=PLATFORM, tool="", carried=True, wheels=[wheel.path.name], rattler=rattler.path.name
    )
    cut = ["unshare", "-rn"] if subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode == 0 else []
    words = [*cut, "sh", "-c", script, "sh", str(prefix), str(files)]
    done = subprocess.run(words, cwd=prefix, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(os.listdir(prefix)) == ["CACHEDIR.TAG", "bin", "conda-meta", "etc", "lib", "share"]
    look = "import iniconfig, os, parsl, sys; print(sys.prefix, parsl.__file__, iniconfig.__file__, sep='\\n')"
    look += "; print(os.environ['GREETING'], os.environ['ACTIVATED'], sep='\\n')"
    python = prefix / "bin" / conda_build.STARTER
    found = subprocess.check_output([python, "-P", "-c", look], text=True, cwd="/").splitlines()
    site = prefix / "lib" / f"python{MINOR}" / "site-packages"
    modules = [str(site / name / "__init__.py") for name in ("parsl", "iniconfig")]
    assert found == [str(prefix), *modules, "it's", str(prefix)]
    assert subprocess.check_output([prefix / "bin" / "where-text"], text=True) == f"{prefix}/share\n"
    binary = (prefix / "share" / "where-binary").read_bytes()
    assert binary.startswith(f"{prefix}/share\0".encode())
