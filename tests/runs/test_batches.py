"""Results of short calls, kept a batch at a time: taken up by another run as if each had been kept by itself."""

import collections
import pickle
import tempfile
from pathlib import Path

import parsl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parsl import bash_app, join_app, python_app

import pilotage
from pilotage.engine.coalescing import Kept
from pilotage.runs import batches, checkpoint
from pilotage.runs.checkpoint import Checkpoint, inherit
from pilotage.worker import slots
from pilotage.worker.batch import PLAIN

CALLS = 400


@pytest.fixture
def run(tmp_path):
    """Runs a script on the site laptop, each time as a new run that goes on where the one before it stopped."""
    numbers = iter(range(1, 100))

    def run(script, **options):
        number = next(numbers)
        folder = tmp_path / str(number) / "checkpoint"
        inherit(tmp_path / str(number - 1) / "checkpoint", folder)
        memoizer = Checkpoint(folder, **options)
        config = pilotage.config("laptop")
        config.memoizer = memoizer
        config.run_dir = str(tmp_path / str(number) / "parsl")
        parsl.clear()
        with parsl.load(config) as kernel:
            memoizer.serve(kernel)
            result = script()
            batched = sum(executor._coalescer.batches for executor in kernel.executors.values() if _coalesces(executor))
        parsl.clear()
        return result, memoizer, batched

    yield run
    parsl.clear()


def _coalesces(executor):
    return getattr(executor, "_coalescer", None) is not None


@pytest.fixture
def ran(tmp_path):
    """Reads and empties the file in which apps note that they ran."""
    path = tmp_path / "ran.txt"
    path.touch()

    def counted():
        lines = path.read_text().splitlines()
        path.write_text("")
        return collections.Counter(lines)

    counted.path = str(path)
    return counted


@python_app
def square(x, path):
    with open(path, "a") as file:
        file.write(f"{x}\n")
    return x * x


@python_app
def draw(path):
    import random

    with open(path, "a") as file:
        file.write("draw\n")
    return random.random()


@python_app
def pair(x, path):
    with open(path, "a") as file:
        file.write(f"{x}\n")
    return [x, {"x": x}]


def results(futures):
    return [future.result() for future in futures]


def test_what_was_kept_by_batches_does_not_run_again(run, ran):
    def script():
        return results([square(i, ran.path) for i in range(CALLS)])

    found, memoizer, batched = run(script)
    assert (found, len(ran())) == ([i * i for i in range(CALLS)], CALLS)
    assert batched > 1
    assert 0 < memoizer.stored < CALLS
    assert checkpoint_kinds(memoizer) == {checkpoint.BATCH}
    found, memoizer, _ = run(script)
    assert (found, memoizer.reused, memoizer.stored, ran()) == ([i * i for i in range(CALLS)], CALLS, 0, {})
    assert run(script)[1].reused == CALLS, "also when they were taken up once before"


def checkpoint_kinds(memoizer):
    with (memoizer.folder / checkpoint.OWN).open("rb") as file:
        return {head.kind for _, head in checkpoint.records(file)}


def test_equal_calls_keep_their_own_results(run, ran):
    def script():
        return results([draw(ran.path) for _ in range(CALLS)])

    found, _, batched = run(script)
    assert len(set(found)) == CALLS
    assert batched > 1
    assert run(script)[0] == found

    def more():
        return results([draw(ran.path) for _ in range(CALLS + 7)])

    assert ran()["draw"] == CALLS
    further = run(more)[0]
    assert (further[:CALLS], ran()["draw"]) == (found, 7)
    assert run(more)[0] == further, "places from batches and single ones"
    assert ran()["draw"] == 0


def test_results_that_are_more_than_plain_values(run, ran):
    def script():
        return results([pair(i, ran.path) for i in range(CALLS)])

    expected = [[i, {"x": i}] for i in range(CALLS)]
    assert run(script)[0] == expected
    found, memoizer, _ = run(script)
    assert (found, memoizer.reused) == (expected, CALLS)


def test_calls_of_join_apps(run, ran):
    @join_app
    def both(x, path):
        return [draw(path), square(x, path)]

    def script():
        return results([both(i, ran.path) for i in range(50)]), results([draw(ran.path) for _ in range(10)])

    joined, after = run(script)[0]
    assert sum(ran().values()) == 110
    again, memoizer, _ = run(script)
    # A join_app's result stands for the calls made in it: their places are not for others.
    assert (again, memoizer.reused) == ((joined, after), 60)
    assert ran() == {}


def test_a_change_of_the_source(run, ran):
    def versioned(text):
        names = {}
        exec(text, names)  # as a script that was edited
        return python_app(names["app"])

    text = "def app(x, path):\n    open(path, 'a').write('ran\\n')\n    return x + 1"

    def script(text):
        app = versioned(text)
        return results([app(i, ran.path) for i in range(CALLS)])

    run(lambda: script(text))
    found, memoizer, _ = run(lambda: script(text.replace("+ 1", "+ 2")))
    assert (found, memoizer.changed, memoizer.reused) == ([i + 2 for i in range(CALLS)], CALLS, 0)
    found, memoizer, _ = run(lambda: script(text.replace("+ 1", "+ 3")), ignore_changes=True)
    assert (found, memoizer.reused) == ([i + 2 for i in range(CALLS)], CALLS), "the newest"


def test_failed_calls_run_again(run, ran):
    @python_app
    def some(x, path):
        with open(path, "a") as file:
            file.write("ran\n")
        if x % 2:
            raise ValueError(x)
        return x

    def script():
        return [future.exception() is None for future in [some(i, ran.path) for i in range(CALLS)]]

    run(script)
    assert ran()["ran"] == CALLS
    found, memoizer, _ = run(script)
    assert (found, memoizer.reused, ran()["ran"]) == ([not i % 2 for i in range(CALLS)], CALLS // 2, CALLS // 2)


def test_calls_with_files_and_other_arguments_are_kept_by_themselves(run, ran, tmp_path):
    @bash_app
    def write(x, stdout=None):
        return f"echo {x}"

    def script():
        plain = [square(i, ran.path) for i in range(CALLS)]
        files = [write(i, stdout=str(tmp_path / f"{i}.txt")) for i in range(5)]
        lists = [square(i, Path(ran.path)) for i in range(5)]
        return results(plain + files + lists)

    found, memoizer, _ = run(script)
    assert checkpoint_kinds(memoizer) == {checkpoint.BATCH, checkpoint.RESULT}
    (tmp_path / "3.txt").unlink()
    again, memoizer, _ = run(script)
    assert (again, memoizer.reused) == (found, CALLS + 9), "and what it wrote must still be there"


def test_what_is_damaged_runs_again(run, ran):
    def script():
        first = results([square(i, ran.path) for i in range(CALLS // 2)])
        return first + results([square(i, ran.path) for i in range(CALLS // 2, CALLS)])

    memoizer = run(script)[1]
    path = memoizer.folder / checkpoint.OWN
    whole = bytearray(path.read_bytes())
    whole[-10:] = bytes(10)
    path.write_bytes(whole)
    ran()
    found, memoizer, _ = run(script)
    assert found == [i * i for i in range(CALLS)]
    assert memoizer.damaged == 1
    assert 0 < memoizer.reused < CALLS
    assert sum(ran().values()) == CALLS - memoizer.reused


VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary())


NAMED = st.dictionaries(st.text(max_size=3), VALUES, max_size=2)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.lists(VALUES, max_size=3), NAMED), max_size=30))
def test_a_batch_is_taken_up_like_single_calls(arguments):
    """Whatever the arguments, equal ones among them too."""
    with tempfile.TemporaryDirectory() as folder:
        memoizer = Checkpoint(Path(folder) / "one")
        keeper = checkpoint.Keeper(memoizer, 1)
        mark = keeper.mark({"func": len})
        for start in range(0, len(arguments), 7):
            part = arguments[start : start + 7]
            work = [(0, start + index, (tuple(args), kwargs)) for index, (args, kwargs) in enumerate(part)]
            records = [slots.packed(index, 0.1, PLAIN + pickle.dumps(start + index)) for index in range(len(part))]
            keeper.keep(Kept([mark] * len(part), pickle.dumps(work), b"".join(records), {}))
        memoizer.close()
        inherit(Path(folder) / "one", Path(folder) / "two")
        memoizer = Checkpoint(Path(folder) / "two")
        memoizer.start(run_dir="", config_run_dir="")
        order = list(range(len(arguments)))
        found = {n: ask(memoizer, n, *arguments[n]) for n in order}
        memoizer.close()
    assert found == {n: n for n in order}


def ask(memoizer, number, args, kwargs):
    task = {"id": number, "memoize": False, "kwargs": kwargs, "args": args, "func": len, "ignore_for_cache": []}
    future = memoizer.check_memo({**task, "join": False, "executor": "none", "dfk": "none"})
    return None if future is None else future.result()


def test_a_record_of_another_kind_is_damage():
    assert batches.calls(b"nonsense", 0, 0) is None
    assert batches.calls(b"\x80\x05N.", 0, 0) is None


def test_a_second_kernel_of_a_resumed_run(tmp_path):
    """When all that there was is taken up, the calls that follow have the places that follow."""

    def run(number, counts):
        folder = tmp_path / str(number) / "checkpoint"
        inherit(tmp_path / str(number - 1) / "checkpoint", folder)
        memoizer = Checkpoint(folder)
        found = []
        for count in counts:
            config = pilotage.config("laptop")
            config.memoizer = memoizer
            config.run_dir = str(tmp_path / str(number) / "parsl")
            parsl.clear()
            with parsl.load(config) as kernel:
                memoizer.serve(kernel)
                found.append(results([chance() for _ in range(count)]))
        parsl.clear()
        return found, memoizer

    (first,), _ = run(1, [30])
    (again, second), _ = run(2, [30, 30])
    assert again == first
    assert run(3, [30, 30])[0] == [first, second]
    assert run(4, [30, 30])[1].reused == 60


@python_app
def chance():
    import random

    return random.random()
