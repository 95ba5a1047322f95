"""The commands about runs, with real runs: what they say, what they end, and the shape of their ``--json``."""

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import jsonschema
import psutil
import pytest

from pilotage.cli import elsewhere
from pilotage.cli.run import run as run_command
from pilotage.runs import shapes

PROGRAM = Path(sys.executable).parent / "pilotage"
REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "schemas"
APP = "import parsl, os, sys, time\nfrom parsl import python_app\n"
QUICK = APP + (
    "@python_app\ndef f(i): print('task', i); return i\n"
    "parsl.load()\nprint(sum(x.result() for x in [f(i) for i in range(3)]))\n"
)
LONG = APP + (
    "@python_app\ndef f(): import time; print('in the task', flush=True); time.sleep(300)\n"
    "parsl.load()\nx = f()\nprint('ready', flush=True)\nx.result()\n"
)
FAILING = APP + "@python_app\ndef f(): return 1 / 0\nparsl.load()\nf().result()\n"


def awaited(condition, seconds=40):
    """Return what ``condition`` returns as soon as that is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)
    return found


class Runs:
    """Starts runs and asks for them."""

    def __init__(self, pilotage, project, state):
        self.pilotage, self.project, self.state = pilotage, project, state

    def script(self, text, name="s.py"):
        (self.project / name).write_text(text)
        return name

    def run(self, text, *options, site="threads"):
        """Run to the end; return the record."""
        return self.json("run", self.script(text), "--site", site, *options, code=None, of="run")

    def detached(self, text, *options, site="threads", until="ready", **more):
        """Start a run that goes on; return its id when its script has said ``until``."""
        done = self.pilotage("run", "-d", "-q", "--grace", "1", self.script(text), "--site", site, *options, **more)
        assert done.returncode == 0, done.stderr
        run = done.stdout.strip()
        awaited(lambda: until in self.log(run))
        return run

    def folder(self, run):
        return self.state / "runs" / run

    def log(self, run):
        path = self.folder(run) / "driver.log"
        return path.read_text() if path.exists() else ""

    def record(self, run):
        return json.loads((self.folder(run) / "run.json").read_text())

    def change(self, run, **values):
        (self.folder(run) / "run.json").write_text(json.dumps({**self.record(run), **values}))

    def kill(self, run, *whom):
        """End processes of a run with SIGKILL."""
        record = self.record(run)
        for one in whom:
            os.kill(record[one]["pid"], signal.SIGKILL)

    def json(self, *arguments, code=0, of=None, **more):
        """Return what a command says with --json, which must have the shape that the reference promises."""
        command = self.pilotage.ask if arguments[0] in ("ps", "show", "rm", "bundle") else self.pilotage
        done = command(arguments[0], "--json", *arguments[1:], **more)
        assert code is None or done.returncode == code, done
        found = json.loads(done.stdout)
        jsonschema.validate(found, shapes.schema(of or arguments[0]))
        return found

    def states(self):
        return {run["id"]: run["state"] for run in self.json("ps")["runs"]}


@pytest.fixture
def runs(pilotage, project, private_home):
    yield Runs(pilotage, project, private_home / "state")
    for folder in (private_home / "state" / "runs").glob("*"):
        with contextlib.suppress(OSError, ValueError, KeyError, psutil.Error):
            owner = json.loads((folder / "run.json").read_text())["owner"]
            process = psutil.Process(owner["pid"])
            if str(folder) in " ".join(process.cmdline()):  # a test that has failed
                process.terminate()
                process.wait(20)


# ps and show


def test_ps_shows_those_that_go_on_first(runs):
    first = runs.detached(LONG, "--name", "mine")
    time.sleep(1.1)  # ids count seconds, and of two in one second either may come first
    second = runs.run(QUICK)["id"]
    time.sleep(1.1)
    third = runs.run(FAILING)["id"]
    assert list(runs.states().items()) == [(first, "running"), (third, "failed"), (second, "finished")]
    done = runs.pilotage("ps")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["RUN", first, third, second]
    assert done.stdout.splitlines()[1].split()[:5] == [first, "mine", "s.py", "running", "threads"]
    assert runs.json("cancel", "mine")["runs"] == [{"id": first, "outcome": "ended", "state": "cancelled"}]
    assert list(runs.states()) == [third, second, first], "the newest first"


def test_nothing_to_list(runs):
    assert runs.json("ps") == {"schema_version": 1, "runs": []}
    assert runs.pilotage("ps").stdout.splitlines()[0].startswith("RUN")
    done = runs.pilotage("show", "@last")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no run yet" in done.stderr


@pytest.mark.slow
def test_a_live_an_ended_and_a_lost_run_have_the_same_keys(runs):
    """Nothing that only a live run has is told of one that is over: no block runs, nothing is left to do."""
    live = runs.detached(LONG, site="laptop")
    awaited(lambda: runs.json("show", live)["blocks"] == {"running": 1})
    lost = runs.detached(LONG, site="laptop")
    awaited(lambda: runs.json("show", lost)["tasks"].get("launched") == 1)
    runs.kill(lost, "owner", "driver")
    awaited(lambda: runs.states()[lost] == "lost")
    ended = runs.run(QUICK, site="laptop")["id"]
    found = {run["id"]: run for run in runs.json("ps")["runs"]}
    assert set(found[live]) == set(found[lost]) == set(found[ended])
    kinds = {run: {key: type(value) for key, value in found[run]["tasks"].items()} for run in found}
    assert kinds[live] == kinds[lost] == kinds[ended]
    assert found[live]["heartbeat"] >= 0
    for run in (lost, ended):
        one = found[run]
        assert (one["heartbeat"], one["eta"], one["blocks"]) == (None, None, {}), one
        assert one["ended"] is not None
        assert one["elapsed"] == {r["id"]: r for r in runs.json("ps")["runs"]}[run]["elapsed"], "it has stopped"
    assert found[lost]["exit_code"] == 1
    assert "ended without a word" in found[lost]["reason"]
    assert runs.json("cancel", live)["runs"][0]["state"] == "cancelled"
    for run in (live, lost, ended):
        runs.json("show", run)


def test_show(runs):
    run = runs.run(FAILING, "--name", "bad", "--", "--n", "5", site="laptop")
    assert (run["state"], run["exit_code"], run["name"]) == ("failed", 1, "bad")
    found = runs.json("show", "bad")
    (failure,) = found["failures"]
    assert (failure["app"], failure["exception"], failure["count"]) == ("f", "ZeroDivisionError", 1)
    assert {log["kind"] for log in found["logs"]} >= {"driver", "interchange", "script", "manager", "worker"}
    assert all(Path(log["path"]).exists() for log in found["logs"])
    assert found["versions"]["parsl"]
    assert found["arguments"] == ["--n", "5"]
    text = runs.pilotage("show", "bad").stdout
    for words in (run["id"], "failed: the script ended with exit code 1", "ZeroDivisionError", "--n 5", "interchange"):
        assert words in text


@pytest.mark.slow
def test_a_run_without_parsl_has_the_same_shape(runs):
    assert runs.run("print(1)\n")["state"] == "finished"
    assert runs.run("raise SystemExit(7)\n")["exit_code"] == 7
    found = runs.json("ps")["runs"]
    assert [run["exit_code"] for run in found] == [7, 0]


@pytest.mark.parametrize("name", shapes.SCHEMAS)
def test_the_shapes_are_in_the_reference(name):
    """``make reference`` writes them anew."""
    written = json.loads((REFERENCE / f"{name}.json").read_text())
    assert written == shapes.schema(name)
    jsonschema.Draft202012Validator.check_schema(written)


def test_every_file_of_the_reference_is_a_shape(tmp_path):
    subprocess.run([sys.executable, REFERENCE.parent / "make.py", "schemas", tmp_path], check=True)
    files = {path.name: path.read_text() for path in REFERENCE.iterdir()}
    assert files == {path.name: path.read_text() for path in tmp_path.iterdir()}


# Which run is meant


@pytest.mark.slow
def test_which_run_is_meant(runs):
    for name in ("alpha", "beta"):
        assert runs.run("print(1)\n", "--name", name)["state"] == "finished"
    alpha, beta = sorted(runs.states())
    assert runs.json("show", alpha)["id"] == alpha
    assert runs.json("show", alpha[:-1])["id"] == alpha
    assert runs.json("show", "alpha")["id"] == alpha
    assert runs.json("show", "@last")["id"] == beta
    again = runs.run("print(1)\n", "--name", "alpha")["id"]
    assert runs.json("show", "alpha")["id"] == again, "the newest of that name"
    for given, words in {
        "2": ["3 runs begin with '2'", alpha, beta],
        "alpah": ["there is no run 'alpah'", "did you mean 'alpha'?"],
        "zzz": ["there is no run 'zzz'", "pilotage ps lists the runs"],
        "@first": ["no run is called '@first'", "@last is the newest"],
        "": ["there is no run ''"],
        "../runs": ["there is no run '../runs'"],
    }.items():
        done = runs.pilotage.ask("show", given)
        assert (done.returncode, done.stdout) == (2, ""), done
        for word in words:
            assert word in done.stderr
    for command in ("attach", "bundle", "cancel", "logs", "resume", "rm"):
        done = runs.pilotage(command, "alpah")
        assert (done.returncode, done.stdout) == (2, ""), done
        assert "did you mean 'alpha'?" in done.stderr


@pytest.mark.parametrize("name", ["1st", "@last", "-x", "a/b", "a b", "", "x" * 65])
def test_a_name_that_could_be_something_else(name, runs):
    done = runs.pilotage.ask("run", runs.script("print(1)\n"), f"--name={name}")
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot be a run's name" in done.stderr
    assert runs.states() == {}, "nothing was started"


# logs


def test_logs(runs):
    run = runs.run(QUICK, "--debug", site="laptop")["id"]
    assert runs.pilotage("logs").stdout == "3\n"
    assert runs.pilotage.ask("logs", run, "-f").stdout == "3\n", "an ended run is not followed for ever"
    assert runs.pilotage.ask("logs", run, "--task", "2").stdout == "task 2\n"
    block = runs.pilotage.ask("logs", run, "--block", "0").stdout
    assert block.startswith("#!")
    (code,) = [log["path"] for log in runs.json("show", run)["logs"] if log["kind"] == "exit code"]
    assert not Path(code).read_text().endswith("\n")
    assert block.endswith(f"\n{Path(code).read_text()}\n"), "a file without a last newline is no part of a prompt"
    assert "Manager" in runs.pilotage.ask("logs", run, "--worker").stdout
    assert runs.pilotage.ask("logs", run, "--worker", "--block", "0").stdout
    assert "interchange" in runs.pilotage.ask("logs", run, "--scheduler").stderr
    for options in (["--task", "77"], ["--block", "9"], ["--worker", "--block", "9"]):
        done = runs.pilotage.ask("logs", run, *options)
        assert (done.returncode, done.stdout) == (2, ""), options
    assert runs.pilotage.ask("logs", run, "--task", "many").returncode == 2
    found = json.loads(runs.pilotage.ask("logs", run, "--json").stdout)
    assert found == {"run": run, "pieces": [{"file": str(runs.folder(run) / "driver.log"), "text": "3\n"}]}


def test_logs_follow_a_run_that_goes_on(runs):
    text = APP + (
        "@python_app\ndef f():\n    import time, os\n    print('one', flush=True)\n"
        "    while not os.path.exists('GO'): time.sleep(0.05)\n    print('two')\n"
        "parsl.load()\nx = f()\nprint('ready', flush=True)\nx.result()\nprint('caf\\u00e9')\n"
    ).replace("GO", str(runs.project / "go"))
    run = runs.detached(text, site="laptop")
    argv = [[PROGRAM, "logs", "-f", run], [PROGRAM, "logs", "-f", run, "--task", "0", "-q"]]
    with (
        subprocess.Popen(argv[0], env=runs.pilotage.env(), stdout=subprocess.PIPE) as whole,
        subprocess.Popen(argv[1], env=runs.pilotage.env(), stdout=subprocess.PIPE) as task,
    ):
        assert whole.stdout.readline() == b"ready\n"
        assert task.stdout.readline() == b"one\n"
        (runs.project / "go").touch()
        assert whole.stdout.read() == "café\n".encode()
        assert task.stdout.read() == b"two\n"
        assert (whole.wait(30), task.wait(30)) == (0, 0)
    assert runs.json("show", run)["state"] == "finished"


@pytest.mark.slow
def test_logs_of_a_task_that_printed_nothing(runs):
    text = APP + (
        "@python_app\ndef work(i):\n    if i % 2: raise ValueError(f'bad event {i}')\n    return i\n"
        "parsl.load()\nfs = [work(i) for i in range(60)]\n"
        "for x in fs: x.exception()\n"
    )
    for site in ("laptop", "threads"):
        done = runs.pilotage("run", runs.script(text), "--site", site)
        run = runs.json("show", "@last")
        assert re.search(r"30 failed, [\d.,]+/s", done.stderr), done.stderr
        assert done.stderr.endswith(f" · pilotage show {run['id']} says what failed\n")
        (failure,) = run["failures"]
        assert (failure["count"], failure["first_task"], len(failure["tasks"])) == (30, failure["tasks"][0], 20)
        tasks = ", ".join(map(str, failure["tasks"]))
        line = f"30 x work: ValueError, first: bad event {failure['first_task']} (tasks {tasks} and 10 more)\n"
        assert line in runs.pilotage.ask("show", run["id"]).stdout
        for task, words in {
            failure["first_task"]: f" and failed: work: ValueError: bad event {failure['first_task']}\n",
            failure["tasks"][-1]: " and failed: work: ValueError\n",
            0: "; whether it failed is not known\n",
        }.items():
            for follow in ([], ["-f"]):
                done = runs.pilotage.ask("logs", run["id"], "--task", str(task), *follow)
                assert (done.returncode, done.stdout) == (2, "")
                assert f"task {task} of run {run['id']} printed nothing{words}" in done.stderr
                assert ("tasks of a site of threads print" in done.stderr) == (site == "threads")
        done = runs.pilotage.ask("logs", run["id"], "--task", "99999")
        assert (done.returncode, done.stderr) == (2, "error: there is no task 99999; the run has 60\n")


# cancel


@pytest.mark.slow
def test_cancel_several_at_once(runs):
    """One that runs, one that is over, one whose supervisor and driver are dead."""
    running = runs.detached(LONG, site="laptop")
    over = runs.run("print(1)\n")["id"]
    dead = runs.detached(LONG)
    runs.kill(dead, "owner", "driver")
    found = runs.json("cancel", running, over, dead, running)["runs"]
    assert found[:2] == [
        {"id": running, "outcome": "ended", "state": "cancelled"},
        {"id": over, "outcome": "was over", "state": "finished"},
    ]
    assert (found[2]["id"], found[2]["state"]) == (dead, "lost")
    assert len(found) == 3
    done = runs.pilotage("cancel", running)
    assert (done.returncode, done.stdout) == (0, f"{running} was over already (cancelled)\n")
    assert "in order" not in done.stderr
    shown = runs.json("show", running)
    assert (shown["reason"], shown["exit_code"]) == ("it was told to stop by a signal", 143)
    assert shown["journal"] == []


def test_a_script_unwinds_when_it_is_cancelled_and_not_with_now(runs):
    text = LONG.replace("x.result()", "try:\n    x.result()\nfinally:\n    print('unwound', flush=True)")
    run = runs.detached(text)
    runs.json("cancel", run)
    assert "unwound" in runs.log(run)
    stubborn = LONG.replace("parsl.load()", "import signal\nsignal.signal(15, signal.SIG_IGN)\nparsl.load()")
    run = runs.detached(stubborn, "--grace", "3600")
    assert runs.json("cancel", run, "--now")["runs"][0]["outcome"] == "ended", "the grace period is an hour"


@pytest.mark.slow
def test_a_run_that_uses_more_than_it_may_is_stopped_in_order(runs):
    text = LONG.replace("x.result()", "try:\n    x.result()\nfinally:\n    print('unwound', flush=True)")
    done = runs.pilotage("run", runs.script(text), "--site", "laptop", "--max-node-hours", "0.0001", "--json")
    found = json.loads(done.stdout)
    jsonschema.validate(found, shapes.schema("run"))
    assert found["state"] == "cancelled"
    assert re.fullmatch(r"it has used [\d.e-]+ node-hours, and may use 0.0001", found["reason"]), found["reason"]
    assert found["node_hours"] >= 0.0001
    assert found["max_node_hours"] == 0.0001
    assert "unwound" in runs.log(found["id"])
    assert done.returncode == -signal.SIGTERM


def test_a_detached_run(runs):
    found = runs.json("run", "-d", "--grace", "1", runs.script(LONG), "--site", "threads", of="run")
    assert found["state"] in ("starting", "running")
    awaited(lambda: "ready" in runs.log(found["id"]))
    supervisor = psutil.Process(runs.record(found["id"])["owner"]["pid"])
    assert os.getsid(supervisor.pid) == supervisor.pid, "it has a session of its own: the terminal may go"
    assert runs.json("cancel", "@last")["runs"][0]["state"] == "cancelled"
    done = runs.pilotage("run", "-d", "none.py")
    assert (done.returncode, done.stdout) == (2, ""), "what can be known before is told before"


# attach


class Terminal:
    """A command on a pseudo-terminal of its own."""

    def __init__(self, argv, env):
        self.master, slave = pty.openpty()
        self.seen = b""
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, *map(str, argv)], env=env, stdin=slave, stdout=slave, stderr=slave
        )
        os.close(slave)

    def wait_for(self, text):
        awaited(lambda: self._read() or text.encode() in self.seen)

    def _read(self):
        while select.select([self.master], [], [], 0)[0]:
            try:
                self.seen += os.read(self.master, 65536)
            except OSError:  # the last process has closed its side
                return

    def type(self, text):
        os.write(self.master, text.encode())

    def ended(self):
        awaited(lambda: self._read() or self.process.poll() is not None)
        self._read()
        os.close(self.master)
        return self.process.returncode


TAKE_TERMINAL = (
    "import fcntl, os, sys, termios\nos.setsid()\nfcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
    "os.execvp(sys.argv[1], sys.argv[1:])\n"
)


def test_attach(runs):
    """It sees what was printed before, the live line and what comes; Ctrl-C in it is the script's."""
    run = runs.detached(LONG, site="laptop")
    awaited(lambda: runs.json("show", run)["tasks"].get("launched") == 1)
    terminal = Terminal([PROGRAM, "attach", run], {**runs.pilotage.env(), "TERM": "xterm"})
    terminal.wait_for("ready")
    terminal.wait_for("1 launched")
    terminal.type("\x03")
    assert terminal.ended() == -signal.SIGINT
    assert b"KeyboardInterrupt" in terminal.seen
    found = runs.json("show", run)
    assert (found["state"], found["reason"], found["exit_code"]) == ("cancelled", "Ctrl-C", 130)
    done = runs.pilotage("attach", run)
    assert (done.returncode, done.stdout) == (2, "")
    assert "is over" in done.stderr


@pytest.mark.slow
def test_attach_without_a_terminal_tells_how_it_ended(runs):
    text = "import os, time\nprint('ready', flush=True)\nwhile not os.path.exists('go'): time.sleep(0.05)\n"
    text += "raise SystemExit(3)\n"
    run = runs.detached(text)
    argv = [PROGRAM, "attach", run, "--json"]
    with subprocess.Popen(argv, env=runs.pilotage.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as view:
        (runs.project / "go").touch()
        out, _ = view.communicate(timeout=60)
        # The run may have been over before the view was there.
        if view.returncode == 3:
            found = json.loads(out)
            jsonschema.validate(found, shapes.schema("run"))
            assert (found["state"], found["exit_code"]) == ("failed", 3)
        else:
            assert json.loads(out)["error"] == "UsageError"


@pytest.mark.slow
def test_attach_shows_what_a_detached_run_prints(runs):
    text = "import os, time\nprint('ready', flush=True)\nwhile not os.path.exists('go'): time.sleep(0.05)\n"
    text += "for i in range(20_000): print('line', i)\n"
    run = runs.detached(text)
    terminal = Terminal([PROGRAM, "attach", run], {**runs.pilotage.env(), "TERM": "xterm"})
    terminal.wait_for("ready")
    (runs.project / "go").touch()
    assert terminal.ended() == 0
    found = re.findall(rb"line (\d+)\r", terminal.seen)
    assert [int(number) for number in found] == list(range(20_000)), "each line, once, in order"


def test_closing_the_view_leaves_the_run(runs):
    run = runs.detached(LONG)
    terminal = Terminal([PROGRAM, "attach", run], {**runs.pilotage.env(), "TERM": "xterm"})
    terminal.wait_for("ready")
    terminal.process.send_signal(signal.SIGHUP)
    assert terminal.ended() == -signal.SIGHUP
    assert runs.states()[run] == "running"
    assert runs.json("cancel", run)["runs"][0]["state"] == "cancelled"


# resume

COUNTED = APP + (
    "HELP = 1\n"
    "def helper(i): return i * HELP\n"
    "@python_app\ndef f(i, folder):\n"
    "    import os\n"
    "    os.close(os.open(f'{folder}/{i}', os.O_WRONLY | os.O_CREAT | os.O_APPEND))\n"
    "    with open(f'{folder}/{i}', 'a') as file: file.write('x')\n"
    "    return helper(i)\n"
    "parsl.load()\nos.makedirs('done', exist_ok=True)\n"
    "fs = []\nfor i in range(1000):\n"
    "    fs.append(f(i, os.path.abspath('done')))\n"
    "    if i % 100 == 99:\n"
    "        for x in fs: x.result()\n"
    "        print('have', i + 1, flush=True)\n"
    "        while i == 499 and os.path.exists('hold'): time.sleep(0.05)\n"
    "print(sum(x.result() for x in fs))\n"
)


RUN_AGAIN = "1,000 run again since their app has changed (--ignore-changes reuses theirs too)"


def times(runs):
    """Return how often each task ran."""
    return [len((runs.project / "done" / str(i)).read_text()) for i in range(1000)]


def resumed(runs, *options):
    done = runs.pilotage("resume", *options, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    jsonschema.validate(found, shapes.schema("run"))
    return found


def test_resume_after_the_driver_was_killed(runs):
    (runs.project / "hold").touch()
    run = runs.detached(COUNTED, "--name", "sums", until="have 500\n")
    runs.kill(run, "driver")
    found = awaited(lambda: (one := runs.json("show", run))["state"] == "failed" and one)
    assert "SIGKILL" in found["reason"]
    (runs.project / "hold").unlink()
    again = resumed(runs, "sums")
    assert (again["resumes"], again["state"], again["name"]) == (run, "finished", "sums")
    assert (again["tasks"]["reused"], again["tasks"]["total"]) == (500, 1000)
    assert runs.log(again["id"]).endswith("499500\n")
    assert times(runs) == [1] * 1000, "the second half ran, the first did not"

    runs.script(COUNTED.replace("i * HELP", "i * HELP * 2"))
    done = runs.pilotage("resume", again["id"])
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "999000"), "the helper has changed"
    assert times(runs) == [2] * 1000
    assert f" · 0 reused, {RUN_AGAIN} · " in done.stderr
    found = runs.json("show", "@last")
    assert (found["tasks"]["reused"], found["tasks"]["changed"]) == (0, 1000)
    (event,) = [event for event in found["events"] if event["kind"] == "resumed"]
    assert "1,000 calls ran again since their app has changed (--ignore-changes" in event["message"]


@pytest.mark.slow
def test_resume_after_changes(runs):
    first = runs.run(COUNTED)["id"]
    runs.script(COUNTED.replace("i * HELP", "i * HELP * 2"))
    assert resumed(runs, first, "--ignore-changes")["tasks"]["reused"] == 1000
    assert times(runs) == [1] * 1000
    assert resumed(runs, first)["tasks"]["changed"] == 1000, "the helper has changed"
    assert times(runs) == [2] * 1000
    done = runs.pilotage("resume", "@last")
    assert done.stdout.splitlines()[-1] == "999000"
    assert " · 1,000 reused, 0 run again since their app has changed · " in done.stderr
    assert times(runs) == [2] * 1000

    runs.script(COUNTED.replace("HELP = 1", "HELP = 3"))
    done = runs.pilotage("resume", "@last")
    assert f" · 0 reused, {RUN_AGAIN} · " in done.stderr, "a global that the helper uses"


@pytest.mark.slow
def test_what_cannot_be_resumed(runs):
    run = runs.detached(LONG)
    done = runs.pilotage("resume", run)
    assert done.returncode == 2
    assert "is not over" in done.stderr
    runs.json("cancel", run)
    (runs.project / "s.py").unlink()
    done = runs.pilotage("resume", run)
    assert done.returncode == 2
    assert "the script is not there any more" in done.stderr
    assert len(runs.states()) == 1, "nothing was started"


# clean, rm and how long runs are kept


def test_clean_lists_first_and_then_ends(runs):
    run = runs.detached(LONG, site="laptop")
    awaited(lambda: runs.json("show", run)["blocks"] == {"running": 1})
    record = runs.record(run)
    driver = psutil.Process(record["driver"]["pid"])
    mark = runs.state / "live" / run
    mark.unlink()  # every command sweeps runs that are marked; clean looks at all
    os.kill(record["owner"]["pid"], signal.SIGKILL)
    assert driver.is_running()
    found = runs.json("clean", "--dry-run")
    assert (found["dry_run"], [one["run"] for one in found["runs"]]) == (True, [run])
    assert any("driver" in line for line in found["runs"][0]["leftovers"])
    assert driver.is_running(), "it only looks"
    text = runs.pilotage("clean", "--dry-run")
    assert re.fullmatch(r"would end \d+ things of 1 dead run\n", text.stdout), text
    found = runs.json("clean")
    assert (found["dry_run"], found["runs"][0]["problems"]) == (False, [])
    assert found["runs"][0]["leftovers"]
    awaited(lambda: not driver.is_running())
    assert runs.states() == {run: "lost"}
    assert runs.json("clean") == {"dry_run": False, "runs": [], "expired": []}


def test_rm(runs):
    live = runs.detached(LONG)
    over = runs.run("print(1)\n")["id"]
    done = runs.pilotage.ask("rm", over, live)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"run {live} is not over" in done.stderr
    assert set(runs.states()) == {live, over}, "all or none"
    assert runs.json("rm", over, over) == {"removed": [over]}
    assert not runs.folder(over).exists()
    runs.json("cancel", live)
    assert runs.pilotage("rm", live).stdout == f"removed {live}\n"
    assert not list((runs.state / "runs").iterdir())
    assert not list((runs.state / "live").iterdir())


def test_runs_past_their_time_are_removed_by_clean(runs, user_file):
    old, new, live = runs.run("print(1)\n")["id"], runs.run("print(2)\n")["id"], runs.detached(LONG)
    for run in (old, live):
        os.utime(runs.folder(run) / "run.json", (time.time() - 31 * 86400,) * 2)
    path = user_file('[runs]\nkeep = "30d"\n')
    assert runs.json("clean", "-n")["expired"] == [old]
    assert len(runs.states()) == 3
    assert runs.pilotage("clean").stdout == "ended 0 things of 0 dead runs; removed 1 old runs\n"
    assert set(runs.states()) == {new, live}
    path.write_text('[runs]\nmax_size = "1KB"\n')
    assert runs.json("clean")["expired"] == [new], "the run that goes on stays, however big it is"
    path.write_text('[runs]\nkeep = "soon"\n')
    done = runs.pilotage("clean")
    assert done.returncode == 2
    assert f"{path}:2: runs.keep" in done.stderr
    runs.json("cancel", live)


def test_bundle(runs):
    text = QUICK.replace("parsl.load()", "parsl.load()\nprint('PASSWORD=hunter2 and all')")
    run = runs.run(text, "--", "--token", "abc12345")["id"]
    found = runs.json("bundle", run)
    assert found["file"] == str(runs.project / f"pilotage-{run}.tar.gz")
    assert found["secrets_removed"] >= 3
    assert b"hunter2" not in subprocess.run(["tar", "xOzf", found["file"]], capture_output=True, check=True).stdout
    done = runs.pilotage.ask("bundle", run)
    assert done.returncode == 2
    assert "--force" in done.stderr
    assert runs.pilotage.ask("bundle", run, "--force", "-q").stdout == found["file"] + "\n"
    assert runs.json("bundle", run, "-o", "x.tgz")["file"] == str(runs.project / "x.tgz")


# A store with things in it that are not runs


def test_a_record_that_cannot_be_read(runs):
    """Nobody knows whether such a run goes on, so nothing ends it."""
    run = runs.detached(LONG)
    kept = runs.record(run)
    other = runs.run("print(1)\n")["id"]
    for text in ("", '{"id": "2026', "[1]", '{"folder": "/x"}', '{"owner": "me", "sites": 4}', "\0" * 100):
        (runs.folder(run) / "run.json").write_text(text)
        assert set(runs.states()) == {other}, text
    assert runs.json("clean")["runs"] == []
    for command in ("show", "cancel", "resume", "attach", "rm"):
        done = runs.pilotage.ask(command, run)
        assert (done.returncode, done.stdout) == (2, ""), done
        assert ("is not over" if command == "rm" else "the run's record cannot be read") in done.stderr
    assert psutil.Process(kept["driver"]["pid"]).is_running()
    (runs.folder(run) / "run.json").write_text(json.dumps(kept))
    assert runs.json("cancel", run)["runs"][0]["state"] == "cancelled"


def test_things_in_the_store_that_are_no_runs(runs):
    run = runs.run("print(1)\n")["id"]
    store = runs.state / "runs"
    (store / "a file").write_text("")
    (store / "empty").mkdir()
    (store / "0folder" / "run.json").mkdir(parents=True)
    (store / "broken").symlink_to("nowhere")
    (runs.state / "live" / "0folder").touch()
    (runs.state / "live" / "nothing").touch()
    assert runs.states() == {run: "finished"}
    assert runs.json("clean")["runs"] == []
    assert runs.json("show", "@last")["id"] == run


def test_a_record_of_a_newer_pilotage(runs):
    run = runs.run("print(1)\n")["id"]
    runs.change(run, schema_version=2)
    assert runs.states() == {run: "finished"}
    for command in ("show", "resume", "attach", "cancel"):
        done = runs.pilotage.ask(command, run)
        assert (done.returncode, done.stdout) == (2, ""), done
        assert "was written by a newer pilotage" in done.stderr


# Many at once, and several hosts


@pytest.mark.slow
def test_a_hundred_times_ps_while_runs_start_and_end(runs):
    script = runs.script(APP + "parsl.load()\ntime.sleep(1)\n")

    def start(number):
        done = runs.pilotage("run", "-d", "-q", script, "--site", "threads", "--name", f"n{number}")
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    started = []
    plausible = {"starting", "running", "finished"}
    with ThreadPoolExecutor(2) as starters, ThreadPoolExecutor(10) as lookers:
        starts = [starters.submit(start, number) for number in range(10)]

        def look(_):
            before = [future.result() for future in starts if future.done()]
            listed = json.loads(runs.pilotage("ps", "--json").stdout)["runs"]  # many at once: each is a process
            states = {run["id"]: run["state"] for run in listed}
            assert set(before) <= set(states), "a run was missed"
            return states

        seen = list(lookers.map(look, range(100)))
        started = [future.result() for future in starts]
    assert {state for states in seen for state in states.values()} <= plausible
    awaited(lambda: set(runs.states().values()) == {"finished"})
    assert set(runs.states()) == set(started)


@pytest.fixture
def other_host(pilotage):
    """Run pilotage as another host of the same state folder would."""
    if os.geteuid() != 0:
        pytest.skip("another host's name needs root (a UTS namespace)")
    tried = subprocess.run(["unshare", "--uts", "hostname", "other"], capture_output=True, text=True)
    if tried.returncode != 0:
        pytest.skip(f"this machine has no UTS namespaces for us: {tried.stderr.strip()}")

    def run(*arguments):
        words = ["unshare", "--uts", "sh", "-c", 'hostname other && exec "$@"', "sh", PROGRAM, *arguments]
        return pilotage.run(words)

    return run


@pytest.mark.slow
def test_two_hosts_with_one_state_folder(runs, other_host):
    ours = runs.detached(LONG)
    done = other_host("run", "-d", "-q", "--grace", "1", runs.script(LONG), "--site", "threads")
    assert done.returncode == 0, done.stderr
    theirs = done.stdout.strip()
    awaited(lambda: "ready" in runs.log(theirs))
    here = os.uname().nodename
    found = json.loads(other_host("ps", "--json").stdout)["runs"]
    assert {run["id"]: run["host"] for run in found} == {ours: here, theirs: "other"}
    assert {run["id"]: run["host"] for run in runs.json("ps")["runs"]} == {ours: here, theirs: "other"}
    assert set(runs.states().values()) == {"running"}
    done = runs.pilotage("attach", theirs)
    assert done.returncode == 2
    assert "ssh other pilotage attach" in done.stderr
    assert runs.pilotage.ask("rm", theirs).returncode == 2

    # Killed, its supervisor leaves a driver behind, which is nobody's here to end.
    kept = psutil.Process(runs.record(theirs)["driver"]["pid"])
    second = other_host("run", "-d", "-q", "--grace", "1", "s.py", "--site", "threads").stdout.strip()
    awaited(lambda: "ready" in runs.log(second))
    runs.kill(second, "owner")
    left = psutil.Process(runs.record(second)["driver"]["pid"])
    for command in (["ps", "--json"], ["clean", "--json"]):
        assert runs.pilotage(*command).returncode == 0
    assert kept.is_running()
    assert left.is_running()
    assert runs.states()[second] == "running", "nobody but its own host knows better"
    swept = other_host("clean")
    assert swept.returncode == 0
    awaited(lambda: not left.is_running())
    assert runs.states()[second] == "lost"

    done = runs.pilotage("cancel", theirs)
    assert (done.returncode, done.stdout) == (0, f"{theirs} has been asked to stop (running)\n")
    awaited(lambda: runs.states()[theirs] == "cancelled")
    assert runs.json("show", theirs)["reason"] == f"cancelled from {here}"
    assert json.loads(other_host("cancel", ours, "--json").stdout)["runs"][0]["outcome"] == "asked"
    awaited(lambda: runs.states()[ours] == "cancelled")
    assert runs.json("show", ours)["reason"] == "cancelled from other"


@pytest.mark.slow
def test_a_run_of_another_host_that_says_nothing(runs):
    run = runs.run("print(1)\n")["id"]
    record = runs.record(run)
    runs.change(run, state="running", ended=None, owner={**record["owner"], "host": "gone"})
    os.utime(runs.folder(run) / "heartbeat", (time.time() - 3600,) * 2)
    assert runs.states() == {run: "silent"}
    found = runs.json("show", run)
    assert found["host"] == "gone"
    assert found["heartbeat"] >= 3600


def test_names_of_what_is_sent_are_from_the_script_there_too(project, monkeypatch):
    """On another host the script is in the folder that the command is given in, and what was sent beside it."""
    (project / "deep").mkdir()
    (project / "deep" / "script.py").touch()
    passed = []
    monkeypatch.setattr(elsewhere, "run_there", lambda *_: passed.append(click.get_current_context()))
    words = ["--on", "far", "--sync", "deep/model.py", "--sync", "data/*.csv", "--sync", "/lib/", "deep/script.py"]
    run_command.main(words, standalone_mode=False)
    (context,) = passed
    assert elsewhere.options_of(context.command, context.params, ("host", "grace")) == [
        *("--sync", "model.py", "--sync", "../data/*.csv", "--sync", "/lib/")
    ]
