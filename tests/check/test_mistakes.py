"""Mistakes on this machine: each is named, and nothing else is."""

import json
import os
import resource
import socket
import sys
from contextlib import ExitStack
from importlib import metadata

import pytest
from mistakes import Mistake, hold, problems, row

from pilotage import system
from pilotage.check import environment, machine, network, space
from pilotage.check.clocks import FileClock

CORES = 4


@pytest.fixture(autouse=True)
def known_machine(monkeypatch):
    """A machine of which all that the page tells is known."""
    monkeypatch.setattr(system, "usable_cores", lambda: CORES)
    monkeypatch.setattr(system, "usable_memory", lambda: 16 << 30)
    monkeypatch.setattr(network, "addresses", lambda: {"127.0.0.1": "lo", "198.51.100.4": "eth0"})


def program(folder, name, text):
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)
    return folder / name


def test_a_healthy_laptop(check):
    found = check()
    assert [one for one in found["findings"] if one["status"] in ("failed", "warning")] == []
    assert found["ok"]
    probes = [one["probe"] for one in found["findings"]]
    assert {"configuration", "run-folder", "python", "address", "ports", "workers", "memory"} <= set(probes)
    assert [one["probe"] for one in found["findings"] if not one["command"]] == ["launcher", "workers"]


def prepared(mistake, patch, stack, folder):
    """Do what a mistake's ``needs`` says; return the values to set, and the texts that stand for this machine's."""
    base = [(folder, "FOLDER")]
    if mistake.needs == "python":
        wrapper = program(folder, "python", mistake.before.format(python=sys.executable))
        return [f"python={wrapper}"], [(wrapper, "bin/python"), *base]
    if mistake.needs in OTHERS:
        told = json.dumps({**environment.expected.driver(), **OTHERS[mistake.needs]})
        wrapper = program(folder, "python", f"cat <<'END'\n{told}\nEND")
        return [f"python={wrapper}"], [(wrapper, "bin/python"), *base]
    if mistake.needs == "listener":
        port = stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
        sets = [mistake.before.format(port=port, after=port + 1)]
        return sets, [(f"from {port} to {port} ", "from PORT to PORT "), (f"port {port}", "port PORT"), *base]
    if mistake.needs:
        CHANGES[mistake.needs](patch, folder)
    return [], base


def a_file_in_the_way(patch, folder):
    (folder / "file").write_text("")
    patch.setenv("PILOTAGE_STATE", str(folder / "file" / "state"))


def few_open_files(patch, folder):
    own = resource.getrlimit
    few = {resource.RLIMIT_NOFILE: (64, 64)}
    patch.setattr(machine.resource, "getrlimit", lambda which: few.get(which) or own(which))


def few_processes(patch, folder):
    (folder / "pids.max").write_text("100\n")
    (folder / "pids.current").write_text("98\n")
    patch.setattr(system, "own_cgroups", lambda: [folder])


def used_up_quota(patch, folder):
    columns = "blocks   quota   limit   grace"
    lines = f"Disk quotas for user ada (uid 1000):\n     Filesystem  {columns}   {columns}\n"
    lines += "server:/home 5242880* 5000000 5242880 6days 31000 0 0"
    program(folder, "quota", f"cat <<'END'\n{lines}\nEND\nexit 1")


def full_disk(patch, folder):
    own = os.statvfs
    fields = list(own("/"))
    fields[4] = 10 * 2**20 // fields[1]  # blocks for this user
    fields[5:8] = [10**6, 10**6, 10**6]
    full = os.statvfs_result((*fields, 0))
    patch.setattr(space.os, "statvfs", lambda path: full if str(path).endswith("/runs") else own(path))


def no_room_for_logs(patch, folder):
    patch.setattr(space.tails, "bases", list)


def a_wrong_clock(patch, folder):
    import time

    patch.setattr(FileClock, "now", staticmethod(lambda: time.time() - 300))


def another_parsl(patch, folder):
    own = metadata.version
    patch.setattr(environment.metadata, "version", lambda name: "2027.3.1" if name == "parsl" else own(name))


def one_gpu(patch, folder):
    program(folder, "nvidia-smi", "echo 'GPU 0: Tesla T4 (UUID: GPU-1)'")


CHANGES = {
    "state": a_file_in_the_way,
    "files": few_open_files,
    "processes": few_processes,
    "quota": used_up_quota,
    "disk": full_disk,
    "logs": no_room_for_logs,
    "clock": a_wrong_clock,
    "parsl": another_parsl,
    "gpu": one_gpu,
}
OTHERS = {"other-parsl": {"parsl": "2025.1.6"}, "other-dill": {"dill": "0.3.1"}}
MISTAKES = [
    Mistake("a key is misspelt", "configuration", "unknown key 'max_worker_per_node'", toml="max_worker_per_node = 2"),
    Mistake("a number is in quotes", "configuration", "valid integer, got '4'", toml='max_blocks = "4"'),
    Mistake("the site extends one that is not there", "configuration", "extends 'laptob'", toml='extends = "laptob"'),
    Mistake("`min_blocks` is more than `max_blocks`", "configuration", "min_blocks (3)", ("min_blocks=3",)),
    Mistake(
        "an argument that Parsl's executor does not have",
        "configuration",
        "no argument 'heartbeat_treshold'",
        ("executor.heartbeat_treshold=5",),
    ),
    Mistake(
        "a launcher that Parsl does not have",
        "configuration",
        "no class 'SrunLaucher'",
        ("launcher.class=SrunLaucher",),
    ),
    Mistake("a Python that is not there", "python", "there is no /nowhere/python", ("python=/nowhere/python",)),
    Mistake("a Python that is none", "python", "does not run", needs="python", before="echo Killed >&2; exit 137"),
    Mistake("a Python without Parsl", "python", "no parsl", needs="python", before='exec {python} -S "$@"'),
    Mistake(
        "a Python of another minor version",
        "python",
        "is Python 3.9.2",
        needs="python",
        before="echo '" + '{{"python": "3.9.2"}}' + "'",
    ),
    Mistake("another Parsl for the workers", "python", "parsl 2025.1.6", needs="other-parsl"),
    Mistake(
        "a package that the site requires is not there",
        "python",
        "no no-such-package (needed: >=2)",
        ("environment={kind='same', require=['no-such-package>=2']}",),
    ),
    Mistake("another dill for the workers", "python", "dill 0.3.1", needs="other-dill"),
    Mistake("a Parsl that pilotage was not tested with", "versions", "parsl 2027.3.1", needs="parsl", status="warning"),
    Mistake("the folder of runs cannot be made", "run-folder", "Not a directory", needs="state"),
    Mistake("the disk is full", "free-space", "10.5 MB free", needs="disk"),
    Mistake("the quota is used up", "quota", "100% of the space", needs="quota"),
    Mistake("no room for the newest lines of logs", "log-room", "no folder", needs="logs", status="warning"),
    Mistake("a limit of open files that is too low", "open-files", "may open 64 files", needs="files"),
    Mistake("a limit of processes that is nearly reached", "processes", "98 of 100", needs="processes"),
    Mistake("the file server's clock is wrong", "clock", "300 s ahead", needs="clock"),
    Mistake("an address that is another machine's", "address", "192.0.2.99 is no address", ("address=192.0.2.99",)),
    Mistake("an interface that is not there", "address", "no interface 'bond7'", ("interface=bond7",)),
    Mistake("a port that is in use", "ports", "in use", needs="listener", before="executor.worker_port={port}"),
    Mistake(
        "all ports of the range are in use",
        "ports",
        "in use",
        needs="listener",
        before="executor.worker_port_range=[{port}, {after}]",
    ),
    Mistake("a range without ports", "ports", "has no port", ("executor.worker_port_range=[55000, 54000]",)),
    Mistake("more workers than cores", "workers", "4 will start", ("max_workers_per_node=64",), status="warning"),
    Mistake("workers larger than the machine", "workers", "no worker starts", ("cores_per_worker=16",)),
    Mistake("workers that need more memory than there is", "workers", "no worker will start", ("mem_per_worker=64",)),
    Mistake(
        "cores that are not there",
        "affinity",
        "names core 11",
        ("cpu_affinity=list:0-3:8-11", "max_workers_per_node=2"),
    ),
    Mistake(
        "one core for two workers",
        "affinity",
        "core 1 to several",
        ("cpu_affinity=list:0-1:1-2", "max_workers_per_node=2"),
        status="warning",
    ),
    Mistake(
        "more accelerators than GPUs", "accelerators", "this machine has 1", ("available_accelerators=2",), needs="gpu"
    ),
    Mistake(
        "accelerators without GPUs",
        "accelerators",
        "neither nvidia-smi nor rocm-smi",
        ("available_accelerators=2",),
        status="warning",
    ),
]


def test_each_mistake_is_named(check, tmp_path, private_home):
    wrong, rows = [], {}
    for number, mistake in enumerate(MISTAKES):
        with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
            folder = tmp_path / f"mistake-{number}"
            folder.mkdir()
            patch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
            more, replaced = prepared(mistake, patch, stack, folder)
            toml = mistake.toml if "extends" in mistake.toml else f'extends = "laptop"\n{mistake.toml}'
            found = check(toml, [*mistake.sets, *more])
        wrong += (bad := problems(mistake, found["findings"]))
        assert found["ok"] == (mistake.status != "failed"), mistake.what
        if not bad:
            here = [(version, name.upper()) for name, version in environment.expected.driver().items()]
            rows[mistake.what] = row(
                mistake, found["findings"], [*replaced, (private_home, "~"), (sys.executable, "python"), *here]
            )
    assert not wrong, "\n".join(wrong)
    assert (differing := hold("laptop", rows)) == [], "\n".join(differing)


@pytest.mark.slow
def test_a_python_that_is_yet_to_be(check):
    """What a run makes, or a node brings about, is not there to be asked."""
    for value, words in (
        ("{kind='venv'}", "a run makes it (environment.kind = venv); --submit looks at it"),
        (
            "{kind='command', activate='source env/bin/activate'}",
            "it is there once a node has run environment.command; --submit looks at it",
        ),
        ("{kind='modules', load=['python']}", "it is there once a node has run environment.modules; --submit looks"),
    ):
        found = check('extends = "laptop"\n', [f"environment={value}"])
        (python,) = [one for one in found["findings"] if one["probe"] == "python"]
        assert (python["status"], python["message"][: len(words)]) == ("skipped", words)
