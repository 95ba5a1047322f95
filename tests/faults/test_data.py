"""Data of tasks on a node whose run is struck: nothing of it is left when the run has ended."""

import pytest
from fault_run import strike, until

SCRIPT = """
import os, sys
import parsl, pilotage
from parsl import python_app

HERE = os.path.dirname(os.path.abspath(__file__))

@pilotage.stage(writable=True)
@python_app
def wait(file, number, here):
    import os, time
    assert open(file).read() == "text"
    open(os.path.join(here, f"started-{number}"), "w").close()
    while not os.path.exists(os.path.join(here, "go")):
        time.sleep(0.05)
    return number

open("in.txt", "w").write("text")
parsl.load()
print("answer", [one.result() for one in [wait(pilotage.File("driver:in.txt"), number, HERE) for number in range(2)]])
"""
OPTIONS = (
    "--set",
    "config.retries=3",
    "--set",
    "executor.heartbeat_period=1",
    "--set",
    "executor.heartbeat_threshold=4",
)


@pytest.mark.parametrize(
    ("site", "target"),
    [
        ("laptop", "guard"),
        ("laptop", "driver"),
        ("threads", "driver"),
        pytest.param("laptop", "manager", marks=pytest.mark.slow),
        pytest.param("laptop", "worker", marks=pytest.mark.slow),
        pytest.param("laptop", "supervisor", marks=pytest.mark.slow),
    ],
)
def test_nothing_is_left_of_a_run_in_which_one_was_killed(fault_run, tmp_path, site, target):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    options = [
        "--site",
        site,
        *(OPTIONS if site == "laptop" else ()),
        *(["--detach"] if target == "supervisor" else ()),
    ]
    run = fault_run(script=SCRIPT, options=options, env={"TMPDIR": str(temporary)})
    run.start()
    until(lambda: len(list(run.here.glob("started-*"))) == 2, run.told)
    assert len(list(temporary.glob("pilotage-data-*/task-*/in.txt"))) == 2
    process = run.find(target)
    run.remember()
    strike(process, "SIGKILL")
    (run.here / "go").touch()
    if target == "supervisor":
        until(lambda: not process.is_running() or run.supervisor() is None, "its end")
        run.pilotage("ps")
    run.ends()
    run.is_gone()
    until(lambda: not list(temporary.glob("pilotage-data-*")), lambda: list(temporary.rglob("*")), 5)
    if target in ("guard", "manager", "worker"):
        assert "answer [0, 1]" in run.output()
