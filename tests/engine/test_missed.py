"""A manager that is killed with its guard while another of its block goes on, behind a tunnel that both share."""

import pytest

from engine.test_tunnel import TUNNEL

PATIENT = """
from pilotage.engine import absence
absence.SILENT, absence.CARRIES = SECONDS
"""
BLOCK = """
import psutil
from parsl.launchers.base import Launcher

class Two(Launcher):
    def __call__(self, command, *_):
        return f"({command}) & ({command}) & wait"

tunnel.is_shared = True

def managers():
    mark = os.environ["PILOTAGE_TEST_MARK"]
    pools = {one.pid: one for one in psutil.process_iter(["cmdline", "environ", "ppid"])
        if "pilotage.worker.pool" in (one.info["cmdline"] or []) and "-P" in one.info["cmdline"][:3]
        and (one.info["environ"] or {}).get("PILOTAGE_TEST_MARK") == mark}
    return [one for one in pools.values() if one.info["ppid"] not in pools]

def start(**changes):
    provider = LocalProvider(init_blocks=1, max_blocks=1, launcher=Two())
    return through(provider=provider, heartbeat_threshold=900, max_workers_per_node=1, rerun_lost=5, **changes)

def kill_one():
    until(lambda: len(parsl.dfk().executors["htex"].connected_managers()) == 2)  # one that has not come is not missed
    managers()[0].kill()
"""


@pytest.fixture
def quick(tmp_path, monkeypatch):
    """Let the interchange miss managers after seconds."""
    (tmp_path / "quick").mkdir()

    def seconds(silent, carries):
        text = PATIENT.replace("SECONDS", f"{silent}, {carries}")
        (tmp_path / "quick" / "sitecustomize.py").write_text(
            f"import sys\nif 'pilotage.engine.interchange' in sys.orig_argv:\n    exec({text!r})\n"
        )
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "quick"))

    return seconds


WORK = """
with load(start()):
    futures = [count(n, 0.2) for n in range(150)]
    until(lambda: len(ran()) > 10)
    kill_one()
"""


@pytest.mark.slow
def test_it_is_missed_and_what_it_had_runs_elsewhere(run, quick):
    quick(15.0, 8.0)
    run(
        TUNNEL + BLOCK + WORK + "    assert [future.result(timeout=90) for future in futures] == list(range(150))\n"
        "assert told('manager-lost'), 'whatever ends with the last call'\n"
    )


@pytest.mark.slow
def test_without_that_it_is_waited_for(run, quick):
    quick(1e9, 8.0)
    run(
        TUNNEL + BLOCK + WORK + "    time.sleep(40)\n"
        "    assert not all(future.done() for future in futures)\n"
        "    assert told('manager-silent') and not told('manager-lost')\n"
        "    sys.stdout.flush()\n    kernel = parsl.dfk()\n"
        "    for one in managers(): one.kill()\n"
        "    print([type(future.exception(timeout=60)).__name__ for future in futures if not future.done()])\n"
    )
