"""Commands on this machine."""

import time

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
