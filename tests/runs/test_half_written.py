"""What a node has half written at the driver goes with the run, whatever of the run is killed."""

import json
import os
import signal
import time

import psutil
import pytest

SCRIPT = """
import json, os, time
import parsl
from parsl import python_app

@python_app
def half(path, grant):
    import time
    from pilotage.worker.data.from_driver import from_driver
    from pilotage.worker.data.places import place_of
    store = from_driver(place_of(f"driver:{path}"), {"grant": grant})
    at = store._at(path, "write")
    with store._connection() as driver:
        driver.ask(at.says("write", upload="0123456789ab", offset=0, crc=0))
        open("began", "w").close()
        time.sleep(600)

parsl.load()
executor = next(e for e in parsl.dfk().executors.values() if hasattr(e, "grants"))
path = os.path.abspath("out")
future = half(path, executor.grants.grant(path, "write"))
while not os.path.exists("began"):
    time.sleep(0.05)
pids = {"driver": os.getpid(), "interchange": executor.interchange_proc.pid, "supervisor": os.getppid()}
open("pids.new", "w").write(json.dumps(pids))
os.rename("pids.new", "pids")
future.result()
"""


def until(condition, patience=60):
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.05)


@pytest.mark.parametrize("killed", [["interchange", "driver"], ["supervisor", "interchange", "driver"]])
def test_nothing_is_left(project, pilotage, killed):
    (project / "script.py").write_text(SCRIPT)
    started = pilotage("run", "--detach", "script.py")
    assert started.returncode == 0, started.stderr
    until((project / "pids").exists)
    assert list(project.glob(".out.*.part"))
    pids = json.loads((project / "pids").read_text())
    processes = [psutil.Process(pids[name]) for name in killed]
    for process in processes:  # none of them sees the end of another
        process.suspend()
    for process in processes:
        os.kill(process.pid, signal.SIGKILL)
    if "supervisor" in killed:
        assert list(project.glob(".out.*.part"))  # nobody is there who could remove it
        done = pilotage("clean")
        assert done.returncode == 0, done.stderr
    until(lambda: not list(project.glob(".out.*.part")), 20)
    assert not (project / "out").exists()
