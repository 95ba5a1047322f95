"""The interchange and the first blocks start side by side; nothing is started twice, and nothing is left."""

import threading

import pytest

from pilotage.engine.beginning import FirstBlocks

APP = "@python_app\ndef one(): return 1\n"
LEFT = "import psutil\nprint(psutil.Process().children(recursive=True))\n"
WAITING = """
import os, sys, time
if "pilotage.engine.interchange" in sys.orig_argv:
    end = time.monotonic() + 60
    while not os.path.exists(os.environ["BLOCK_HAS_BEGUN"]):
        time.sleep(0.01)
        if time.monotonic() > end:
            os._exit(3)
"""


def within_the_interchange(folder, text):
    """Return the environment in which every interchange runs ``text`` before anything else."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(text)
    return {"PYTHONPATH": str(folder), "BLOCK_HAS_BEGUN": str(folder / "begun")}


def test_side_by_side(run, tmp_path):
    """An interchange that starts only once the first block has begun."""
    env = within_the_interchange(tmp_path / "within", WAITING)
    out = run(
        APP + "begun = os.environ['BLOCK_HAS_BEGUN']\n"
        "ours = executor(provider=LocalProvider(init_blocks=1, max_blocks=1, worker_init=f'touch {begun}'))\n"
        "with load(ours):\n    print(one().result())\n",
        env=env,
    )
    assert out.split() == ["1"]


def test_the_strategy_takes_them_and_who_wants_more_gets_more(run):
    out = run(
        APP + "import time\n"
        "ours = executor(provider=LocalProvider(init_blocks=2, max_blocks=3))\n"
        "with load(ours):\n"
        "    more = ours.scale_out_facade(1)\n"
        "    while ours._first is not None or len(ours.status_facade) < 3: time.sleep(0.01)\n"
        "    print(one().result(), more, sorted(ours.status_facade))\n"
    )
    assert out.splitlines()[-1] in [f"1 ['{number}'] ['0', '1', '2']" for number in range(3)]


def test_a_port_that_somebody_takes(run):
    """Programs that share ports can: the interchange listens at another, and blocks that know the first are ended."""
    out = run(
        APP + "import socket\n"
        "from pilotage.engine import beginning\n"
        "thief = socket.create_server(('127.0.0.1', 0))\n"
        "beginning.reserve = lambda address, ports: thief.dup()\n"
        "ours = executor()\n"
        "with load(ours):\n"
        "    print(one().result(), ours.worker_port != thief.getsockname()[1], {\n"
        "        block: status.status_name for block, status in ours.status_facade.items() if block == '0'})\n"
        "thief.close()\n" + LEFT
    )
    assert out.splitlines() == ["1 True {'0': 'SCALED_IN'}", "[]"]


DEAD = "import os, sys\nif 'pilotage.engine.interchange' in sys.orig_argv: os._exit(3)\n"


@pytest.mark.parametrize(("linux", "kind"), [(True, "ExecutorError"), (False, "Exception")])
def test_an_interchange_that_does_not_start(run, tmp_path, linux, kind):
    env = within_the_interchange(tmp_path / "within", DEAD)
    out = run(
        f"from pilotage import system\nsystem.linux = lambda: {linux}\n"
        "ours = executor()\n"
        "try:\n    load(ours)\nexcept Exception as e:\n    print(type(e).__name__, 'nterchange' in str(e))\n"
        + LEFT
        + "sys.stdout.flush()\nos._exit(0)\n",  # a kernel that failed half-way has threads of its own
        env=env,
    )
    assert out.splitlines() == [f"{kind} True", "[]"]


def test_an_executor_without_a_kernel(run):
    out = run(
        "ours = executor()\nours.run_dir = os.getcwd()\nours.provider.script_dir = os.getcwd()\n"
        "ours.start()\nprint(len(ours._first.wait()))\nours.shutdown()\n" + LEFT
    )
    assert out.splitlines() == ["1", "[]"]


def test_another_systems_way(run):
    out = run(
        APP + "from pilotage import system\nsystem.linux = lambda: False\n"
        "with load() as kernel:\n    print(one().result(), kernel.executors['htex']._reserved)\n"
    )
    assert out.split() == ["1", "None"]


def test_nothing_is_reserved_where_the_port_is_given(run):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    out = run(
        APP + f"ours = executor(worker_port={port})\n"
        "with load(ours):\n    print(one().result(), ours.worker_port, ours._reserved)\n"
    )
    assert out.split() == ["1", str(port), "None"]


SLOW = """
import time
class Slow(LocalProvider):
    begun = 0
    def submit(self, *given):
        Slow.begun += 1
        time.sleep(0.5)
        return super().submit(*given)
"""


@pytest.mark.parametrize("pause", [pytest.param(0, marks=pytest.mark.slow), 0.7])
def test_an_end_while_they_are_being_started(run, pause):
    """Those that have been asked for are ended, and no more are asked for."""
    out = run(
        SLOW + "ours = executor(provider=Slow(init_blocks=40, max_blocks=40))\n"
        f"with parsl.load(Config([ours], strategy_period=60)):\n    time.sleep({pause})\n"
        "print(0 < Slow.begun < 40, {status.status_name for status in ours.status_facade.values()})\n" + LEFT
    )
    assert out.splitlines() == ["True {'SCALED_IN'}", "[]"]


def test_a_scheduler_that_refuses_all(run):
    out = run(
        APP + "class Refusing(LocalProvider):\n    def submit(self, *given): raise RuntimeError('no such account')\n"
        "with load(executor(provider=Refusing(init_blocks=2, max_blocks=2))):\n"
        "    error = one().exception()\n    print(type(error).__name__, 'no such account' in str(error))\n" + LEFT
    )
    assert out.splitlines() == ["BadStateException True", "[]"]


def test_an_interchange_that_ends_while_a_scheduler_takes_its_time(run):
    """That is told at once; the block that is being asked for is ended like any other when it is there."""
    out = run(
        APP + SLOW.replace("0.5", "5") + "from pilotage.worker import logs\ntold = []\n"
        "logs.ends_in_order = lambda folder, block: told.append(block)\n"
        "ours = executor(provider=Slow(init_blocks=1, max_blocks=1))\n"
        "with load(ours):\n"
        "    waits = one()\n    begun = time.monotonic()\n    ours.interchange_proc.kill()\n"
        "    print(type(waits.exception()).__name__, time.monotonic() - begun < 4)\n"
        "print(told)\n" + LEFT
    )
    first, *rest = out.splitlines()
    assert first in ("BadStateException True", "ExecutorError True")  # whether the call had been sent by then
    assert rest == ["['0']", "[]"]


def test_as_many_as_may_be_are_started_at_once():
    """Three wait for each other, so that all of six are started only where three are at once."""
    numbers, three, before = iter(range(6)), threading.Barrier(3), set(threading.enumerate())
    go_on = threading.Event()

    def start():
        three.wait(10)
        go_on.wait(10)
        return [str(next(numbers))]

    first = FirstBlocks(start, 6, at_once=3)
    assert len(set(threading.enumerate()) - before) == 3
    go_on.set()
    assert first.are_over(30)
    assert sorted(first.wait()) == ["0", "1", "2", "3", "4", "5"]


AT_ONCE = """
import threading
class AtOnce(LocalProvider):
    at_once, three, last = 3, threading.Barrier(3), threading.Barrier(2)
    def submit(self, *given):
        (self.three if len(ours.status_facade) < 3 else self.last).wait(10)
        return super().submit(*given)
"""


def test_a_provider_says_how_many_it_starts_at_once(run):
    """The first blocks, and those that are asked for together later."""
    out = run(
        APP + "import time\n" + AT_ONCE + "ours = executor(provider=AtOnce(init_blocks=3, max_blocks=5))\n"
        "with load(ours):\n"
        "    while ours._first is not None: time.sleep(0.01)\n"
        "    print(one().result(), sorted(ours.status_facade), sorted(ours.scale_out_facade(2)))\n"
    )
    assert out.splitlines()[-1] == "1 ['0', '1', '2'] ['3', '4']"


def test_no_more_are_started_after_a_stop():
    begun, go_on, started = threading.Event(), threading.Event(), []

    def start():
        started.append(str(len(started)))
        begun.set()
        go_on.wait(10)
        return started[-1:]

    first = FirstBlocks(start, 3)
    assert begun.wait(10)
    first.stop()
    go_on.set()
    assert first.wait() == ["0"] == started
