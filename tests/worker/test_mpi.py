"""Nodes are given to MPI tasks, whatever waits; and what starts their ranks is what the node has."""

import importlib
import os
import pickle
import queue
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parsl.executors.high_throughput import mpi_resource_management as theirs
from parsl.serialize import deserialize

from pilotage.worker import mpi
from pilotage.worker.mpi import NodeScheduler, Starter, flavour, nodes_of_job, starter


class Queue(queue.Queue):
    """A queue of the manager's."""

    def get_all(self):
        found = []
        while not self.empty():
            found.append(self.get())
        return found


def task(number, nodes, ranks=1):
    spec = {"num_nodes": nodes, "num_ranks": ranks, "ranks_per_node": 1}
    return {"task_id": number, "context": {"resource_spec": spec}, "buffer": b""}


def result(number):
    return pickle.dumps({"type": "result", "task_id": number, "result": b""})


class Nodes:
    """A scheduler of nodes, and what has been started on which."""

    def __init__(self, count, kind=NodeScheduler, **options):
        self.tasks, self.results = Queue(), Queue()
        names = [f"n{number}" for number in range(count)]
        self.scheduler = kind(self.tasks, self.results, names, **options)

    def put(self, *tasks):
        for one in tasks:
            self.scheduler.put_task(one)
        return self.started()

    def end(self, number):
        self.results.put(result(number))
        assert pickle.loads(self.scheduler.get_result())["task_id"] == number
        return self.started()

    def started(self):
        return {one["task_id"]: one["context"]["resource_spec"]["MPI_NODELIST"] for one in self.tasks.get_all()}


def backlog_of_three(nodes):
    """One that runs on both nodes; then one that will fit, and one that will not."""
    started = nodes.put(task(1, 2), task(2, 2), task(3, 2))
    assert started == {1: "n0,n1"}


def test_the_control_parsls_own_loses_a_result(tmp_path, monkeypatch):
    """If this fails, Parsl has mended it."""
    (tmp_path / "nodes").write_text("n0\nn1\n")
    monkeypatch.delenv("SLURM_NODELIST", raising=False)
    monkeypatch.setenv("PBS_NODEFILE", str(tmp_path / "nodes"))
    nodes = Nodes(2, lambda tasks, results, names: theirs.MPITaskScheduler(tasks, results))
    backlog_of_three(nodes)
    nodes.results.put(result(1))
    with pytest.raises(RecursionError):
        nodes.scheduler.get_result()


def test_a_backlog_that_does_not_fit_waits():
    nodes = Nodes(2)
    backlog_of_three(nodes)
    assert nodes.end(1) == {2: "n0,n1"}
    assert nodes.end(2) == {3: "n0,n1"}
    assert nodes.end(3) == {}


def test_what_is_left_over_is_used_by_smaller_ones():
    nodes = Nodes(3)
    assert nodes.put(task(1, 2), task(2, 3), task(3, 1)) == {1: "n0,n1", 3: "n2"}
    assert nodes.end(3) == {}
    assert nodes.end(1) == {2: "n0,n1,n2"}


def test_a_large_one_is_not_passed_for_ever():
    nodes, running = Nodes(2), 0
    nodes.put(task(0, 1), task(1, 2))
    for number in range(2, 200):  # each comes before the one before it has ended, so that both are never free
        if not nodes.put(task(number, 1)):
            break
        nodes.end(running)
        running = number
    assert nodes.end(running) == {1: "n0,n1"}
    assert nodes.end(1) == {number: "n0"}


def test_more_nodes_than_the_job_has_is_told_at_once():
    nodes = Nodes(2)
    assert nodes.put(task(7, 3)) == {}
    told = pickle.loads(nodes.scheduler.get_result())
    with pytest.raises(mpi.NotEnoughNodesError, match="asks for 3 nodes, and a block has 2"):
        deserialize(told["exception"]).reraise()


def test_messages_that_are_no_results_pass():
    nodes = Nodes(1)
    for message in (b"\x00pilotage news\x00x", None, pickle.dumps({"type": "monitoring"}), result(99)):
        nodes.results.put(message)
        assert nodes.scheduler.get_result() == message


@given(st.lists(st.integers(1, 4), max_size=40), st.randoms())
def test_every_task_runs_once_and_no_node_is_given_twice(sizes, random):
    nodes, running, begun = Nodes(4), {}, []
    waiting = list(enumerate(sizes, 1))
    while waiting or running:
        if waiting and (not running or random.random() < 0.5):
            started = nodes.put(task(*waiting.pop(0)))
        else:
            number = random.choice(sorted(running))
            del running[number]
            started = nodes.end(number)
        for number, names in started.items():
            running[number] = names.split(",")
            begun.append(number)
        used = [name for names in running.values() for name in names]
        assert len(used) == len(set(used))
    assert sorted(begun) == list(range(1, len(sizes) + 1))


class TestNodesOfJob:
    @pytest.fixture
    def commands(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

        def make(name, text):
            (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
            (tmp_path / name).chmod(0o755)

        return make

    def test_slurm(self, commands):
        commands("scontrol", '[ "$*" = "show hostnames n[1-2]" ] && printf "n1\\nn2\\n"')
        assert nodes_of_job({"SLURM_JOB_NODELIST": "n[1-2]"}) == ["n1", "n2"]

    def test_a_scheduler_that_fails_says_why(self, commands):
        commands("scontrol", "echo Invalid hostlist >&2; exit 1")
        with pytest.raises(RuntimeError, match="Invalid hostlist"):
            nodes_of_job({"SLURM_JOB_NODELIST": "n["})

    def test_flux(self, commands):
        commands("flux", '[ "$*" = "hostlist --expand instance" ] && echo "n1 n2"')
        assert nodes_of_job({"FLUX_URI": "local:///x"}) == ["n1", "n2"]

    def test_files_name_a_node_once_for_each_processor(self, tmp_path):
        (tmp_path / "pbs").write_text("n2\nn2\nn1\nn1\n")
        (tmp_path / "pe").write_text("n2 4 all.q@n2 UNDEFINED\nn1 4 all.q@n1 UNDEFINED\n")
        assert nodes_of_job({"PBS_NODEFILE": str(tmp_path / "pbs")}) == ["n2", "n1"]
        assert nodes_of_job({"PE_HOSTFILE": str(tmp_path / "pe")}) == ["n2", "n1"]

    def test_no_job(self):
        assert nodes_of_job({}) == ["localhost"]


SPEC = {"num_ranks": 3, "ranks_per_node": 2, "num_nodes": 2}
PREFIXES = {
    "srun": "srun --ntasks 3 --ntasks-per-node 2 --nodes 2 --nodelist n1,n2 -o x",
    "openmpi": "mpiexec -n 3 --host n1:2,n2:2 --map-by ppr:2:node -o x",
    "mpich": "mpiexec -n 3 -ppn 2 -hosts n1,n2 -o x",
    "pals": "mpiexec -n 3 --ppn 2 --hosts n1,n2 -o x",
    "aprun": "aprun -n 3 -N 2 -L n1,n2 -o x",
    "flux": "flux run -n 3 -N 2 --requires=host:n1,n2 -o x",
}


class TestStarter:
    @pytest.mark.parametrize("program", PREFIXES)
    def test_the_words_before_a_program(self, program):
        path = PREFIXES[program].split()[0]
        found = Starter(program, path, "-o x").variables_of("mpiexec", dict(SPEC), ["n1", "n2"])
        assert found["PARSL_MPI_PREFIX"] == PREFIXES[program]
        assert {"PARSL_SRUN_PREFIX", "PARSL_APRUN_PREFIX", "PARSL_MPIEXEC_PREFIX"} <= set(found)
        if path == "mpiexec":
            assert found["PARSL_MPIEXEC_PREFIX"] == PREFIXES[program]

    def test_options_of_the_task_come_last(self):
        spec = {**SPEC, "launcher_options": "--exclusive"}
        assert Starter("srun", "srun", "-o x").prefix(spec, ["n1"]).endswith(" -o x --exclusive")

    @pytest.mark.parametrize(
        ("version", "whose"),
        [
            ("mpirun (Open MPI) 4.1.4\n\nReport bugs to", "openmpi"),
            ("mpiexec (OpenRTE) 4.1.4", "openmpi"),
            ("HYDRA build details:\n    Version: 5.0.2", "mpich"),
            ("Intel(R) MPI Library for Linux* OS, Version 2021.13", "mpich"),
            ("mpiexec version 1.2.12 (pals)", "pals"),
            ("", None),
        ],
    )
    def test_whose_mpiexec_it_is(self, version, whose):
        assert flavour(version) == whose

    @pytest.fixture
    def path(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PATH", "/usr/bin:/bin")
        monkeypatch.setattr(sys, "executable", str(tmp_path / "env" / "bin" / "python"))
        (tmp_path / "env" / "bin").mkdir(parents=True)
        return tmp_path / "env" / "bin"

    def test_one_beside_a_python_that_is_not_on_the_path(self, path):
        (path / "mpiexec").write_text("#!/bin/sh\necho mpiexec Open MPI\n")
        (path / "mpiexec").chmod(0o755)
        told = []
        found = starter("mpiexec", "", told.append)
        assert (found.program, found.path, told) == ("openmpi", str(path / "mpiexec"), [])
        assert ("OMPI_ALLOW_RUN_AS_ROOT" in found.variables) == (os.geteuid() == 0)

    def test_what_is_not_there_is_told(self, path, monkeypatch):
        monkeypatch.setenv("PATH", str(path))
        told = []
        assert starter("mpiexec", "", told.append).program == "mpich"
        assert "no mpiexec on the PATH" in told[0]
        assert "cannot tell whose" in told[1]
        told.clear()
        starter("srun", "", told.append)
        assert "no srun on the PATH" in told[0]


def test_workers_of_a_pool_that_is_imported_already_start_ranks_with_ours(monkeypatch):
    pool = importlib.import_module(mpi.POOL)
    names = ((pool, "compose_all"), (mpi.parsls, "compose_all"), (mpi.management, "MPITaskScheduler"))
    for module, name in names:
        monkeypatch.setattr(module, name, getattr(module, name))
    start = Starter("srun", "srun", "--mpi=pmi2")
    mpi.install(start, lambda: None)
    assert pool.compose_all == start.variables_of
