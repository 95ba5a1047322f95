"""`pilotage check` on a real Slurm: a healthy site is well, and each mistake is named."""

import importlib.util
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import psutil
import pytest

from pilotage.check import shapes
from pilotage.worker import expected
from program import PROGRAM

pytestmark = pytest.mark.slow  # minutes on a busy machine: make test-clusters runs it

HELPERS = Path(__file__).parents[1] / "check"
# Test folders are no packages, so the helpers are loaded by their path.
_spec = importlib.util.spec_from_file_location("mistakes", HELPERS / "mistakes.py")
mistakes = importlib.util.module_from_spec(_spec)
sys.modules["mistakes"] = mistakes
_spec.loader.exec_module(mistakes)
Mistake = mistakes.Mistake

LAB = 'extends = "slurm-lab"\n'
SHARING = """
extends = "slurm"
partition = "debug"
address = "192.0.2.1"
exclusive = false
max_workers_per_node = 2
"""
# To sbatch, a node that was away a moment ago is none yet: "Requested node configuration is not available".
IDLE = """for try in $(seq 300); do
    [ "$(sinfo --noheader --Node --format=%T | sort -u)" != idle ] || exit 0
    sleep 0.1
done
sinfo --Node
exit 1"""
PARTITION = "scontrol update PartitionName=debug State={}"
NODES = "scontrol update NodeName=node1,node2 State={}"
WRAPPER = """mkdir -p {folder} && cat > {folder}/python <<'END'
#!/bin/sh
[ "$(hostname)" = head ] || set -- -S "$@"
exec {python} "$@"
END
chmod +x {folder}/python"""

MOVED = "sed 's/^SlurmctldHost=.*/SlurmctldHost=head(127.0.0.1)/; $a SlurmctldPort=1' /etc/slurm/slurm.conf"
MOVED += " > {folder}/slurm.conf"

SLURM = [
    Mistake("the partition is misspelt", "queue", "no partition 'debgu'", ("partition=debgu",)),
    Mistake(
        "the partition is down",
        "queue",
        "takes or starts no jobs",
        before=PARTITION.format("DOWN"),
        after=PARTITION.format("UP"),
    ),
    Mistake(
        "all nodes are drained",
        "queue",
        "no node of debug takes jobs",
        before=NODES.format("DRAIN Reason=test"),
        after=NODES.format("RESUME"),
    ),
    Mistake(
        "a walltime beyond the partition's",
        "walltime",
        "02:00:00 is more than debug allows: 01:00:00",
        ("walltime=02:00:00",),
    ),
    Mistake("a walltime of a minute", "walltime", "leaves no time", ("walltime=00:01:00",), status="warning"),
    Mistake("more nodes than there are", "nodes", "5 nodes, and debug gives 2", ("nodes_per_block=5",)),
    Mistake(
        "more whole nodes than there are, in all blocks",
        "nodes",
        "3 blocks of 1 whole nodes",
        ("exclusive=true", "max_blocks=3"),
        status="warning",
    ),
    Mistake("more cores than a node has", "cores", "64 cores", ("cores_per_node=64",)),
    Mistake("more memory than a node has", "node-memory", "its nodes have 4 at most", ("mem_per_node=64",)),
    Mistake(
        "GPUs where there are none", "gpus", "its nodes have 0 at most", ("gpus_per_node=2", "available_accelerators=2")
    ),
    Mistake(
        "GPUs of a kind where there are none",
        "gpus",
        "its nodes have 0",
        ("gres=gpu:a100:2", "available_accelerators=2"),
    ),
    Mistake(
        "workers pinned to GPUs that nobody asked for",
        "accelerators",
        "asks for no GPUs",
        ("available_accelerators=2",),
    ),
    Mistake("a feature that no node has", "constraint", "no node has the feature 'haswell'", ("constraint=haswell",)),
    Mistake(
        "a reservation that is not there",
        "reservation",
        "no reservation 'tutorial'",
        ("scheduler_options=#SBATCH --reservation=tutorial",),
    ),
    Mistake("a directive that sbatch does not know", "trial", "nonsense", ("scheduler_options=#SBATCH --nonsense",)),
    Mistake("a cluster, where there is no accounting", "scheduler", "'other' can't be reached", ("clusters=other",)),
    Mistake("two workers on one core", "workers", "2 workers will start", toml=SHARING, status="warning"),
    Mistake("an address that means the node itself", "address", "127.0.0.1 is loopback", ("address=127.0.0.1",)),
    Mistake("an address of another machine", "address", "192.0.2.77 is no address", ("address=192.0.2.77",)),
    Mistake(
        "an address on a network that nodes are not on",
        "route",
        "reached from 192.0.2.1",
        ("address=198.51.100.7",),
        before="ip link add other type bridge && ip address add 198.51.100.7/24 dev other && ip link set other up",
        after="ip link delete other",
        status="warning",
    ),
    Mistake(
        "runs are kept in the login host's own /tmp",
        "shared-folder",
        "on /tmp",
        environment={"PILOTAGE_STATE": "/tmp/state"},
    ),
    Mistake(
        "runs are kept in memory",
        "shared-folder",
        "tmpfs",
        environment={"PILOTAGE_STATE": "/dev/shm/state"},
        after="rm -r /dev/shm/state",
    ),
    Mistake(
        "a Python in the login host's own /tmp",
        "python",
        "is on /tmp",
        ("python=/tmp/bin/python",),
        before="mkdir -p /tmp/bin && ln -sf {python} /tmp/bin/python",
    ),
    Mistake(
        "a space in the path of the runs",
        "run-folder-path",
        "a space, which SrunLauncher does not quote",
        ("launcher.class=SrunLauncher",),
        environment={"PILOTAGE_STATE": "{folder}/my state"},
    ),
    Mistake(
        "a launcher for one node",
        "launcher",
        "first of 2 nodes only",
        ("nodes_per_block=2", "launcher.class=SimpleLauncher"),
    ),
    Mistake("a launcher whose program is not there", "launcher", "needs mpiexec", ("launcher.class=MpiExecLauncher",)),
    Mistake(
        "no programs of Slurm on the PATH", "commands", "not on the PATH: sbatch", environment={"PATH": "/nowhere"}
    ),
    Mistake(
        "the controller does not answer",
        "scheduler",
        "sinfo",
        environment={"SLURM_CONF": "{folder}/slurm.conf"},
        before=MOVED,
    ),
]
SUBMIT = [
    Mistake(
        "`worker_init` fails",
        "block",
        "worker_init failed (exit code 127): modulo load gcc",
        ("worker_init=modulo load gcc",),
    ),
    Mistake(
        "the nodes' Python has no Parsl", "block", "has no parsl (driver: ", ("python={folder}/python",), before=WRAPPER
    ),
    Mistake(
        "both managers are started on one node",
        "managers",
        "2 managers run on 1 of 2 nodes",
        ("nodes_per_block=2", "launcher.class=SrunLauncher", "launcher.overrides=--overcommit --nodes=1"),
    ),
]


def filled(mistake, folder):
    def fill(text):
        return text.replace("{folder}", str(folder)).replace("{python}", sys.executable)

    return {
        "toml": mistake.toml or LAB,
        "sets": [fill(one) for one in mistake.sets],
        "environment": {key: fill(value) for key, value in mistake.environment.items()},
        "before": fill(mistake.before),
        "after": fill(mistake.after),
    }


@pytest.fixture
def on_head(slurm, on_head):
    """As ever, when both nodes are there and idle."""
    slurm.up(2)
    done = on_head("bash", "-ec", IDLE)
    assert done.returncode == 0, done.stdout
    return on_head


@pytest.fixture
def many_on(on_head_of):
    """Check many cases on a cluster's login host, in one process."""

    def run(lab, cases, submit=False):
        first = IDLE if lab.kind == "slurm" else ""
        lines = "".join(json.dumps({**case, "submit": submit, "first": first}) + "\n" for case in cases)
        done = on_head_of(lab, sys.executable, HELPERS / "many.py", input=lines, timeout=170)
        assert done.returncode == 0, done.stderr
        return [json.loads(line)["findings"] for line in done.stdout.splitlines()]

    return run


def judge(place, seeded, found, replaced):
    assert len(found) == len(seeded)
    wrong, rows = [], {}
    for mistake, findings in zip(seeded, found, strict=True):
        wrong += (bad := mistakes.problems(mistake, findings))
        if not bad:
            rows[mistake.what] = mistakes.row(mistake, findings, replaced)
    assert not wrong, "\n".join(wrong)
    assert (differing := mistakes.hold(place, rows)) == [], "\n".join(differing)


def test_each_mistake_is_named(slurm, many_on, tmp_path):
    found = many_on(slurm, [filled(mistake, tmp_path) for mistake in SLURM])
    judge("slurm", SLURM, found, [(tmp_path, "~"), (sys.executable, "python")])


def test_a_healthy_cluster(slurm, on_head, tmp_path):
    done = on_head(PROGRAM, "check", "slurm-lab", "--json", folder=tmp_path)
    assert done.returncode == 0, done.stdout
    (site,) = json.loads(done.stdout)["sites"]
    assert [one for one in site["findings"] if one["status"] in ("failed", "warning")] == []
    told = {one["probe"]: one for one in site["findings"]}
    assert told["trial"]["status"] == "ok"
    assert "to start at" in told["trial"]["message"]
    assert "2 of 2 nodes take jobs" in told["queue"]["message"]
    assert on_head("squeue", "--noheader").stdout == ""


def lines(text):
    """Return the probes in a text for people, with how they ended; what a file system's type tells is the machine's."""
    found = re.findall(r"^  (ok|warning|failed|skipped) +(\S+)", text, re.MULTILINE)
    return [(status, name) for status, name in found if name != "shared-folder"]


def test_the_page_shows_what_is_printed(slurm, on_head, tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "howto" / "check.md").read_text()
    for name in ("slurm-lab", "mistake"):
        shown = re.search(rf"<!-- {name} -->\n```text\n\$ pilotage (.*?)\n(.*?)```", page, re.DOTALL)
        done = on_head(PROGRAM, *shlex.split(shown.group(1)), folder=tmp_path)
        printed, told = lines(done.stdout), lines(shown.group(2))
        assert told
        assert [one for one in printed if one in told] == told, done.stdout
        assert len(printed) == len(told) or "..." in shown.group(2)


def test_the_commands_to_repeat_it_can_be_repeated(slurm, on_head, tmp_path):
    done = on_head(PROGRAM, "check", "slurm-lab", "--json", "--set", "walltime=00:20:00", folder=tmp_path)
    for one in json.loads(done.stdout)["sites"][0]["findings"]:
        if one["command"] and "pip check" not in one["command"]:
            path = f"{Path(PROGRAM).parent}:{os.environ['PATH']}"
            again = on_head("bash", "-c", one["command"], folder=tmp_path, env={"PATH": path})
            assert again.returncode == 0, (one["command"], again.stderr)


def test_a_block_on_two_nodes(slurm, on_head, tmp_path):
    done = on_head(PROGRAM, "check", "slurm-lab", "--submit", "--json", "--set", "nodes_per_block=2", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    jsonschema.validate(found, shapes.schema("check"))
    (site,) = found["sites"]
    told = {one["probe"]: one["status"] for one in site["findings"]}
    names = ("block", "managers", "node-versions", "node-folder", "node-cores", "node-clocks", "start-up")
    assert {name: told[name] for name in names} == dict.fromkeys(names, "ok")
    assert sorted(node["host"] for node in site["block"]["nodes"]) == ["node1", "node2"]
    assert all(node["workers"] == 2 for node in site["block"]["nodes"])
    assert all(seconds is not None for seconds in site["block"]["start_up"].values())
    assert site["run"] is None
    assert on_head("squeue", "--noheader").stdout == ""


@pytest.mark.slow
def test_each_mistake_that_only_a_block_shows_is_named(slurm, many_on, on_head, tmp_path):
    found = many_on(slurm, [filled(mistake, tmp_path) for mistake in SUBMIT], submit=True)
    assert on_head("squeue", "--noheader").stdout == ""
    versions = [(version, name.upper()) for name, version in expected.driver().items()]
    judge("submit", SUBMIT, found, [(tmp_path, "~"), (sys.executable, "python"), *versions])


def test_a_check_that_is_interrupted_leaves_no_job(slurm, on_head, pilotage, tmp_path):
    argv = [PROGRAM, "check", "slurm-lab", "--submit", "--set", "worker_init=sleep 60"]
    command = slurm.host("head").command(list(map(str, argv)), str(tmp_path))
    process = subprocess.Popen(command, env=pilotage.env(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    end = time.monotonic() + 60
    while "RUNNING" not in on_head("squeue", "--noheader", "--format=%T").stdout:
        assert time.monotonic() < end, "the block never ran"
        time.sleep(0.1)
    (inside,) = psutil.Process(process.pid).children()  # nsenter keeps signals for itself
    inside.send_signal(signal.SIGINT)
    told = process.communicate(timeout=60)[0].decode()
    assert process.returncode == 130, told
    assert on_head("squeue", "--noheader").stdout == ""
    assert not re.search("Traceback", told)


ACCOUNTING = [
    Mistake("an account that is not the user's", "account", "no account 'phisics'", ("account=phisics",)),
    Mistake("a qos that is not there", "qos", "no qos 'shrot'", ("qos=shrot",)),
    Mistake(
        "a walltime beyond the qos's",
        "qos-limits",
        "00:30:00 is more than the qos short allows: 00:10:00",
        ("account=physics", "qos=short"),
    ),
    Mistake("a cluster that is not there", "scheduler", "No cluster 'other' known", ("clusters=other",)),
    Mistake(
        "a partition that the cluster does not have",
        "queue",
        "no partition 'debgu'",
        ("clusters=slurm-lab", "partition=debgu"),
    ),
]


def test_each_mistake_about_accounting_is_named(slurm_accounting, many_on, tmp_path):
    found = many_on(slurm_accounting, [filled(mistake, tmp_path) for mistake in ACCOUNTING])
    judge("accounting", ACCOUNTING, found, [(tmp_path, "~")])


def test_names_that_are_there(slurm_accounting, on_accounting_head, tmp_path):
    sets = ["--set", "account=physics", "--set", "qos=short", "--set", "walltime=00:10:00"]
    done = on_accounting_head(PROGRAM, "check", "slurm-lab", "--json", *sets, folder=tmp_path)
    assert done.returncode == 0, done.stdout
    told = {one["probe"]: one for one in json.loads(done.stdout)["sites"][0]["findings"]}
    assert [told[name]["status"] for name in ("account", "qos", "qos-limits", "trial")] == ["ok"] * 4


def test_a_cluster_by_its_name(slurm_accounting, on_accounting_head, tmp_path):
    sets = ["--set", "clusters=slurm-lab", "--set", "account=physics"]
    done = on_accounting_head(PROGRAM, "check", "slurm-lab", "--json", *sets, folder=tmp_path)
    assert done.returncode == 0, done.stdout
    told = {one["probe"]: one for one in json.loads(done.stdout)["sites"][0]["findings"]}
    assert "--clusters=slurm-lab" in told["queue"]["command"]
    assert told["queue"]["message"] == "debug: 2 of 2 nodes take jobs"
    names = ("scheduler", "queue", "walltime", "nodes", "cores", "account", "route", "trial")
    assert {name: told[name]["status"] for name in names} == dict.fromkeys(names, "ok")


GRID = 'extends = "gridengine-lab"\nscheduler_options = "#$ -pe smp 2"\n'
GRIDENGINE = [
    Mistake("the queue is misspelt", "queue", "no queue 'al.q'", ("queue=al.q",)),
    Mistake(
        "all queue instances are disabled", "queue", "no node of all.q", before="qmod -d all.q", after="qmod -e all.q"
    ),
    Mistake(
        "a walltime beyond the queue's",
        "walltime",
        "00:30:00 is more than all.q allows: 00:20:00",
        before="qconf -mattr queue h_rt 00:20:00 all.q",
        after="qconf -mattr queue h_rt 01:00:00 all.q",
    ),
    Mistake(
        "a parallel environment that is not there",
        "pe",
        "no parallel environment 'spm'",
        ("scheduler_options=#$ -pe spm 2",),
    ),
    Mistake("more slots than a node has", "cores", "64 cores", ("scheduler_options=#$ -pe smp 64",)),
    Mistake(
        "a resource that no host has", "trial", "qsub would refuse", ("scheduler_options=#$ -pe smp 2\n#$ -l gpu=1",)
    ),
    Mistake(
        "two workers on one slot",
        "workers",
        "2 workers will start",
        toml='extends = "gridengine-lab"',
        status="warning",
    ),
]


def test_each_mistake_on_grid_engine_is_named(gridengine, many_on, tmp_path):
    found = many_on(gridengine, [{**filled(one, tmp_path), "toml": one.toml or GRID} for one in GRIDENGINE])
    judge("gridengine", GRIDENGINE, found, [(tmp_path, "~")])


def test_a_healthy_grid_engine(gridengine, on_gridengine_head, tmp_path):
    done = on_gridengine_head(
        PROGRAM, "check", "gridengine-lab", "--json", "--set", "scheduler_options=#$ -pe smp 2", folder=tmp_path
    )
    assert done.returncode == 0, done.stdout
    (site,) = json.loads(done.stdout)["sites"]
    assert [one for one in site["findings"] if one["status"] in ("failed", "warning")] == []
    told = {one["probe"]: one for one in site["findings"]}
    assert told["trial"]["status"] == told["pe"]["status"] == "ok"
