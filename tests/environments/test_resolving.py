"""What requirements files come to, from an index that wants a password, which is nowhere to be found afterwards."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from environments import made_up
from environments.index import PASSWORD, Index
from pilotage.environments import indexes, resolving
from pilotage.environments.fitting import here
from pilotage.environments.installed import Python
from pilotage.environments.recipe import file_digest
from pilotage.environments.venv import recipe
from pilotage.errors import MissingExtraError, UnsupportedError, UsageError
from pilotage.sites.environments import Venv

MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture
def index(tmp_path, monkeypatch):
    """An index with two packages, which pip is told of."""
    made_up.needs_uv()
    served = Index()
    folder = tmp_path / "served"
    folder.mkdir()
    served.add(made_up.wheel(folder, "third-party", "1.0", requires=["small>=1"]))
    served.add(
        made_up.wheel(folder, "third-party", "2.0", requires=["small>=1"]), made_up.wheel(folder, "small", "1.5")
    )
    settings = tmp_path / "pip.conf"
    settings.write_text(f"[global]\nindex-url = {served.url}\n")
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(settings))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    yield served
    served.close()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """An environment that each test has a copy of: pip takes seconds."""
    folder = tmp_path_factory.mktemp("driver")
    executable = made_up.environment(folder / "it")
    parsl = made_up.wheel(folder, "parsl", "2026.10.26", requires=["dill"])
    made_up.install(executable, parsl, made_up.wheel(folder, "dill", "0.4.1"), by="pip")
    return folder / "it"


@pytest.fixture
def driver(prepared, tmp_path):
    """A Python with what stands for Parsl, and what it serializes with."""
    shutil.copytree(prepared, tmp_path / "driver", symlinks=True)
    return Python.of(str(tmp_path / "driver" / "bin" / "python"))


@pytest.fixture
def facts():
    return replace(here(), programs={f"python{MINOR}": f"{sys.base_prefix}/bin/python{MINOR}"})


@pytest.fixture
def file(tmp_path):
    """Write a requirements file; returns its path."""

    def write(text, name="requirements.txt"):
        path = tmp_path / "project" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


def wanted(path, **given):
    return Venv(kind="venv", requirements=str(path), **given)


def without_password(folder, *texts):
    """Hold that the password is in none of the texts, nor in any file below a folder."""
    found = [text for text in texts if PASSWORD in text]
    assert not found
    for path in Path(folder).rglob("*"):
        if path.is_file():
            assert PASSWORD.encode() not in path.read_bytes(), path


def serve(index, tmp_path, *names):
    """Have more packages on the index."""
    folder = tmp_path / "served"
    for name, version, requires in names:
        index.add(made_up.wheel(folder, name, version, requires=requires))


def test_a_file_comes_to_wheels_with_the_drivers_parsl(index, driver, facts, file, tmp_path, private_home):
    serve(index, tmp_path, ("dill", "0.4.1", []), ("dill", "0.5", []))
    told = []
    made = recipe(wanted(file("third-party<2\n")), facts, told.append, python=driver)
    there = {"dill": "0.4.1", "parsl": "2026.10.26", "small": "1.5", "third-party": "1.0"}
    assert made.expected == {**there, "python": MINOR}
    assert index.asked
    done = made_up.build(made, tmp_path / "there")
    made_up.has(done, tmp_path / "there" / "prefix", *(f"{name}=={version}" for name, version in there.items()))
    without_password(private_home, made.build, json.dumps(dict(made.content)), *told, done.stdout, done.stderr)
    without_password(tmp_path / "there")


def test_a_file_that_has_not_changed_is_not_resolved_again(index, driver, facts, file, tmp_path):
    serve(index, tmp_path, ("dill", "0.4.1", []))
    path = file("-r more.txt\n")
    file("third-party\n", "more.txt")
    first = recipe(wanted(path), facts, python=driver)
    asked = len(index.asked)
    index.close()
    assert recipe(wanted(path), facts, python=driver).digest == first.digest
    assert len(index.asked) == asked
    file("third-party==1.0\n", "more.txt")
    with pytest.raises(UsageError):
        recipe(wanted(path), facts, python=driver)


def test_packages_of_a_folder_are_resolved_without_an_index(index, driver, facts, file, tmp_path):
    house = tmp_path / "house"
    house.mkdir()
    for name, version in (("third-party", "3.0"), ("dill", "0.4.1")):
        made_up.wheel(house, name, version)
    made = recipe(wanted(file("third-party\n"), wheelhouse=str(house)), facts, python=driver)
    assert made.expected["third-party"] == "3.0"
    assert not index.asked


@pytest.mark.parametrize("line", ["parsl==2020.1", "Parsl<2026 ; python_version > '3'", "dill==0.3 --hash=sha256:00"])
def test_another_parsl_than_the_drivers_is_refused_by_its_line(driver, file, line, facts):
    path = file(f"# ours\n{line}\n")
    with pytest.raises(UsageError, match="the driver's own") as raised:
        recipe(wanted(path), facts, python=driver)
    assert raised.value.where == f"{path}:2"


def test_a_conflict_names_what_wants_another(index, driver, facts, file, tmp_path):
    serve(index, tmp_path, ("dill", "0.4.1", []), ("dill", "0.3", []), ("demanding", "1.0", ["dill<0.4"]))
    with pytest.raises(UsageError) as raised:
        recipe(wanted(file("demanding\n")), facts, python=driver)
    said = str(raised.value)
    assert "demanding" in said
    assert "dill<0.4" in said
    assert raised.value.where.endswith("requirements.txt")


def test_an_error_of_the_index_has_no_password(index, driver, facts, file, tmp_path, private_home):
    serve(index, tmp_path, ("dill", "0.4.1", []))
    url = index.url.replace("/simple", "/files/none-1.0-py3-none-any.whl?token=" + PASSWORD)
    for text in ("no-such-thing\n", f"none @ {url}\n", f"--index-url {index.url}x\nother\n"):
        with pytest.raises(UsageError) as raised:
            recipe(wanted(file(text)), facts, python=driver)
        without_password(private_home, str(raised.value), json.dumps(raised.value.as_dict()))
    index.close()
    with pytest.raises(UsageError) as raised:
        recipe(wanted(file("another\n")), facts, python=driver)
    without_password(private_home, str(raised.value))


PROJECT = """
[project]
name = "project"
version = "1"
requires-python = ">=3.11"
dependencies = ["third-party"]

[dependency-groups]
dev = ["not-there-at-all"]
"""
PYLOCK = """
lock-version = "1.0"
created-by = "a test"

[[packages]]
name = "small"
version = "1.5"
wheels = [{{name = "{name}", url = "{url}", hashes = {{sha256 = "{digest}"}}}}]
"""


def test_a_project_and_its_lock(index, driver, facts, file, tmp_path, private_home):
    serve(index, tmp_path, ("dill", "0.4.1", []))
    path = file(PROJECT.replace("not-there-at-all", "small"), "pyproject.toml")
    made = recipe(wanted(path), facts, python=driver)
    assert made.expected["third-party"] == "2.0"
    locking = [resolving.uv(), "lock", "-q", "--project", str(path.parent), "--python", driver.executable]
    environment = {**os.environ, "UV_DEFAULT_INDEX": index.url}
    subprocess.run(locking, check=True, env=environment)
    serve(index, tmp_path, ("third-party", "3.0", []))
    lock = path.with_name("uv.lock")
    made = recipe(wanted(lock), facts, python=driver)
    assert made.expected["third-party"] == "2.0"
    assert "project" not in made.expected
    by_name = recipe(wanted(lock, source="index"), facts, python=driver)
    assert "third-party==2.0" in by_name.files["requirements.txt"].read_text()
    without_password(private_home, by_name.files["requirements.txt"].read_text())


def test_a_pylock(index, driver, facts, file, tmp_path):
    serve(index, tmp_path, ("dill", "0.4.1", []))
    wheel = index.wheels["small-1.5-py3-none-any.whl"]
    url = index.url.replace("/simple", f"/files/{wheel.name}")
    digest = file_digest(wheel)
    made = recipe(
        wanted(file(PYLOCK.format(name=wheel.name, url=url, digest=digest), "pylock.toml")), facts, python=driver
    )
    assert {"small", "parsl", "dill"} <= set(made.expected)


@pytest.mark.parametrize("tool", ["uv", pytest.param("pip", marks=pytest.mark.slow)])
def test_the_other_side_fetches_the_same_versions_by_its_own_configuration(
    index, driver, facts, file, tmp_path, monkeypatch, tool
):
    serve(index, tmp_path, ("dill", "0.4.1", []))
    hashed = "".join(
        f"{name}=={version} --hash=sha256:{file_digest(index.wheels[f'{name}-{version}-py3-none-any.whl'])}\n"
        for name, version in (("small", "1.5"), ("dill", "0.4.1"))
    )
    if tool == "uv":
        facts = replace(facts, programs={**facts.programs, "uv": resolving.uv()})
    made = recipe(wanted(file(hashed), source="index"), facts, python=driver)
    assert made.files["requirements.txt"].read_text().count("--hash=sha256:") == 2
    assert [name for name in made.files if name.endswith(".whl")] == ["parsl-2026.10.26-py3-none-any.whl"]
    monkeypatch.setenv("UV_DEFAULT_INDEX", index.url)
    index.asked.clear()
    done = made_up.build(made, tmp_path / "there")
    made_up.has(done, tmp_path / "there" / "prefix", "small==1.5", "parsl==2026.10.26")
    assert any(path.startswith("/files/small") for path in index.asked)
    monkeypatch.setenv("UV_DEFAULT_INDEX", index.url.replace("/simple", "/files"))
    monkeypatch.setenv("PIP_INDEX_URL", index.url.replace("/simple", "/files"))
    done = made_up.build(made, tmp_path / "fails")
    assert done.returncode == 1
    without_password(tmp_path / "fails", done.stdout, done.stderr)


def test_no_uv_is_told_with_what_brings_it(driver, file, facts, monkeypatch):
    monkeypatch.setattr(resolving.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(resolving.shutil, "which", lambda _: None)
    with pytest.raises(MissingExtraError, match="uv") as raised:
        recipe(wanted(file("small\n")), facts, python=driver)
    assert raised.value.hint == 'pip install "pilotage[venv]"'


def test_a_file_that_cannot_be_read_is_named(driver, file, facts, tmp_path):
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(UsageError, match="cannot be read"):
            recipe(wanted(path), facts, python=driver)


def test_pips_settings_are_for_uv_too(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_", "SSL_"))]:
        monkeypatch.delenv(name)
    settings = tmp_path / "pip.conf"
    settings.write_text(
        "[global]\nindex-url = https://a:b@one.example/simple\nextra-index-url =\n  https://two.example\n"
        "  https://three.example\nfind-links = /wheels /more\n[install]\nno-index = no\ntrusted-host = two.example\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(settings))
    monkeypatch.setenv("PIP_CERT", "/certificate")
    assert indexes.index_environment(tmp_path) == {
        "UV_DEFAULT_INDEX": "https://a:b@one.example/simple",
        "UV_INDEX": "https://two.example https://three.example",
        "UV_FIND_LINKS": "/wheels,/more",
        "UV_NO_INDEX": "no",
        "UV_INSECURE_HOST": "two.example",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "SSL_CERT_FILE": "/certificate",
    }


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("uv.toml", 'index-url = "https://one.example"\n'),
        ("pyproject.toml", '[project]\nname = "x"\n[[tool.uv.index]]\nurl = "https://one.example"\n'),
    ],
)
def test_who_has_told_uv_has_told_it_all(tmp_path, monkeypatch, name, text):
    for variable in [variable for variable in os.environ if variable.startswith("UV_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PIP_INDEX_URL", "https://two.example")
    assert indexes.index_environment(tmp_path)["UV_DEFAULT_INDEX"] == "https://two.example"
    (tmp_path / name).write_text(text)
    assert indexes.index_environment(tmp_path) == {}
    (tmp_path / name).unlink()
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://one.example")
    assert indexes.index_environment(tmp_path) == {}


@pytest.mark.parametrize("there", ["linux-aarch64", "darwin-arm64"])
def test_what_is_compiled_is_fetched_for_a_host_of_another_kind(
    index, driver, facts, tmp_path, there, monkeypatch, private_home
):
    tag = f"cp{MINOR.replace('.', '')}-abi3"
    folder = tmp_path / "served"
    for platform in ("manylinux_2_17_aarch64", "macosx_11_0_arm64"):
        index.add(made_up.wheel(folder, "fast", "1.0", scripts=["quick"], tag=f"{tag}-{platform}"))
    made_up.install(driver.executable, made_up.wheel(tmp_path, "fast"), by="pip")
    info = made_up.packages(driver.executable) / "fast-1.0.dist-info"
    (info / "WHEEL").write_text(f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}-manylinux_2_17_x86_64\n")
    (info / "direct_url.json").unlink(missing_ok=True)
    other = replace(facts, platform=there)
    said = []
    made = recipe(Venv(kind="venv"), other, said.append, python=driver)
    assert any(name.startswith("fast-1.0-") and name.endswith(f"{there.partition('-')[2]}.whl") for name in made.files)
    assert made.expected["fast"] == "1.0"
    assert [words for words in said if words.startswith("fetching 1 packages for ")]
    index.close()
    assert recipe(Venv(kind="venv"), other, python=driver).digest == made.digest
    monkeypatch.setenv("PILOTAGE_STATE", str(tmp_path / "new"))
    with pytest.raises(UnsupportedError, match=there.partition("-")[0]) as raised:
        recipe(Venv(kind="venv"), other, python=driver)
    without_password(private_home, str(raised.value))


@pytest.mark.parametrize(
    ("line", "ours"), [("no such thing at all", False), ("dill @ file:///nowhere/dill-1-py3-none-any.whl", True)]
)
def test_the_drivers_versions_are_hinted_at_where_they_matter(driver, tmp_path, line, ours, private_home):
    made_up.needs_uv()
    file = tmp_path / "wanted.txt"
    file.write_text(f"{line}\n")
    with pytest.raises(UsageError) as raised:
        resolving.resolved(file, None, driver, print)
    assert ("driver" in (raised.value.hint or "")) == ours


def test_a_full_disk_is_told_as_that(tmp_path, monkeypatch):
    (tmp_path / "uv").write_text(
        "#!/bin/sh\necho 'cause: No space left on device (os error 28) at pilotage' >&2; exit 2\n"
    )
    (tmp_path / "uv").chmod(0o755)
    monkeypatch.setattr(resolving, "uv", lambda: str(tmp_path / "uv"))
    with pytest.raises(UsageError, match="No space left on device") as raised:
        resolving.run_uv(["pip", "install"], tmp_path)
    assert "the disk is full" in raised.value.hint
