"""``pilotage cp`` between real servers, and between them and this machine."""

import json
import os
from contextlib import ExitStack

import pytest

from stores.keeper import HARD_NAMES, modules

SERVERS = modules()
HERE = "files"
NUMBERS = iter(range(1_000_000))


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """Return the server of a name, which is started when it is first asked for."""
    with ExitStack() as stack:
        running = {}

        def server(name):
            if name not in running:
                running[name] = stack.enter_context(SERVERS[name].serve(tmp_path_factory.mktemp(name)))
            return running[name]

        yield server


@pytest.fixture
def keepers(servers, monkeypatch):
    """Return what keeps files on servers of these names."""

    def start(*names):
        made = [servers(name)(f"place {next(NUMBERS)}") for name in names]
        for keeper in made:
            for name, value in keeper.environment.items():
                monkeypatch.setenv(name, value)
        return made

    return start


@pytest.fixture
def cp(pilotage, project, tmp_path, monkeypatch):
    """Copy between keepers' places; returns what ``--json`` says. Nothing is left of what is between."""
    between = tmp_path / "between"
    between.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(between))

    def copy(keepers, *arguments, code=0):
        options = [
            f"--option={keeper.url.partition(':')[0]}.{key}={value}"
            for keeper in keepers
            for key, value in keeper.options.items()
        ]
        done = pilotage.ask("cp", "--json", *options, *arguments)
        assert done.returncode == code, done
        assert [one for one in os.listdir(between) if one.startswith("pilotage-cp-")] == []
        return json.loads(done.stdout)

    return copy


def fill(keeper, to):
    """Put a folder there, of names that both can have; returns the names of its files and their content."""
    names = [name for name in HARD_NAMES if name not in keeper.cannot | to.cannot]
    wanted = {f"{name}/{name}": name.encode() for name in names}
    wanted |= {"a/b/large": os.urandom(6_000_000), "a/none": b"", "one": b"1"}
    for name, data in wanted.items():
        keeper.write(f"in/{name}", data)
    if type(keeper).modes:
        keeper.write("in/program", b"#!/bin/sh\n", executable=True)
        wanted["program"] = b"#!/bin/sh\n"
    if type(keeper).links:
        keeper.link("in/a/link", "../one")
    return wanted


REMOTE = [name for name, module in SERVERS.items() if name not in (HERE, "driver") and module.KEEPER.folders]


def pairs():
    """Yield all pairs of servers; of those between two of different kinds one is enough in a hurry."""
    for source in (*REMOTE, HERE):
        for target in (*REMOTE, HERE):
            quick = source == target or HERE in (source, target) or (source, target) == ("over_ssh", "s3")
            if (source, target) != (HERE, HERE):  # is in test_cp.py
                yield pytest.param(source, target, marks=() if quick else pytest.mark.slow, id=f"{source}-{target}")


@pytest.mark.parametrize(("source", "target"), list(pairs()))
def test_a_folder(keepers, cp, source, target):
    from_, to = keepers(source, target)
    wanted = fill(from_, to)
    to.write("out/in/one", b"old")
    to.write("out/in/other", b"stays")
    found = cp([from_, to], from_.at("in"), to.at("out/"))
    if type(from_).links:
        if type(to).links:
            assert to.target("out/in/a/link") == "../one"
        else:
            wanted["a/link"] = b"1"
    names = {name for name in to.names() if not name.endswith("/")}
    links = {"out/in/a/link"} if type(from_).links and type(to).links else set()
    assert names == {f"out/in/{name}" for name in [*wanted, "other"]} | links
    for name, data in wanted.items():
        assert to.read(f"out/in/{name}") == data, name
    if type(from_).modes and type(to).modes:
        assert (to.executable("out/in/program"), to.executable("out/in/one")) == (True, False)
    assert (found["bytes"], found["files"]) == (sum(map(len, wanted.values())), len(wanted))


@pytest.mark.parametrize(
    ("source", "target"),
    [*[pair for pair in pairs() if pair.values[0] != HERE], *[("web", name) for name in (*REMOTE, HERE)]],
)
def test_a_file(keepers, cp, source, target):
    from_, to = keepers(source, target)
    data = os.urandom(6_000_000)
    name = "in/a" if "#1" in from_.cannot else "in/a #1"
    from_.write(name, data)
    found = cp([from_, to], from_.at(name), to.at("new/er"))
    assert to.read("new/er") == data
    assert (found["bytes"], found["files"]) == (6_000_000, 1)
    assert {name for name in to.names() if not name.endswith("/")} == {"new/er"}


@pytest.mark.parametrize("source", [name for name, module in SERVERS.items() if name not in (HERE, "driver")])
def test_what_is_not_there(keepers, cp, project, source):
    (from_,) = keepers(source)
    found = cp([from_], from_.at("nothing"), "new", code=1)
    assert found["error"] == "NotThereError"
    assert "nothing" in found["where"]
    assert os.listdir(project) == []


@pytest.mark.parametrize("name", REMOTE)
def test_into_itself(keepers, cp, name):
    (keeper,) = keepers(name)
    keeper.write("in/one", b"1")
    for target in ("in", "in/", "in/new"):
        assert "copied into itself" in cp([keeper], keeper.at("in"), keeper.at(target), code=2)["message"]
    found = cp([keeper], keeper.at("in/one"), keeper.at("in/one"), code=2)
    assert found["message"] == "source and destination are the same"
    assert {one for one in keeper.names() if not one.endswith("/")} == {"in/one"}
