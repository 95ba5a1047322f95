"""``pilotage.map`` and ``pilotage.submit_all``: on threads in this process, and in scripts on worker processes."""

import gc
import itertools
import logging
import os
import sys
import threading
import weakref
from concurrent.futures import Future
from pathlib import Path

import parsl
import pytest
from parsl.config import Config
from parsl.data_provider.files import File
from parsl.dataflow.dflow import DataFlowKernelLoader
from parsl.dataflow.errors import DependencyError
from parsl.executors.threads import ThreadPoolExecutor

import pilotage as package
from pilotage.engine.chunking import AHEAD, ITEMS
from pilotage.errors import LabelError, UsageError

WORKERS = 2


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Load a Config with threads; all are cleaned up."""
    kernels = []
    monkeypatch.setattr(logging.getLogger("parsl"), "disabled", True)  # pytest keeps records, and they keep futures
    for name in ("dataflow.dflow", "dataflow.memoization", "executors.threads", "process_loggers"):
        monkeypatch.setattr(logging.getLogger(f"parsl.{name}"), "disabled", True)

    def start(*labels, **options):
        executors = [ThreadPoolExecutor(label=label, max_threads=WORKERS) for label in labels or ("threads",)]
        options |= {"run_dir": str(tmp_path / "runinfo"), "strategy": "none", "initialize_logging": False}
        kernels.append(parsl.load(Config(executors, **options)))
        return kernels[-1]

    yield start
    for kernel in kernels:
        if not kernel.cleanup_called:
            kernel.cleanup()
    DataFlowKernelLoader.clear()


@pytest.fixture
def kernel(load):
    return load()


class Counted:
    """An endless iterator that counts what was drawn from it."""

    def __init__(self):
        self.drawn = 0

    def __iter__(self):
        return self

    def __next__(self):
        self.drawn += 1
        return self.drawn - 1


def square(x):
    return x * x


def fail_at_17(x):
    if x == 17:
        raise ValueError("seventeen")
    return x


@pytest.mark.parametrize("chunksize", ["auto", 1, 7, 1000])
@pytest.mark.parametrize("make", [list, tuple, iter, lambda items: items, lambda items: (x for x in items)])
def test_it_is_the_builtin_map(kernel, make, chunksize):
    assert list(package.map(square, make(range(100)), chunksize=chunksize)) == [x * x for x in range(100)]


def test_several_iterables_end_with_the_shortest(kernel):
    assert list(package.map(pow, [2, 3, 10], itertools.count(), chunksize=2)) == [1, 3, 100]


@pytest.mark.parametrize("function", [str, [10, 11, 12].__getitem__, lambda x: -x, type("C", (), {"__call__": square})])
def test_any_callable(kernel, function):
    if isinstance(function, type) and function is not str:
        function = function().__call__.__func__
    assert list(package.map(function, [0, 1, 2])) == list(map(function, [0, 1, 2]))


def test_nothing_is_drawn_before_the_first_result_is_asked_for(kernel):
    items = Counted()
    results = package.map(square, items)
    assert (items.drawn, kernel.task_count) == (0, 0)
    assert next(results) == 0
    assert items.drawn > 0
    results.close()


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("chunksize", [1, 3, "auto"])
def test_what_is_drawn_stays_in_the_window(kernel, ordered, chunksize):
    items = Counted()
    results = package.map(square, items, chunksize=chunksize, window=9, ordered=ordered)
    ahead = 0
    for taken, _ in enumerate(itertools.islice(results, 500)):
        ahead = max(ahead, items.drawn - taken)
    assert AHEAD * WORKERS <= ahead <= 9
    results.close()


def test_an_endless_iterable_is_bounded_without_a_window_too(kernel):
    items = Counted()
    results = package.map(square, items)
    most = 0
    for taken, _ in enumerate(itertools.islice(results, 300_000)):
        most = max(most, items.drawn - taken)
    results.close()
    assert ITEMS < most <= 4 * 16 * WORKERS * ITEMS


def test_a_slow_consumer_stops_the_submission(kernel):
    items = Counted()
    results = package.map(square, items, chunksize=1)
    next(results)
    drawn = items.drawn
    kernel.wait_for_current_tasks()
    assert items.drawn == drawn < 100
    results.close()


def test_all_workers_have_work_while_the_first_result_is_late(kernel):
    """In order, and the first item waits for another that comes six later."""
    opened = threading.Event()

    def wait_or_open(x):
        if x == 0:
            assert opened.wait(60)
        if x == 6:
            opened.set()
        return x

    assert list(package.map(wait_or_open, range(20), chunksize=1)) == list(range(20))


def test_unordered_results_come_as_they_are_done(kernel):
    opened = threading.Event()

    def wait_at_first(x):
        assert x > 0 or opened.wait(60)
        return x

    results = package.map(wait_at_first, range(4), chunksize=1, ordered=False)
    early = [next(results) for _ in range(3)]
    opened.set()
    assert sorted(early) == [1, 2, 3]
    assert list(results) == [0]


@pytest.mark.parametrize("chunksize", ["auto", 1, 5, 50])
def test_an_exception_is_raised_at_its_item(kernel, chunksize):
    items = Counted()
    results = package.map(fail_at_17, items, chunksize=chunksize)
    got = []
    with pytest.raises(ValueError, match="seventeen") as caught:
        got.extend(results)
    assert got == list(range(17))
    assert caught.value.__notes__ == ["item 17 of pilotage.map"]
    assert (caught.value.pilotage_index, caught.value.pilotage_items) == (17, range(17, 18))
    assert caught.traceback[-1].name == "fail_at_17"
    drawn, tasks = items.drawn, kernel.task_count
    assert list(results) == []
    kernel.wait_for_current_tasks()
    assert (items.drawn, kernel.task_count) == (drawn, tasks)


def test_unordered_an_exception_does_not_wait_for_earlier_items(kernel):
    opened = threading.Event()

    def fail_or_wait(x):
        if x == 1:
            raise KeyError(x)
        assert opened.wait(60)

    with pytest.raises(KeyError) as caught:
        list(package.map(fail_or_wait, range(2), chunksize=1, ordered=False))
    opened.set()
    assert caught.value.pilotage_index == 1


def test_an_exception_of_the_iterable_comes_after_the_results_before_it(kernel):
    def items():
        yield from range(5)
        raise LookupError("no more")

    got = []
    with pytest.raises(LookupError, match="no more"):
        got.extend(package.map(square, items(), chunksize=3))
    assert got == [0, 1, 4, 9, 16]


@pytest.mark.parametrize("end", ["close", "forget"])
def test_a_closed_generator_submits_nothing_more(kernel, end):
    items = Counted()
    results = package.map(square, items, chunksize=2)
    next(results)
    drawn, tasks = items.drawn, kernel.task_count
    if end == "close":
        results.close()
    del results
    gc.collect()
    kernel.wait_for_current_tasks()
    assert (items.drawn, kernel.task_count) == (drawn, tasks)


class Result:
    """Something that can be referred to weakly."""


@pytest.mark.parametrize("chunksize", [1, 10])
def test_what_was_taken_is_held_by_nobody(kernel, chunksize):
    results = package.map(lambda x: Result(), itertools.count(), chunksize=chunksize)
    alive = [weakref.ref(next(results)) for _ in range(3 * chunksize)]
    kernel.wait_for_current_tasks()
    gc.collect()
    assert [ref() for ref in alive[:-1]] == [None] * (3 * chunksize - 1)
    results.close()


def test_results_that_nobody_takes_are_dropped_at_the_end(kernel):
    alive = weakref.WeakSet()

    def make(x):
        result = Result()
        alive.add(result)
        return result

    results = package.map(make, itertools.count(), chunksize=1)
    next(results)
    kernel.wait_for_current_tasks()
    assert len(alive) > 0
    results.close()
    del results
    gc.collect()
    assert len(alive) == 0


def test_an_app_keeps_its_executors_and_may_get_others(load):
    load("one", "two")

    def where(x):
        return threading.current_thread().name.partition("_")[0]

    app = parsl.python_app(where, executors=["one"])
    assert set(package.map(app, range(20), chunksize=1)) == {"ThreadPoolExecutor-one"}
    assert set(package.map(app, range(20), chunksize=1, executors=["two"])) == {"ThreadPoolExecutor-two"}
    assert {x.result() for x in package.submit_all(app, range(20), executors=["two"])} == {"ThreadPoolExecutor-two"}
    assert len(set(package.map(where, range(200), chunksize=1))) == 2
    with pytest.raises(LabelError, match="no executor 'tow', but one, two"):
        package.map(app, range(3), executors=["tow"])


def test_parsl_retries_a_chunk(load):
    load(retries=2)
    tries = []

    def fail_twice(x):
        tries.append(x)
        if tries.count(2) < 3 and x == 2:
            raise OSError
        return x

    assert list(package.map(fail_twice, [1, 2, 3], chunksize=2)) == [1, 2, 3]
    assert sorted(tries) == [1, 1, 1, 2, 2, 2, 3]


def test_an_app_with_cache_is_computed_once_for_an_item(kernel):
    calls = []

    @parsl.python_app(cache=True)
    def called(x):
        calls.append(x)
        return x

    other = parsl.python_app(square, cache=True)
    assert list(package.map(called, range(5))) == list(package.map(called, range(5))) == list(range(5))
    assert calls == list(range(5)) or sorted(calls) == list(range(5))
    assert list(package.map(other, range(5))) == [0, 1, 4, 9, 16]
    assert called([1]).result() == [1]  # no chunk's key


def test_an_app_with_walltime_has_it_for_each_call(kernel):
    opened = threading.Event()

    @parsl.python_app
    def spin(x, walltime=0.2):
        while x and not opened.is_set():  # Parsl's way to end a call needs it to run Python
            pass
        return x

    got = []
    with pytest.raises(parsl.app.errors.AppTimeout) as caught:
        got.extend(package.map(spin, [0, 0, 1], chunksize=3))
    opened.set()
    assert (got, caught.value.pilotage_index) == ([0, 0], 2)


def test_bash_apps_and_join_apps_are_calls_of_their_own(kernel, tmp_path):
    @parsl.bash_app
    def write(x):
        return f"echo {x} > {tmp_path}/{x}"

    @parsl.join_app
    def joined(x):
        return parsl.python_app(square)(x)

    assert list(package.map(write, range(3))) == [0, 0, 0]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.isdecimal()) == ["0", "1", "2"]
    assert list(package.map(joined, range(5), chunksize=3)) == [0, 1, 4, 9, 16]


def test_futures_and_files_among_the_items_are_parsls(kernel, tmp_path):
    app = parsl.python_app(square)
    items = [1, app(2), 3, app(4), app(5), 6]
    assert list(package.map(app, items, chunksize=10)) == [1, 16, 9, 256, 625, 36]
    assert list(package.map(square, items, chunksize=10)) == [1, 16, 9, 256, 625, 36]
    assert list(package.map(pow, items, [2] * 6, chunksize=10)) == [1, 16, 9, 256, 625, 36]
    (tmp_path / "file").write_text("content")
    files = [File(str(tmp_path / "file")), str(tmp_path / "file")]
    assert list(package.map(lambda file: Path(file).read_text(), files)) == ["content"] * 2
    bad = [1, parsl.python_app(fail_at_17)(17), 3]
    with pytest.raises(DependencyError) as caught:
        list(package.map(app, bad, chunksize=3))
    assert caught.value.pilotage_index == 1


def test_in_a_thread_and_within_a_join_app(kernel):
    got = []
    thread = threading.Thread(target=lambda: got.extend(package.map(square, range(100))))
    thread.start()
    assert list(package.map(square, range(100))) == [x * x for x in range(100)]
    thread.join()
    assert got == [x * x for x in range(100)]

    @parsl.join_app
    def joined():
        return [parsl.python_app(square)(y) for y in package.map(square, range(4))]

    assert joined().result() == [0, 1, 16, 81]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: package.map(square, [1], chunksize=0), "chunksize .* is 0"),
        (lambda: package.map(square, [1], chunksize="large"), "'large', .* or 'auto'"),
        (lambda: package.map(square, [1], chunksize=True), "chunksize .* is True"),
        (lambda: package.map(square, [1], window=-1), "window .* is -1"),
        (lambda: package.map(square, [1], chunksize=10, window=9), "more than window=9"),
        (lambda: package.map(square, 3), "iterable 1 of pilotage.map is not iterable: 3"),
        (lambda: package.map(pow, [1], parsl.python_app(square)(1)), "iterable 2 of pilotage.map is a future"),
        (lambda: package.map(square), "something to iterate over"),
        (lambda: package.map([1], square), "a function or an app, not"),
        (lambda: package.map(square, [1], executors="threads"), "has to be 'all' or labels"),
        (lambda: package.submit_all(square, [1], window=0), "window of pilotage.submit_all is 0"),
        (lambda: package.submit_all(square, None), "iterable 1 of pilotage.submit_all"),
    ],
)
def test_what_cannot_be_used_is_said_at_the_call(kernel, call, words):
    with pytest.raises(UsageError, match=words):
        call()


def test_without_a_kernel_and_after_it():
    with pytest.raises(UsageError, match="no DataFlowKernel") as caught:
        package.map(square, [1])
    assert caught.value.hint


def test_a_kernel_that_was_closed_in_between(kernel):
    results = package.map(square, range(10_000), chunksize=1)
    futures = package.submit_all(square, range(10_000))
    next(results), next(futures)
    kernel.cleanup()
    for generator in (results, futures):
        with pytest.raises(UsageError, match="has been closed"):
            list(generator)


def test_what_does_not_come_since_the_kernel_was_closed_is_not_waited_for(kernel, monkeypatch):
    # As an executor of worker processes leaves the futures of what it had when it is shut down.
    monkeypatch.setattr(kernel.executors["threads"], "submit", lambda *_, **__: Future())
    results = package.map(square, range(2), chunksize=1)
    futures = package.submit_all(square, range(9), window=2)
    next(futures), next(futures)
    closing = threading.Timer(0.5, kernel.cleanup)
    closing.start()
    for generator in (results, futures):
        with pytest.raises(UsageError, match="has been closed"):
            next(generator)
    closing.join()


def test_submit_all_keeps_the_order_and_runs_ahead(kernel):
    opened = threading.Event()

    def wait_at_first(x):
        if x == 0:
            assert opened.wait(60)
        if x == 5:
            opened.set()
        return x

    # Taken one by one, the first would never end if the sixth were not submitted before it is asked for.
    assert [x.result() for x in package.submit_all(wait_at_first, range(20), window=8)] == list(range(20))


def test_submit_all_has_no_more_outstanding_than_its_window(kernel):
    items = Counted()
    gate = threading.Semaphore(0)

    def wait(x):
        assert gate.acquire(timeout=60)
        return x

    futures = package.submit_all(wait, items, window=5)
    taken = [next(futures) for _ in range(5)]
    assert items.drawn == 5
    gate.release(3)
    taken.append(next(futures))  # which waits for one to end
    assert 6 <= items.drawn <= 8
    futures.close()
    gate.release(100)
    assert [future.result() for future in taken] == list(range(6))


def test_submit_all_of_an_app_with_several_arguments_and_a_failing_iterable(kernel):
    def items():
        yield 2
        raise LookupError("no more")

    assert [x.result() for x in package.submit_all(parsl.python_app(pow_of), [2, 3], [3, 2, 1])] == [8, 9]
    futures = package.submit_all(square, items())
    assert next(futures).result() == 4
    with pytest.raises(LookupError):
        next(futures)


def pow_of(x, y):
    return x**y


SCRIPT = """
import itertools, os, threading
import parsl, pilotage

class Failed(Exception): pass
class Point:
    def __init__(self, x): self.x = x
    def __eq__(self, other): return type(other) is Point and other.x == self.x
calls = []
def remember(x):
    calls.append(x)
    return os.getpid(), len(calls)
def fail(x):
    if x == 1234: raise Failed(x)
    return x
def die(x):
    if x == 3: os._exit(1)
    return x
def point(x): return Point(x)
def odd(x): return (i for i in x) if x == [5] else x

if __name__ == "__main__":
    with LOAD as kernel:
        assert list(pilotage.map(fail, range(1000))) == list(range(1000))
        assert list(pilotage.map(point, range(50), chunksize=10)) == [Point(x) for x in range(50)]
        got = []
        try:
            for y in pilotage.map(fail, itertools.count()):
                got.append(y)
        except Failed as error:
            assert got == list(range(1234)) and error.pilotage_index == 1234 and error.args == (1234,)
            import traceback
            assert "in fail" in "".join(traceback.format_tb(error.__traceback__))
        else:
            raise SystemExit("nothing was raised")
        # What a function keeps in its globals lasts from chunk to chunk, as on threads.
        seen = list(pilotage.map(remember, range(200), chunksize=10))
        assert max(count for _, count in seen) > 20, seen
        EXTRA
        print("right")
"""
ON_WORKERS = """
        got = []
        try:
            for y in pilotage.map(die, range(8), chunksize=4): got.append(y)
        except Exception as error:
            assert got == [] and error.pilotage_items == range(0, 4), (got, vars(error))
            assert error.__notes__[-1] == "items 0 to 3, which travelled together, of pilotage.map"
        got = []
        try:
            for y in pilotage.map(odd, [[n] for n in range(10)], chunksize=4): got.append(y)
        except TypeError as error:
            assert got == [[n] for n in range(5)] and error.pilotage_index == 5
        got = []
        try:
            for y in pilotage.map(type, [1, 2, threading.current_thread(), 3], chunksize=4): got.append(y)
        except parsl.serialize.errors.SerializationError as error:
            assert got == [int, int] and error.pilotage_index == 2, got
        else:
            raise SystemExit("nothing was raised")
"""
STOCK = (
    "parsl.load(parsl.Config([parsl.HighThroughputExecutor(address='127.0.0.1', encrypted=False,"
    " max_workers_per_node=2)], strategy_period=0.1))"
)


@pytest.mark.parametrize(
    ("load_call", "extra"),
    [
        ("pilotage.load('laptop', max_workers_per_node=2)", ON_WORKERS),
        ("pilotage.load('threads')", "pass"),
    ],
    ids=["laptop", "threads"],
)
def test_on_a_site(load_call, extra, project, pilotage):
    (project / "script.py").write_text(SCRIPT.replace("LOAD", load_call).replace("EXTRA", extra.strip()))
    done = pilotage.run([sys.executable, "script.py"])
    assert (done.returncode, done.stdout) == (0, "right\n"), done.stderr


def test_under_pilotage_run(project, pilotage):
    (project / "script.py").write_text(SCRIPT.replace("LOAD", "parsl.load()").replace("EXTRA", ON_WORKERS.strip()))
    done = pilotage("run", "--site", "laptop", "script.py")
    assert (done.returncode, done.stdout) == (0, "right\n"), done.stderr


def test_under_stock_parsl(project, pilotage):
    """Parsl's own serializer knows no class of a script, so functions only."""
    text = (
        "import parsl, pilotage, itertools, os\ndef f(x): return x + 1\n"
        f"with {STOCK}:\n"
        "    assert list(pilotage.map(f, range(1000))) == list(range(1, 1001))\n"
        "    got = []\n"
        "    try:\n        for y in pilotage.map(f, [1, 2, 'x'], chunksize=3): got.append(y)\n"
        "    except TypeError as error: assert got == [2, 3] and error.pilotage_index == 2\n"
        "    print('right')\n"
    )
    (project / "script.py").write_text(text)
    done = pilotage.run(
        [sys.executable, "script.py"], env={"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    )
    assert (done.returncode, done.stdout) == (0, "right\n"), done.stderr


def test_ctrl_c_ends_the_map(project, pilotage):
    (project / "script.py").write_text(
        "import itertools, os, signal, threading, pilotage\n"
        "drawn = itertools.count()\n"
        "def items():\n    for n in itertools.count():\n        next(drawn)\n        yield n\n"
        "gate = threading.Event()\n"
        "def wait(x):\n"
        # Again, since a signal that comes just before a thread begins to wait is not heard.
        "    while not gate.wait(1):\n"
        "        if x == 0: signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)\n"
        "with pilotage.load('threads') as kernel:\n"
        "    results = pilotage.map(wait, items(), chunksize=1)\n"
        "    try:\n        next(results)\n"
        "    except KeyboardInterrupt:\n"
        "        gate.set()\n        tasks = kernel.task_count\n"
        "        assert list(results) == [] and kernel.task_count == tasks\n        print('interrupted')\n"
    )
    done = pilotage.run([sys.executable, "script.py"])
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr


def test_memory_does_not_grow_with_the_number_of_items(project, pilotage):
    (project / "script.py").write_text(
        "import psutil, pilotage\ndef f(x): return x * x\n"
        "with pilotage.load('laptop', max_workers_per_node=2):\n"
        "    process = psutil.Process()\n"
        "    sum(pilotage.map(f, iter(range(300_000))))\n"
        "    before = process.memory_info().rss\n"
        "    sum(pilotage.map(f, iter(range(2_000_000))))\n"
        "    print((process.memory_info().rss - before) >> 20)\n"
    )
    done = pilotage.run([sys.executable, "script.py"])
    assert int(done.stdout) < 50, done.stderr  # the items alone are 64 MB, their results as much


@pytest.mark.parametrize("window", [1, 4])
def test_submit_all_when_each_window_is_waited_for(kernel, window):
    """All that was yielded has ended before the next is asked for: nothing is left that could end."""
    futures = package.submit_all(square, range(20), window=window)
    found = []
    while batch := list(itertools.islice(futures, window)):
        found += [future.result(timeout=30) for future in batch]
    assert found == [x * x for x in range(20)]


def test_one_exception_object_that_several_chunks_raise(kernel):
    error = ValueError("one and the same")

    def fails(x):
        if x in (*range(40, 48), 90, 200, 300):
            raise error
        return x

    for _ in range(5):
        found = []
        with pytest.raises(ValueError, match="one and the same") as caught:
            found.extend(package.map(fails, range(400), chunksize=50))
        assert found == list(range(40))
        assert caught.value.pilotage_items == range(40, 41)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, GeneratorExit, SystemExit])
def test_an_item_that_raises_what_ends_a_program(kernel, kind):
    def ends(x):
        if x == 30:
            raise kind
        return x

    with pytest.raises(RuntimeError, match=f"the call ended with {kind.__name__}"):
        list(package.map(ends, range(100)))


class Unsure:
    def __init__(self, error):
        self.error = error

    def __iter__(self):
        return iter(range(5))

    def __len__(self):
        raise self.error


@pytest.mark.parametrize("items", [range(10**20), Unsure(TypeError("no length")), Unsure(NotImplementedError())])
def test_iterables_that_do_not_say_how_long_they_are(kernel, items):
    results = package.map(square, items, chunksize=2)
    assert list(itertools.islice(results, 5)) == [0, 1, 4, 9, 16]
    results.close()


def test_a_chunk_without_end(kernel):
    assert list(package.map(square, [1, 2, 3], chunksize=10**30)) == [1, 4, 9]
