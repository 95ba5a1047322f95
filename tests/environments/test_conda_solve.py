"""The exact packages of a conda file: from a real channel, for another host, kept, fetched, and no password shown."""

import json
import os
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import conda_channel
from conda_channel import MINOR
from pilotage.environments import conda_solve
from pilotage.environments.conda_fetch import fetch
from pilotage.environments.conda_file import parse, read
from pilotage.errors import HostError, PilotageError, UnsupportedError, UsageError

FILE = """\
name: mine
prefix: /nowhere
channels: [{channel}]
dependencies: [parsl, iniconfig]
"""
PINNED = {"parsl": version("parsl"), "dill": version("dill")}


@pytest.fixture
def asked(tmp_path, channel, no_index):
    """Read the file of an environment."""

    def ask(text=FILE, **words):
        path = tmp_path / "environment.yml"
        path.write_text(text.format(**{"channel": channel.as_uri(), **words}))
        return read(path)

    return ask


def solve(file, said=None, python=MINOR, **words):
    target = conda_solve.target("linux-x86_64", "2.36", python)
    return conda_solve.solve(file, target, PINNED, (said if said is not None else []).append, **words)


def test_what_a_file_comes_to_is_kept(asked, channel):
    said = []
    first = solve(asked(), said)
    assert said == [f"solving environment.yml for linux-64 and Python {MINOR}"]
    assert first[0].name == "python", "what others need comes before them"
    assert [package.name for package in first].index("parsl") > [package.name for package in first].index("dill")
    moved = channel.with_name("away")
    channel.rename(moved)
    try:
        said.clear()
        again = solve(asked("# a remark, another name\n" + FILE.replace("mine", "yours")), said)
        assert (again, said) == (first, [])
        with pytest.raises(HostError, match="a channel could not be asked"):
            solve(asked(), refresh=True)
    finally:
        moved.rename(channel)
    assert solve(asked(), refresh=True) == first


@pytest.mark.parametrize(
    ("dependencies", "message"),
    [
        ("python=2.7", "environment.yml:4: 'python=2.7' is another Python than the driver's " + MINOR),
        ("'python>=3.4,<3.7'", "is another Python than the driver's " + MINOR),
        ("parsl=2023.1", "No candidates were found for parsl 2023.1.*"),
        ("no-such-package", "No candidates were found for no-such-package"),
        ("'parsl>='", "environment.yml:4: 'parsl>=' is no spec of a conda package"),
        ("'par sl=='", "environment.yml:4: 'par sl==' is no spec of a conda package"),
        ("https://h.org/c/a-1-0.conda", "environment.yml:4: 'https://h.org/c/a-1-0.conda' names a package"),
        ("/here/a-1-0.conda", "environment.yml:4: '/here/a-1-0.conda' names a package by its place"),
        ("defaults::numpy", "environment.yml:4: 'defaults::numpy' names two channels"),
        ("https://me:secret@h.org/c::numpy", "environment.yml:4: a spec has what is secret in it"),
    ],
)
def test_a_file_that_cannot_be_had(asked, dependencies, message):
    with pytest.raises(UsageError) as caught:
        solve(asked(FILE.replace("[parsl, iniconfig]", f"[{dependencies}]")))
    assert message in str(caught.value)
    assert "secret@" not in str(caught.value)


def test_a_driver_of_another_python_gets_that_one(asked):
    with pytest.raises(UsageError, match=r"No candidates were found for python 3\.99"):
        solve(asked(), python="3.99")


def test_the_drivers_versions_are_what_the_file_gets(asked, channel, tmp_path):
    """Of what must be the driver's, no other version is taken though a channel has a newer one."""
    both = tmp_path / "both"
    shutil.copytree(channel, both)
    conda_channel.Package("parsl", "2999.1.1", noarch=True, depends=["python"]).write(both)
    conda_channel.index(both)
    found = {package.name: package.version for package in solve(asked(channel=both.as_uri()))}
    assert found["parsl"] == version("parsl")
    with pytest.raises(UsageError, match=r"the constraint parsl =="):
        solve(asked(FILE.replace("[parsl,", "[parsl=2999.1.1,"), channel=both.as_uri()))


def test_a_channel_named_with_a_package_is_asked_too(asked, channel, tmp_path):
    other = tmp_path / "other"
    conda_channel.Package("lonely", "1.0", noarch=True, depends=["python"]).write(other)
    conda_channel.index(other)
    text = FILE.replace("iniconfig", f"{other.as_uri()}::lonely")
    lonely = next(package for package in solve(asked(text)) if package.name == "lonely")
    assert lonely.url == f"{other.as_uri()}/noarch/lonely-1.0-0.tar.bz2"


def test_a_platform_without_conda_packages():
    with pytest.raises(UnsupportedError, match="no conda packages for freebsd-amd64"):
        conda_solve.target("freebsd-amd64", "", MINOR)


def test_what_nodes_have_may_be_said(monkeypatch):
    monkeypatch.setenv("CONDA_OVERRIDE_CUDA", "12.4")
    monkeypatch.setenv("CONDA_OVERRIDE_GLIBC", "2.28")
    target = conda_solve.target("linux-aarch64", "2.17", MINOR)
    assert target.platform == "linux-aarch64"
    assert target.virtual == {"__unix": "0", "__linux": "4.18", "__glibc": "2.28", "__cuda": "12.4"}


def test_without_py_rattler_the_extra_is_named(asked, monkeypatch):
    monkeypatch.setitem(sys.modules, "rattler", None)
    with pytest.raises(PilotageError, match=r"pilotage\[conda\]"):
        solve(asked())


@pytest.mark.parametrize("url", ["http://me:s3cret@{host}/packages", "http://{host}/t/tk-s3cret/packages"])
def test_passwords_and_tokens_are_used_and_shown_nowhere(asked, channel, private_home, url):
    said = []
    plain = solve(asked())
    with conda_channel.served(channel, conda_channel.Guarded) as host:
        file = asked(channel=url.format(host=host))
        packages = solve(file, said)
        archives = fetch(packages, file.channels, said.append)
        assert said[-1].startswith("fetching 17 conda packages")
        wrong = asked(channel=url.replace("s3cret", "wr0ng").format(host=host))
        assert solve(wrong) == packages, "what is kept does not depend on who asked"
        with pytest.raises(HostError, match="could not be asked") as caught:
            solve(wrong, refresh=True)
        assert "wr0ng" not in str(caught.value)
        next(iter(archives.values())).unlink()
        with pytest.raises(HostError, match="could not be fetched") as caught:
            fetch(packages, wrong.channels, said.append)
        assert "wr0ng" not in str(caught.value)
    assert [package.sha256 for package in packages] == [package.sha256 for package in plain]
    assert all(package.url.startswith(f"http://{host}/packages/") for package in packages)
    assert "s3cret" not in repr(packages) + repr(said)
    kept = [path for path in (private_home / "state").rglob("*") if path.is_file()]
    assert kept
    assert not [path for path in kept if b"s3cret" in path.read_bytes()]


def test_a_package_that_is_another_than_its_channel_says(asked, channel, tmp_path, private_home):
    changed = tmp_path / "changed"
    shutil.copytree(channel, changed)
    file = asked(channel=changed.as_uri())
    packages = solve(file)
    archive = next((changed / "noarch").glob("iniconfig-*.tar.bz2"))
    archive.write_bytes(archive.read_bytes() + b"more")
    with pytest.raises(HostError, match=r"iniconfig-.* is not the one that its channel names: it has sha256"):
        fetch(packages, file.channels, print)
    archive.unlink()
    with pytest.raises(HostError, match=r"iniconfig-.* could not be fetched"):
        fetch(packages, file.channels, print)
    kept = os.listdir(private_home / "state" / "conda" / "packages")
    assert len(kept) == len(packages) - 1, "what could be fetched is kept, and no part of another"


SPEC = st.text(alphabet="abcnumpy0123456789.*=<>!,| []'\":_-~^/@", max_size=30)


@settings(max_examples=300)
@given(SPEC)
def test_any_spec_is_taken_or_refused_with_its_line(text):
    pytest.importorskip("rattler")
    target = conda_solve.target("linux-x86_64", "2.36", MINOR)
    try:
        file = parse(f"channels: [c]\ndependencies:\n- {json.dumps(text)}\n", Path("e.yml"))
        for entry in file.dependencies:
            conda_solve._spec(file, entry, target)
    except UsageError as caught:
        error = caught
    else:
        return
    assert error.where == "e.yml:3"
