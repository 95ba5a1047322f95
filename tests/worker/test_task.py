"""What one worker keeps of its tasks' output, in a process of its own that calls what Parsl's worker calls."""

import json
import os
import stat
import subprocess
import sys
import traceback

import pytest
from parsl.app.errors import RemoteExceptionWrapper
from parsl.executors.execute_task import execute_task
from parsl.serialize import facade

from pilotage.worker import task
from pilotage.worker.serializer import FunctionToWorker, ToWorker

# A task is a text to execute; what Parsl's execute_task gets is otherwise the same.
WORKER = """
import os, sys, threading
from pilotage.worker import task
task.execute_task = lambda text: exec(text, globals())
tell = os.fdopen(os.dup(1), "w")
for number, text in enumerate(eval(sys.argv[1]), int(sys.argv[2])):
    try:
        task.execute(text, number)
    except BaseException as error:
        print(repr(error), file=tell, flush=True)
print("done", task.LOGS in os.environ, file=tell)
"""


class Worker:
    """A worker of rank 0; ``parts`` is what it kept, as (task, text)."""

    def __init__(self, folder):
        self.logs = folder / "some logs"
        self.folder = self.logs / "block-3" / "pool"

    def __call__(self, *texts, first=0, preexec=None, **environment):
        variables = {"BLOCK_ID": "3", "POOL_ID": "pool", "RANK": "0"}
        env = {**os.environ, **{f"PARSL_WORKER_{name}": value for name, value in variables.items()}}
        env |= {task.LOGS: str(self.logs), **environment}
        argv = [sys.executable, "-c", WORKER, repr(texts), str(first)]
        return subprocess.run(argv, env=env, capture_output=True, text=True, preexec_fn=preexec, timeout=60)

    @property
    def output(self):
        return self.folder / "worker_0.out"

    @property
    def index(self):
        return self.folder / "worker_0.index"

    def entries(self):
        head, *lines = self.index.read_text().split("\n")
        assert len(head) == task.HEAD
        return json.loads(head), [json.loads(line) for line in lines]

    def parts(self):
        text = self.output.read_bytes()
        return [(entry["task"], text[entry["begin"] : entry["end"]].decode()) for entry in self.entries()[1]]


@pytest.fixture
def worker(tmp_path):
    return Worker(tmp_path)


def test_each_way_to_write(worker):
    done = worker(
        "print('out'); print('no newline', end='')",
        "print('err', file=sys.stderr)",
        "import subprocess; subprocess.run('echo one; echo two >&2', shell=True)",
        "os.write(1, b'low 1\\n'); os.write(2, b'low 2\\n')",
        "import ctypes; ctypes.CDLL(None).printf(b'from C')",
        "print('before'); import subprocess; subprocess.run(['echo', 'between'], check=True); print('after')",
    )
    assert (done.stdout, done.stderr) == ("done False\n", "")
    assert worker.parts() == [
        (0, "out\nno newline"),
        (1, "err\n"),
        (2, "one\ntwo\n"),
        (3, "low 1\nlow 2\n"),
        (4, "from C"),
        (5, "before\nbetween\nafter\n"),
    ]


def test_only_what_was_written_is_noted(worker):
    worker("pass", "print('x')", "1 + 1", first=7)
    assert worker.parts() == [(8, "x\n")]
    assert worker.entries()[0] == {}


def test_files_are_nobody_elses(worker):
    worker("print('x')")
    assert [stat.S_IMODE(path.stat().st_mode) for path in (worker.output, worker.index)] == [0o600, 0o600]


@pytest.mark.parametrize("raised", ["ValueError('no')", "SystemExit(3)", "KeyboardInterrupt()"])
def test_a_task_that_raises(worker, raised):
    done = worker(f"print('so far', end=''); raise {raised}", "print('next')")
    assert done.stdout.startswith(raised.rstrip(")")), done.stderr
    assert worker.parts() == [(0, "so far"), (1, "next\n")]


@pytest.mark.parametrize(
    "what",
    [
        "sys.stdout.close()",
        "sys.stdout = None",
        "del sys.stdout",
        "os.close(1)",
        "import io; sys.stdout = io.StringIO()",
        "sys.stdout = type('Own', (), {'write': len, 'flush': lambda self: 1 / 0, '__hash__': None})()",
    ],
)
def test_a_task_that_does_away_with_stdout(worker, what):
    done = worker(f"print('kept', end=''); {what}", "print('later', file=sys.stderr)")
    assert (done.stdout, done.stderr) == ("done False\n", "")
    assert worker.parts() == [(0, "kept"), (1, "later\n")]


def test_what_comes_between_tasks_is_no_tasks(worker):
    thread = (
        "go = threading.Event(); ended = threading.Event()\n"
        "def late(): go.wait(); os.write(1, b'late'); ended.set()\n"
        "threading.Thread(target=late).start()\n"
    )
    before_the_next = (
        "old = task.Output.begin\n"
        "def begin(self, number): go.set(); ended.wait(); old(self, number)\n"
        "task.Output.begin = begin\n"
    )
    assert worker(thread + before_the_next + "print('first')", "print('second')").stdout == "done False\n"
    assert worker.parts() == [(0, "first\n"), (1, "second\n")]
    assert worker.output.read_text() == "first\nlatesecond\n"


def test_a_worker_that_dies_within_a_task(worker):
    worker("print('well')", "print('almost'); os._exit(9)")
    head, lines = worker.entries()
    assert (head["task"], head["begin"]) == (1, 5)
    assert [entry["task"] for entry in lines] == [0]
    # Parsl starts another of the same rank.
    worker("print('again')", first=2)
    assert worker.parts() == [(0, "well\n"), (1, "almost\n"), (2, "again\n")]
    assert worker.entries()[0] == {}


def test_an_index_line_that_was_cut(worker):
    worker("print('a')")
    with worker.index.open("a") as file:
        file.write('\n{"task": 5, "beg')
    worker("print('b')", first=1)
    assert worker.index.read_text().split("\n")[-1].startswith('{"task": 1, "begin": 2, "end": 4, ')


def test_a_forked_child_of_a_task(worker):
    done = worker("print('parent')\nif os.fork() == 0:\n    print('child'); sys.exit()\nos.wait()", "print('x')")
    assert done.stdout.count("done") == 2, "both went on"
    assert [one for one, _ in worker.parts()].count(0) == 1


def test_a_file_that_is_opened_anew(worker):
    worker("print('lost')", "import subprocess; subprocess.run('echo new >/dev/stdout', shell=True)", "print('x')")
    assert worker.parts()[-1] == (2, "x\n")


@pytest.mark.parametrize("obstacle", ["file for folder", "folder for file"])
def test_where_nothing_can_be_written_the_worker_goes_on(worker, obstacle):
    if obstacle == "file for folder":
        worker.logs.write_text("")
    else:
        worker.index.mkdir(parents=True)
    done = worker("print('x')", "raise ValueError")
    assert done.stdout == "x\nValueError()\ndone False\n"
    assert done.stderr.startswith("pilotage: what tasks print is not kept apart: ")
    assert done.stderr.count("\n") == 1


def test_a_full_disk_is_not_the_tasks_business(worker):
    import resource

    limit = "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    # A limit on the size of files fails as a full disk does, first for the index, which is larger.
    done = worker(
        limit + "print('a')", "print('b')", preexec=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (110, 110))
    )
    assert (done.stdout, done.stderr) == ("done False\n", "")
    assert worker.output.read_text() == "a\nb\n"
    assert worker.index.stat().st_size <= 110


def test_no_worker_of_our_pool(worker):
    argv = [sys.executable, "-c", WORKER, "['print(1)']", "0"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("1\ndone False\n", "")


def test_results_and_errors_are_parsls(monkeypatch):
    monkeypatch.setattr(task, "_opened", [None])

    def message(function, *args):
        parts = zip((FunctionToWorker(), ToWorker(), ToWorker()), (function, args, {}), strict=True)
        return facade.pack_buffers([plugin.identifier + b"\n" + plugin.serialize(part) for plugin, part in parts])

    assert task.execute(message(divmod, 7, 2), 1) == execute_task(message(divmod, 7, 2)) == (3, 1)
    with pytest.raises(ZeroDivisionError) as caught:
        task.execute(message(divmod, 7, 0), 1)
    answer = facade.deserialize(facade.serialize(RemoteExceptionWrapper(*caught._excinfo)))
    assert "division" in "".join(traceback.format_exception(answer.e_value))


def test_the_pool_tells_its_workers(tmp_path):
    (tmp_path / "probe.py").write_text("import os\nprint(os.environ.get('PILOTAGE_WORKER_LOGS'))\n")
    start = "from pilotage.worker import pool; import sys; pool.POOL = 'probe'; pool.main(sys.argv[1:])"

    def told(*arguments):
        argv = [sys.executable, "-c", start, "--cwd", tmp_path, "--path", tmp_path, "--", *arguments]
        return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout.strip()

    assert told("-a", "x", "--logdir=/some where", "-L", "None", "--port=1") == "/some where"
    assert told("-l", "logs", "--debug") == str(tmp_path / "logs")
    assert told("-L", "x") == "None"
    assert task.LOGS == "PILOTAGE_WORKER_LOGS"
