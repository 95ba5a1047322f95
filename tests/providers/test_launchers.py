"""Launchers start one manager on each node, with its command as it was given, whatever is in it."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import parsl.launchers
import pytest

from pilotage.errors import UnsupportedError
from pilotage.providers import launchers
from pilotage.sites.models import LAUNCHERS

GOLDEN = Path(__file__).parent / "golden"
CASES = {
    "srun": launchers.Srun(overrides="--gpus-per-node=2"),
    "openmpi": launchers.OpenMPI(),
    "mpich": launchers.MPICH(),
    "pals": launchers.PALS(overrides="--env TMPDIR=/tmp"),
    "mpiexec": launchers.Mpiexec(),
    "flux": launchers.Flux(),
    "none": launchers.Unlaunched(),
}
MPIEXECS = ("openmpi", "mpich", "pals")
# What any of them may not touch: everything a shell or a here-document would.
ARGUMENTS = ["a b", "$HOME", "it's", '"quoted"', "`date`", "{brace}", "back\\slash", "*", "", "#", "!x", "two\nlines"]
REPORT = "import json, os, sys; print(json.dumps([sys.argv[1:], sorted(os.environ)]), flush=True)"
# Runs what comes after its options as often as -n, --ntasks or -N says, as a rank of something would run.
FAKE = """#!/bin/bash
case $1 in --version) echo "{version}"; exit;; esac
printf '%s\\n' "$*" > "{log}"
while [ "$1" != bash ]; do
  case $1 in -n) count=$2;; --ntasks=*) count=${{1#*=}};; esac
  shift
done
for rank in $(seq $count); do
  PMI_RANK=$rank PMIX_RANK=$rank OMPI_COMM_WORLD_RANK=$rank OMPI_MCA_ess=x \\
    SLURM_LABELIO=1 PMIXTURE=kept OMPI_MCA_btl=kept "$@"
done
"""


@pytest.fixture
def launched(tmp_path):
    """Run what a launcher makes of a command, with fakes on the PATH; returns reports and how the fake was called."""

    def run(launcher, nodes=2, version="HYDRA build details:", arguments=ARGUMENTS, **environ):
        programs = tmp_path / "bin"
        programs.mkdir(exist_ok=True)
        log = tmp_path / "called"
        for name in ("srun", "mpiexec", "flux"):
            (programs / name).write_text(FAKE.format(version=version, log=log))
            (programs / name).chmod(0o755)
        (programs / "scontrol").write_text("#!/bin/sh\n[ \"$3\" = 'n[1-2]' ] && printf 'n1\\nn2\\n'\n")
        (programs / "scontrol").chmod(0o755)
        command = shlex.join([sys.executable, "-c", REPORT, *arguments])
        script = tmp_path / "job.sh"
        script.write_text("#!/bin/bash\n" + launcher(command, 1, nodes, str(tmp_path)))
        known = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "PBS", "PE_"))}
        path = f"{programs}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", script], env={**known, "PATH": path, **environ}, cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        called = log.read_text() if log.exists() else ""
        assert {path.name for path in tmp_path.iterdir()} <= {"bin", "called", "job.sh", "nodes"}, "it writes no file"
        return [json.loads(line) for line in done.stdout.splitlines()], called

    return run


@pytest.mark.parametrize("name", CASES)
def test_golden_text(name):
    text = CASES[name]("python -P -m pool --cwd '/a folder' -a 192.0.2.1", 1, 2, "/run")
    path = GOLDEN / f"{name}.sh"
    if os.environ.get("PILOTAGE_UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()
    assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0


def test_every_name_is_tested():
    assert set(CASES) == set(LAUNCHERS)
    assert {name: type(one).__name__ for name, one in CASES.items()} == LAUNCHERS


@pytest.mark.parametrize("name", CASES)
def test_the_command_arrives_as_it_was_given(name, launched):
    reports, _ = launched(CASES[name], SLURM_JOB_NODELIST="n[1-2]")
    assert len(reports) == (1 if name == "none" else 2)
    for arguments, environ in reports:
        assert arguments == ARGUMENTS
        if name != "none":
            assert {"PMIXTURE", "OMPI_MCA_btl"} <= set(environ)
            assert not {"PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "OMPI_MCA_ess", "SLURM_LABELIO"} & set(environ)


@pytest.mark.parametrize("version", ["mpiexec (Open MPI) 5.0.11", "mpiexec (OpenRTE) 4.1.4", "prterun (PRRTE) 4.0"])
def test_open_mpi_is_told_to_spread(launched, version):
    for launcher in (launchers.OpenMPI(), launchers.Mpiexec()):
        _, called = launched(launcher, version=version, SLURM_JOB_NODELIST="n[1-2]")
        assert called.startswith("-n 2 --host n1,n2 --map-by ppr:1:node --bind-to none bash -c ")


@pytest.mark.parametrize("version", ["HYDRA build details:", "Intel(R) MPI Library for Linux* OS, Version 2021.13"])
def test_mpich_is_told_to_spread(launched, version, tmp_path):
    # Each node as often as it has processors, and the first node not first in the alphabet.
    (tmp_path / "nodes").write_text("n2\nn2\nn1\nn1\n")
    for launcher in (launchers.MPICH(overrides="-v"), launchers.Mpiexec(overrides="-v")):
        _, called = launched(launcher, version=version, PBS_NODEFILE=str(tmp_path / "nodes"))
        assert called.startswith("-n 2 -ppn 1 -hosts n2,n1 -v bash -c ")


def test_pals_knows_the_nodes_itself(launched):
    for launcher in (launchers.PALS(), launchers.Mpiexec()):
        _, called = launched(launcher, version="mpiexec version 1.2.12 PALS")
        assert called.startswith("-n 2 --ppn 1 --cpu-bind none bash -c ")


def test_an_unknown_mpiexec_is_told(tmp_path):
    fake = tmp_path / "mpiexec"
    fake.write_text("#!/bin/sh\necho something else\n")
    fake.chmod(0o755)
    text = launchers.Mpiexec()("true", 1, 2, "")
    done = subprocess.run(
        ["bash", "-c", text], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True
    )
    assert done.returncode == 127
    assert f"cannot tell which mpiexec this is ({fake})" in done.stderr
    assert "launcher.class" in done.stderr


def test_a_manager_is_told_to_end_itself_and_no_shell_in_between(launched):
    """The shells replace themselves: a signal for the launcher's process is one for the manager."""
    code = "import os, sys; assert os.getppid() == int(sys.argv[1])"
    text = launchers.Srun()(f"{shlex.quote(sys.executable)} -c {shlex.quote(code)} $PPID_OF_FAKE", 1, 1, "")
    fake = 'srun() { while [ "$1" != bash ]; do shift; done; "$@"; }; export PPID_OF_FAKE=$$\n'
    done = subprocess.run(["bash", "-c", fake + text], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("scheduler", "nodes"), [("slurm", 1), ("slurm", 2), ("pbspro", 2)])
def test_the_nearest_of_parsls(name, scheduler, nodes):
    launcher = CASES[name]
    refused = name == "flux" or (nodes == 2 and (name == "mpiexec" or (scheduler == "slurm" and name in MPIEXECS)))
    if refused:
        with pytest.raises(UnsupportedError, match="Parsl"):
            launcher.parsls(scheduler, nodes)
        return
    nearest = launcher.parsls(scheduler, nodes)
    made = getattr(parsl.launchers, nearest.name)(**nearest.arguments)
    text = made("python", 1, nodes, "")
    assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0
    for word in (getattr(launcher, "overrides", ""), {"openmpi": "ppr:1:node", "mpich": "-ppn 1"}.get(name, "")):
        assert word in text
