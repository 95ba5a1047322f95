"""An environment of conda packages on a host behind a real sshd."""

import json

import pytest

import conda_channel
from pilotage.environments import conda
from pilotage.environments.store import Store
from pilotage.sites.environments import Conda

LOOK = (
    "import iniconfig, json, parsl, pilotage, sys; print(json.dumps([sys.prefix, iniconfig.__file__, parsl.__file__]))"
)


def test_a_conda_file_becomes_a_python_behind_a_login(far, tmp_path):
    pytest.importorskip("rattler", reason="py-rattler is not installed: pip install 'pilotage[conda]'")
    channel = conda_channel.make(tmp_path / "packages", ["parsl", "iniconfig"])
    file = tmp_path / "environment.yml"
    file.write_text("channels: [./packages]\ndependencies: [parsl, iniconfig]\nvariables: {GREETING: hello}\n")
    store = Store(far, str(tmp_path / "there"))
    facts = store.facts()
    made = conda.recipe(Conda(kind="conda", file=str(file), tool="rattler"), facts, lambda _: None)
    said = []
    prefix = store.ensure(made, say=said.append)
    assert f"building {made.title}" in said
    assert store.verify(made) is None
    done = far.run([*made.start(prefix), "-P", "-c", LOOK], timeout=60)
    assert done.ok, done.stderr
    found, *files = json.loads(done.stdout)
    assert found == prefix
    assert all(name.startswith(f"{prefix}/lib/") for name in files)
    channel.rename(tmp_path / "away")  # what is there needs no channel, and nothing is sent again
    said.clear()
    assert store.ensure(made, say=said.append) == prefix
    assert said == []
    store.release()
