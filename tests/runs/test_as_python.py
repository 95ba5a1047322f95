"""A script under ``pilotage run`` finds what it finds under ``python SCRIPT``, byte for byte."""

import json
import signal
import sys

import pytest

# Each script is run both ways; stdout, stderr (less our summary line) and exit code must be equal.
SCRIPTS = {
    "prints": "print('out'); import sys; print('err', file=sys.stderr)",
    "arguments": "import sys; print(sys.argv)",
    "path": "import sys; print(sys.path[0])",
    "name and file": "print(__name__, __file__, __doc__, __spec__, __builtins__ is not None)",
    "main module": "import sys\nx = 3\nprint(sys.modules['__main__'].x, __import__('__main__').x)",
    "docstring": '"""The doc."""\nprint(__doc__)',
    "annotations": "x: int = 3\nprint(__annotations__)",
    "guard": "if __name__ == '__main__':\n    print('guarded')",
    "stdin": "import sys; print(sys.stdin.read().upper())",
    "input": "print(input('Name? '))",
    "isatty": "import sys; print(sys.stdin.isatty(), sys.stdout.isatty(), sys.stderr.isatty())",
    "exit code": "import sys; sys.exit(7)",
    "exit message": "import sys; sys.exit('gone')",
    "exit none": "import sys; sys.exit()",
    "os exit": "import os; os._exit(9)",
    "error": "def f():\n    return 1 / 0\n\nf()",
    "chained": "try:\n    {}['a']\nexcept KeyError as e:\n    raise ValueError('b') from e",
    "context": "try:\n    {}['a']\nexcept KeyError:\n    raise ValueError('b')",
    "assertion": "assert 1 == 2, 'no'",
    "excepthook": "import sys\nsys.excepthook = lambda *a: print('hook', a[0].__name__)\n1 / 0",
    "group": "raise ExceptionGroup('g', [ValueError('a'), KeyError('b')])",
    "keyboard interrupt": "raise KeyboardInterrupt",
    "signal": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "killed": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "a child that leaves": "import os\np = os.fork()\nif p == 0:\n    raise SystemExit(4)\nprint(os.waitpid(p, 0)[1])",
    "atexit": "import atexit; atexit.register(print, 'last'); print('first')",
    "thread": "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.2), print('late'))).start()",
    "import error": "import nothing_of_that_name",
    "relative path": "print(open('data.txt').read())",
    "sibling": "import sibling; print(sibling.VALUE)",
    "warning": "import warnings; warnings.warn('careful')",
    "syntax warning": "x = 1\nprint(x is 1)",
    "future": "from __future__ import annotations\ndef f(x: Unknown): pass\nprint(f.__annotations__)",
    "binary stdout": "import sys; sys.stdout.buffer.write(b'\\x00\\xff\\n')",
    "spawn": (
        "import multiprocessing as mp\ndef f(x): return x * x\n"
        "if __name__ == '__main__':\n    with mp.get_context('spawn').Pool(1) as p: print(p.map(f, [2, 3]))"
    ),
    "fork": (
        "import multiprocessing as mp\ndef f(x): return x * x\n"
        "if __name__ == '__main__':\n    with mp.get_context('fork').Pool(1) as p: print(p.map(f, [2, 3]))"
    ),
    "pickle": "import pickle\nclass C: pass\nprint(type(pickle.loads(pickle.dumps(C()))) is C)",
    "inspect": "import inspect\ndef f():\n    return 1\nprint(inspect.getsource(f))",
    "dataclass": "import dataclasses\n@dataclasses.dataclass\nclass C:\n    x: int\nprint(C(1))",
    "recursion": "def f(): f()\ntry:\n    f()\nexcept RecursionError: print('deep')",
}


# One after the other in one script: those that neither end it nor must be its beginning, nor take its input.
TOGETHER = [
    *("prints", "arguments", "path", "name and file", "main module", "annotations", "guard", "input", "isatty"),
    *("a child that leaves", "thread", "relative path", "sibling", "warning", "syntax warning", "pickle", "inspect"),
    *("dataclass", "recursion", "atexit"),
]
# Each of these ends the script in its way, or must have it for itself.
ALONE = [
    "exit code",
    "exit message",
    "os exit",
    "error",
    "excepthook",
    "keyboard interrupt",
    "signal",
    "killed",
    "future",
]
ALONE += ["docstring", "stdin", "binary stdout", "spawn"]
ERRORS = """
def fail(number):
    try:
        {}['a']
    except KeyError as error:
        if number == 0: raise ValueError('b') from error
        if number == 1: raise ValueError('b')
    assert number != 2, 'no'
    import nothing_of_that_name
found = []
for number in range(4):
    try:
        fail(number)
    except Exception as error:
        found.append(error)
raise ExceptionGroup('g', found)
"""


def outcome(completed):
    errors = [line for line in completed.stderr.splitlines() if not line.startswith("run 20")]
    return completed.returncode, completed.stdout, errors


@pytest.fixture
def compare(project, pilotage):
    """Run a script both ways, and compare."""

    def run(text):
        (project / "sibling.py").write_text("VALUE = 5\n")
        (project / "data.txt").write_text("content")
        (project / "script.py").write_text(text)
        options = {"input": "typed in\n", "errors": "surrogateescape"}
        plain = pilotage.run([sys.executable, "script.py", "a", "--b", "c d"], **options)
        ours = pilotage("run", "script.py", "--", "a", "--b", "c d", **options)
        assert outcome(ours) == outcome(plain)
        return plain

    return run


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in ALONE else pytest.mark.slow) for name in SCRIPTS]
)
def test_same_outcome(name, compare):
    compare(SCRIPTS[name])


def test_same_outcome_of_many_in_one_script(compare):
    plain = compare("".join(f"{SCRIPTS[name]}\nprint('over', flush=True)\n" for name in TOGETHER))
    assert (plain.returncode, plain.stdout.count("over\n")) == (0, len(TOGETHER)), plain.stderr


def test_same_outcome_of_many_errors(compare):
    assert "ExceptionGroup: g (4 sub-exceptions)" in compare(ERRORS).stderr


def test_a_safe_path_is_left_safe(project, pilotage):
    (project / "lib").mkdir()
    (project / "lib" / "in_lib.py").write_text("VALUE = 1\n")
    (project / "script.py").write_text("import in_lib, sys; print(in_lib.VALUE, sys.path[0])")
    env = {"PYTHONSAFEPATH": "1", "PYTHONPATH": str(project / "lib")}
    plain = pilotage.run([sys.executable, "script.py"], env=env)
    assert outcome(pilotage("run", "script.py", env=env)) == outcome(plain)
    assert plain.stdout == f"1 {project / 'lib'}\n"


def test_a_killed_driver_is_one_json_object(project, pilotage):
    (project / "script.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    done = pilotage("run", "--json", "script.py")
    assert json.loads(done.stdout)["exit_code"] == 137
    assert done.returncode == -signal.SIGKILL
    assert done.stderr == ""


def test_interpreter_flags_go_on(project, pilotage):
    (project / "script.py").write_text("assert False\nprint(__debug__)")
    done = pilotage.run([sys.executable, "-O", "-m", "pilotage", "run", "script.py"])
    assert (done.returncode, done.stdout) == (0, "False\n")


def test_started_from_another_folder(project, tmp_path, pilotage):
    (project / "sibling.py").write_text("VALUE = 5\n")
    (project / "script.py").write_text("import os, sibling; print(sibling.VALUE, os.getcwd())")
    done = pilotage("run", project / "script.py", cwd=tmp_path)
    assert done.stdout == f"5 {tmp_path}\n"


def test_a_module_of_the_current_folder_does_not_shadow_ours(project, tmp_path, pilotage):
    """The driver starts in the user's folder, where a file may be called json.py."""
    elsewhere = tmp_path / "scripts"
    elsewhere.mkdir()
    (elsewhere / "script.py").write_text("print('fine')")
    (project / "json.py").write_text("raise RuntimeError('shadowed')")
    (project / "parsl.py").write_text("raise RuntimeError('shadowed')")
    assert pilotage("run", elsewhere / "script.py").stdout == "fine\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_reach_the_script(number, project, pilotage):
    import subprocess

    (project / "script.py").write_text(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *a: sys.exit(5))\n"
        "print('ready', flush=True)\n"
        "try:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    sys.exit(6)\n"
    )
    argv = [sys.executable, "-m", "pilotage", "run", "script.py"]
    with subprocess.Popen(argv, env=pilotage.env(), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        assert process.stdout.readline() == b"ready\n"
        if number == signal.SIGTERM:  # a view that is ended leaves the run alone
            pilotage("cancel", "@last")
        else:
            process.send_signal(number)
        assert process.wait(30) == {signal.SIGINT: 6, signal.SIGTERM: 5}[number]


def test_json_keeps_stdout_for_one_object(project, pilotage):
    (project / "script.py").write_text("print('hello')\nraise SystemExit(3)")
    done = pilotage("run", "--json", "script.py", "--", "--x")
    record = json.loads(done.stdout)
    assert done.returncode == record["exit_code"] == 3
    assert done.stderr == "hello\n"
    assert record["state"] == "failed"
    assert record["arguments"] == ["--x"]
    from pathlib import Path

    assert (Path(record["folder"]) / "driver.log").read_text() == "hello\n"
