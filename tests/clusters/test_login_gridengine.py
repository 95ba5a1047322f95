"""From a laptop that reaches only the login host of a Grid Engine."""

import json
import os
import signal
import sys
import tomllib

import pytest

from clusters.far_run import RUNS, FarRun
from clusters.test_login import HOSTS, events_of, nothing_is_left
from clusters.test_login_faults import both_work, drivers, lose_the_connection, supervisors, views
from program import PROGRAM

SITE = """
[site.lab]
scheduler = "gridengine"
login = "{login}"
python = "{python}"
run_folder = "{folder}"
queue = "all.q"
scheduler_options = "#$ -l exclusive=true"
init_blocks = 2
max_blocks = 2
max_workers_per_node = 1
walltime = "00:10:00"
{more}
"""


@pytest.fixture
def laptop(gridengine_laptop):
    return gridengine_laptop


@pytest.fixture
def laptop_site(laptop):
    """Write the laptop's site `lab`."""

    def write(login="head", more=""):
        text = SITE.format(login=login, python=sys.executable, folder=RUNS, more=more)
        laptop.place(".config/pilotage/pilotage.toml", text)

    return write


@pytest.fixture
def start(laptop, laptop_site):
    """Starts a run from the laptop; in the end nothing of it may be left."""
    started = []

    def begin(**options):
        laptop_site()
        started.append(FarRun(laptop, **options))
        return started[-1].runs()

    yield begin
    for run in started:
        run.stop()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("login", "reach", "expected"),
    [("head", "auto", "relay"), ("head-gateway", "auto", "gateway"), ("head", "node", "node")],
)
def test_tasks_run_on_every_node(laptop, laptop_site, login, reach, expected):
    laptop_site(login, f'reach = "{reach}"')
    laptop.place("hosts.py", HOSTS)
    assert "No such file" in laptop.run("ls", f"{laptop.home}/hosts.py", host="head").stderr
    done = laptop.pilotage("run", "--site", "lab", "hosts.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['node1', 'node2']\n"
    (way,) = [event["detail"] for event in events_of(laptop) if event["kind"] == "way"]
    assert way["reach"] == expected
    assert nothing_is_left(laptop)


@pytest.mark.slow
def test_every_task_runs_once_though_the_connection_is_lost(start):
    run = start()
    lose_the_connection(run)
    run.told("connection-back", 30)
    run.ends_right()


@pytest.mark.slow
def test_a_run_that_is_cancelled_leaves_nothing(start):
    run = start()
    assert run.laptop.jobs()
    run.laptop.pilotage("cancel", "@last", timeout=60)
    run.process.communicate(timeout=60)
    run.nothing_is_left()


@pytest.mark.slow
def test_what_was_killed_left_is_ended_by_the_next_command(start):
    run = start(count=800)
    both_work(run)  # of a block that was being submitted nobody would know for a while whether it is there
    for pid in [*views(run), *supervisors(run), *drivers(run)]:
        os.kill(pid, signal.SIGKILL)
    run.process.communicate(timeout=60)
    assert run.laptop.jobs()
    run.laptop.pilotage("ps", timeout=60)
    run.nothing_is_left()


@pytest.mark.slow
def test_what_grid_engine_refuses_is_told(laptop, laptop_site):
    laptop_site()
    laptop.place("hosts.py", HOSTS)
    done = laptop.pilotage("run", "--site", "lab", "--set", "queue=nope", "hosts.py")
    assert done.returncode != 0
    assert 'Job was rejected because job requests unknown queue "nope"' in done.stderr
    assert nothing_is_left(laptop)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_tutorial_and_census(laptop, laptop_site, examples):
    laptop_site()
    script = ["sh", examples / "run_all", PROGRAM]
    done = laptop.run(*script, env={"SITE": "lab", "MPLCONFIGDIR": f"{laptop.home}/matplotlib"}, timeout=800)
    assert done.returncode == 0, done.stdout + done.stderr
    assert laptop.outside(f"{laptop.home}/results/census/census.csv").exists()
    assert nothing_is_left(laptop)


@pytest.mark.slow
def test_check_proves_the_path_from_a_compute_node(laptop, laptop_site):
    laptop_site()
    done = laptop.pilotage("check", "lab", "--submit", "--json")
    (report,) = json.loads(done.stdout)["sites"]
    found = {one["probe"]: one for one in report["findings"]}
    assert not [one for one in found.values() if one["status"] == "failed"], done.stdout
    assert found["reach"]["message"].startswith("relay: on head, ")
    assert found["node-folder"]["status"] == "ok"
    assert found["trial"]["status"] == "ok"
    assert nothing_is_left(laptop)


@pytest.mark.slow
def test_a_site_is_made_of_what_the_login_host_says(laptop):
    done = laptop.pilotage("site", "add", "lab", "--login", "head", "--yes")
    assert done.returncode == 0, done.stderr
    text = laptop.outside(f"{laptop.home}/.config/pilotage/pilotage.toml").read_text()
    site = tomllib.loads(text)["site"]["lab"]
    assert (site["scheduler"], site["login"], site["queue"]) == ("gridengine", "head", "all.q")
