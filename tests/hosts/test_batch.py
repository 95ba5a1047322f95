"""Blocks of PBS Pro and Flux behind a login host: a real sshd, and behind it the fakes that answer as recorded ones."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from fakes.lab import COMMANDS, Lab
from pilotage.journal import Journal
from pilotage.runs.record import read_json
from program import PROGRAM

SITE = """
[site.lab]
extends = "{scheduler}"
login = "far"
python = "{python}"
run_folder = "{there}"
reach = "{reach}"
inside_address = "127.0.0.1"
max_workers_per_node = 1
walltime = "00:05:00"
{more}
"""
MORE = {"pbspro": 'queue = "main"\nlauncher = { class = "SimpleLauncher" }', "flux": "nodes_per_block = 2"}
NODES = {"pbspro": 1, "flux": 2}
REACH = {"pbspro": "relay", "flux": "gateway"}
CANCEL = {"pbspro": "qdel ", "flux": "flux cancel "}
SUBMIT = {"pbspro": "qsub ", "flux": "flux batch "}
QUEUED = {"pbspro": "QREHW", "flux": ("SCHED", "RUN", "DEPEND", "CLEANUP")}
NO_QUEUE = {"pbspro": "qsub: Unknown queue", "flux": "[Errno 22] 'nowhere' is not a valid queue"}
NOTED = """#!/bin/sh
echo "${{SSH_CONNECTION##* }} {name} $(echo "$*" | tr '\\n' ' ')" >>{log}
exec {program} "$@"
"""
OF_THE_FAKE = "SetEnv PATH=TMP/there:/usr/bin:/bin"
SCRIPT = """
import parsl, sys
@parsl.python_app
def where(number, folder):
    import os, pathlib, time
    with open(f"{folder}/{number}", "a") as file:
        file.write("x")
    end = time.monotonic() + 60
    while not pathlib.Path(f"{folder}/go").exists() and time.monotonic() < end:
        time.sleep(0.05)
    return number
with parsl.load():
    print(sum(one.result() for one in [where(number, sys.argv[1]) for number in range(20)]))
"""
RIGHT = f"{sum(range(20))}\n"

pytestmark = pytest.mark.parametrize("server", [pytest.param(OF_THE_FAKE, id="far")], indirect=True)


@pytest.fixture(params=["pbspro", "flux"])
def scheduler(request):
    return request.param


@pytest.fixture
def lab(scheduler, tmp_path):
    """A fake that only the far side has on its PATH, where each command is noted."""
    it = Lab(scheduler, tmp_path / "lab")
    (tmp_path / "there").mkdir()
    for name in COMMANDS[scheduler]:
        path = tmp_path / "there" / name
        path.write_text(NOTED.format(name=name, log=tmp_path / "commands", program=it.bin / name))
        path.chmod(0o755)
    yield it
    assert it.close() == [], "processes of jobs are left"
    assert not states(it, QUEUED[scheduler]), "jobs are left"


@pytest.fixture
def site(server, lab, scheduler, user_file, tmp_path):
    """Write the site `lab`, and a script."""

    def write(more=""):
        known = {"python": sys.executable, "there": tmp_path / "runs", "reach": REACH[scheduler]}
        user_file(SITE.format(scheduler=scheduler, more=f"{MORE[scheduler]}\n{more}", **known))

    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "ran").mkdir()
    write()
    return write


@pytest.fixture
def words(tmp_path):
    """Arguments of a run."""
    return ["--site", "lab", str(tmp_path / "script.py"), str(tmp_path / "ran")]


def states(lab, wanted):
    with lab.machine.locked() as state:
        return [job["state"] for job in state["jobs"].values() if job["state"] in wanted]


def commands(tmp_path, begin=""):
    """Return what was asked there: the port that was come in by, and the command."""
    lines = (tmp_path / "commands").read_text().splitlines()
    return [(port, said) for port, said in (line.split(" ", 1) for line in lines) if said.startswith(begin)]


def ran(tmp_path):
    return {path.name: path.read_text() for path in (tmp_path / "ran").iterdir() if path.name != "go"}


def the_run(home):
    (folder,) = (home / "state" / "runs").glob("2*")
    return folder


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "not in time"
        time.sleep(0.05)
    return found


def left(tmp_path, home):
    """Return what is left there and in the journal, but for code, which runs share."""
    found = [path.name for path in (tmp_path / "runs").glob("*") if path.name != "code"]
    return found + list(Journal(the_run(home) / "journal.jsonl").open_entries())


@pytest.fixture
def begun(site, words, pilotage, tmp_path):
    """A run whose first task has begun, and waits for the file `go`."""
    process = subprocess.Popen(
        [PROGRAM, "run", *words], env=pilotage.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for(lambda: ran(tmp_path) or process.poll() is not None)
        assert process.poll() is None, process.communicate()
        yield process
    finally:
        (tmp_path / "ran" / "go").touch()
        if process.poll() is None:
            pilotage.ask("cancel", "--now", "@last")
        process.communicate(timeout=60)


def test_a_block_over_ssh(site, words, pilotage, server, scheduler, lab, tmp_path, private_home):
    (tmp_path / "ran" / "go").touch()
    done = pilotage("run", *words)
    assert (done.returncode, done.stdout) == (0, RIGHT), done.stderr
    assert ran(tmp_path) == {str(number): "x" for number in range(20)}
    name = the_run(private_home).name
    assert {port for port, _ in commands(tmp_path)} == {str(server.port)}
    (submitted,) = [said for _, said in commands(tmp_path, SUBMIT[scheduler])]
    script = Path(submitted.split()[-1])
    assert script.is_relative_to(tmp_path / "runs" / f"{name}.lab"), "it is in the run's folder there"
    assert not script.exists()
    assert commands(tmp_path, CANCEL[scheduler])
    brought = the_run(private_home).rglob(f"{script.name}*")
    assert {path.name.removeprefix(script.name) for path in brought} >= {"", ".stdout", ".stderr"}
    assert left(tmp_path, private_home) == []


def test_a_run_that_is_cancelled_while_its_block_runs(begun, pilotage, scheduler, lab, tmp_path, private_home):
    assert states(lab, ("R", "RUN"))
    assert left(tmp_path, private_home)
    done = pilotage.ask("cancel", "@last")
    assert done.returncode == 0, done.stderr
    begun.communicate(timeout=60)
    assert read_json(the_run(private_home) / "run.json")["state"] == "cancelled"
    assert commands(tmp_path, CANCEL[scheduler])
    assert left(tmp_path, private_home) == []


@pytest.mark.slow
def test_what_was_killed_left_is_ended_by_the_next_command(begun, pilotage, scheduler, lab, tmp_path, private_home):
    """The job too, by the scheduler's command over a connection of its own."""
    words = ("pilotage.runs.supervisor", "pilotage.cli.driver")
    ours = [one for one in pilotage.left_behind() if any(word in " ".join(one.cmdline()) for word in words)]
    assert len(ours) == 2
    begun.kill()  # or it would end them
    for process in ours:
        process.kill()
    begun.communicate(timeout=60)
    assert states(lab, ("R", "RUN"))
    assert not commands(tmp_path, CANCEL[scheduler])
    assert pilotage("ps").returncode == 0
    wait_for(lambda: not left(tmp_path, private_home))
    assert commands(tmp_path, CANCEL[scheduler])


@pytest.mark.slow
def test_a_scheduler_that_does_not_answer_costs_nothing(begun, scheduler, lab, tmp_path, private_home):
    name = {"pbspro": "qstat ", "flux": "flux jobs "}[scheduler]
    lab.switch(down=True)
    asked = len(commands(tmp_path, name))
    wait_for(lambda: len(commands(tmp_path, name)) > asked)
    (tmp_path / "ran" / "go").touch()
    wait_for(lambda: len(ran(tmp_path)) == 20)
    lab.switch(down=False)
    out, err = begun.communicate(timeout=90)
    assert (begun.returncode, out) == (0, RIGHT), err
    assert ran(tmp_path) == {str(number): "x" for number in range(20)}
    assert left(tmp_path, private_home) == []


def test_what_the_scheduler_refuses_is_told(site, words, pilotage, scheduler, tmp_path, private_home):
    done = pilotage("run", *words[:2], "--set", "queue=nowhere", *words[2:])
    assert done.returncode == 1
    assert NO_QUEUE[scheduler] in done.stderr
    assert ran(tmp_path) == {}
    assert left(tmp_path, private_home) == []


@pytest.mark.slow
def test_a_block_that_fails_is_told_in_its_own_words(site, words, pilotage, tmp_path, private_home):
    """What it wrote is on the far side, and is brought."""
    site('worker_init = "modulo load gcc"')
    done = pilotage("run", *words)
    assert done.returncode == 1
    assert "worker_init failed (exit code 127): modulo load gcc" in done.stderr
    assert ran(tmp_path) == {}
    assert left(tmp_path, private_home) == []


def test_check_asks_there(site, scheduler, server, pilotage, tmp_path):
    done = pilotage("check", "lab", "--set", "queue=nowhere")
    assert done.returncode == 1
    assert {port for port, _ in commands(tmp_path)} == {str(server.port)}
    if scheduler == "pbspro":  # no recording has what Flux says of its queues
        assert "there is no queue 'nowhere'" in done.stdout
    assert not list((tmp_path / "runs").glob("*"))
