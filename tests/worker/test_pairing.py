"""Ranks that do not know of each other are found by what they have loaded and what they were told."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pilotage.worker.pairing import Ranks, mismatch

MPICH = ["/usr/bin/lmp", "/opt/lib/libmpi.so.12"]
OPENMPI = ["/usr/lib/x86_64-linux-gnu/libmpi.so.40.30.4", "/usr/lib/libc.so.6"]


@pytest.mark.parametrize(
    ("loaded", "variables"),
    [
        (MPICH, ["PMI_RANK", "PMI_FD"]),
        (MPICH, ["PALS_RANKID"]),
        ([*MPICH, "/usr/lib/libpmix.so.2"], ["PMIX_RANK"]),
        (OPENMPI, ["PMIX_RANK", "PMI_RANK"]),
        (OPENMPI, ["OMPI_COMM_WORLD_RANK"]),
        ([*OPENMPI, "/usr/lib/libpmi2.so.0"], ["PMI_RANK"]),
        (["/usr/bin/python3"], []),
    ],
)
def test_what_goes_together(loaded, variables):
    assert mismatch(loaded, ["PATH", *variables]) is None


@pytest.mark.parametrize(
    ("loaded", "variables", "words"),
    [
        (MPICH, [], "it uses MPICH, and its launcher told it of nothing: srun needs --mpi=pmi2"),
        (MPICH, ["PMIX_RANK"], "its launcher told it only of PMIX_*"),
        (OPENMPI, ["PMI_RANK"], "it uses Open MPI, and its launcher told it only of PMI_*: srun needs --mpi=pmix"),
        (OPENMPI, [], "told it of nothing"),
    ],
)
def test_what_does_not(loaded, variables, words):
    assert words in mismatch(loaded, ["PATH", *variables])


def process(folder, number, environ, maps, name="lmp"):
    place = folder / str(number)
    place.mkdir()
    (place / "environ").write_bytes(b"".join(os.fsencode(f"{k}={v}") + b"\0" for k, v in environ.items()))
    (place / "maps").write_text("".join(f"7f00-7f01 r-xp 00000000 08:01 123 {path}\n" for path in maps))
    (place / "comm").write_text(f"{name}\n")


TASK = {"PARSL_MPI_NODELIST": "n1", "PARSL_NUM_RANKS": "2"}


class TestLook:
    def test_it_tells_once_and_looks_no_more(self, tmp_path):
        told = []
        ranks = Ranks(told.append, tmp_path)
        (tmp_path / "self").mkdir()
        process(tmp_path, 1, {}, MPICH)
        process(tmp_path, 2, TASK, ["/usr/bin/bash"], "bash")
        process(tmp_path, 3, {**TASK, "PARSL_NUM_RANKS": "1"}, MPICH)
        assert not ranks.look(), "no process of a task with several ranks has an MPI library"
        process(tmp_path, 4, TASK, MPICH)
        assert ranks.look()
        assert told == [
            "the ranks of the MPI program lmp do not know of each other: it uses MPICH, and its launcher told it of "
            "nothing: srun needs --mpi=pmi2, mpiexec has to be MPICH's"
        ]

    def test_what_is_right_is_no_news(self, tmp_path):
        told = []
        process(tmp_path, 4, {**TASK, "PMI_RANK": "0"}, MPICH)
        assert Ranks(told.append, tmp_path).look()
        assert told == []

    def test_without_proc_nothing_is_looked_at(self, tmp_path):
        ranks = Ranks(pytest.fail, tmp_path / "proc")
        ranks.task_started()
        assert ranks._thread is None

    @pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="no /proc")
    def test_a_real_process(self, tmp_path):
        """One that has mapped a file of that name, as a program that uses MPICH does."""
        library = tmp_path / "libmpi.so.12"
        library.write_bytes(bytes(4096))
        code = "import mmap, sys; f = open(sys.argv[1], 'rb'); m = mmap.mmap(f.fileno(), 0, access=1); "
        code += "print(flush=True); input()"
        child = subprocess.Popen(
            [sys.executable, "-c", code, library],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PARSL_MPI_NODELIST": "here", "PARSL_NUM_RANKS": "2"},
        )
        try:
            child.stdout.readline()
            told = []
            assert Ranks(told.append).look()
            assert "its launcher told it" in told[0]
        finally:
            child.communicate(b"\n")
