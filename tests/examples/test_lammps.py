"""The ensemble of MPI programs, with LAMMPS where it is, and what its logs may be like."""

import csv
import importlib.util
import os
import sys
from pathlib import Path

import pytest

LAMMPS = Path(__file__).parents[2] / ".venv-lammps"

LOG = """\
LAMMPS (22 Jul 2025 - Update 4)
Step Temp PotEng Press
0 2 -6.7 -2.1
Loop time of 0.1 on {ranks} procs for 10 steps with 256 atoms
Step Temp PotEng Press
{table}Loop time of 0.25 on {ranks} procs for 200 steps with 256 atoms
Total wall time: 0:00:00
"""
TABLE = [f"{10 * number} {1 + 0.01 * (number % 2)} -5.{number % 10} 2.5\n" for number in range(21)]


@pytest.fixture(scope="module")
def ensemble():
    path = Path(__file__).parents[2] / "examples" / "lammps_ensemble.py"
    spec = importlib.util.spec_from_file_location("lammps_ensemble", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def row(ensemble, tmp_path):
    def read(text, ranks=2):
        (tmp_path / "log").write_text(text)
        return ensemble.read_log(tmp_path / "log", 1.0, ranks)

    return read


def test_a_log(row):
    found = row(LOG.format(ranks=2, table="".join(TABLE)))
    assert (found.atoms, found.ranks, found.seconds, found.pressure, found.pressure_error) == (256, 2, 0.25, 2.5, 0)
    assert found.measured == pytest.approx(1.00476, abs=1e-4)


def test_warnings_in_a_table_are_passed_over(row):
    lines = "".join([*TABLE[:5], "WARNING: Dangerous builds possible\n", "one two three four\n", *TABLE[5:]])
    assert row(LOG.format(ranks=2, table=lines)) == row(LOG.format(ranks=2, table="".join(TABLE)))


BROKEN_OFF = LOG.partition("Loop time of 0.25")[0].format(ranks=2, table="0 1 2 3\n")


@pytest.mark.parametrize("text", ["", "LAMMPS\n", BROKEN_OFF])
def test_a_log_that_breaks_off(row, text):
    with pytest.raises(ValueError, match=r"has not ended: (it is empty|LAMMPS|0 1 2 3)"):
        row(text)


def test_ranks_that_did_not_know_of_each_other(row):
    with pytest.raises(ValueError, match="LAMMPS ran on 1 ranks, and 2 were asked for"):
        row(LOG.format(ranks=1, table="".join(TABLE)))


def test_too_few_samples(row):
    with pytest.raises(ValueError, match="3 samples are too few"):
        row(LOG.format(ranks=2, table="".join(TABLE[:3])))


@pytest.mark.skipif(not (LAMMPS / ".ready").exists(), reason="no LAMMPS: make lammps")
def test_an_ensemble_on_this_machine(pilotage, examples, tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    small = ["--cells", "3", "--steps", "200", "--temperatures", "1", "1.5", "--out", "out"]
    done = pilotage.run(
        [LAMMPS / "bin" / "pilotage", "run", "--site", "laptop-mpi", examples / "lammps_ensemble.py", "--", *small],
        cwd=tmp_path,
        env={"MPLCONFIGDIR": str(tmp_path / "fonts"), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out" / "ensemble.csv").open(newline="") as file:
        cold, warm = csv.DictReader(file)
    assert (cold["atoms"], cold["ranks"], warm["ranks"]) == ("108", "2", "2")
    assert float(cold["energy"]) < float(warm["energy"])
    assert float(cold["pressure"]) < float(warm["pressure"])
    assert (tmp_path / "out" / "ensemble.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert os.path.exists(tmp_path / "out" / "T1.5" / "log.lammps")


@pytest.mark.skipif(not (LAMMPS / ".ready").exists(), reason="no LAMMPS: make lammps")
def test_a_site_that_runs_no_mpi_programs_says_so(pilotage, examples, tmp_path):
    argv = [LAMMPS / "bin" / "pilotage", "run", examples / "lammps_ensemble.py", "--", "--temperatures", "1"]
    done = pilotage.run(argv, cwd=tmp_path)
    assert done.returncode == 1
    assert "this site runs no MPI programs: [site.NAME.mpi] lets it" in done.stderr
