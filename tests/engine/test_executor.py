"""The executor in scripts of its own: what it starts, what survives, what ends, and what is said."""

import os
import signal

import psutil
import pytest


def test_threads_beside_it_and_parsl_are_as_before(run):
    run(
        "from parsl.serialize import facade\n"
        "before = list(facade.methods_for_code), list(facade.methods_for_data)\n"
        "class C: pass\n"
        "@python_app(executors=['threads'])\ndef here(c): return c\n"
        "@python_app(executors=['htex'])\ndef there(c): return c\n"
        "with load(executor(), ThreadPoolExecutor(label='threads')):\n"
        "    c = C()\n"
        "    assert type(there(c).result()) is C\n"
        "    assert here(c).result() is c\n"
        "    assert (list(facade.methods_for_code), list(facade.methods_for_data)) == before\n"
    )


def test_what_a_script_finds(run, project):
    """Several things in one run: where its tasks are, who the interchange is, what cannot be sent, and retries."""
    out = run(
        "import gc, traceback, weakref\nfrom parsl.serialize.errors import SerializationError\n"
        "@python_app\ndef where(): return os.getcwd(), sys.path, os.environ.get('PYTHONPATH')\n"
        "@bash_app\ndef shell(stdout): return 'echo \"$PYTHONPATH\"; pwd'\n"
        "numbers = (n for n in 'abc')\ndef helper(): return next(numbers)\n"
        "@python_app\ndef f(x=None): return helper()\n@python_app\ndef fine(): return 1\n"
        "@python_app\ndef back(x): return x\n"
        "def once():\n    class Local: pass\n"
        "    assert type(back(Local()).result()) is Local\n    return weakref.ref(Local)\n"
        "class Flaky(Exception): pass\nattempts = []\n"
        "@python_app\ndef flaky():\n    attempts.append(1)\n"
        "    if len(attempts) < 3: raise Flaky()\n    return len(attempts)\n"
        "with load(retries=3) as kernel:\n"
        "    cwd, path, variable = where().result()\n"
        "    print(cwd == os.getcwd(), path[0] == os.path.dirname(os.path.abspath(__file__)), variable)\n"
        "    shell(stdout='out').result()\n"
        "    print(open('out').read())\n"
        # a session of its own
        "    process = kernel.executors['htex'].interchange_proc\n"
        "    assert os.getsid(process.pid) == process.pid != os.getsid(0)\n"
        # a class made in a function is not kept
        "    seen = [once() for _ in range(5)]\n"
        "    kernel.wait_for_current_tasks()\n"
        "    fine().result()\n"  # the last one's frames are left
        "    gc.collect()\n"
        "    assert [ref() for ref in seen] == [None] * 5\n"
        # what cannot be sent is explained
        "    for error in (f().exception(), f(open).exception(), f(x=(n for n in 'a')).exception()):\n"
        "        assert type(error) is SerializationError and error.fname == 'f'\n"
        "        print(error.__cause__.__notes__[0])\n"
        "    assert fine().result() == 1\n"
        "    assert flaky().result() == 3\n"
    )
    assert out.splitlines() == [
        "True True None",
        "",
        str(project),
        "",
        "What cannot be sent is 'numbers', which helper uses, a generator.",
        "What cannot be sent is 'numbers', which helper uses, a generator.",
        "What cannot be sent is argument 'x', a generator.",
    ]


def test_given_folders(run, project):
    (project / "other").mkdir()
    (project / "lib").mkdir()
    (project / "lib" / "only_there.py").write_text("X = 5\n")
    run(
        "@python_app\ndef f():\n    import os, only_there\n    return os.path.basename(os.getcwd()), only_there.X\n"
        "with load(executor(script_path=[os.path.abspath('lib')], worker_cwd=os.path.abspath('other'))):\n"
        "    assert f().result() == ('other', 5)\n"
    )


def test_with_parsls_serializer_it_is_parsls(run):
    run(
        "K = 1\n@python_app\ndef uses_global(): return K\n@python_app\ndef plain(x): return x\n"
        "with load(executor(serializer='parsl')):\n"
        "    assert plain(3).result() == 3\n"
        "    assert type(uses_global().exception()) is NameError\n"
    )


def test_ctrl_c_ends_everything(start):
    """Parsl's own driver waits for its dead interchange for ever."""
    process = start(
        "@python_app\ndef sleep():\n    import time\n    time.sleep(60)\n@python_app\ndef one(): return 1\n"
        "with load():\n    one().result()\n    future = sleep()\n    print('ready', flush=True)\n    future.result()\n"
    )
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert errors.rstrip().endswith("KeyboardInterrupt")


def test_a_killed_driver_leaves_nothing(start, pilotage):
    """Workers go when their manager has not heard from the interchange for a while."""
    process = start(
        "@python_app\ndef one(): return 1\n"
        "with load():\n    one().result()\n    print('ready', flush=True)\n    threading.Event().wait()\n"
    )
    left = pilotage.left_behind()
    assert len(left) > 2
    process.kill()
    _, alive = psutil.wait_procs(left, timeout=60)
    assert not alive


def test_tasks_fail_when_the_interchange_ends(run):
    out = run(
        "@python_app\ndef sleep():\n    import time\n    time.sleep(600)\n@python_app\ndef one(): return 1\n"
        "with load() as kernel:\n"
        "    one().result()\n    futures = [sleep(), sleep()]\n"
        "    process = kernel.executors['htex'].interchange_proc\n    process.kill()\n    process.wait()\n"
        "    for future in futures: print(future.exception())\n"
        "    print(one().exception())\n"
        "    late = kernel.executors['htex'].tasks[0] = Future()\n"  # as if on its way in at that moment
        "    print(late.exception(timeout=30))\n"
    )
    assert out.count("its interchange has ended (exit code -9)") == 4


def test_cleaning_up_after_the_interchange_has_ended(run):
    run(
        "@python_app\ndef one(): return 1\n"
        "with load() as kernel:\n"
        "    one().result()\n"
        "    ours = kernel.executors['htex']\n"
        "    ours.interchange_proc.kill()\n"
        "    ours.interchange_proc.wait()\n"
        "    assert ours.connected_managers() == ours.connected_blocks() == []\n"
        "    assert ours.connected_managers_packages() == {}\n"
        "    ours._hold_manager('none')\n"
    )


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("['/no/such/program']", "FileNotFoundError"),
        ("[sys.executable, '-c', 'pass']", "Exception: Interchange failed to start"),
    ],
)
def test_a_start_that_fails_leaves_nothing(run, command, error):
    out = run(
        "import psutil\n"
        f"ours = executor(interchange_launch_cmd={command})\n"
        "try:\n    load(ours)\nexcept Exception as e:\n    print(f'{type(e).__name__}: {e}')\n"
        "print([t.name for t in threading.enumerate() if 'HTEX' in t.name], psutil.Process().children())\n"
        "for queue in (ours.outgoing_q, ours.incoming_q): print(queue.zmq_context.closed)\n"
        "os._exit(0)\n",  # a kernel that failed half-way has threads of its own
        timeout=60,
    )
    lines = out.splitlines()
    assert lines[0].startswith(error)
    assert lines[1:] == ["[] []", "True", "True"]


def test_a_start_that_fails_later_ends_the_interchange(run):
    out = run(
        "class Failing(HighThroughputExecutor):\n"
        "    def initialize_scaling(self): raise RuntimeError('late')\n"
        "command = interchange_command(sys.executable)\n"
        "ours = Failing(label='x', address='127.0.0.1', encrypted=False, interchange_launch_cmd=command)\n"
        "try:\n    ours.start()\nexcept RuntimeError as e:\n    print(e, ours.interchange_proc.poll() is not None)\n"
        "print([t.name for t in threading.enumerate() if 'HTEX' in t.name])\n"
    )
    assert out.splitlines() == ["late True", "[]"]


def test_its_arguments():
    import inspect

    from parsl.executors import HighThroughputExecutor as Theirs
    from typeguard import TypeCheckError

    from pilotage.engine.executor import HighThroughputExecutor

    added = {"serializer", "script_path", "worker_cwd", "driver", "coalesce", "rerun_lost", "apps", "relax_collector"}
    added |= {"workers_per_place", "route", "verify", "require", "environment", "data"}
    assert (
        set(inspect.signature(HighThroughputExecutor).parameters) == set(inspect.signature(Theirs).parameters) | added
    )
    made = HighThroughputExecutor(label="x", address="127.0.0.1", script_path=["/a"], worker_cwd="/b")
    text = repr(made)
    for part in ("label='x'", "script_path=('/a',)", "worker_cwd='/b'", "serializer='cloudpickle'"):
        assert part in text
    with pytest.raises(TypeCheckError, match="serializer"):
        HighThroughputExecutor(address="127.0.0.1", serializer="dill")
    with pytest.raises(TypeCheckError, match="label"):
        HighThroughputExecutor(label=3, address="127.0.0.1")
    with pytest.raises(TypeError, match="no_such_argument"):
        HighThroughputExecutor(address="127.0.0.1", no_such_argument=1)


def test_blocks_that_start_are_not_ended_for_a_scale_in_by_none(monkeypatch):
    """With one task and a block of two slots Parsl's strategy asks for 0 blocks fewer, again and again."""
    from parsl.executors import HighThroughputExecutor as Stock
    from parsl.jobs.states import JobState, JobStatus

    from pilotage.engine.executor import HighThroughputExecutor as Ours

    class Asked:
        def __init__(self, kind):
            self.executor = kind(label="htex", address="127.0.0.1")
            self.executor._status = {"0": JobStatus(JobState.RUNNING)}
            self.ended = []
            monkeypatch.setattr(self.executor, "connected_managers", list)
            monkeypatch.setattr(self.executor, "_hold_block", self.ended.append)
            monkeypatch.setattr(self.executor, "blocks_to_job_id", {"0": "1"})
            monkeypatch.setattr(self.executor, "job_ids_to_block", {"1": "0"})
            provider = type("Provider", (), {"cancel": lambda self, jobs: [True for _ in jobs]})()
            monkeypatch.setattr(self.executor, "_provider", provider, raising=False)
            monkeypatch.setattr(type(self.executor), "provider", provider, raising=False)

    stock, ours = Asked(Stock), Asked(Ours)
    stock.executor.scale_in(0, max_idletime=120.0)
    assert stock.ended == ["0"], "the reason for our method has gone"
    assert ours.executor.scale_in(0, max_idletime=120.0) == []
    assert ours.ended == []
    ours.executor.scale_in(1, max_idletime=120.0)
    assert ours.ended == ["0"]
