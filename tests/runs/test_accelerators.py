"""Tasks see the accelerators that a scheduler has given to the job, each worker its own."""

import json
import os
from pathlib import Path

import pytest

from program import PROGRAM

SCRIPT = """
import sys
import parsl
from parsl import python_app

@python_app
def see(number):
    import os, time
    time.sleep(0.3)
    names = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")
    return int(os.environ["PARSL_WORKER_RANK"]), [os.environ.get(name) for name in names], len(os.sched_getaffinity(0))

seen = {}
with parsl.load():
    while len(seen) < int(sys.argv[1]):
        for rank, devices, cores in [future.result() for future in [see(number) for number in range(4)]]:
            seen[rank] = devices
print(*[seen[rank] for rank in sorted(seen)], sep="\\n")
"""
CUDA, HIP = "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"


@pytest.fixture
def run(pilotage, project):
    """Run the script on a job that was given some accelerators; returns what each worker saw, and the events."""

    def start(workers, given, *settings, code=0):
        (project / "script.py").write_text(SCRIPT)
        exports = "; ".join(f"export {name}={value}" for name, value in given.items())
        chosen = [word for setting in (f"worker_init={exports}", *settings) for word in ("--set", setting)]
        done = pilotage.run([PROGRAM, "run", *chosen, "script.py", "--", workers])
        assert done.returncode == code, done.stderr
        (folder,) = (Path(os.environ["PILOTAGE_STATE"]) / "runs").iterdir()
        path = folder / "events.jsonl"  # which a run without any does not have
        lines = path.read_text().splitlines() if path.exists() else []
        events = [json.loads(line) for line in lines if line]
        seen = [eval(line) for line in done.stdout.splitlines()]
        return seen, {event["kind"]: event["message"] for event in events}, done.stderr

    return start


@pytest.fixture(autouse=True)
def given_to_nobody(monkeypatch):
    for name in (CUDA, HIP, "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK"):
        monkeypatch.delenv(name, raising=False)


def test_a_number_counts_those_of_the_job(run):
    given = {CUDA: "2,3", HIP: "GPU-a,MIG-GPU-b/1/0"}
    seen, told, _ = run(2, given, "workers.accelerators=2", "cores_per_worker=0.5")
    assert seen == [["2", None, "GPU-a", None], ["3", None, "MIG-GPU-b/1/0", None]]
    assert "accelerators" not in told


def test_fewer_than_configured_are_told(run):
    settings = ["workers.accelerators=6", "workers.gpus_per_worker=2", "cores_per_worker=0.25"]
    seen, told, view = run(2, {"ZE_AFFINITY_MASK": "0.1,1.0,1.1,2.0"}, *settings)
    assert seen == [[None, None, None, "0.1,1.0"], [None, None, None, "1.1,2.0"]]
    assert "6 accelerators are configured, and the scheduler gave 4 to the job" in told["accelerators"]
    assert "2 workers start instead of 3" in told["accelerators"]
    assert "2 workers start instead of 3" in view


def test_none_at_all_ends_the_block_with_the_reason(run):
    _, told, view = run(1, {CUDA: "NoDevFiles"}, "workers.accelerators=2", code=1)
    assert "the scheduler gave 0 to the job here (CUDA_VISIBLE_DEVICES=NoDevFiles)" in told["block-failed"]
    assert "gave 0 to the job" in view


def test_ids_are_taken_as_they_are(run):
    settings = ['workers.accelerators=["5"]', "workers.cpu_affinity=list:99999"]
    seen, told, _ = run(1, {CUDA: "2,3"}, *settings)
    assert seen[0][0] == "5"
    assert "has none of the cores 99999" in told["accelerators"]
