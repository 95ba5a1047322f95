"""Runs one program with everything it starts: bounded in time, on a loopback of its own, and gone afterwards."""

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

HERE = Path(__file__).parent
PR_SET_CHILD_SUBREAPER = 36
ENDING = 15
"""Seconds a program may take from its measurement to its own end."""


def become_subreaper():
    """Let processes whose parent ends become ours, so that daemons are found (Linux; elsewhere nothing happens)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def enclosure():
    """Return the command that runs another one in a network namespace which has a loopback and nothing else, or [].

    Ray and HyperQueue listen on all interfaces whatever they are told; in there, loopback is all there is.
    """
    found = ["unshare", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return []
    return found if subprocess.run([*found, "true"], capture_output=True).returncode == 0 else []


def environment_of(folder, python):
    """Return the variables of a program: its environment's commands first, no state outside of ``folder``."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PILOTAGE_", "PYTHON"))}
    return {
        **own,
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(HERE / "programs"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PILOTAGE_STATE": f"{folder}/state",
        "RAY_USAGE_STATS_ENABLED": "0",
        "BENCHMARK_STARTED": str(time.monotonic()),
    }


def run(argv, python, limit, parse):
    """Run a program in an empty folder and return its values.

    ``parse`` makes them of its standard output. Raises RuntimeError with the reason where there are none: the program
    failed, took more than ``limit`` seconds, or printed something else.
    """
    with tempfile.TemporaryDirectory(prefix="b", ignore_cleanup_errors=True) as folder:
        out, err = Path(folder, "stdout"), Path(folder, "stderr")
        work = Path(folder, "w")
        work.mkdir()
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [*map(str, argv)],
                cwd=work,
                env=environment_of(work, python),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
            try:
                finished = _wait(process, out, limit, parse)
            finally:
                end_all(process)
        text = out.read_text(errors="replace")
        try:
            return parse(text)
        except ValueError as error:
            said = [line.strip() for line in err.read_text(errors="replace").splitlines() if line.strip()]
            why = f"exit code {process.returncode}" if finished else f"no result within {limit:g} s"
            raise RuntimeError(f"{why}; {said[-1][:300] if said else error}") from None


def _wait(process, out, limit, parse):
    """Wait for the program's end, or, once it has printed its values, a little; return whether it ended itself."""
    end, measured = time.monotonic() + limit, False
    while time.monotonic() < end:
        try:
            process.wait(timeout=0.25)
            return True
        except subprocess.TimeoutExpired:
            if not measured and out.stat().st_size and _parses(parse, out):
                measured, end = True, min(end, time.monotonic() + ENDING)
    return False


def _parses(parse, out):
    # parsl-perf prints a rate for each of its rounds: only a JSON line is known to be the last word.
    if parse is not last_json_line:
        return False
    try:
        parse(out.read_text(errors="replace"))
    except ValueError:
        return False
    return True


def end_all(process):
    """End a program, its process group and every descendant of ours: one program runs at a time."""
    for _ in range(100):
        left = psutil.Process().children(recursive=True)
        if not left:
            break
        for each in left:
            try:
                each.kill()
            except psutil.NoSuchProcess:
                pass  # it ended between the two lines
        process.poll()
        _reap(process.pid)
        time.sleep(0.02)
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # nothing is left of the group, as it should be
    process.wait()


def _reap(popen_takes):
    """Take the exit status of orphans that became ours; the program's own is Popen's to take."""
    for child in psutil.Process().children():
        try:
            if child.pid != popen_takes and child.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(child.pid, os.WNOHANG)
        except (psutil.NoSuchProcess, ChildProcessError):
            pass  # somebody was faster


def last_json_line(output):
    """Return the JSON object on the last line of a program's output that holds one; raises ValueError without."""
    for line in reversed(output.splitlines()):
        if line.startswith("{"):
            values = json.loads(line)
            return {name: float(value) for name, value in values.items()}
    raise ValueError("no line of JSON in its output")
