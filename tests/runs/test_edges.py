"""Where a run meets the odd sides of its surroundings: descriptors, streams, terminals, other people's processes."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from pilotage.journal import Entry
from pilotage.runs import ending
from pilotage.worker import processes
from terminals import Terminal


@pytest.fixture
def script(project):
    def write(text):
        (project / "s.py").write_text(text)
        return "s.py"

    return write


def states(pilotage):
    return [run["state"] for run in json.loads(pilotage.ask("ps", "--json").stdout)["runs"]]


def test_the_supervisors_descriptors_are_its_own(script, pilotage):
    text = (
        "import os\nfound = []\nfor n in sorted(map(int, os.listdir('/proc/self/fd'))):\n"
        "    try: found.append((n, os.readlink(f'/proc/self/fd/{n}').partition(':')[0]))\n"
        "    except OSError: pass  # the listing's own\n"
        "print([kind for n, kind in found if n > 2])\n"
    )
    done = pilotage("run", script(text))
    assert done.stdout == "['pipe']\n", done.stderr  # on which the driver says that it is stopping


@pytest.mark.parametrize(
    "closed",
    [*(pytest.param(one, marks=pytest.mark.slow) for one in ("<&-", "2>&-", "<&- >&-")), ">&-", "<&- >&- 2>&-"],
)
@pytest.mark.parametrize("detach", ["", pytest.param("--detach", marks=pytest.mark.slow)])
def test_closed_streams_are_no_reason_not_to_start(closed, detach, script, pilotage):
    command = f'"$0" run {detach} {script("print(1)")} {closed}'
    done = pilotage.run(["bash", "-c", command, f"{sys.prefix}/bin/pilotage"])
    assert done.returncode == 0, done.stderr
    end = time.monotonic() + 20
    while (found := states(pilotage)) != ["finished"]:
        assert time.monotonic() < end, found
        time.sleep(0.1)


def test_a_signal_without_a_name_is_told_by_its_number(script, pilotage):
    done = pilotage("run", script(f"import os\nos.kill(os.getpid(), {signal.SIGRTMIN + 6})\n"), "--json")
    assert json.loads(done.stdout)["reason"] == f"the driver was ended by signal {signal.SIGRTMIN + 6}"


@pytest.fixture
def terminal(script, pilotage):
    made = []

    def start(text, *options):
        argv = [f"{sys.prefix}/bin/pilotage", "run", "--quiet", script(text), *options]
        made.append(Terminal(argv, {**pilotage.env(), "TERM": "xterm"}))
        return made[-1]

    yield start
    for one in made:
        one.process.kill()
        one.process.wait()
        os.close(one.master)
        os.close(one.slave)


def test_a_terminal_that_takes_its_time_gets_all_and_the_exit_code(terminal):
    one = terminal("for i in range(30_000): print('line', i)\nprint('THE END')\nraise SystemExit(7)\n")
    time.sleep(3)  # nobody reads
    assert one.finish(60) == 7
    assert b"THE END" in one.seen
    assert one.seen.count(b"line ") == 30_000


def test_what_is_typed_to_a_script_that_does_not_read_blocks_nobody(terminal):
    one = terminal("import time\nprint('ready', flush=True)\ntime.sleep(3)\nprint('over')\n")
    one.wait_for("ready")
    for _ in range(20):
        one.type("x" * 1000 + "\r")
    one.wait_for("over")
    assert one.finish() == 0


def test_a_script_that_closes_its_terminal_goes_on(script, pilotage, project, tmp_path):
    text = "import os, time\nos.close(0)\nos.closerange(3, 100)\ntime.sleep(1.5)\nprint('still here')\n"
    command = f'"$0" run --quiet {script(text)} > out 2>&1'
    one = Terminal(["bash", "-c", command, f"{sys.prefix}/bin/pilotage"], pilotage.env())
    assert one.finish() == 0
    os.close(one.master)
    os.close(one.slave)
    assert (project / "out").read_text() == "still here\n"


def test_a_group_that_has_become_someone_elses_is_left_alone():
    """A shell's pipeline whose first member has ended has the number of a group whose leader is gone."""
    with subprocess.Popen(
        ["sh", "-c", "sleep 60 & echo $!"], process_group=0, stdout=subprocess.PIPE, text=True
    ) as one:
        stranger = int(one.stdout.readline())
        one.wait()
        known = {**processes.identity(1), "pid": one.pid, "start": "1"}
        entry = Entry("k", "process", {"role": "block", "group": True, "run": "20261121-000000-abcd"}, known, 0.0)
        try:
            assert ending.end(entry) is None
            assert processes.start_of(stranger) is not None
        finally:
            processes.send(stranger, signal.SIGKILL)


def test_what_is_left_of_a_group_of_the_runs_is_ended():
    env = {"PILOTAGE_RUN": "20261121-000000-abcd", "PATH": "/usr/bin:/bin"}
    argv = ["sh", "-c", "sleep 60 & echo $!"]
    with subprocess.Popen(argv, process_group=0, stdout=subprocess.PIPE, text=True, env=env) as one:
        child = processes.identity(int(one.stdout.readline()))
        one.wait()
        known = {**processes.identity(1), "pid": one.pid, "start": "1"}
        entry = Entry("k", "process", {"role": "block", "group": True, "run": "20261121-000000-abcd"}, known, 0.0)
        assert ending.end(entry) is None
        assert ending.end(entry) is None  # twice without harm
        assert not processes.is_alive(child)


def test_a_request_that_makes_no_sense_stops_in_order(script, pilotage, private_home):
    text = "import time\nprint('ready', flush=True)\ntime.sleep(60)\n"
    with subprocess.Popen(
        [f"{sys.prefix}/bin/pilotage", "run", "--grace", "1", script(text)], env=pilotage.env(), stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"ready\n"
        (folder,) = (private_home / "state" / "runs").iterdir()
        (folder / "request.json").write_text("[]")
        assert process.wait(20) != 0
    assert states(pilotage) == ["cancelled"]


def test_a_block_of_load_that_is_left_by_an_error_has_failed(script, pilotage):
    text = "import pilotage\nwith pilotage.load('threads'):\n    raise RuntimeError('so')\n"
    done = pilotage.run([sys.executable, script(text)])
    assert done.returncode == 1
    (run,) = json.loads(pilotage.ask("ps", "--json").stdout)["runs"]
    assert (run["state"], run["reason"]) == ("failed", "RuntimeError: so")
