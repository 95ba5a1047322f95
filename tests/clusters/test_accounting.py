"""A Slurm with accounting: sacct knows what has ended, and what a job names must exist."""

import time

import pytest

from pilotage.errors import ClusterError
from program import PROGRAM

JOB = "#!/bin/bash\nsrun hostname\nexit 3\n"


@pytest.fixture
def job(tmp_path):
    (tmp_path / "job.sh").write_text(JOB)
    return tmp_path / "job.sh"


@pytest.fixture
def recorded(on_accounting_head):
    """Waits until sacct says of a job what it is to say: the database hears of things a little later."""

    def wait(number, wanted):
        asked = ["sacct", "-X", "--noheader", "--parsable2", f"--jobs={number}", "--format=State,ExitCode,Account"]
        end = time.monotonic() + 20
        while (said := on_accounting_head(*asked).stdout.strip()) != wanted and time.monotonic() < end:
            time.sleep(0.1)
        assert said == wanted

    return wait


def test_a_job_that_has_ended_is_known_to_sacct(on_accounting_head, recorded, job, tmp_path):
    done = on_accounting_head("sbatch", "--wait", "--parsable", "--nodes=2", job, folder=tmp_path)
    number = done.stdout.strip()
    assert (done.returncode, number.isdigit()) == (3, True), done.stderr
    assert sorted((tmp_path / f"slurm-{number}.out").read_text().split()) == ["node1", "node2"]
    recorded(number, "FAILED|3:0|root")


def test_a_head_that_was_lost_is_started_again_with_what_it_knew(
    slurm_accounting, on_accounting_head, recorded, job, tmp_path
):
    done = on_accounting_head("sbatch", "--wait", "--parsable", "--account=physics", job, folder=tmp_path)
    assert done.returncode == 3, done.stderr
    recorded(done.stdout.strip(), "FAILED|3:0|physics")
    slurm_accounting.host("head").end()
    with pytest.raises(ClusterError, match="head is down") as caught:
        slurm_accounting.host("head")
    assert "--nodes 2 --cpus 4 --accounting`" in caught.value.hint
    assert slurm_accounting.up(2) is True
    recorded(done.stdout.strip(), "FAILED|3:0|physics")
    done = on_accounting_head("srun", "--nodes=2", "--account=physics", "hostname")
    assert sorted(done.stdout.split()) == ["node1", "node2"], done.stderr


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--account=nobody", "Invalid account or account/partition combination specified"),
        ("--qos=nope", "Invalid qos specification"),
        ("--account=physics", None),
        ("--qos=short", None),
        ("--account=physics --qos=short --time=5", None),
    ],
)
def test_a_job_names_an_account_and_a_qos_that_exist(on_accounting_head, job, tmp_path, option, words):
    done = on_accounting_head("sbatch", "--hold", "--parsable", *option.split(), job, folder=tmp_path)
    if words:
        assert done.returncode == 1
        assert words in done.stderr
    else:
        assert done.returncode == 0, done.stderr
        assert on_accounting_head("scancel", done.stdout.strip()).returncode == 0


def test_the_short_qos_has_a_limit(on_accounting_head, job, tmp_path):
    done = on_accounting_head("sbatch", "--parsable", "--qos=short", "--time=11", job, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    number = done.stdout.strip()
    try:
        end = time.monotonic() + 20
        said = ""
        while time.monotonic() < end and "QOSMaxWall" not in said:
            said = on_accounting_head("squeue", "--noheader", f"--jobs={number}", "--format=%T %r").stdout
            time.sleep(0.1)
        assert said.split() == ["PENDING", "QOSMaxWallDurationPerJobLimit"]
    finally:
        on_accounting_head("scancel", number)


def test_without_accounting_there_is_none(on_head, job, tmp_path):
    assert on_head("sacct").returncode != 0
    done = on_head("sbatch", "--hold", "--parsable", "--account=nobody", job, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    on_head("scancel", done.stdout.strip())


def test_it_is_another_cluster_than_one_without(slurm_accounting, slurm):
    told = [lab.status().get("options") for lab in (slurm_accounting, slurm)]
    assert told == [{"accounting": True}, {}]
    assert slurm_accounting.up(2) is False
    other = type(slurm)(slurm_accounting.folder)
    with pytest.raises(ClusterError, match=", with accounting"):
        other.up(2)


def test_the_database_is_nobody_else_s(slurm_accounting):
    """It listens on a socket in the head's own /run, and on no port."""
    sockets = slurm_accounting.host("head").run(["ss", "--listening", "--no-header", "--tcp", "--processes"])
    assert "slurmdbd" in sockets
    assert "mariadbd" not in sockets
    assert not any(":3306" in line for line in sockets.splitlines())


def test_a_script_under_an_account(on_accounting_head, tmp_path):
    script = "import parsl\nwith parsl.load():\n    print(parsl.python_app(lambda: 40 + 2)().result())\n"
    (tmp_path / "script.py").write_text(script)
    site = ["--site", "slurm-lab", "--set", "account=physics", "--set", "qos=short", "--set", "walltime=00:05:00"]
    done = on_accounting_head(PROGRAM, "run", "script.py", *site, folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr
    assert on_accounting_head("squeue", "--noheader").stdout == ""
