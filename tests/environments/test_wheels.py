"""What is installed becomes a wheel again, and that one installs as the first did."""

import os
import shutil
import subprocess
import sys
import tempfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from environments import made_up
from pilotage.environments.installed import Python, installed
from pilotage.environments.resolving import keep, kept, resolution
from pilotage.environments.wheels import file_digest, wheel_of, wheels_folder
from pilotage.errors import UsageError

WORDS = st.text("abcdefgh", min_size=1, max_size=5)
CONTENT = st.one_of(st.binary(max_size=40), st.just(b"#!python\n"), st.just(b"print('\xc3\xa4')\n"))
FILES = st.dictionaries(
    st.one_of(
        st.builds("{}/{}.py".format, WORDS, WORDS),
        st.builds("{}/{}/{}.dat".format, WORDS, WORDS, WORDS),
        st.builds("top{}.py".format, WORDS),
        st.just('odd/a, "b".txt'),
    ),
    st.tuples(CONTENT, st.sampled_from([0o644, 0o755])),
    min_size=1,
    max_size=5,
)
SCRIPT = st.sampled_from(
    [b"#!python\nprint()\n", b"#!/bin/sh\nexit 0\n", b"#!/usr/bin/env python3\nprint()\n", b"\x7fELF\0\1", b""]
)
DATA = st.dictionaries(
    st.one_of(
        st.builds("scripts/s-{}".format, WORDS),
        st.builds("data/share/{}/{}".format, WORDS, WORDS),
        st.builds("headers/{}.h".format, WORDS),
    ),
    st.tuples(SCRIPT, st.just(0o644)),
    max_size=3,
)


def only(python):
    """Return the one distribution of an environment."""
    (found,) = installed([str(made_up.packages(python))]).values()
    return found


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """An environment with nothing in it, to be copied."""
    folder = tmp_path_factory.mktemp("empty") / "environment"
    made_up.environment(folder)
    return folder


@pytest.fixture
def two(tmp_path):
    return made_up.environment(tmp_path / "first"), made_up.environment(tmp_path / "second")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["little", "Lit_tle"]),
    version=st.sampled_from(["1.0", "2026.1.post1", "1.0+cpu"]),
    files=FILES,
    data=DATA,
    scripts=st.lists(WORDS, max_size=2, unique=True),
)
def test_packed_again_it_installs_the_same_files(empty, name, version, files, data, scripts):
    made_up.needs_uv()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        first, second = (
            Path(shutil.copytree(empty, folder / one, symlinks=True)) / "bin" / "python" for one in ("first", "second")
        )
        original = made_up.wheel(
            folder, name.replace(".", "_").replace("-", "_"), version, files, (), scripts, data=data
        )
        made_up.install(first, original)
        made = wheel_of(only(first))
        assert made.version == version
        made_up.install(second, made.path)
        assert made_up.tree(second) == made_up.tree(first)
        assert made_up.tree(first), "nothing was compared"


@pytest.mark.parametrize("by", ["uv", "pip"])
@pytest.mark.parametrize("place", ["first", "a place with a name of spaces and of very many letters " + "x" * 100])
def test_whatever_had_installed_it(tmp_path, by, place):
    if by == "uv":
        made_up.needs_uv()
    first, second = made_up.environment(tmp_path / place), made_up.environment(tmp_path / "second")
    data = {
        "scripts/tool": (b"#!python\nprint('tool')\n", 0o755),
        "data/etc/little.conf": b"1\n",
        "headers/little.h": b"\n",
    }
    code = {"little/__init__.py": b"def main():\n    print('main')\n"}
    original = made_up.wheel(tmp_path, "little", "1.0", code, (), ["little"], data=data)
    made_up.install(first, original, by=by)
    subprocess.run([first, "-c", "import little"], check=True)  # which leaves what it has compiled
    made = wheel_of(only(first))
    names = zipfile.ZipFile(made.path).namelist()
    assert sorted(names) == sorted([*zipfile.ZipFile(original).namelist()])
    made_up.install(second, made.path, by="pip")
    for script, said in (("tool", "tool\n"), ("little", "main\n")):
        assert subprocess.run([second.parent / script], capture_output=True, text=True).stdout == said


def test_the_digest_is_that_of_its_files_alone(two, tmp_path, monkeypatch):
    original = made_up.wheel(tmp_path, data={"scripts/tool": b"#!python\n"}, scripts=["little"])
    made = []
    for number, python in enumerate(two):
        monkeypatch.setenv("PILOTAGE_STATE", str(tmp_path / f"state{number}"))
        made_up.install(python, original, by="pip")
        made.append(wheel_of(only(python)))
    assert made[0].digest == made[1].digest
    assert made[0].path != made[1].path


def test_nothing_is_packed_twice_until_a_file_changes(two, tmp_path):
    made_up.install(two[0], made_up.wheel(tmp_path), by="pip")
    first = wheel_of(only(two[0]))
    before = first.path.stat()
    assert wheel_of(only(two[0])) == first
    assert (first.path.stat().st_ino, first.path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    (made_up.packages(two[0]) / "little" / "__init__.py").write_text("NEW = 1\n")
    second = wheel_of(only(two[0]))
    assert second.digest != first.digest
    assert zipfile.ZipFile(second.path).read("little/__init__.py") == b"NEW = 1\n"
    assert not list(wheels_folder().glob(".*"))


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: (path.parent / "sha256").unlink(),
        lambda path: path.unlink(),
        lambda path: os.truncate(path, 100),
        lambda path: (path.parent / "sha256").write_text("\n"),
    ],
    ids=["digest", "wheel", "cut off", "emptied"],
)
def test_a_wheel_of_which_a_part_is_gone_is_made_again(two, tmp_path, harm):
    made_up.install(two[0], made_up.wheel(tmp_path), by="pip")
    made = wheel_of(only(two[0]))
    keep(resolution("it"), [made])
    assert kept(resolution("it")) == [made]
    harm(made.path)
    assert kept(resolution("it")) is None
    assert wheel_of(only(two[0])) == made
    assert file_digest(made.path) == made.digest


def test_where_it_is_installed_makes_no_other_wheel(two, tmp_path):
    wheel = made_up.wheel(tmp_path, scripts=["little"])
    for python in two:
        made_up.install(python, wheel, by="pip")
        for path in made_up.packages(python).rglob("*"):
            os.utime(path, (1e9, 1e9))  # as the installer that links to what it has fetched
    assert wheel_of(only(two[0])).path == wheel_of(only(two[1])).path


def test_a_large_file_is_never_in_memory(two, tmp_path):
    size = 64 << 20
    large = {"large/__init__.py": b"", "large/it.so": bytes(size)}
    made_up.install(two[0], made_up.wheel(tmp_path, "large", files=large), by="pip")
    found = only(two[0])
    tracemalloc.start()
    made = wheel_of(found)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert zipfile.ZipFile(made.path).getinfo("large/it.so").file_size == size
    assert peak < size / 4


def test_a_file_that_is_gone_is_told_by_name(two, tmp_path):
    made_up.install(two[0], made_up.wheel(tmp_path), by="pip")
    (made_up.packages(two[0]) / "little" / "__init__.py").unlink()
    with pytest.raises(UsageError, match=r"little==1.0 .* little/__init__.py|little==1.0.*__init__.py"):
        wheel_of(only(two[0]))


def test_an_editable_install_is_packed_with_its_source_and_data():
    found = installed(Python.of(sys.executable).path)["pilotage"]
    if not found.editable:
        pytest.skip("pilotage is not installed from its source here")
    made = wheel_of(found)
    names = set(zipfile.ZipFile(made.path).namelist())
    assert made.tags == ("py3-none-any",)
    assert {"pilotage/sites/builtin.toml", "pilotage/py.typed", "pilotage/worker/pool.py"} <= names
    assert any(name.startswith("pilotage/schedulers/templates/") for name in names)
    assert f"pilotage-{found.version}.dist-info/entry_points.txt" in names
    assert not [name for name in names if name.endswith((".pth", ".pyc", "direct_url.json"))]


@pytest.fixture
def own(tmp_path):
    """The folder of a package's source, and what is known of its editable install."""
    source, packages = tmp_path / "work" / "own", tmp_path / "lib" / "python3.11" / "site-packages"
    source.mkdir(parents=True)
    (source / "__init__.py").touch()
    info = packages / "own-1.0.dist-info"
    info.mkdir(parents=True)
    (packages / "__editable___own_1_0_finder.py").write_text(f"MAPPING: dict[str, str] = {{'own': {str(source)!r}}}\n")
    (packages / "__editable__.own-1.0.pth").write_text("import __editable___own_1_0_finder; install()\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1.0\n")
    (info / "direct_url.json").write_text('{"dir_info": {"editable": true}, "url": "file:///nowhere"}')
    (info / "RECORD").write_text("__editable__.own-1.0.pth,,\n__editable___own_1_0_finder.py,,\n")
    return source, installed([str(packages)])["own"]


def test_what_was_made_in_place_is_packed_though_git_ignores_it(own):
    source, found = own
    subprocess.run(["git", "init", "-q", source.parent], check=True)
    (source.parent / ".gitignore").write_text("*.so\n_version.py\nnotes\n")
    for name in ("fast.cpython-311-x86_64-linux-gnu.so", "_version.py", "notes"):
        (source / name).write_bytes(b"")
    made = wheel_of(found)
    assert set(zipfile.ZipFile(made.path).namelist()) == {
        "own/__init__.py",
        "own/_version.py",
        "own/fast.cpython-311-x86_64-linux-gnu.so",
        *(f"own-1.0.dist-info/{name}" for name in ("METADATA", "WHEEL", "RECORD")),
    }
    assert not made.tags[0].endswith("-any")
    (source / "_version.py").write_text("version = 2\n")
    assert wheel_of(found).digest != made.digest


def test_a_source_that_is_too_large_is_told_with_what_leaves_it_out(own):
    source, found = own
    with open(source / "data", "wb") as data:
        data.truncate(60 << 20)
    with pytest.raises(UsageError, match=r"own==1\.0 .*too large") as raised:
        wheel_of(found)
    assert f"{source}/.pilotageignore" in raised.value.hint


def test_an_editable_install_that_leads_nowhere_is_told(own):
    source, found = own
    (source / "__init__.py").unlink()
    source.rmdir()
    with pytest.raises(UsageError, match="says not where its source is"):
        wheel_of(found)
