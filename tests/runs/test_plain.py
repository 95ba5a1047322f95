"""``pilotage.load()`` in plain Python is a run too."""

import json
import signal
import socket
import subprocess
import sys

import pytest

APP = "import os, sys, time\nimport pilotage\nfrom parsl import python_app\n@python_app\ndef f(x): return x + 1\n"


@pytest.fixture
def script(project):
    def write(text):
        (project / "plain.py").write_text(APP + text)
        return project / "plain.py"

    return write


def runs(pilotage):
    return json.loads(pilotage.ask("ps", "--json").stdout)["runs"]


@pytest.mark.parametrize("site", ["threads", pytest.param("laptop", marks=pytest.mark.slow)])
def test_it_is_in_the_store_from_its_start_to_its_end(site, script, pilotage):
    path = script(
        f"with pilotage.load({site!r}):\n    print(f(1).result(), flush=True)\n    sys.stdin.readline()\n"
        "print('over')\n"
    )
    argv = [sys.executable, str(path), "an argument"]
    with subprocess.Popen(
        argv, env=pilotage.env(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "2\n"
        (run,) = runs(pilotage)
        assert (run["kind"], run["state"], run["sites"]) == ("load", "running", {site: site})
        assert run["arguments"] == ["an argument"]
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.read() == "over\n"
    (run,) = runs(pilotage)
    assert (run["state"], run["tasks"]["done"], run["exit_code"]) == ("finished", 1, 0)


def test_a_script_that_never_cleans_up_leaves_nothing(script, pilotage):
    """The fixture fails when a process is left; Parsl alone leaves its workers."""
    done = pilotage.run([sys.executable, script("pilotage.load('laptop')\nprint(f(1).result())\n")])
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr
    assert [run["state"] for run in runs(pilotage)] == ["finished"]


def test_two_loads_are_two_runs(script, pilotage):
    text = "for i in range(2):\n    with pilotage.load('threads'):\n        print(f(i).result())\n"
    done = pilotage.run([sys.executable, script(text)])
    assert done.stdout == "1\n2\n", done.stderr
    assert [run["state"] for run in runs(pilotage)] == ["finished", "finished"]


def test_what_a_killed_process_left_is_ended_and_told(script, pilotage):
    path = script("pilotage.load('laptop')\nprint(f(1).result(), flush=True)\nos.kill(os.getpid(), 9)\n")
    done = pilotage.run([sys.executable, path])
    assert done.returncode == -signal.SIGKILL
    (run,) = runs(pilotage)
    assert run["state"] == "lost"
    assert "ended without a word" in run["reason"]


def test_cancel_ends_the_process_and_all_it_started(script, pilotage):
    path = script("pilotage.load('laptop')\nprint(f(1).result(), flush=True)\ntime.sleep(60)\n")
    with subprocess.Popen([sys.executable, path], env=pilotage.env(), stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"2\n"
        done = pilotage("cancel", "@last", "--json")
        assert json.loads(done.stdout)["runs"][0]["outcome"] == "ended"
        assert process.wait(20) == -signal.SIGTERM
    (run,) = runs(pilotage)
    assert (run["state"], run["reason"]) == ("cancelled", "it was cancelled")


def test_a_load_that_fails_is_a_run_that_failed(script, pilotage):
    done = pilotage.run([sys.executable, script("pilotage.load('laptop', address='256.1.1.1')\n")])
    assert done.returncode == 1
    assert [run["state"] for run in runs(pilotage)] in ([], ["failed"])


TWO = """
import psutil
try:
    pilotage.load({"one": "laptop", "two": "other"})
except Exception as error:
    print(type(error).__name__)
print([child.name() for child in psutil.Process().children(recursive=True)], flush=True)
"""


def test_of_two_sites_one_cannot_start(script, pilotage, user_file):
    """The other's blocks have begun by then, and have nobody who would end them."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        user_file(f'[site.other]\nextends = "laptop"\nexecutor = {{ worker_port = {port} }}\n')
        done = pilotage.run([sys.executable, script(TWO)])
    assert done.stdout.splitlines() == ["ExecutorError", "[]"], done.stderr
    (run,) = runs(pilotage)
    assert run["state"] == "failed"


def test_under_run_it_belongs_to_the_run(script, pilotage):
    done = pilotage("run", script("with pilotage.load('threads'):\n    print(f(1).result())\n"), "--json")
    assert done.returncode == 0, done.stderr
    assert [run["kind"] for run in runs(pilotage)] == ["run"]


def test_a_forked_child_ends_nothing_of_its_parents(script, pilotage):
    text = (
        "pilotage.load('laptop')\nprint(f(1).result(), flush=True)\n"
        "if not os.fork():\n    sys.exit(0)\nos.wait()\nprint(f(2).result())\n"
    )
    done = pilotage.run([sys.executable, "-W", "ignore", script(text)])
    assert (done.returncode, done.stdout) == (0, "2\n3\n"), done.stderr
