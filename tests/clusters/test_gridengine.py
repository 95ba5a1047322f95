"""A Grid Engine cluster on this machine, as its users see it."""

import re
import time
from pathlib import Path

import pytest

from pilotage.clusters.gridengine import states
from pilotage.errors import ClusterError
from program import PROGRAM

WHERE = '#!/bin/bash\n#$ -S /bin/bash\n#$ -cwd\n#$ -j y\n#$ -o out\nhostname\nexit "${CODE:-0}"\n'


@pytest.fixture
def submit(on_gridengine_head, tmp_path):
    """Submits a job and waits for its end; returns its exit code and what it wrote."""
    (tmp_path / "job.sh").write_text(WHERE)

    def run(*options, sync=True):
        wait = ["-sync", "y"] if sync else []
        done = on_gridengine_head("qsub", "-terse", *wait, *options, "job.sh", folder=tmp_path)
        return done, (tmp_path / "out").read_text() if (tmp_path / "out").exists() else ""

    return run


@pytest.fixture
def no_job_is_left(on_gridengine_head):
    """Waits until the scheduler has no job; one that was deleted is listed until its node has ended it."""

    def wait():
        end = time.monotonic() + 20
        while (listed := on_gridengine_head("qstat").stdout) and time.monotonic() < end:
            time.sleep(0.1)
        assert listed == ""

    return wait


def test_what_the_scheduler_says_of_nodes(gridengine):
    told = gridengine.status()
    assert [(host["name"], host["address"], host["scheduler"]) for host in told["hosts"]] == [
        ("head", "192.0.2.1", ""),
        ("node1", "192.0.2.2", "0/4 slots"),
        ("node2", "192.0.2.3", "0/4 slots"),
    ]


@pytest.mark.parametrize("node", ["node1", "node2"])
def test_a_job_on_every_node(submit, node):
    done, out = submit("-l", f"h={node}")
    assert (done.returncode, out) == (0, f"{node}\n"), done.stderr


def test_a_job_that_fails_has_a_record_at_once(submit, on_gridengine_head):
    done, _ = submit("-v", "CODE=3")
    assert done.returncode == 3, done.stderr
    number = done.stdout.split()[0]
    record = on_gridengine_head("qacct", "-j", number)
    assert re.search(r"^exit_status\s+3\b", record.stdout, re.MULTILINE), record.stderr


def test_jobs_are_spread(submit, on_gridengine_head, tmp_path):
    """The node with more free slots is taken."""
    (tmp_path / "job.sh").write_text(WHERE.replace("hostname\n", 'touch "$(hostname)"\nsleep 60\n'))
    numbers = [submit(sync=False)[0].stdout.strip() for _ in range(2)]
    try:
        end = time.monotonic() + 20
        while time.monotonic() < end and not all((tmp_path / name).exists() for name in ("node1", "node2")):
            time.sleep(0.1)
        assert sorted(path.name for path in tmp_path.glob("node*")) == ["node1", "node2"]
    finally:
        on_gridengine_head("qdel", *numbers)


@pytest.mark.parametrize(
    ("request_", "granted"),
    [
        (("-pe", "smp", "4"), {4}),
        (("-pe", "mpi", "4"), {2}),
        (("-pe", "fill", "5"), {4, 1}),
        (("-l", "exclusive=true"), {1}),
    ],
)
def test_parallel_environments_and_whole_nodes(submit, tmp_path, request_, granted):
    (tmp_path / "job.sh").write_text(WHERE.replace("hostname\n", 'cat "$PE_HOSTFILE" || echo node 1\n'))
    done, out = submit(*request_)
    assert done.returncode == 0, done.stderr
    assert {int(line.split()[1]) for line in out.splitlines() if line.startswith("node")} == granted


def test_what_can_never_run_is_told_when_asked(submit):
    done, _ = submit("-w", "v", "-l", "h_rt=05:00:00", sync=False)
    assert "no suitable queues" in done.stdout + done.stderr
    done, _ = submit("-w", "v", "-l", "h_rt=00:05:00", sync=False)
    assert "found suitable queue" in done.stdout + done.stderr


def test_a_node_that_was_lost_is_started_again(gridengine, submit):
    gridengine.host("node2").end()
    assert [host["up"] for host in gridengine.status()["hosts"]] == [True, True, False]
    with pytest.raises(ClusterError, match="node2 is down"):
        gridengine.host("node2")
    assert gridengine.up(2) is True
    done, out = submit("-l", "h=node2")
    assert (done.returncode, out) == (0, "node2\n"), done.stderr


def test_a_job_on_a_node_that_was_lost_has_failed(gridengine, submit, on_gridengine_head, no_job_is_left, tmp_path):
    (tmp_path / "job.sh").write_text(WHERE.replace("hostname\n", 'touch "$(hostname)"\nsleep 600\n'))
    number = submit("-l", "h=node2", sync=False)[0].stdout.strip()
    end = time.monotonic() + 20
    while not (tmp_path / "node2").exists():
        assert time.monotonic() < end
        time.sleep(0.1)
    gridengine.host("node2").end()
    assert gridengine.up(2) is True
    no_job_is_left()
    record = on_gridengine_head("qacct", "-j", number).stdout
    assert re.search(r"^failed\s+19 ", record, re.MULTILINE), record


def test_a_head_that_was_lost_is_started_again(gridengine, submit):
    gridengine.host("head").end()
    assert gridengine.status()["up"] is False
    assert gridengine.up(2) is True
    done, out = submit("-l", "h=node1")
    assert (done.returncode, out) == (0, "node1\n"), done.stderr


def test_states_of_nodes():
    line = "-" * 80
    table = (
        "queuename                      qtype resv/used/tot. load_avg arch          states\n"
        f"{line}\nall.q@node1                    BIP   0/1/4          0.50     lx-amd64      \n"
        f"     12 0.55500 block      ada          r     01/02/2026 03:04:05     1        \n"
        f"{line}\nall.q@node2                    BIP   0/0/4          -NA-     -NA-          au\n"
    )
    assert states(table) == {"node1": "1/4 slots", "node2": "0/4 slots au"}
    assert states("") == {}


SCRIPT = """
import parsl
from parsl import python_app

@python_app
def where(number):
    import socket, time
    time.sleep(0.5)
    return socket.gethostname()

with parsl.load():
    print(*sorted({future.result() for future in [where(number) for number in range(16)]}))
"""


def test_a_script_on_both_nodes(on_gridengine_head, no_job_is_left, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    done = on_gridengine_head(
        PROGRAM, "run", "script.py", "--site", "gridengine-lab", "--set", "init_blocks=2", folder=tmp_path
    )
    assert (done.returncode, done.stdout.split()) == (0, ["node1", "node2"]), done.stderr
    no_job_is_left()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("0_getting_started", []),
        ("1_parallel_workflow", []),
        pytest.param("2_sequential_workflow", [], marks=pytest.mark.slow),
        pytest.param("3_dynamic_workflow", [], marks=pytest.mark.slow),
        pytest.param("4_hello_affinity", [], marks=pytest.mark.slow),
        ("stdlib_census", ["--limit", "200"]),
    ],
)
def test_the_tutorial_and_the_census(on_gridengine_head, no_job_is_left, examples, tmp_path, name, arguments):
    command = [PROGRAM, "run", examples / f"{name}.py", "--site", "gridengine-lab", "--", *arguments]
    done = on_gridengine_head(*command, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    no_job_is_left()


GOLDEN = [
    path
    for room in ("assembly", "schedulers")
    for path in sorted((Path(__file__).parents[1] / room / "golden").glob("gridengine*.sh"))
]


@pytest.mark.parametrize("script", GOLDEN, ids=lambda path: path.stem)
def test_a_golden_script_is_accepted(on_gridengine_head, script, tmp_path):
    """Grid Engine reads every directive; refused may be only a queue, an environment or a project of another site."""
    (tmp_path / "job.sh").write_text(script.read_text().replace("@", "_"))
    done = on_gridengine_head("qsub", "-verify", "job.sh", folder=tmp_path)
    assert "nknown option" not in done.stderr + done.stdout
    assert done.returncode == 0, done.stderr + done.stdout
