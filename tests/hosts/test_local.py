"""Commands on this machine."""

import os
import signal
import threading
import time

import psutil
import pytest

from pilotage.hosts import local
from pilotage.hosts.base import LATE
from pilotage.hosts.local import LocalHost


def test_what_has_left_the_group_of_a_late_command_holds_nobody_up(monkeypatch):
    """It keeps the pipes open, which is how the end of a command is seen."""
    monkeypatch.setattr(local, "DYING", 0.2)
    begun = time.monotonic()
    done = LocalHost().run(["sh", "-c", "setsid sleep 10 & sleep 10"], timeout=0.3)
    assert time.monotonic() - begun < 8
    assert done.exit_code == LATE
    assert "no answer within 0.3 s" in done.stderr


def test_what_is_run_ends_with_who_is_interrupted_while_waiting_for_it(tmp_path):
    pid = tmp_path / "pid"

    def interrupt():
        while not (pid.exists() and pid.read_text()):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        LocalHost().run(["sh", "-c", 'echo $$ > "$1"; sleep 300', "sh", str(pid)], timeout=60)
    thread.join()
    assert not psutil.pid_exists(int(pid.read_text()))
