"""A program is bounded, leaves nothing, and a failure has a reason."""

import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def in_its_own_process(program, limit=30):
    """Run a program under the harness in a process of its own: the harness ends all descendants it has."""
    text = f"""
        import json, sys
        from pathlib import Path
        import processes
        processes.become_subreaper()
        try:
            argv = [sys.executable, "-c", {program!r}]
            found = processes.run(argv, Path(sys.executable), {limit}, processes.last_json_line)
        except RuntimeError as error:
            found = str(error)
        import psutil
        print(json.dumps([found, [each.pid for each in psutil.Process().children(recursive=True)]]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text)],
        env={"PYTHONPATH": str(BENCHMARKS), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    import json

    return json.loads(done.stdout)


DAEMON = """
import json, os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
print(json.dumps({"pid": child.pid}), flush=True)
os._exit(0)
"""


def test_a_daemon_in_a_session_of_its_own_is_ended():
    found, left = in_its_own_process(DAEMON)
    assert left == []
    assert not psutil.pid_exists(int(found["pid"]))


def test_the_last_json_line_counts_and_noise_does_not():
    found, _ = in_its_own_process("print('{\"rate\": 1}'); print('noise'); print('{\"rate\": 2.5}'); print('the end')")
    assert found == {"rate": 2.5}


@pytest.mark.parametrize(
    ("program", "limit", "words"),
    [
        ("raise SystemExit('no such thing')", 30, ["exit code 1", "no such thing"]),
        ("1 / 0", 30, ["exit code 1", "ZeroDivisionError: division by zero"]),
        ("import time; time.sleep(300)", 0.5, ["no result within 0.5 s"]),
        ("pass", 30, ["exit code 0", "no line of JSON"]),
    ],
)
def test_a_failure_has_a_reason(program, limit, words):
    found, left = in_its_own_process(program, limit)
    assert all(word in found for word in words), found
    assert left == []
