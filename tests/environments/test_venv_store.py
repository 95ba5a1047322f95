"""Virtual environments by the store, here and over a real sshd."""

import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from environments import made_up
from hosts.sshd import Sshd, reason
from pilotage.environments.installed import Python
from pilotage.environments.store import Store
from pilotage.environments.venv import recipe
from pilotage.errors import BuildError
from pilotage.hosts.local import LocalHost
from pilotage.hosts.openssh import OpenSSHHost
from pilotage.sites.environments import Venv

MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture(scope="module")
def far():
    if why := reason():
        pytest.skip(why)
    with tempfile.TemporaryDirectory(prefix="pilotage-") as folder:
        server = Sshd(Path(folder) / "it")
        server.start()
        host = OpenSSHHost("far", server.options, Path(folder))
        yield host
        host.close()
        server.stop()


@pytest.fixture(params=["here", "far"])
def store(request, tmp_path, private_home):
    host = LocalHost() if request.param == "here" else request.getfixturevalue("far")
    made = Store(host, f"{tmp_path}/an 'odd' place/environments", f"{tmp_path}/runs")
    yield made
    made.release()


@pytest.fixture
def facts(store):
    found = store.facts()
    return replace(found, programs={**found.programs, f"python{MINOR}": f"{sys.base_prefix}/bin/python{MINOR}"})


@pytest.fixture
def driver(tmp_path):
    executable = made_up.environment(tmp_path / "driver")
    made_up.install(executable, made_up.wheel(tmp_path, "third-party", scripts=["third"]), by="pip")
    return Python.of(str(executable))


def test_a_store_has_it(store, facts, driver):
    made = recipe(Venv(kind="venv"), facts, python=driver)
    path = store.ensure(made)
    words = [*made.start(path), "-c", "import sys, third_party; print(sys.prefix)"]
    assert subprocess.check_output(words, text=True) == f"{path}\n"
    assert not {".new", ".cache"} & {one.name for one in Path(path).iterdir()}
    assert store.verify(made) is None


def test_what_a_tool_says_is_the_reason(store, facts, driver, tmp_path):
    made = recipe(Venv(kind="venv"), facts, python=driver)
    wrong = made_up.wheel(tmp_path, "wrong", tag="cp39-cp39-win32")
    with pytest.raises(BuildError, match=r"cannot install: .*wrong"):
        store.ensure(replace(made, files={**made.files, wrong.name: wrong}, content={"wrong": "wheel"}))
    with pytest.raises(BuildError, match=r"third-party is 1\.0 and not 2\.0"):
        store.ensure(replace(made, expected={"third-party": "2.0"}))
