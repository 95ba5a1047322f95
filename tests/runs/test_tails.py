"""What Parsl logged last is kept where something failed, also of killed processes; nothing else, and no ring."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from pilotage.worker import ring, tails

HEAD = """
import os, parsl, time
@parsl.python_app
def process():
    import os
    return os.getpid()
@parsl.python_app
def kill(number=9):
    import os, time
    os.kill(os.getpid(), number)
    time.sleep(60)
@parsl.python_app
def fail():
    raise ValueError("the task's own reason")
"""
WAITS = (
    HEAD
    + """
with parsl.load():
    process().result()
    open("ready", "w").write(str(os.getpid()))
    while not os.path.exists("go"):
        time.sleep(0.02)
"""
)


@pytest.fixture
def begun(pilotage, project):
    """Start a run that waits; returns its process once its workers are up."""
    started = []

    def begin(text=WAITS, *arguments, command=("run",)):
        (project / "script.py").write_text(text)
        program = [str(pilotage_program()), *command, "script.py", *arguments]
        started.append(subprocess.Popen(program, env=pilotage.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        wait_for(lambda: (project / "ready").exists() and (project / "ready").read_text())
        return started[-1]

    yield begin
    (project / "go").touch()
    for one in started:  # the view; the run's end is its end
        try:
            one.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            pilotage("cancel", "--now", "@last")
            one.kill()
            one.communicate()


def pilotage_program():
    import sys

    return Path(sys.executable).parent / "pilotage"


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def run_folder(home):
    [folder] = (home / "state" / "runs").iterdir()
    return folder


def collected(home):
    """Return what was collected, by the name of the log."""
    return {path.name: path.read_text() for path in run_folder(home).rglob("*.tail.log")}


def rings(home):
    """Return the rings of a run that is going on, by the name of the log."""
    folder, _ = tails.place(str(run_folder(home) / "parsl" / "000"), "parsl")
    paths = [path for base in tails.bases() for path in tails.rings(f"{tails.home(base)}/{folder}")]
    return {found.about["name"]: found for path in paths if (found := ring.read(path))}


def last_line(found):
    return found.text.decode().splitlines()[-1]


def test_a_run_that_succeeds_leaves_no_log(pilotage, project, private_home):
    (project / "script.py").write_text(HEAD + "with parsl.load():\n    print(process().result() > 0)\n")
    done = pilotage("run", "script.py")
    assert (done.returncode, done.stdout) == (0, "True\n")
    assert collected(private_home) == {}
    kept = {path.name for path in (run_folder(private_home) / "parsl").rglob("*.log")}
    assert kept == set(), "no warnings either"
    refused = pilotage.ask("logs", "--worker", "--block", "7")
    assert "pilotage run --debug keeps them all" in refused.stderr


def test_debug_keeps_parsls_own_logs(pilotage, project, private_home):
    (project / "script.py").write_text(HEAD + "with parsl.load():\n    process().result()\n")
    assert pilotage("run", "--debug", "script.py").returncode == 0
    parsls = run_folder(private_home) / "parsl" / "000"
    assert "DEBUG" in (parsls / "parsl.log").read_text()
    assert list(parsls.glob("*/interchange.log"))
    assert list(parsls.glob("*/block-0/*/manager.log"))
    assert collected(private_home) == {}
    shown = pilotage.ask("logs", "--worker").stdout
    assert "Manager ID" in shown


@pytest.mark.parametrize(
    "setting", ["engine.logs=full", pytest.param("config.initialize_logging=true", marks=pytest.mark.slow)]
)
def test_a_site_may_want_them_all(pilotage, project, private_home, setting):
    (project / "script.py").write_text(HEAD + "with parsl.load():\n    process().result()\n")
    assert pilotage("run", "--set", setting, "script.py").returncode == 0
    assert "DEBUG" in (run_folder(private_home) / "parsl" / "000" / "parsl.log").read_text()


def test_a_site_may_want_none(pilotage, project, private_home):
    (project / "script.py").write_text(HEAD + "with parsl.load():\n    fail().exception()\n")
    assert pilotage("run", "--set", "config.initialize_logging=false", "script.py").returncode == 0
    assert not (run_folder(private_home) / "parsl" / "000" / "parsl.log").exists()


def test_a_failed_task_has_the_drivers_and_the_interchanges_last_lines(pilotage, project, private_home):
    (project / "script.py").write_text(HEAD + "with parsl.load():\n    fail().result()\n")
    done = pilotage("run", "script.py")
    assert done.returncode == 1
    found = collected(private_home)
    assert {"parsl.tail.log", "interchange.tail.log", "manager.tail.log"} <= set(found)
    assert "the task's own reason" in found["parsl.tail.log"]
    assert "DEBUG" in found["parsl.tail.log"]
    # The summary names the very files.
    named = [line.strip() for line in done.stderr.splitlines() if line.endswith(".tail.log")]
    assert named
    assert all(Path(one).exists() for one in named)
    # Warnings are there in any case.
    assert "the task's own reason" in next(run_folder(private_home).rglob("parsl.log")).read_text()


def test_other_commands_find_the_tails(pilotage, project, private_home):
    (project / "script.py").write_text(HEAD + "with parsl.load():\n    fail().result()\n")
    pilotage("run", "script.py")
    assert "Manager ID" in pilotage.ask("logs", "--worker", "--block", "0").stdout
    scheduler = pilotage.ask("logs", "--scheduler").stdout
    assert "the task's own reason" in scheduler
    assert "parsl.executors.high_throughput.interchange" in scheduler
    kinds = {log["kind"] for log in json.loads(pilotage.ask("show", "@last", "--json").stdout)["logs"]}
    assert {"parsl", "interchange", "manager", "worker"} <= kinds
    files = json.loads(pilotage.ask("bundle", "@last", "--json").stdout)
    listing = subprocess.run(["tar", "tzf", files["file"]], capture_output=True, text=True).stdout
    assert "parsl.tail.log" in listing
    assert re.search(r"worker_\d+\.tail\.log", listing), "of whichever worker had the task"


def test_a_killed_worker_says_what_it_did_last(pilotage, project, private_home):
    """The one that takes its place collects it, before it has written a line of its own."""
    text = HEAD + "with parsl.load():\n    p = process().result()\n    print(kill().exception())\n    time.sleep(1)\n"
    (project / "script.py").write_text(text)
    done = pilotage("run", "--set", "max_workers_per_node=1", "script.py")
    assert done.returncode == 0
    found = collected(private_home)["worker_0.tail.log"]
    dead = found.split("====")[1]
    assert dead.rstrip().splitlines()[-1].endswith("Received executor task 2"), "the task that killed it"
    assert found.count("==== worker_0") == 2


def killed(home, begun, find):
    """Kill a process of a run, and return the rings as they were at that moment."""
    begun()
    driver = int(Path("ready").read_text())
    victim = psutil.Process(driver) if find is None else find(driver)
    victim.suspend()
    before = rings(home)
    victim.kill()
    return before


def test_a_killed_manager_says_what_it_did_last(begun, private_home):
    before = killed(private_home, begun, lambda _: process_of("manager", private_home))
    # Of its workers whichever have begun.
    mine = {f"{name}.tail.log": last_line(one) for name, one in before.items() if re.match("manager|worker_", name)}
    assert len(mine) >= 2
    found = wait_for(lambda: (c := collected(private_home)).keys() >= mine.keys() and c)
    assert all(line in found[name] for name, line in mine.items())
    Path("go").touch()
    wait_for(lambda: not rings(private_home))


def process_of(name, home):
    return psutil.Process(rings(home)[name].about["pid"])


def test_a_killed_interchange_says_what_it_did_last(begun, private_home):
    before = killed(private_home, begun, lambda _: process_of("interchange", private_home))
    assert last_line(before["interchange"])
    found = wait_for(lambda: collected(private_home).get("interchange.tail.log"))
    assert last_line(before["interchange"]) in found
    Path("go").touch()
    wait_for(lambda: not rings(private_home))


def test_a_killed_driver_says_what_it_did_last(begun, private_home):
    """Its supervisor collects it."""
    before = killed(private_home, begun, None)
    found = wait_for(lambda: collected(private_home).get("parsl.tail.log"))
    assert last_line(before["parsl"]) in found
    wait_for(lambda: not rings(private_home))


def test_with_its_supervisor_killed_too_the_next_command_collects(begun, pilotage, private_home):
    begun()
    driver = psutil.Process(int(Path("ready").read_text()))
    supervisor = driver.parent()
    supervisor.kill()
    driver.suspend()
    before = rings(private_home)
    driver.kill()
    wait_for(lambda: not driver.is_running() or driver.status() == psutil.STATUS_ZOMBIE)
    assert '"rings": true' in (run_folder(private_home) / "journal.jsonl").read_text()
    pilotage("clean")  # the view does the same when it finds its supervisor dead
    assert "temporary file /" in (run_folder(private_home) / "events.jsonl").read_text()
    assert last_line(before["parsl"]) in collected(private_home)["parsl.tail.log"]
    assert not rings(private_home)


def test_everything_killed_at_once_leaves_nothing(begun, pilotage, private_home):
    """The guard cannot collect what it does not outlive: whoever ends the run does."""
    begun()
    driver = psutil.Process(int(Path("ready").read_text()))
    tree = [driver.parent(), driver, *driver.children(recursive=True)]
    for process in tree:
        process.suspend()
    before = rings(private_home)
    for process in reversed(tree):
        process.kill()
    psutil.wait_procs(tree, timeout=10)
    pilotage("clean")
    found = collected(private_home)
    assert last_line(before["manager"]) in found["manager.tail.log"]
    assert last_line(before["parsl"]) in found["parsl.tail.log"]
    assert not rings(private_home)


LOAD = """
import os, pilotage, time
with pilotage.load(**{arguments}):
    open("ready", "w").write(str(os.getpid()))
    while not os.path.exists("go"):
        time.sleep(0.02)
"""


def test_a_killed_load_is_collected_by_the_next_command(pilotage, project, private_home):
    import sys

    (project / "script.py").write_text(LOAD.format(arguments={}))
    with subprocess.Popen([sys.executable, "script.py"], env=pilotage.env()) as process:
        wait_for((project / "ready").exists)
        os.kill(process.pid, signal.SIGSTOP)
        before = rings(private_home)
        process.kill()
    pilotage("clean")
    assert last_line(before["parsl"]) in collected(private_home)["parsl.tail.log"]
    assert not rings(private_home)


def test_threads_keep_their_tail_too(pilotage, project, private_home):
    (project / "pilotage.toml").write_text('[site.t]\nscheduler = "local"\nkind = "threads"\n')
    (project / "script.py").write_text(HEAD + "with parsl.load():\n    fail().exception()\n")
    assert pilotage("run", "-s", "t", "script.py").returncode == 0
    assert "the task's own reason" in collected(private_home)["parsl.tail.log"]


def test_a_run_that_is_going_on_says_its_tail_before_it_ends(begun, private_home):
    begun(HEAD + WAITS.removeprefix(HEAD).replace("process().result()", "fail().exception()"))
    assert wait_for(lambda: "the task's own reason" in collected(private_home).get("parsl.tail.log", ""))
    Path("go").touch()
