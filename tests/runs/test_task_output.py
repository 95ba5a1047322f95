"""What each task of a real run has printed is found under its number."""

import json

import pytest

from pilotage.runs.task_output import block_files, task_output, worker_files

HEAD = """
import json, os, sys, time
from concurrent.futures import wait
from pathlib import Path
import parsl
from parsl import bash_app, join_app, python_app

def tell(**futures):
    wait(futures.values())
    print(json.dumps({name: future.tid for name, future in futures.items()}))
"""
WORKERS = """
default_site = "mine"
[site.mine]
extends = "laptop"
max_workers_per_node = {}
[site.mine.config]
retries = 1
"""


@pytest.fixture
def run(project, pilotage, private_home):
    """Run a script after HEAD; returns what it told, and the folder that Parsl wrote."""

    def start(text, code=0):
        (project / "script.py").write_text(HEAD + text)
        before = set((private_home / "state").glob("runs/*"))
        done = pilotage("run", "script.py")
        assert done.returncode == code, done.stderr
        (folder,) = set((private_home / "state").glob("runs/*")) - before
        return json.loads(done.stdout), folder / "parsl"

    return start


def texts(folder, task):
    return [piece.text() for piece in task_output(folder, task)]


def test_each_way_to_print(run):
    tasks, folder = run("""
@python_app
def plain(): print("out"); print("no newline", end="")
@python_app
def errors(): import sys; sys.stderr.write("err\\n")
@python_app
def child(): import subprocess; print("before"); subprocess.run("echo echoed; echo too >&2", shell=True)
@python_app
def low(): import os; os.write(1, b"low\\n")
@python_app
def silent(): return 1
@python_app
def raises(): print("so far"); raise ValueError("no")
@python_app
def many(n): print("x" * n)
@bash_app
def bash(): return "echo from bash; echo and its errors >&2"
@bash_app
def bash_to_file(stdout="bash.out"): return "echo to the file; echo to the log >&2"
@join_app
def join(): print("in the driver", file=sys.stderr); return plain()

parsl.load()
tell(plain=plain(), errors=errors(), child=child(), low=low(), silent=silent(), raises=raises(), many=many(3_000_000),
     bash=bash(), bash_to_file=bash_to_file(), join=join())
""")
    found = {name: texts(folder, task) for name, task in tasks.items()}
    assert found.pop("many") == ["x" * 3_000_000 + "\n"]
    assert found == {
        "plain": ["out\nno newline"],
        "errors": ["err\n"],
        "child": ["before\nechoed\ntoo\n"],
        "low": ["low\n"],
        "silent": [],
        "raises": ["so far\n"],
        "bash": ["from bash\nand its errors\n"],
        "bash_to_file": ["to the log\n"],
        "join": [],
    }
    inner = max(tasks.values()) + 1
    assert texts(folder, inner) == ["out\nno newline"], "the task that the join app made"
    assert texts(folder, inner + 1) == []
    kinds = [file.kind for file in worker_files(folder)]
    assert {"manager", "worker", "output"} == set(kinds)
    assert all(file.path.is_file() and file.block == "0" for file in worker_files(folder))
    blocks = {file.kind: file for file in block_files(folder)}
    assert set(blocks) == {"interchange", "script", "stdout", "stderr", "exit code"}
    assert {file.executor for file in blocks.values()} == {"laptop"}
    assert blocks["script"].block == "0"
    assert blocks["script"].path.suffix == ".sh"
    assert not blocks["stdout"].path.read_text(), "it went to the workers' files"


def test_two_hundred_tasks_between_each_other(run, user_file):
    user_file(WORKERS.format(2))
    tasks, folder = run("""
@python_app
def f(n):
    import os, subprocess, sys
    for part in range(n % 7):
        print(f"{n}:{part}", end=" ")
        os.write(1, b"") if n % 2 else print(f"[{n}]", file=sys.stderr)
    if n % 40 == 0:
        subprocess.run(["echo", "child", str(n)], check=True)
    return os.getpid()

@python_app
def meet(n):
    import pathlib, time
    pathlib.Path(f"{n}.here").touch()
    end = time.monotonic() + 60
    while len(list(pathlib.Path.cwd().glob("*.here"))) < 2 and time.monotonic() < end: time.sleep(0.01)

parsl.load()
wait([meet(1), meet(2)])  # both workers are there
futures = {str(n): f(n) for n in range(200)}
tell(**futures)
assert len({future.result() for future in futures.values()}) == 2
""")
    for n in range(200):
        (text,) = texts(folder, tasks[str(n)]) or [""]
        rest = text.replace(f"child {n}\n", "", 1) if n % 40 == 0 else text
        assert (rest != text) == (n % 40 == 0)
        errors = n % 7 if n % 2 == 0 else 0
        assert rest.count(f"[{n}]\n") == errors
        assert rest.replace(f"[{n}]\n", "") == "".join(f"{n}:{part} " for part in range(n % 7))


def test_a_task_that_does_away_with_stdout_harms_no_other(run, user_file):
    user_file(WORKERS.format(1))
    tasks, folder = run("""
@python_app
def close(): import sys; print("closing"); sys.stdout.close()
@python_app
def replace(): import io, sys; print("replacing"); sys.stdout = io.StringIO()
@python_app
def after(): import os, sys; sys.stderr.write("after\\n"); return 5

parsl.load()
first, second = replace(), after()
wait([first, second])
third, fourth = close(), after()
assert (second.result(), fourth.result()) == (5, 5)
tell(replace=first, second=second, fourth=fourth)
""")
    assert {name: texts(folder, task) for name, task in tasks.items()} == {
        "replace": ["replacing\n"],
        "second": ["after\n"],
        "fourth": ["after\n"],
    }


def test_a_task_whose_worker_died_and_that_was_tried_again(run, user_file):
    user_file(WORKERS.format(1))
    tasks, folder = run("""
@python_app
def once(marker):
    import os
    if not os.path.exists(marker):
        open(marker, "w").close()
        print("the first time")
        os._exit(9)
    print("the second time")

parsl.load()
tell(once=once(os.path.abspath("marker")))
""")
    assert texts(folder, tasks["once"]) == ["the first time\n", "the second time\n"]


def test_a_running_task_is_heard(run):
    heard, folder = run("""
from pilotage.runs.task_output import task_output
@python_app
def f(go):
    import os, time
    print("begun")
    while not os.path.exists(go): time.sleep(0.01)
    print("ended")

parsl.load()
future = f(os.path.abspath("go"))
end = time.monotonic() + 60
folder = next(Path(os.environ["PILOTAGE_STATE"]).glob("runs/*/parsl"))
while not (pieces := task_output(folder, future.tid)) and time.monotonic() < end:
    time.sleep(0.01)
heard = [piece.text() for piece in pieces]
Path("go").touch()
future.result()
print(json.dumps(heard))
""")
    assert heard == ["begun\n"]
    assert texts(folder, 0) == ["begun\nended\n"]


def test_two_kernels_have_a_first_task_each(run):
    _, folder = run("""
@python_app
def f(text): print(text)
for text in ("one", "two"):
    with parsl.load():
        f(text).result()
print("{}")
""")
    assert texts(folder, 0) == ["one\n", "two\n"]
    assert [piece.file.parents[3].name for piece in task_output(folder, 0)] == ["000", "001"]


OWN = """
from parsl.config import Config
from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD
from parsl.providers import LocalProvider
from pilotage.engine.commands import interchange_command, worker_command
from pilotage.engine.executor import HighThroughputExecutor
pool = os.path.join(os.path.dirname(parsl.__file__), "executors", "high_throughput", "process_worker_pool.py")
ours = worker_command(sys.executable)
theirs = f"{{sys.executable}} {{pool}}" + DEFAULT_LAUNCH_CMD.removeprefix("process_worker_pool.py")
@python_app
def f(): print("printed"); return 3
parsl.load(Config([HighThroughputExecutor(
    label="own", address="127.0.0.1", encrypted=False, max_workers_per_node=1, {arguments},
    provider=LocalProvider(init_blocks=1, max_blocks=1), interchange_launch_cmd=interchange_command(sys.executable),
)], run_dir="own", strategy_period=0.1))
assert f().result() == 3
print("{{}}")
"""


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        ("launch_cmd=ours", ["printed\n"]),
        ("launch_cmd=theirs", []),
        ("launch_cmd=ours, serializer='parsl'", []),
    ],
)
def test_a_config_of_the_scripts_own(run, project, arguments, kept):
    run(OWN.format(arguments=arguments))
    folder = project / "own"
    assert texts(folder, 0) == kept
    printed = [file.path.read_text() for file in block_files(folder) if file.kind == "stdout"]
    # A pool that is not told goes on as it was.
    assert [text.endswith("printed\n") for text in printed] == [not kept]


def test_where_nothing_can_be_kept_tasks_go_on(run, user_file):
    # The worker's own log, from its beginning, says where its folder is before a task has run.
    user_file(WORKERS.format(1) + '[site.mine.engine]\nlogs = "full"\n')
    tasks, folder = run("""
@python_app
def f(): print("printed"); return 3

parsl.load()
end = time.monotonic() + 60
runs = Path(os.environ["PILOTAGE_STATE"])
while not (logs := list(runs.glob("runs/*/parsl/000/mine/block-0/*/worker_0.log"))) and time.monotonic() < end:
    time.sleep(0.01)
logs[0].with_suffix(".index").mkdir()
future = f()
assert future.result() == 3
tell(f=future)
""")
    assert texts(folder, tasks["f"]) == []
    blocks = {file.kind: file.path.read_text() for file in block_files(folder)}
    assert blocks["stdout"].endswith("printed\n")
    assert "pilotage: what tasks print is not kept apart: " in blocks["stderr"]


@pytest.fixture
def tree(tmp_path):
    """Write the files of a worker: its index and its output; returns Parsl's run_dir."""

    def write(index, output="abcdefgh", worker=0, place="000/htex/block-0/m"):
        folder = tmp_path / "parsl" / place
        folder.mkdir(parents=True, exist_ok=True)
        if output is not None:
            (folder / f"worker_{worker}.out").write_text(output)
        (folder / f"worker_{worker}.index").write_text(index)
        return tmp_path / "parsl"

    return write


def line(task, begin, end, time):
    return json.dumps({"task": task, "begin": begin, "end": end, "time": time})


def test_torn_lines_are_passed_over(tree):
    lines = ["{}", line(1, 0, 2, 1.0), '{"task": 1, "beg', '{"task": 1, "begin": "x", "time": 1}', '{"task": 1, 2]']
    folder = tree("\n".join([*lines, line(1, 2, 4, 2.0), '{"task": 1, "begin": 7']))
    assert texts(folder, 1) == ["ab", "cd"]
    assert texts(folder, 10) == []


def test_a_head_without_an_end(tree):
    head = '{"task": 4, "begin": 6, "time": 9.0}'
    assert texts(tree(head.ljust(96)), 4) == ["gh"]
    assert [piece.end for piece in task_output(tree(head), 4)] == [None]
    assert texts(tree(head.replace("6", "8")), 4) == [], "it has printed nothing yet"
    # It ended while the index was read.
    assert [piece.end for piece in task_output(tree(f"{head}\n" + line(4, 6, 7, 9.0)), 4)] == [7]


def test_pieces_come_in_time_order(tree):
    tree("{}\n" + line(1, 0, 1, 3.0))
    tree("{}\n" + line(1, 1, 2, 1.0), worker=1)
    tree("{}\n" + line(1, 2, 3, 2.0), place="000/other/block-7/n")
    folder = tree("{}\n" + line(1, 3, 4, 0.5), place="001/htex/block-0/o")
    assert texts(folder, 1) == ["d", "b", "c", "a"]


def test_files_that_are_gone(tree, tmp_path):
    assert task_output(tmp_path / "nothing", 1) == worker_files(tmp_path / "no") == block_files(tmp_path / "no") == []
    folder = tree("{}\n" + line(1, 0, 1, 3.0), output=None)
    assert texts(folder, 1) == [""]
    assert texts(tree('{"task": 1, "begin": 0, "time": 1.0}', output=None), 1) == []
    (tmp_path / "parsl" / "parsl.log").write_text("a file where folders are")
    assert texts(folder, 1) == []


def test_what_is_not_utf_8(tree):
    folder = tree("{}\n" + line(1, 0, 3, 3.0))
    (folder / "000/htex/block-0/m/worker_0.out").write_bytes(b"a\xffb")
    assert texts(folder, 1) == ["a\ufffdb"]


def test_log_files_by_kind_and_in_order(tree):
    for block, worker in ((10, 0), (2, 10), (2, 9)):
        folder = tree("{}", worker=worker, place=f"000/htex/block-{block}/m")
    (folder / "000/htex/block-2/m/worker_9.log").touch()
    (folder / "000/htex/block-2/m/manager.log").touch()
    (folder / "000/htex/interchange.log").touch()
    found = [(file.kind, file.executor, file.block, file.manager, file.worker) for file in worker_files(folder)]
    assert found == [
        ("manager", "htex", "2", "m", None),
        ("worker", "htex", "2", "m", 9),
        ("output", "htex", "2", "m", 9),
        ("output", "htex", "2", "m", 10),
        ("output", "htex", "10", "m", 0),
    ]
    scripts = folder / "000/submit_scripts"
    scripts.mkdir()
    job = "parsl.my.label.block-3.1795251100.12"
    for name in (job, f"{job}.stdout", f"{job}.stderr", f"{job}.submit", f"{job}.sh.ec", f"{job}.sh.ec.part", "other"):
        (scripts / name).touch()
    found = [(file.kind, file.executor, file.block, file.path.name) for file in block_files(folder)]
    assert found == [
        ("interchange", "htex", "", "interchange.log"),
        ("script", "my.label", "3", job),
        ("exit code", "my.label", "3", f"{job}.sh.ec"),
        ("stderr", "my.label", "3", f"{job}.stderr"),
        ("stdout", "my.label", "3", f"{job}.stdout"),
        ("script", "my.label", "3", f"{job}.submit"),
    ]
