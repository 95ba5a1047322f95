"""A script's ``__main__`` and a process that does what Parsl's worker does with a call."""

import subprocess
import sys
import types

import pytest
from parsl.serialize import facade

from pilotage.worker.serializer import FunctionToWorker, ToWorker

# As in Parsl's worker loop, with the length of each message before it.
WORKER = """
import sys
from parsl.app.errors import RemoteExceptionWrapper
from parsl.executors.execute_task import execute_task
from parsl.serialize.facade import serialize
while size := sys.stdin.buffer.readline():
    message = sys.stdin.buffer.read(int(size))
    try:
        answer = serialize(execute_task(message))
    except Exception:
        answer = serialize(RemoteExceptionWrapper(*sys.exc_info()))
    sys.stdout.buffer.write(b"%d\\n" % len(answer) + answer)
    sys.stdout.buffer.flush()
"""


class Elsewhere:
    """Calls functions in another process, by Parsl's serialization with our plug-ins."""

    def __init__(self):
        self.process = subprocess.Popen([sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __call__(self, function, *args, **kwargs):
        answer = facade.deserialize(self.raw(function, *args, **kwargs))
        if hasattr(answer, "reraise"):
            answer.reraise()
        return answer

    def raw(self, function, *args, **kwargs):
        parts = zip((FunctionToWorker(), ToWorker(), ToWorker()), (function, args, kwargs), strict=True)
        message = facade.pack_buffers([p.identifier + b"\n" + p.serialize(part) for p, part in parts])
        self.process.stdin.write(b"%d\n" % len(message) + message)
        self.process.stdin.flush()
        return self.process.stdout.read(int(self.process.stdout.readline()))

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(30) == 0
        self.process.stdout.close()


@pytest.fixture(scope="module")
def elsewhere():
    made = Elsewhere()
    yield made
    made.close()


@pytest.fixture
def script(monkeypatch):
    """Run a text as the script of this process; returns its module, ``__main__``."""

    def run(text):
        module = types.ModuleType("__main__")
        module.__file__ = "/somewhere/script.py"
        monkeypatch.setitem(sys.modules, "__main__", module)
        exec(compile(text, module.__file__, "exec"), module.__dict__)
        return module

    return run


@pytest.fixture(autouse=True)
def parsl_unchanged(monkeypatch):
    """Reading a message makes a process a worker; undo that after each test."""
    for name in ("methods_for_code", "methods_for_data", "additional_methods_for_deserialization"):
        before = dict(getattr(facade, name))
        monkeypatch.setattr(facade, name, before)
