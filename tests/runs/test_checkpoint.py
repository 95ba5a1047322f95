"""A run that is resumed: finished calls come from the checkpoint, each result once, and nothing else changes."""

import collections
import os
import random
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import Future
from pathlib import Path

import parsl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parsl import AUTO_LOGNAME, Config, DataFlowKernel, File, ThreadPoolExecutor, bash_app, join_app, python_app

import pilotage
from pilotage.runs import checkpoint as module
from pilotage.runs.checkpoint import Checkpoint, inherit


class Runs:
    """Runs functions, each time as a new run that goes on where the one before it stopped."""

    def __init__(self, root):
        self.root = root
        self.count = 0

    @property
    def folder(self):
        return self.root / f"run-{self.count}" / "checkpoint"

    def __call__(self, script, *, memoizer=None, config=None, **options):
        old, self.count = self.folder, self.count + 1
        inherit(old, self.folder)
        memoizer = memoizer or Checkpoint(self.folder, **options)
        config = config or Config(executors=[ThreadPoolExecutor(max_threads=4)])
        config.memoizer = memoizer
        config.initialize_logging = False
        config.run_dir = str(self.root / f"run-{self.count}" / "parsl")
        parsl.clear()
        with parsl.load(config):
            result = script()
        parsl.clear()
        return result, memoizer


@pytest.fixture
def runs(tmp_path):
    yield Runs(tmp_path)
    parsl.clear()


class Log:
    """What has run; its lock keeps it from being data that the apps depend on."""

    def __init__(self):
        self.lock = threading.Lock()
        self.calls = []


LOG = Log()


@pytest.fixture
def ran():
    """What has run, as a list."""
    LOG.calls.clear()
    return LOG.calls


def note(x):
    LOG.calls.append(x)


@python_app
def square(x):
    note(x)
    return x * x


def squares():
    return [future.result() for future in [square(i) for i in range(20)]]


def test_finished_calls_do_not_run_again(runs, ran):
    first, memoizer = runs(squares)
    assert (memoizer.stored, memoizer.reused, len(ran)) == (20, 0, 20)
    second, memoizer = runs(squares)
    assert (memoizer.stored, memoizer.reused, len(ran)) == (0, 20, 20)
    assert first == second == [i * i for i in range(20)]
    third, memoizer = runs(lambda: (squares(), square(20).result())[0])
    assert (third, memoizer.stored, memoizer.reused) == (first, 1, 20), "a chain of resumes keeps everything"
    assert runs(lambda: square(20).result())[1].reused == 1


def test_files_are_private(runs, ran):
    runs(squares)
    assert stat.S_IMODE(runs.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in runs.folder.iterdir()} == {0o600}


def test_nothing_is_made_without_results(tmp_path):
    Runs(tmp_path)(lambda: None, memoizer=Checkpoint(tmp_path / "none"))
    assert not (tmp_path / "none").exists()


@python_app
def draw():
    note("draw")
    return random.getrandbits(64)


def draws(count):
    return [future.result() for future in [draw() for _ in range(count)]]


def test_equal_calls_keep_their_own_results(runs, ran):
    first, _ = runs(lambda: draws(60))
    assert len(set(first)) == 60
    second, memoizer = runs(lambda: draws(100))
    assert second[:60] == first, "the k-th call gets what the k-th call got"
    assert len(set(second)) == 100
    assert (memoizer.reused, memoizer.stored, len(ran)) == (60, 40, 100)
    assert runs(lambda: draws(100))[0] == second


def test_results_go_to_their_calls_whatever_the_order_in_which_they_ended(runs, ran):
    @python_app
    def ordered():
        number = next(numbers)
        events[number].wait(30)
        return number

    numbers, events = iter(range(3)), [threading.Event() for _ in range(3)]

    def script():
        futures = [ordered() for _ in range(3)]
        for number in (2, 1, 0):
            events[number].set()
            while not any(f.done() and f.result() == number for f in futures):
                if all(f.done() for f in futures):
                    break
        return [future.result() for future in futures]

    first, _ = runs(script)
    assert sorted(first) == [0, 1, 2]
    second, memoizer = runs(script)
    assert (second, memoizer.reused) == (first, 3)


@python_app(cache=True)
def cached(x):
    note(x)
    return [x, random.getrandbits(64)]


def test_cached_apps_share_within_a_run_and_across(runs, ran):
    first, memoizer = runs(lambda: [cached(1).result() for _ in range(5)])
    assert len(ran) == 1
    assert all(value is first[0] for value in first)
    assert (memoizer.stored, memoizer.reused) == (1, 0)
    second, memoizer = runs(lambda: [cached(1).result() for _ in range(5)])
    assert (second, len(ran), memoizer.reused) == (first, 1, 1)
    assert all(value is second[0] for value in second)


def test_cached_apps_share_failures_within_a_run_only(runs, ran):
    @python_app(cache=True)
    def fails():
        note("fails")
        raise ValueError("no")

    def script():
        return [type(fails().exception()) for _ in range(3)]

    assert runs(script)[0] == [ValueError] * 3
    assert len(ran) == 1
    runs(script)
    assert len(ran) == 2


def test_failed_calls_run_again_and_retries_count_once(runs, ran):
    @python_app
    def fails_once(box):
        note("try")
        box.append(1)  # the argument is another one at the second try
        if len(LOG.calls) == 1:
            raise ValueError("no")
        return 7

    def config():
        return Config(executors=[ThreadPoolExecutor()], retries=1)

    result, memoizer = runs(lambda: fails_once([]).result(), config=config())
    assert (result, memoizer.stored, len(ran)) == (7, 1, 2)
    result, memoizer = runs(lambda: fails_once([]).result(), config=config())
    assert (result, memoizer.reused, len(ran)) == (7, 1, 2)


def test_results_are_as_they_were_when_the_call_ended(runs, ran):
    def script():
        value = cached_list().result()
        before = list(value)
        value.append("changed by the script")
        return before

    @python_app
    def cached_list():
        return [1, 2]

    assert runs(script)[0] == runs(script)[0] == [1, 2]


@join_app
def outer(n):
    note("outer")
    return [draw() for _ in range(n)]


def test_join_apps_and_the_calls_made_in_them(runs, ran):
    def script():
        inside = outer(3).result()
        return inside, draws(2)

    (inside, outside), memoizer = runs(script)
    assert len({*inside, *outside}) == 5
    assert memoizer.stored == 6
    again, memoizer = runs(script)
    assert again == (inside, outside), "a draw inside of the join_app is not the script's"
    assert (memoizer.reused, len(ran)) == (3, 6)


def test_calls_of_a_join_app_that_was_changed(runs, ran):
    def joining(count):
        text = f"@join_app\ndef outer():\n    return [draw() for _ in range({count})]\n"
        space = {"__name__": "program", "join_app": join_app, "draw": draw}
        exec(text, space)
        return lambda: space["outer"]().result()

    first, _ = runs(joining(3))
    second, memoizer = runs(joining(4))
    assert second[:3] == first
    assert (memoizer.changed, memoizer.reused, len(ran)) == (1, 3, 4)


def test_calls_of_a_join_app_that_did_not_end(runs, ran):
    def script(fail):
        @join_app
        def joining():
            return [draw(), breaks(fail)]

        return joining().exception()

    @python_app(ignore_for_cache=["fail"])
    def breaks(fail):
        return 1 / (not fail)

    assert runs(lambda: script(True))[0] is not None
    assert runs(lambda: script(False))[0] is None
    assert len(ran) == 1


def test_dependencies(runs, ran):
    def script():
        parts = [square(square(i)) for i in range(3)]
        return add(*parts, inputs=parts).result()

    @python_app
    def add(*values, inputs=()):
        return sum(values) + sum(inputs)

    assert runs(script)[0] == 2 * (0 + 1 + 16)
    result, memoizer = runs(script)
    assert (result, memoizer.reused, len(ran)) == (34, 7, 6)


def test_ignored_arguments(runs, ran):
    @python_app(ignore_for_cache=["when"])
    def app(x, when):
        note(x)
        return when

    assert runs(lambda: app(1, when="then").result())[0] == "then"
    assert runs(lambda: app(1, when="now").result())[0] == "then"


def versioned(text):
    space = {"__name__": "program", "python_app": python_app, "note": note}
    exec(text, space)
    return lambda: space["app"](1).result()


TEXT = "def helper(x): return x + 1\ndef other(x): return x\n@python_app\ndef app(x): note(x); return helper(x)\n"


def test_changed_source(runs, ran):
    changed = TEXT.replace("x + 1", "x + 2")
    assert runs(versioned(TEXT))[0] == 2
    assert runs(versioned(TEXT.replace("def other(x): return x", "def other(x): return 5")))[1].reused == 1
    result, memoizer = runs(versioned(changed))
    assert (result, memoizer.changed, memoizer.reused, memoizer.stored) == (3, 1, 0, 1)
    result, memoizer = runs(versioned(changed))
    assert (result, memoizer.changed, memoizer.reused) == (3, 0, 1)


def test_changes_ignored(runs, ran):
    assert runs(versioned(TEXT))[0] == 2
    result, memoizer = runs(versioned(TEXT.replace("x + 1", "x + 2")), ignore_changes=True)
    assert (result, memoizer.changed, memoizer.reused, ran) == (2, 0, 1, [1])


def test_outputs_that_are_gone(runs, ran, project):
    @python_app
    def write(text, outputs=()):
        note(text)
        Path(outputs[0]).write_text(text)
        return random.getrandbits(64)

    def script():
        return write("a", outputs=[File("out.txt")]).result()

    first, _ = runs(script)
    assert runs(script)[0] == first
    Path("out.txt").unlink()
    second, memoizer = runs(script)
    assert (second != first, memoizer.reused, memoizer.stored) == (True, 0, 1)
    assert Path("out.txt").read_text() == "a"
    assert runs(script)[0] == second, "the newer result is the one that counts"


def test_a_result_whose_output_was_gone_does_not_come_back(runs, ran, project):
    @python_app
    def write(outputs=()):
        Path(outputs[0]).write_text("part")
        if not LOG.calls:
            return note("whole")
        raise ValueError("killed halfway")

    def script():
        return write(outputs=[File("out.txt")]).exception()

    assert runs(script)[0] is None
    Path("out.txt").unlink()
    assert runs(script)[0] is not None
    _, memoizer = runs(script)
    assert memoizer.reused == 0, "the file that is there is half written"


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # Parsl's, where bash apps run on threads
def test_bash_apps_and_their_logs(runs, ran, project):
    @bash_app
    def echo(word, stdout=None, stderr=AUTO_LOGNAME):
        return f"echo {word} | tee -a ran.txt"

    def script():
        named, automatic = echo("a", stdout=("a.txt", "w")), echo("b", stdout=AUTO_LOGNAME)
        assert [named.result(), automatic.result()] == [0, 0]
        return Path("a.txt").read_text(), Path(automatic.stdout).read_text()

    assert runs(script)[0] == ("a\n", "b\n")
    result, memoizer = runs(script)
    assert (result, memoizer.reused) == (("a\n", "b\n"), 2)
    Path("a.txt").unlink()
    assert runs(script)[1].reused == 1
    assert sorted(Path("ran.txt").read_text()) == sorted("a\nb\na\n")


def test_outputs_elsewhere_are_not_stored(runs, ran):
    """What is staged out by itself may not have arrived."""
    memoizer = Checkpoint(runs.folder)
    kernel = object()
    task = {"memoize": False, "kwargs": {"outputs": [File("https://example.org/x")]}, "args": [], "func": len}
    more = {"id": 1, "executor": "none", "ignore_for_cache": [], "dfk": kernel}
    assert memoizer.check_memo({**task, **more}) is None
    assert memoizer.not_keyed == 1


class Point:
    def __init__(self, x):
        self.x = x


def test_results_of_every_kind(runs, ran):
    @python_app
    def give(kind):
        note(kind)
        return {"point": Point(3), "lambda": lambda: 4, "both": [Point(5), lambda: 6], "lock": threading.Lock()}[kind]

    def script():
        return [give(kind).result() for kind in ("point", "lambda", "both", "lock")]

    _, memoizer = runs(script)
    assert (memoizer.stored, memoizer.unpicklable) == (3, 1)
    (point, made, both, _), memoizer = runs(script)
    assert (type(point), point.x, made()) == (Point, 3, 4)
    assert (type(both[0]), both[1]()) == (Point, 6)
    assert (memoizer.reused, ran[4:]) == (3, ["lock"])


def test_a_result_whose_class_is_gone_runs_again(runs, ran, monkeypatch):
    @python_app
    def give():
        note("give")
        return [Point(1)]

    runs(lambda: give().result())
    monkeypatch.setitem(Point.__init__.__globals__, "Point", None)
    _, memoizer = runs(lambda: give().exception())
    assert (memoizer.reused, memoizer.changed, ran) == (0, 0, ["give", "give"])


def test_arguments_that_cannot_be_recognised(runs, ran):
    def script():
        return app(threading.Lock()).result()

    @python_app
    def app(lock):
        return 1

    assert runs(script)[0] == 1
    result, memoizer = runs(script)
    assert (result, memoizer.not_keyed, memoizer.stored) == (1, 1, 0)


def test_arguments_that_the_call_changes(runs, ran):
    @python_app
    def fill(box):
        box.append(len(box))
        return len(box)

    def script():
        return fill([]).result()

    assert runs(script)[1].stored == 1
    assert runs(script)[1].reused == 1


def test_the_laptop_site(runs, tmp_path):
    path = tmp_path / "ran.txt"

    @python_app
    def work(x, path):
        with open(path, "a") as file:
            file.write(f"{x}\n")
        return x + 1

    def script():
        return [future.result() for future in [work(i, str(path)) for i in range(10)]]

    def config():
        return pilotage.config("laptop")

    assert runs(script, config=config())[0] == list(range(1, 11))
    result, memoizer = runs(script, config=config())
    assert (result, memoizer.reused) == (list(range(1, 11)), 10)
    assert sorted(map(int, path.read_text().split())) == list(range(10))


def test_two_kernels_of_a_run_share_the_count(tmp_path, ran):
    def run(number):
        folder = tmp_path / str(number) / "checkpoint"
        inherit(tmp_path / str(number - 1) / "checkpoint", folder)
        memoizer = Checkpoint(folder)

        def kernel(name):
            return DataFlowKernel(
                Config(
                    executors=[ThreadPoolExecutor(label=name)],
                    memoizer=memoizer,
                    run_dir=str(tmp_path / str(number) / name),
                    initialize_logging=False,
                )
            )

        one, two = kernel("one"), kernel("two")
        apps = [python_app(draw.func.__wrapped__, data_flow_kernel=dfk) for dfk in (one, two)]
        futures = [app() for _ in range(20) for app in apps]
        found = [future.result() for future in futures]
        one.cleanup()
        found += [apps[1]().result() for _ in range(3)]
        two.cleanup()
        return found, memoizer

    first, memoizer = run(1)
    assert (memoizer.stored, len(set(first))) == (43, 43)
    second, memoizer = run(2)
    assert (memoizer.reused, sorted(second)) == (43, sorted(first))


SCRIPT = """
import os, signal, sys, threading
from pathlib import Path
import parsl
from parsl import Config, ThreadPoolExecutor, python_app
from pilotage.runs.checkpoint import Checkpoint, inherit
old, new, kill_after = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
inherit(old, new)
memoizer = Checkpoint(new)

class Box:
    def __init__(self, x):
        self.x = x
        self.get = lambda: x  # plain pickle refuses it

@python_app
def work(i):
    return Box(i * i)

@python_app
def total(*boxes):
    assert all(type(box) is Box for box in boxes)
    return sum(box.get() for box in boxes)

done = 0
lock = threading.Lock()
original = memoizer.update_memo_result
def counted(task, r):
    global done
    with lock:  # nothing is stored and not noted when the process is killed
        original(task, r)
        if not task["from_memo"]:
            with open("ran.txt", "a") as file:
                file.write(f"{task['func_name']} {task['args'][:1] if task['func_name'] == 'work' else ''}\\n")
            done += 1
            if done == kill_after:
                os.kill(os.getpid(), signal.SIGKILL)
memoizer.update_memo_result = counted
config = Config(executors=[ThreadPoolExecutor(max_threads=3)], memoizer=memoizer, initialize_logging=False)
with parsl.load(config):
    boxes = [work(i) for i in range(40)]
    print(total(*boxes).result(), memoizer.reused)
"""


def test_killed_again_and_again(project):
    Path("script.py").write_text(SCRIPT)

    def run(number, kill_after, seed):
        argv = [sys.executable, "script.py", f"run-{number - 1}", f"run-{number}", str(kill_after)]
        env = {**os.environ, "PYTHONHASHSEED": seed}
        return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60)

    assert run(1, 15, "1").returncode == -signal.SIGKILL
    assert run(2, 10, "2").returncode == -signal.SIGKILL
    last = run(3, -1, "3")
    assert last.returncode == 0, last.stderr
    result, reused = map(int, last.stdout.split())
    assert result == sum(i * i for i in range(40))
    assert reused >= 25
    counts = collections.Counter(Path("ran.txt").read_text().splitlines())
    assert len(counts) == 41
    assert set(counts.values()) == {1}, "what had finished did not run again"


@pytest.fixture
def limited():
    """Let no file grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_does_not_stop_the_run(runs, ran, limited):
    def script():
        limited(1000)
        try:
            return squares()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, -1))

    result, memoizer = runs(script)
    assert result == [i * i for i in range(20)]
    assert memoizer.broken
    assert 0 < memoizer.stored < 20
    again, resumed = runs(squares)
    assert (again, resumed.reused, resumed.damaged) == (result, memoizer.stored, 1)
    assert runs(squares)[1].reused == 20


def test_a_folder_that_cannot_be_made(tmp_path, ran):
    (tmp_path / "file").touch()
    result, memoizer = Runs(tmp_path)(squares, memoizer=Checkpoint(tmp_path / "file" / "checkpoint"))
    assert result == [i * i for i in range(20)]
    assert memoizer.broken
    assert memoizer.stored == 0


def stored(folder, results):
    """Write results, without Parsl; returns the file's size after each."""
    folder.mkdir()
    memoizer, sizes = Checkpoint(folder), []
    for number, result in enumerate(results):
        check(memoizer, number, result)
        sizes.append((folder / module.OWN).stat().st_size)
    memoizer.close()
    return sizes


def check(memoizer, number, result=None):
    """Make call ``number``; returns (its stored result,) or None after it has "run"."""
    task = {"id": number, "memoize": False, "kwargs": {}, "args": [number], "func": len, "ignore_for_cache": []}
    task.update(join=False, executor="none", dfk="none")
    found = memoizer.check_memo(task)
    task["from_memo"] = found is not None
    memoizer.update_memo_result(task, result if found is None else found.result())
    assert found is None or isinstance(found, Future)
    return None if found is None else (found.result(),)


RESULTS = [b"x" * 10, 2, module.MAGIC * 20, "text" * 300, None, [1.5] * 50, module.MAGIC, {}]


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_costs_only_the_records_it_hits(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("damage") / "checkpoint"
    sizes = stored(folder, RESULTS)
    path = folder / module.OWN
    whole = path.read_bytes()
    start = data.draw(st.integers(0, len(whole) - 1))
    end = data.draw(st.integers(start + 1, min(len(whole), start + 400)))
    kind = data.draw(st.sampled_from(["cut off", "cut out", "overwritten", "inserted"]))
    rest = b"" if kind == "cut off" else whole[start:] if kind == "inserted" else whole[end:]
    middle = (
        data.draw(st.binary(min_size=end - start, max_size=end - start)) if kind in ("overwritten", "inserted") else b""
    )
    path.write_bytes(whole[:start] + middle + rest)
    if kind == "cut off":
        end = len(whole)
    memoizer = Checkpoint(folder)
    memoizer.start(run_dir="", config_run_dir="")
    begins = [0, *sizes[:-1]]
    for number, result in enumerate(RESULTS):
        found = check(memoizer, number, result)
        assert found in (None, (result,))
        if sizes[number] <= start or (begins[number] >= end and kind != "inserted"):
            assert found == (result,), "a record that was not touched"
    memoizer.close()
    again = Checkpoint(folder)
    again.start(run_dir="", config_run_dir="")
    assert [check(again, number) for number in range(len(RESULTS))] == [(result,) for result in RESULTS]
    again.close()


def test_a_cut_of_the_length_of_the_next_record(tmp_path):
    sizes = stored(tmp_path / "checkpoint", RESULTS)
    path, begin = tmp_path / "checkpoint" / module.OWN, sizes[2] + 70
    whole = path.read_bytes()
    path.write_bytes(whole[:begin] + whole[begin + sizes[4] - sizes[3] :])
    memoizer = Checkpoint(tmp_path / "checkpoint")
    memoizer.start(run_dir="", config_run_dir="")
    assert [check(memoizer, number) is not None for number in range(8)] == [n != 3 for n in range(8)]
    memoizer.close()


@settings(deadline=None, max_examples=30)
@given(st.binary(max_size=3000))
def test_any_file_can_be_read(noise):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "from-1.results").write_bytes(noise)
        memoizer = Checkpoint(Path(folder))
        memoizer.start(run_dir="", config_run_dir="")
        assert check(memoizer, 1) is None
        memoizer.close()


def test_inheriting_copies_where_there_are_no_links(tmp_path, monkeypatch):
    stored(tmp_path / "one", RESULTS)

    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    inherit(tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "two" / "from-1.results").samefile(tmp_path / "one" / module.OWN)
    monkeypatch.setattr(Path, "hardlink_to", refuse)
    inherit(tmp_path / "two", tmp_path / "three")
    inherit(tmp_path / "one", tmp_path / "three")
    names = sorted(path.name for path in (tmp_path / "three").iterdir())
    assert names == ["from-1.results", "from-2.results"]
    assert (tmp_path / "three" / "from-2.results").read_bytes() == (tmp_path / "one" / module.OWN).read_bytes()


def test_more_than_ten_runs_keep_their_order(runs, ran):
    for number in range(12):
        runs(versioned(TEXT.replace("x + 1", f"x + {number}")))
    result, memoizer = runs(versioned(TEXT.replace("x + 1", "x + 11")))
    assert (result, memoizer.reused) == (12, 1)
