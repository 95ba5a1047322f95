"""What every probe of `pilotage check` keeps; a new one is found by its registration."""

import os
import threading
import time
from dataclasses import replace

import pytest

from pilotage.assembly.configs import targets
from pilotage.assembly.login import hosts_of
from pilotage.check import checking
from pilotage.check.context import Context
from pilotage.check.finding import Finding, Status
from pilotage.check.probe import Cost, Probe, probes
from pilotage.hosts.base import Completed
from pilotage.hosts.local import LocalHost

PROBES = {probe.name: probe for probe in probes()}
SITES = {
    "local": """
extends = "laptop"
available_accelerators = 2
cpu_affinity = "list:0:1"
mem_per_worker = 1.0
""",
    "slurm": """
extends = "slurm"
partition = "debug"
account = "physics"
qos = "high"
constraint = "a100"
nodes_per_block = 2
cores_per_node = 4
mem_per_node = 2
gpus_per_node = 2
available_accelerators = 2
scheduler_options = "#SBATCH --reservation=tutorial"
""",
    "pbspro": 'extends = "pbspro"\nqueue = "debug"\ncpus_per_node = 4\nselect_options = "ngpus=2"\nnodes_per_block = 2',
    "gridengine": 'extends = "gridengine"\nqueue = "all.q"\nscheduler_options = "#$ -pe smp 4"',
    "flux": 'extends = "flux"\nqueue = "debug"\ncores_per_node = 4',
    "login": 'extends = "slurm"\nlogin = "me@head"\npartition = "debug"\nrun_folder = "~/runs/of/mine"',
    "pool": 'extends = "ssh-pool"\nhosts = ["one", "two"]',
    "kubernetes": 'extends = "kubernetes"\nimage = "lab/worker:1"',
}
GARBAGE = {
    "nothing": Completed((), 0, "", ""),
    "noise": Completed((), 0, "\x00\x1b[31m|||\n{[\n" + "|".join("abcdefghi") + "\n\ud800 @@@ 7/7/7\n", "?"),
    "numbers": Completed((), 0, "|".join(["7"] * 8) + "\n" + "|".join(["-1"] * 7) + "\n[]\n", ""),
    "json": Completed((), 0, '{"nodes": 7, "Queue": [1], "Server": null, "python": 3}', ""),
    "deep": Completed((), 0, "[" * 100_000, ""),
    "failure": Completed((), 1, "", "everything is wrong\nand more of it\n"),
    "late": Completed((), 124, "", "no answer within 1 s"),
    "missing": Completed((), 127, "", "[Errno 2] No such file or directory"),
    "long": Completed((), 0, "x" * 1_000_000, "y" * 1_000_000),
}


class Answers:
    """A host on which every program is, and answers the same."""

    def __init__(self, answer):
        self.answer = answer
        self.asked = []

    def run(self, argv, *, timeout=30, stdin=b""):
        self.asked.append((tuple(argv), timeout))
        return replace(self.answer, argv=tuple(argv))

    def has(self, program):
        return True


@pytest.fixture
def context(project, user_file, private_home):
    """Make a context for a site of a scheduler."""
    made = []

    def make(scheduler, host=None, **options):
        user_file(f"[site.mine]\n{SITES[scheduler]}\n")
        manager = checking.own_folder()
        made.append(manager)
        folder = manager.__enter__()
        resolved = targets("mine", ())[0].resolved
        host = host or LocalHost()
        hosts = dict.fromkeys(hosts_of(resolved.site), host)
        return Context(resolved=resolved, host=host, folder=folder, hosts=hosts, **options)

    yield make
    for manager in made:
        manager.__exit__(None, None, None)


@pytest.mark.parametrize("name", PROBES)
def test_it_says_what_it_is(name):
    probe = PROBES[name]
    assert name == name.lower()
    assert " " not in name
    assert isinstance(probe.cost, Cost)
    assert type(probe).__doc__
    assert type(probe).__doc__ != Probe.__doc__
    order = list(PROBES)
    assert all(order.index(need) < order.index(name) for need in probe.needs), "what it needs is asked before it"


@pytest.mark.parametrize("name", PROBES)
def test_it_has_a_limit(name, context):
    for scheduler in SITES:
        assert 0 < PROBES[name].limit(context(scheduler, wait=1.0)) < 3600


def applying(context, host=None):
    """Yield (scheduler, probe, context) of each probe that applies without a block being submitted.

    What the configuration finds is asked of no command.
    """
    for scheduler in SITES:
        made = context(scheduler, host)
        for probe in PROBES.values():
            if probe.cost in (Cost.MACHINE, Cost.SCHEDULER) and probe.applies(made):
                yield scheduler, probe, replace(made, memory={})


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_from_commands_is_survived(kind, context):
    applied = set()
    for scheduler, probe, made in applying(context, Answers(GARBAGE[kind])):
        finding = probe.run(made.until(time.monotonic() + 20))
        applied.add(probe.name)
        assert isinstance(finding, Finding), (scheduler, probe.name)
        assert finding.message.strip(), (scheduler, probe.name)
        assert len(finding.message) < 5000, (scheduler, probe.name)
        if finding.status in (Status.FAILED, Status.WARNING):
            assert finding.hint, (scheduler, probe.name)
    asked = {probe.name for probe in PROBES.values() if probe.cost in (Cost.MACHINE, Cost.SCHEDULER)}
    assert applied == asked - {"environment"}  # of sites that have one: tests/cli/test_env.py asks it


def test_nothing_is_written_outside_and_nothing_is_left(context, private_home, tmp_path, monkeypatch):
    before = files(private_home) | files(tmp_path)
    for scheduler, probe, made in applying(context):
        inside = files(made.folder)
        probe.run(made.until(time.monotonic() + 20))
        assert files(made.folder) == inside, (scheduler, probe.name)
        known = {path for path in files(private_home) | files(tmp_path) if not path.startswith(str(made.folder.parent))}
        new = {path for path in known - before if not path.endswith("pilotage.toml")}
        assert not new, (scheduler, probe.name)


def files(folder):
    return {os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in names}


class Hangs:
    """A host whose programs answer when they are let go, or when their time is over, as real ones do."""

    def __init__(self):
        self.go = threading.Event()
        self.late = []

    def run(self, argv, *, timeout=30, stdin=b""):
        if not self.go.wait(timeout):
            self.late.append(tuple(argv))
            return Completed(tuple(argv), 124, "", f"no answer within {timeout:g} s")
        return Completed(tuple(argv), 0, "", "")

    def has(self, program):
        return True


@pytest.mark.parametrize("name", [name for name, probe in PROBES.items() if probe.cost is not Cost.BLOCK])
def test_a_command_that_hangs_ends_within_the_limit(name, context, monkeypatch):
    probe, host = PROBES[name], Hangs()
    monkeypatch.setattr(type(probe), "limit", lambda self, context: 1.0)
    for scheduler in SITES:
        made = context(scheduler, host)
        if not probe.applies(made):
            continue
        finding = checking.run(probe, made)
        assert finding.status in Status
        if host.late:
            return
    # A probe that runs no command has nothing to hang on.
    assert not host.late


def test_the_registry_takes_a_name_once():
    from pilotage.check.probe import probe

    with pytest.raises(ValueError, match="two probes are called 'ports'"):
        probe(type("Ports", (Probe,), {"name": "ports", "cost": Cost.MACHINE}))
