"""What scripts keep in globals: what arrives, and what is refused."""

import concurrent.futures
import contextvars
import dataclasses
import functools
import io
import os
import queue
import subprocess
import sys
import tempfile
import threading
import typing
import weakref

import pytest

from pilotage.worker.serializer import ToWorker


def copied(value):
    plugin = ToWorker()
    return plugin.deserialize(plugin.serialize(value))


@pytest.mark.parametrize("make", [threading.Lock, threading.RLock, threading.Condition])
def test_a_lock_that_is_held_arrives_free(make):
    with make() as held, concurrent.futures.ThreadPoolExecutor(1) as other_thread:
        del held
        lock = make()
        with lock:
            arrived = copied(lock)
            assert other_thread.submit(arrived.acquire, timeout=30).result()


def test_semaphores():
    bounded = threading.BoundedSemaphore(2)
    bounded.acquire()
    arrived = copied(bounded)
    assert arrived.acquire(blocking=False)
    assert arrived.acquire(blocking=False)
    arrived.release(2)
    with pytest.raises(ValueError, match="too many"):
        arrived.release()
    assert copied(threading.Semaphore(3))._value == 3


def test_events_and_queues():
    event, work = threading.Event(), queue.Queue()
    event.set()
    work.put("x")
    assert copied(event).is_set()
    assert copied(work).get(timeout=1) == "x"
    assert copied(queue.SimpleQueue()).empty()
    assert vars(copied(threading.local())) == {}


def test_one_lock_stays_one():
    lock = threading.Lock()
    first, second = copied([lock, lock])
    assert first is second


def test_a_thread_pool_arrives_as_a_new_one():
    with concurrent.futures.ThreadPoolExecutor(2, "name") as pool:
        pool.submit(int).result()
        with copied(pool) as arrived:
            assert arrived.submit(int, "3").result(timeout=30) == 3
            assert (arrived._max_workers, arrived._thread_name_prefix) == (2, "name")


def test_running_things_are_refused():
    with pytest.raises(Exception, match="belongs to the process that started it"):
        copied(threading.current_thread())
    process = subprocess.Popen([sys.executable, "-c", ""])
    with process, pytest.raises(Exception, match="belongs to the process that started it"):
        copied(process)


def test_futures():
    done, failed, waiting = (concurrent.futures.Future() for _ in range(3))
    done.set_result(4)
    failed.set_exception(KeyError("k"))
    assert copied(done).result() == 4
    assert type(copied(failed).exception()) is KeyError
    with pytest.raises(Exception, match="Pass it as an argument of its own"):
        copied([waiting])


def test_context_variables():
    assert copied(contextvars.ContextVar("v", default=3)).get() == 3
    with pytest.raises(LookupError):
        copied(contextvars.ContextVar("v")).get()


def test_cached_functions(script):
    main = script("import functools\n@functools.lru_cache(7)\ndef f(n): return n if n < 2 else f(n - 1) + f(n - 2)\n")
    arrived = copied(main.f)
    assert arrived(20) == 6765
    assert arrived.cache_parameters()["maxsize"] == 7
    assert copied(functools.lru_cache(functools.partial(int, base=2)))("11") == 3
    assert copied(typing.get_type_hints) is typing.get_type_hints
    import fnmatch

    assert copied(fnmatch._compile_pattern) is fnmatch._compile_pattern, "those of modules stay theirs"


def test_files(tmp_path):
    path = tmp_path / "file.txt"
    with open(path, "w", encoding="latin-1") as file:
        file.write("über ")
        with copied(file) as arrived:
            arrived.write("öl")
            assert arrived.encoding == "latin-1"
    assert path.read_text(encoding="latin-1") == "über öl"
    with open(path, encoding="latin-1") as file:
        file.read(2)
        assert copied(file).read() == "er öl"
    with open(path, "rb") as file:
        file.read(1)
        with copied(file) as arrived:
            assert arrived.read() == "ber öl".encode("latin-1")


def test_standard_streams():
    with open(os.devnull, "w") as file:
        old, sys.stdout = sys.stdout, file
        try:
            assert copied(sys.stdout) is file
        finally:
            sys.stdout = old


def test_files_that_a_copy_would_harm(tmp_path):
    """A copy of these would write an ending or delete the file when it goes."""
    import gzip

    with tempfile.NamedTemporaryFile() as file, pytest.raises(Exception, match="pass its name"):
        copied(file)
    with gzip.open(tmp_path / "x.gz", "wt") as file, pytest.raises(Exception, match="annot pickle"):
        copied(file)
    with open(tmp_path / "x", "wb") as file, pytest.raises(TypeError, match="cannot pickle"):
        copied(file)
    read, write = os.pipe()
    with open(read, "rb") as source, open(write, "wb"), pytest.raises(Exception, match="no path"):
        copied(source)


def test_sentinels_of_dataclasses():
    for name in ("MISSING", "KW_ONLY", "_HAS_DEFAULT_FACTORY"):
        assert copied(getattr(dataclasses, name)) is getattr(dataclasses, name)


def test_typing(script):
    main = script("from typing import *\nI = NewType('I', int)\nP = ParamSpec('P')\nTs = TypeVarTuple('Ts')\n")
    assert copied(main.I)(3) == 3
    assert (copied(main.I).__name__, copied(main.I).__supertype__) == ("I", int)
    assert copied(main.P).__name__ == "P"
    assert copied(main.Ts).__name__ == "Ts"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the type statement is of Python 3.12")
def test_type_statement(script):
    main = script("type Pair[T] = tuple[T, T]\n")
    arrived = copied(main.Pair)
    assert arrived.__name__ == "Pair"
    assert len(arrived.__type_params__) == 1


def test_weak_dictionaries():
    class Node:
        pass

    node = Node()
    values, kept = copied((weakref.WeakValueDictionary(a=node), node))
    assert values["a"] is kept
    assert type(copied(weakref.WeakKeyDictionary())) is weakref.WeakKeyDictionary


def test_the_environment_is_the_others_own():
    assert copied(os.environ) is os.environ


def test_a_kernel_stays_here():
    """An app that was given its kernel holds it; Parsl needs it where calls are made only."""
    from parsl import python_app
    from parsl.dataflow.dflow import DataFlowKernel

    kernel = DataFlowKernel.__new__(DataFlowKernel)
    app = python_app(lambda x: x + 1)
    app.data_flow_kernel = kernel
    arrived = copied(app)
    assert arrived.data_flow_kernel is None
    assert arrived.func(1) == 2


def test_a_string_buffer_needs_no_help():
    assert copied(io.StringIO("text")).read() == "text"
