"""Virtual environments from wheels that are taken along: nothing is fetched where they are made."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from environments import made_up
from pilotage.environments import venv
from pilotage.environments.fitting import here
from pilotage.environments.installed import Python
from pilotage.environments.venv import recipe
from pilotage.errors import MissingExtraError, UnsupportedError, UsageError
from pilotage.sites.environments import Venv

MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
BASE = f"{sys.base_prefix}/bin/python{MINOR}"
WORKFLOW = """
import numpy, parsl, pilotage
@parsl.python_app
def where():
    import sys
    return sys.prefix
if __name__ == "__main__":
    with parsl.load(pilotage.config("laptop")):
        print(where().result(), pilotage.__file__, numpy.arange(3).sum())
"""


def wanted(**given):
    return Venv(kind="venv", **given)


@pytest.fixture
def facts():
    """A host like this machine, with the Python that this one is made from."""
    return replace(here(), programs={f"python{MINOR}": BASE})


@pytest.fixture
def driver(tmp_path):
    """A Python with one package."""
    executable = made_up.environment(tmp_path / "driver")
    made_up.install(executable, made_up.wheel(tmp_path, "third-party", scripts=["third"]), by="pip")
    return Python.of(str(executable))


@pytest.fixture
def no_uv(monkeypatch):
    def missing():
        raise MissingExtraError("no uv")

    monkeypatch.setattr(venv, "uv", missing)


def alone():
    """Return the words that take all networks from a command, where that can be done."""
    words = ["unshare", "-n"]
    return words if os.geteuid() == 0 and subprocess.run([*words, "true"], capture_output=True).returncode == 0 else []


@pytest.mark.slow
def test_all_that_this_python_has_is_there_without_a_network(facts, tmp_path, private_home):
    made = recipe(wanted(), facts)
    assert {"parsl", "pilotage", "numpy", "python"} <= set(made.expected)
    assert not {"pip", "uv"} & set(made.expected)
    done = made_up.build(made, tmp_path, *alone())
    prefix = tmp_path / "prefix"
    made_up.has(done, prefix, *(f"{name}=={it}" for name, it in made.expected.items() if name != "python"))
    assert list(made_up.packages(prefix / "bin" / "python").glob("parsl/__pycache__/*.pyc"))
    script = tmp_path / "workflow.py"
    script.write_text(WORKFLOW)
    ran = subprocess.run([prefix / "bin" / "python", "-I", script], capture_output=True, text=True, cwd=tmp_path)
    at, module, total = ran.stdout.split()
    assert (at, total) == (str(prefix), "3")
    assert module.startswith(f"{prefix}/")


def test_the_same_packages_are_the_same_environment(facts, driver):
    first, second = recipe(wanted(), facts, python=driver), recipe(wanted(), facts, python=driver)
    assert first.digest == second.digest
    init = made_up.packages(driver.executable) / "third_party" / "__init__.py"
    init.write_text("NEW = 1\n")
    assert recipe(wanted(), facts, python=driver).digest != first.digest


@pytest.mark.parametrize("has", ["pip", "nothing", "a uv of its own"])
def test_what_installs_is_found(facts, driver, tmp_path, no_uv, has):
    if has == "pip":
        subprocess.run([driver.executable, "-m", "ensurepip"], check=True, capture_output=True)
    elif has == "a uv of its own":
        made_up.needs_uv()
        own = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        facts = replace(facts, programs={**facts.programs, "uv": own})
    made = recipe(wanted(), facts, python=driver)
    assert ("pip.zip" in made.files) == (has == "pip")
    made_up.has(made_up.build(made, tmp_path), tmp_path / "prefix", "third-party==1.0")
    assert (tmp_path / "prefix" / "bin" / "third").exists()


def test_what_a_person_has_told_uv_there_is_not_for_it(facts, driver, tmp_path, monkeypatch):
    monkeypatch.setenv("UV_REQUIRE_HASHES", "1")
    monkeypatch.setenv("UV_TARGET", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("PIP_REQUIRE_VIRTUALENV", "1")
    made = recipe(wanted(), facts, python=driver)
    done = made_up.build(made, tmp_path, "env", "PYTHONHOME=/nowhere")
    made_up.has(done, tmp_path / "prefix", "third-party==1.0")


def test_a_python_without_a_system_is_taken_along(facts, driver, tmp_path):
    system = Path("/usr/bin/python3.11")
    if not system.exists() or MINOR != "3.11":
        pytest.skip("there is no /usr/bin/python3.11 to make such a tree of")
    tree = tmp_path / "tree"
    (tree / "bin").mkdir(parents=True)
    shutil.copy(system, tree / "bin" / "python3.11")
    shutil.copytree("/usr/lib/python3.11", tree / "lib" / "python3.11")
    python = replace(driver, base=str(tree))
    made = recipe(wanted(), replace(facts, programs={}), python=python)
    assert recipe(wanted(), replace(facts, programs={}), python=python).digest == made.digest
    shutil.rmtree(tree)
    done = made_up.build(made, tmp_path)
    prefix = tmp_path / "prefix"
    made_up.has(done, prefix, "third-party==1.0")
    said = subprocess.check_output(
        [prefix / "bin" / "python", "-c", "import sys, ssl; print(sys.base_prefix)"], text=True
    )
    assert said.strip() == str(prefix / "python")
    assert list(prefix.glob("python/lib/python3.11/json/__pycache__/*.pyc"))


@pytest.mark.parametrize(
    ("base", "changed", "words"),
    [
        ("/usr", {}, "part of this machine's system"),
        ("CONDA", {}, "it is conda's"),
        ("NOTHING", {}, "not as one tree"),
        ("NOTHING", {"platform": "darwin-arm64"}, "the other side is darwin-arm64"),
    ],
)
def test_where_no_python_can_be_had_it_is_told_why(facts, driver, tmp_path, base, changed, words):
    (tmp_path / "CONDA" / "conda-meta").mkdir(parents=True)
    there = replace(facts, programs={}, **changed)
    with pytest.raises(UnsupportedError, match=words) as raised:
        recipe(wanted(), there, python=replace(driver, base=base if base == "/usr" else str(tmp_path / base)))
    assert 'kind = "conda"' in raised.value.hint


def test_a_python_that_the_site_names_is_taken_and_held_against_the_drivers(facts, driver, tmp_path):
    other = tmp_path / "other"
    other.write_text("#!/bin/sh\necho 'it is Python 3.4' >&2; exit 1\n")
    other.chmod(0o755)
    made = recipe(wanted(python=str(other)), facts, python=driver)
    done = made_up.build(made, tmp_path)
    assert done.returncode != 0
    assert done.stdout.splitlines()[-1] == f"no Python {MINOR}: {other}: it is Python 3.4 "
    home = recipe(wanted(python="~/bin/python"), facts, python=driver)
    assert f"python={facts.home}/bin/python\n" in home.build


@pytest.fixture
def with_library(driver, tmp_path):
    """The driver with a package for this machine alone, which was compiled here."""
    made_up.install(driver.executable, made_up.wheel(tmp_path, "fast"), by="pip")
    about = made_up.packages(driver.executable) / "fast-1.0.dist-info" / "WHEEL"
    tag = f"cp{MINOR.replace('.', '')}-cp{MINOR.replace('.', '')}-linux_x86_64"
    about.write_text(f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n")
    return driver


@pytest.mark.parametrize("changed", [{"platform": "linux-aarch64"}, {"libc": "2.17"}, {"libc": ""}])
def test_what_is_not_for_the_other_side_is_named(facts, with_library, changed):
    if facts.platform != "linux-x86_64" or not facts.libc:
        pytest.skip("for Linux with glibc on x86_64")
    recipe(wanted(), facts, python=with_library)
    with pytest.raises(UnsupportedError, match=r"fast 1\.0\n") as raised:
        recipe(wanted(), replace(facts, **changed), python=with_library)
    assert 'source = "index"' in raised.value.hint


def test_a_folder_of_wheels_has_those_for_the_other_side(facts, with_library, tmp_path):
    house = tmp_path / "house"
    house.mkdir()
    given = made_up.wheel(house, "fast", tag=f"cp{MINOR.replace('.', '')}-abi3-manylinux_2_17_aarch64")
    made_up.wheel(house, "fast", tag="cp27-none-any")
    made_up.wheel(house, "fast", "2.0")
    made_up.install(with_library.executable, made_up.wheel(house, "setuptools"), by="pip")
    there = replace(facts, platform="linux-aarch64")
    made = recipe(wanted(wheelhouse=str(house)), there, python=with_library)
    assert made.files[given.name] == given
    assert [name for name in made.files if name.startswith(("fast", "setuptools"))] == [given.name]
    assert "uv" not in made.files
    with pytest.raises(UsageError, match="no such folder"):
        recipe(wanted(wheelhouse=str(tmp_path / "none")), facts, python=with_library)


def test_a_failure_ends_with_what_the_tool_has_said(facts, driver, tmp_path):
    made = recipe(wanted(), facts, python=driver)
    wrong = made_up.wheel(tmp_path, "wrong", tag="cp39-cp39-win32")
    made = replace(made, files={**made.files, wrong.name: wrong})
    done = made_up.build(made, tmp_path)
    assert done.returncode == 1
    assert "cannot install: " in done.stdout.splitlines()[-1]
    assert "wrong" in done.stdout.splitlines()[-1]


def test_a_full_disk_is_told(facts, driver, tmp_path):
    if not alone():
        pytest.skip("needs root, for a file system of its own")
    made = recipe(wanted(), facts, python=driver)
    large = made_up.wheel(tmp_path, "large", files={"large/__init__.py": b"", "large/data": os.urandom(4 << 20)})
    mount = 'mount -t tmpfs -o size=2m tmpfs . && cd "$PWD" && exec "$@"'
    done = made_up.build(
        replace(made, files={**made.files, large.name: large}), tmp_path, "unshare", "-m", "sh", "-c", mount, "sh"
    )
    assert done.returncode == 1
    assert "No space left on device" in done.stdout.splitlines()[-1]
