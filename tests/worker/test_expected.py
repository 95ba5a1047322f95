"""The look at a node's Python, in all Pythons that there are on this machine."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.version import Version

from pilotage.worker import expected
from pythons import environment, others

SCRIPT = expected.__file__
OWN = f"{sys.version_info[0]}.{sys.version_info[1]}"
OTHERS = others()
ARGUMENTS = "import sys; print(sys.argv[1:], sys.flags.optimize)"


def look(python, *words, **env):
    return subprocess.run(
        [python, SCRIPT, *words], capture_output=True, text=True, env={**os.environ, **env}, stdin=subprocess.DEVNULL
    )


@pytest.fixture
def packages(tmp_path):
    """A folder of packages that say that they have versions."""

    def write(**versions):
        for name, version in versions.items():
            info = tmp_path / f"{name}-{version}.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
        return str(tmp_path)

    return write


@pytest.mark.parametrize("minor", [OWN, *OTHERS])
def test_a_python_that_fits_becomes_what_it_was_started_for(minor, packages):
    path = packages(parsl="2026.11.9", some_thing="1.2.dev3+local")
    python = OTHERS.get(minor, sys.executable)
    words = [f"python={minor}", "parsl=2026.11.9", "Some.Thing=1.2.dev3+local", "require=some-thing>=1,<2"]
    done = look(python, *words, "--", "-O", "-c", ARGUMENTS, "a b", "", "--", PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ("(['a b', '', '--'], 1)\n" if minor == "2.7" else "['a b', '', '--'] 1\n")
    assert done.stderr == ""


@pytest.mark.parametrize("minor", list(OTHERS))
def test_a_python_of_another_version(minor, packages):
    path = packages(parsl="2025.1.6")
    done = look(OTHERS[minor], f"python={OWN}", "parsl=2026.11.9", "pilotage=0.1", "--", "-c", "1/0", PYTHONPATH=path)
    assert (done.returncode, done.stdout) == (expected.EXIT, "")
    version = subprocess.run([OTHERS[minor], "--version"], capture_output=True, text=True)
    version = (version.stdout + version.stderr).split()[1]
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"pilotage: no workers on {os.uname().nodename}: ")
    assert f"is Python {version} (driver: {OWN}) and has parsl 2025.1.6 (driver: 2026.11.9), no pilotage " in line
    assert line.partition("; to mend it: ")[2].startswith(f"set python = PATH of a Python {OWN} there, or ")


def test_packages_that_differ(tmp_path):
    python = environment(tmp_path / "an env", {"parsl": "2025.1.6", "numpy": "1.26.4"}, real=False)
    words = [
        "parsl=2026.11.9",
        "pilotage=0.1",
        "require=numpy>=2",
        "require=h5py",
        "require=scipy<2",
        "--",
        "-c",
        "1/0",
    ]
    done = look(python, f"python={OWN}", *words)
    assert (done.returncode, done.stdout) == (expected.EXIT, "")
    assert done.stderr == (
        f"pilotage: no workers on {os.uname().nodename}: {python} has parsl 2025.1.6 (driver: 2026.11.9), "
        "no pilotage (driver: 0.1), numpy 1.26.4 (needed: >=2), no h5py (needed), no scipy (needed: <2); to mend it: "
        f"'{python}' -m pip install parsl==2026.11.9 pilotage==0.1 'numpy>=2' h5py 'scipy<2'\n"
    )


def test_only_what_workers_will_have_is_looked_at(tmp_path, monkeypatch):
    """Neither the folder of the script nor the current one: workers are started with -P."""
    (tmp_path / "wanted.py").write_text("")
    (tmp_path / "expected.py").write_bytes(Path(SCRIPT).read_bytes())
    monkeypatch.chdir(tmp_path)
    for argv in (["expected.py"], ["-"], [str(tmp_path / "expected.py")]):
        source = Path(SCRIPT).read_text() if argv == ["-"] else ""
        told = [sys.executable, *argv, "--tell", "wanted"]
        done = subprocess.run(told, capture_output=True, text=True, input=source)
        assert list(json.loads(done.stdout)) == ["python"], argv
    done = look(sys.executable, "--tell", "wanted", PYTHONPATH=str(tmp_path))
    assert json.loads(done.stdout)["wanted"] == "", "it can be imported, and nobody knows which it is"
    assert look(sys.executable, "wanted=3", "--", "-c", "", PYTHONPATH=str(tmp_path)).returncode == 0
    assert look(sys.executable, "-I", "--tell").returncode != 0


def test_the_first_on_the_path_counts(tmp_path):
    for number, folder in ((2, "first"), (1, "second")):
        (tmp_path / folder / f"thing-{number}.dist-info").mkdir(parents=True)
        (tmp_path / folder / f"thing-{number}.dist-info" / "METADATA").write_text(f"Version: {number}\n\nVersion: 9\n")
    (tmp_path / "first" / "thing-7.dist-info").mkdir()  # pip leaves such folders when it is killed
    (tmp_path / "first" / "old.egg-info").write_text("Name: old\nVersion: 0.5\n")
    (tmp_path / "first" / "folder.egg-info").mkdir()
    (tmp_path / "first" / "folder.egg-info" / "PKG-INFO").write_text("Version: 4\n")
    path = f"{tmp_path}/nowhere:{tmp_path}/first:{tmp_path}/second"
    done = look(sys.executable, "--tell", "thing", "old", "folder", PYTHONPATH=path)
    found = json.loads(done.stdout)
    assert (found["thing"], found["old"], found["folder"]) == ("2", "0.5", "4")


def test_flags_of_a_python_that_is_a_script(tmp_path):
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\nexec {sys.executable} -O "$@"\n')
    wrapper.chmod(0o755)
    done = look(str(wrapper), f"python={OWN}", "--", "-P", "-c", "import sys; print(sys.flags.optimize, __debug__)")
    assert done.stdout == "1 False\n", done.stderr


def test_the_driver_has_what_python_says():
    from importlib import metadata

    has = expected.driver()
    assert has.pop("python") == OWN
    assert has == {name: metadata.version(name) for name in expected.PACKAGES}


def test_any_python_can_read_it():
    source = Path(SCRIPT).read_text(encoding="ascii")
    tree = ast.parse(source, feature_version=(3, 4))
    newer = (
        ast.JoinedStr,
        ast.AnnAssign,
        ast.NamedExpr,
        ast.Nonlocal,
        ast.Starred,
        ast.YieldFrom,
        ast.AsyncFunctionDef,
    )
    assert [node for node in ast.walk(tree) if isinstance(node, newer)] == []
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    assert not any(one.returns or one.args.kwonlyargs or one.args.posonlyargs for one in functions)


# Requirements, judged as the library does that installers use

numbers = st.lists(st.integers(0, 30), min_size=1, max_size=4).map(lambda parts: ".".join(map(str, parts)))
ends = st.sampled_from(["", "", "", "a1", "b2", "rc1", ".dev3", ".post1", "rc2"])
versions = st.builds(str.__add__, numbers, ends)
limits = st.lists(st.tuples(st.sampled_from([">=", "<", "=="]), versions), max_size=3)
spaces = st.sampled_from(["", " "])


@given(versions, limits)
def test_limits_mean_what_installers_mean(version, asked):
    text = ",".join(sign + limit for sign, limit in asked)
    name, kept = expected.requirement("thing" + text)
    assert (name, kept) == ("thing", text)
    known = {">=": Version.__ge__, "<": Version.__lt__, "==": Version.__eq__}
    assert expected.within(version, kept) == all(known[sign](Version(version), Version(one)) for sign, one in asked)
    assert expected.within(f"{version}+local.1", kept) == expected.within(version, kept)


@given(st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,8}[A-Za-z0-9])?", fullmatch=True), limits, spaces)
def test_what_is_a_requirement_is_one_to_installers(name, asked, space):
    text = name + space + f"{space},{space}".join(sign + space + limit for sign, limit in asked)
    theirs = Requirement(text)
    assert expected.requirement(text) == (theirs.name, "".join(text[len(name) :].split()))


@given(st.text(max_size=20))
def test_what_is_none_is_refused(text):
    try:
        name, kept = expected.requirement(text)
    except ValueError:
        return
    Requirement(name + kept)


@pytest.mark.parametrize(
    "text", ["", "numpy~=2", "numpy>2", "numpy>=", "numpy[x]", "a b", "numpy>=2;x", "$(a)", "-e ."]
)
def test_what_no_requirement_is(text):
    with pytest.raises(ValueError, match="is no package with limits"):
        expected.requirement(text)


def test_a_version_without_a_number_is_not_judged():
    assert expected.within("unknown", ">=2")
    assert expected.within("", "==2")
    assert not expected.within("1!0.5", "==2")
