"""What happens around a run: its terminal is closed, its disk is full or read-only, its threads end."""

import contextlib
import fcntl
import os
import pty
import select
import subprocess
import termios
import threading

import pytest
from fault_run import OPTIONS, QUICK, SCRIPT, strike
from matrix import MOMENTS

IN_A_THREAD = SCRIPT.replace(
    "with parsl.load():",
    "import threading\nthread = threading.Thread(target=parsl.load)\nthread.start()\nthread.join()\nwith parsl.dfk():",
)


class Terminal:
    """A pseudo-terminal that somebody looks at until it is closed."""

    def __init__(self):
        self.master, self.slave = pty.openpty()
        self.looked_at = True
        self.reader = threading.Thread(target=self._look)
        self.reader.start()

    def _look(self):
        while self.looked_at:
            if select.select([self.master], [], [], 0.05)[0]:
                with contextlib.suppress(OSError):
                    os.read(self.master, 65536)

    def take(self):
        """Become the leader of its session; called in the child."""
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def close(self):
        if self.looked_at:
            self.looked_at = False
            self.reader.join()
            os.close(self.slave)
            os.close(self.master)


@pytest.fixture
def terminal():
    opened = Terminal()
    yield opened
    opened.close()


@pytest.mark.parametrize(
    "moment", [pytest.param(one, marks=[] if one == "mid-run" else [pytest.mark.slow]) for one in MOMENTS]
)
def test_the_terminal_is_closed(fault_run, terminal, moment, matrix):
    run = fault_run()
    with matrix.trial("terminal", "being closed", moment) as trial:
        run.start(stdin=terminal.slave, stdout=terminal.slave, stderr=terminal.slave, preexec_fn=terminal.take)
        run.reach(moment, "view")
        run.remember()
        terminal.close()
        run.ends()
        run.is_gone()
        run.is_right()
        trial.came = run.is_clean()
        assert trial.came == "finished"


@pytest.fixture
def small_disk(tmp_path):
    """A small file system of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts a file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs", folder], capture_output=True)
    if done.returncode != 0:
        pytest.skip(f"this root may not mount a file system: {done.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(folder):
    """Write to a file system until nothing more fits."""
    with open(folder / "filling", "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)


def ends_by_itself(run):
    """The run ends, and what it has done is kept; afterwards the state folder takes writes again."""
    run.launcher.wait(60)
    run.is_gone()


def judged(run, trial):
    state = run.is_clean()
    trial.came = state
    if state == "finished":
        assert "answer" in (run.here / "stdout").read_text()
    else:
        run.resumes()
        run.is_clean()
        trial.came += "; resumed"


def test_the_state_folder_becomes_full(fault_run, small_disk, matrix):
    run = fault_run(env={"PILOTAGE_STATE": str(small_disk)})
    with matrix.trial("state folder", "being full", "mid-run") as trial:
        run.start()
        run.reach("mid-run", "driver")
        run.remember()
        fill(small_disk)
        ends_by_itself(run)
        (small_disk / "filling").unlink()
        judged(run, trial)


@pytest.mark.slow
def test_the_state_folder_becomes_read_only(fault_run, small_disk, matrix):
    run = fault_run(env={"PILOTAGE_STATE": str(small_disk)})
    with matrix.trial("state folder", "being read-only", "mid-run") as trial:
        run.start()
        run.reach("mid-run", "driver")
        run.remember()
        subprocess.run(["mount", "--bind", small_disk, small_disk], check=True)
        try:
            subprocess.run(["mount", "-o", "remount,bind,ro", small_disk], check=True)
            ends_by_itself(run)
        finally:
            run.end()
            subprocess.run(["umount", small_disk], check=True)
        judged(run, trial)


def test_a_thread_that_loads_parsl_ends(fault_run, matrix):
    run = fault_run(IN_A_THREAD)
    with matrix.trial("thread", "ending after parsl.load()", "start") as trial:
        run.start()
        assert run.ends() == "finished"
        run.is_gone()
        run.is_right()
        trial.came = run.is_clean()


@pytest.mark.parametrize(
    ("target", "what"), [("driver", "SIGKILL"), pytest.param("supervisor", "SIGTERM", marks=pytest.mark.slow)]
)
def test_a_run_loaded_in_a_thread_that_has_ended_leaves_nothing(fault_run, target, what):
    run = fault_run(IN_A_THREAD, options=(*OPTIONS, *QUICK))
    run.start()
    strike(run.reach("mid-run", target), what)
    run.is_gone()
    assert run.is_clean() == {"driver": "failed", "supervisor": "cancelled"}[target]
    run.resumes()
    run.is_clean()
