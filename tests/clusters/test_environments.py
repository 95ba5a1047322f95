"""Workers' environments made over SSH, without a network: the nodes know neither the script's package nor another."""

import json
import os
import shutil
import sys
import time

import pytest

import conda_channel
from environments import made_up
from pilotage.environments.installed import installed
from pilotage.environments.resolving import uv
from pilotage.environments.wheels import wheels_of
from pilotage.events import Events

SITES = """
[site.lab]
scheduler = "slurm"
login = "head"
run_folder = "/home/cluster/runs"
nodes_per_block = 2
max_workers_per_node = 1
walltime = "00:10:00"
exclusive = false
environment = {environment}

[site.pool]
scheduler = "ssh"
hosts = ["node1", "node2"]
run_folder = "/tmp/runs"
max_workers_per_node = 1
init_blocks = 2
environment = {environment}
"""
ENVIRONMENT = {"venv": '{ kind = "venv" }', "conda": '{ kind = "conda", file = "~/environment.yml" }'}
CONDA = "channels: [/home/channel]\ndependencies: [parsl, far-thing]\nvariables: {GREETING: hello}\n"
SCRIPT = """
import json
import far_thing
import parsl
from own.sums import double

@parsl.python_app
def work(number):
    import os, sys, time
    from importlib.metadata import version
    time.sleep(0.3)
    return os.uname().nodename, os.path.realpath(sys.prefix), far_thing.ORIGIN, version("far-thing"), double(number)

found = []
with parsl.load():
    while len({one[0] for one in found}) < 2 and len(found) < 800:  # a pool's second host comes after the first
        found += [one.result() for one in [work(len(found) + number) for number in range(4)]]
print(json.dumps([sorted({tuple(one[:4]) for one in found}), [one[4] for one in found]]))
"""
ORIGIN = {"venv": ["wheel", "1.0"], "conda": ["channel", "2.0"]}
HOSTS = {"lab": ("head",), "pool": ("node1", "node2")}
RUNS = {"lab": "/home/cluster/runs", "pool": "/tmp/runs"}
LOOK = 'cd "$1"/environments && ls -A . files && stat -c "%n %y" .*.log && cat */.pilotage.json'


def thing():
    """Return a package of a channel that no other has."""
    package = conda_channel.Package("far-thing", "2.0", noarch=True, depends=["python >=3.8"])
    package.files["site-packages/far_thing.py"] = (b'ORIGIN = "channel"\n', 0o644)
    package.files["site-packages/far_thing-2.0.dist-info/METADATA"] = (
        b"Metadata-Version: 2.1\nName: far-thing\nVersion: 2.0\n",
        0o644,
    )
    return package


class Drivers:
    """Pythons of the laptop's own by kind, in which the driver is: each made once, with no more than it needs."""

    NEEDS = {"venv": ["pilotage", "pip"], "conda": ["pilotage", "py-rattler", "pyyaml"]}

    def __init__(self, lab, folder):
        self._lab = lab
        self._home = lab.folder / "home/laptop"  # /home there
        self._folder = folder
        self._made = {}

    def __call__(self, kind):
        """Return the path there of its ``pilotage``."""
        if kind not in self._made:
            self._made[kind] = self._make(kind)
        return f"{self._made[kind]}/bin/pilotage"

    def _make(self, kind):
        packages = self._home / f"packages-{kind}"
        packages.mkdir()
        here = installed(sys.path)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PILOTAGE_STATE", str(self._folder))
            for wheel in wheels_of([here[name] for name in conda_channel.closure(self.NEEDS[kind])]):
                shutil.copy(wheel.path, packages)
        made_up.wheel(packages, "far-thing", files={"far_thing.py": b'ORIGIN = "wheel"\n'})
        if kind == "conda":
            conda_channel.make(self._home / "channel", ["parsl"], [thing()])
        python = f"/home/driver-{kind}"
        names = [f"/home/packages-{kind}/{path.name}" for path in packages.iterdir()]
        install = [uv(), "pip", "install", "-q", "--offline", "--no-index", "--no-deps", "--no-cache", "--no-config"]
        for argv in (
            [sys.executable, "-m", "venv", "--without-pip", python],
            [*install, "--compile-bytecode", "--python", f"{python}/bin/python", *names],
        ):
            self._lab.host("laptop").run(argv, timeout=400)  # it compiles, on a machine that has others to serve
        shutil.rmtree(packages)
        return python


@pytest.fixture(scope="session")
def drivers(laptop_lab, tmp_path_factory):
    pytest.importorskip("rattler", reason="py-rattler is not installed: make setup-dev")
    made_up.needs_uv()
    return Drivers(laptop_lab, tmp_path_factory.mktemp("drivers"))


@pytest.fixture(params=["venv", "conda"])
def kind(request, laptop):
    """A kind of environment, for sites whose script has a package beside it."""
    laptop.place(".config/pilotage/pilotage.toml", SITES.format(environment=ENVIRONMENT[request.param]))
    laptop.place("environment.yml", CONDA)
    laptop.place("mine/script.py", SCRIPT)
    laptop.place("mine/own/__init__.py", "")
    laptop.place("mine/own/sums.py", "def double(number):\n    return 2 * number\n")
    return request.param


@pytest.fixture(params=["lab", "pool"])
def site(request, laptop):
    """A site; what was made on its hosts goes in the end, and is all that is there."""
    yield request.param
    for host in HOSTS[request.param]:
        left = laptop.run("ls", "-A", RUNS[request.param], host=host).stdout.split()
        laptop.run("rm", "-rf", RUNS[request.param], host=host)
        assert left in (["code", "environments"], [])


def told(laptop):
    newest = sorted(laptop.outside(f"{laptop.home}/.local/state/pilotage/runs").glob("2*"))[-1]
    return [one for one in Events(newest / "events.jsonl").read()[0] if one["kind"] == "environment"]


def kept(laptop, site):
    """Return what is on a site's hosts, with times."""
    return [laptop.run("sh", "-c", LOOK, "sh", RUNS[site], host=host).stdout for host in HOSTS[site]]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_workers_have_what_only_the_laptop_had(laptop, drivers, kind, site, record_property):
    pilotage, places, seconds = drivers(kind), [], []
    for number in range(2):
        begin = time.monotonic()
        done = laptop.run(pilotage, "run", "--site", site, "mine/script.py", timeout=400)
        seconds.append(round(time.monotonic() - begin, 1))
        assert done.returncode == 0, done.stderr
        found, doubled = json.loads(done.stdout)
        assert doubled == list(range(0, 2 * len(doubled), 2))
        assert [[node, *of] for node, _, *of in found] == [[node, *ORIGIN[kind]] for node in ("node1", "node2")]
        places.append([prefix for _, prefix, *_ in found])
        assert all(os.path.dirname(prefix) == f"{RUNS[site]}/environments" for prefix in places[-1])
        if number == 0:
            built = told(laptop)
            assert len(built) == len(HOSTS[site])
            assert all(one["detail"]["files"] > 10 for one in built)
            before = kept(laptop, site)
            assert all('"kind"' in one for one in before)
    assert told(laptop) == []
    assert kept(laptop, site) == before
    assert places[1] == places[0]
    record_property("seconds of the first and the second run", seconds)
    record_property("told", [one["message"] for one in built])
