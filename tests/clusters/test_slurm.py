"""A Slurm cluster on this machine, as its users see it."""

import os
from pathlib import Path

import pytest

from pilotage.errors import ClusterError
from program import PROGRAM


def test_a_job_on_every_node(slurm, on_head):
    done = on_head("srun", "--nodes=2", "hostname")
    assert sorted(done.stdout.split()) == ["node1", "node2"], done.stderr


def test_what_the_scheduler_says_of_nodes(slurm):
    told = slurm.status()
    assert [(host["name"], host["address"], host["scheduler"]) for host in told["hosts"]] == [
        ("head", "192.0.2.1", ""),
        ("node1", "192.0.2.2", "idle"),
        ("node2", "192.0.2.3", "idle"),
    ]


def test_a_node_that_was_lost_is_started_again(slurm, on_head):
    slurm.host("node2").end()
    assert [host["up"] for host in slurm.status()["hosts"]] == [True, True, False]
    with pytest.raises(ClusterError, match="node2 is down"):
        slurm.host("node2")
    assert slurm.up(2) is True
    done = on_head("srun", "--nodes=2", "--time=1", "hostname")
    assert sorted(done.stdout.split()) == ["node1", "node2"], done.stderr


def test_a_command_has_its_exit_code_folder_and_environment(slurm, on_head, tmp_path):
    done = on_head("sh", "-c", 'pwd; hostname; echo "$HOME"; exit 7', folder=tmp_path)
    assert (done.returncode, done.stdout.split()) == (7, [str(tmp_path), "head", os.environ["HOME"]])


SCRIPT = """
import parsl
from parsl import python_app

@python_app
def where(number):
    import socket, time
    time.sleep(0.5)
    return socket.gethostname()

with parsl.load():
    print(*sorted({future.result() for future in [where(number) for number in range(12)]}))
"""


def test_a_script_on_both_nodes(slurm, on_head, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    exclusive = ["--set", "exclusive=true", "--set", "init_blocks=2"]
    done = on_head(PROGRAM, "run", "script.py", "--site", "slurm-lab", *exclusive, folder=tmp_path)
    assert (done.returncode, done.stdout.split()) == (0, ["node1", "node2"]), done.stderr
    assert on_head("squeue", "--noheader").stdout == ""


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("0_getting_started", []),
        ("1_parallel_workflow", []),
        ("2_sequential_workflow", []),
        ("3_dynamic_workflow", []),
        ("4_hello_affinity", []),
        ("stdlib_census", ["--limit", "200"]),
    ],
)
def test_the_tutorial_and_the_census(slurm, on_head, examples, tmp_path, name, arguments):
    command = [PROGRAM, "run", examples / f"{name}.py", "--site", "slurm-lab", "--", *arguments]
    done = on_head(*command, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert on_head("squeue", "--noheader").stdout == ""


GOLDEN = sorted((Path(__file__).parents[1] / "assembly" / "golden").glob("slurm*.sh"))
GOLDEN += sorted((Path(__file__).parents[1] / "schedulers" / "golden").glob("slurm*.sh"))


@pytest.mark.parametrize("script", GOLDEN, ids=lambda path: path.stem)
def test_a_golden_script_is_accepted(on_head, script, tmp_path):
    """Slurm reads every directive; refused may be only what this cluster has not (another one cannot be asked)."""
    lines = [line for line in script.read_text().splitlines() if "--clusters" not in line]
    (tmp_path / "job.sh").write_text("\n".join(lines) + "\n")
    done = on_head("sbatch", "--test-only", "--partition=debug", tmp_path / "job.sh")
    absent = ("Invalid account", "Invalid qos", "nvalid feature", "Invalid generic resource", "node configuration")
    assert done.returncode == 0 or any(words in done.stderr for words in absent), done.stderr
    assert "nrecognized option" not in done.stderr


def test_a_reservation_is_passed_on(slurm, on_head, tmp_path):
    (tmp_path / "script.py").write_text(
        "import parsl\nwith parsl.load():\n"
        "    print(parsl.python_app(lambda: __import__('socket').gethostname())().result())\n"
    )
    make = ["reservationname=tutorial", "users=root", "starttime=now", "duration=10", "nodes=node2"]
    done = on_head("scontrol", "create", "reservation", *make)
    assert done.returncode == 0, done.stderr
    try:
        chosen = ["--set", "reservation=tutorial", "--set", "walltime=00:05:00", "--set", "max_blocks=1"]
        done = on_head(PROGRAM, "run", "script.py", "--site", "slurm-lab", *chosen, folder=tmp_path)
        assert (done.returncode, done.stdout) == (0, "node2\n"), done.stderr
        done = on_head(PROGRAM, "run", "script.py", "--site", "slurm-lab", "--set", "reservation=nope", folder=tmp_path)
        assert done.returncode == 1
        assert "eservation" in done.stderr
    finally:
        on_head("scontrol", "delete", "reservationname=tutorial")
