"""Real parsl-perf sessions: on sites and config files, as runs that are shown, cancelled and resumed."""

import json
import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import closing

import jsonschema
import pytest
from click.testing import CliRunner

from perf.simulated import record as simulated
from pilotage.cli import main
from pilotage.paths import TrackingFolder, private_folder
from pilotage.perf import folder, shapes, tracking
from pilotage.runs.record import RunRecord
from program import PROGRAM

SHORT = ("--time", "0.1", "--settle", "0")
AWAY = "http://127.0.0.1:9"
STOCK = """\
from parsl.config import Config
from parsl.executors import HighThroughputExecutor, ThreadPoolExecutor

made = 0


def fresh_config():
    global made
    made += 1
    assert made == 1, "a second config is a second benchmark"
    return Config(
        executors=[
            HighThroughputExecutor(label="processes", address="127.0.0.1", max_workers_per_node=1),
            ThreadPoolExecutor(label="pool", max_threads=2),
        ],
        strategy_period=0.1,
    )
"""


@pytest.fixture
def untracked(monkeypatch, private_home):
    """MLflow's server is away, as it was a moment ago: nothing waits for it, or imports MLflow."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", AWAY)
    private_folder(TrackingFolder.standard().path)
    tracking._note(AWAY, "nothing listens there")


@pytest.fixture
def tracked(empty_store):
    """The default store, its tables made already; returns a function: the ids of the records in it."""
    path = TrackingFolder.standard().database
    private_folder(path.parent)
    shutil.copy(empty_store, path)

    def sent():
        with closing(sqlite3.connect(path)) as store:
            return [row[0] for row in store.execute("SELECT value FROM tags WHERE key = 'pilotage.record'")]

    return sent


def records(project):
    found = folder.read_all([project / "results"])
    assert not found.problems
    return list(found.records.values())


def test_a_site_is_measured_and_mlflow_is_told(pilotage, project, tracked):
    done = pilotage("perf", "run", "--site", "laptop", "--latency", "--workers", "1", "--repeat", "1", *SHORT, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    jsonschema.validate(told, shapes.schema("perf-run"))
    (record,) = records(project)
    assert list(told["records"]) == [record.id]
    assert record.runs == [told["run"]]
    assert (record.site, record.scheduler, record.executor, record.label) == ("laptop", "local", "htex", "laptop")
    assert [(session.number, session.status) for session in record.sessions] == [(1, "finished")]
    for session in record.sessions:
        assert len(session.iterations) >= 2
        assert session.iterations[-1].num_tasks > 10
        assert (session.ran.blocks, session.ran.managers, session.ran.workers, len(session.ran.nodes)) == (1, 1, 1, 1)
        start = session.cold_start
        parts = [start.driver_s, start.queue_s, start.launch_s, start.connect_s, start.first_task_s]
        assert sum(part or 0 for part in parts) == pytest.approx(start.total_s, abs=0.01)
        assert start.connect_s is not None
        assert session.shutdown_s > 0
        assert len(session.latency.samples) > session.latency.warm_up > 0
    assert record.parameters["executor.max_workers_per_node"] == 1
    assert record.parameters["cores_per_node"] == record.sessions[0].ran.nodes[0].cores
    assert record.versions["parsl"]
    config = (project / "configs" / "laptop_local_htex_1n1w.py").read_text()
    assert "max_workers_per_node=1" in config
    # Talk is talk, and the run is one like any other.
    assert "iteration 2:" in done.stderr
    assert "session 1 of 1: laptop, 1 worker" in done.stderr
    shown = json.loads(pilotage("show", told["run"], "--json").stdout)
    assert shown["state"] == "finished"
    total = sum(one.num_tasks for session in record.sessions for one in session.iterations)
    assert shown["tasks"]["done"] >= total + sum(len(session.latency.samples) for session in record.sessions)
    logs = pilotage("logs", told["run"]).stdout
    assert "session 1 of 1" in logs
    assert tracked() == [record.id]


@pytest.mark.slow
def test_threads_and_each_executor_of_a_config_file_are_measured(pilotage, project, untracked):
    (project / "stock.py").write_text(STOCK)
    argv = ["perf", "run", "--site", "threads", "--config", "stock.py", "--argsize", "1000", "--repeat", "1", *SHORT]
    done = pilotage(*argv)
    assert done.returncode == 0, done.stderr
    found = {(record.site, record.executor): record for record in records(project)}
    assert set(found) == {("threads", "threads"), ("stock", "htex"), ("stock", "threads")}
    stock = found["stock", "htex"]
    assert stock.label == "processes"
    assert stock.parameters["executor.module"] == "parsl.executors.high_throughput.executor"
    assert stock.ran.workers == 1
    assert found["stock", "threads"].ran.workers == 2
    assert all(record.options.argsize == 1000 for record in found.values())
    assert "stock processes, 1,000 B a call" in done.stderr
    assert done.stdout.count("1n") == 3
    assert (project / "configs" / "stock_local_htex_1n1w.py").read_text() == STOCK
    assert not (project / "runinfo").exists()


@pytest.mark.slow
def test_a_session_that_fails_is_a_record_with_its_reason(pilotage, project, untracked):
    (project / "broken.py").write_text(
        STOCK.replace('address="127.0.0.1"', 'provider=LocalProvider(worker_init="exit 3"), address="127.0.0.1"')
        .replace("ThreadPoolExecutor\n", "ThreadPoolExecutor\nfrom parsl.providers import LocalProvider\n")
        .replace('            ThreadPoolExecutor(label="pool", max_threads=2),\n', "")
    )
    done = pilotage("perf", "run", "--config", "broken.py", "--repeat", "1", *SHORT)
    assert done.returncode == 1
    (record,) = records(project)
    (session,) = record.sessions
    assert session.status == "failed"
    assert "EXIT CODE: 3" in session.reason
    assert record.values("rate") == []
    assert "0n0w" in next((project / "results" / "broken").iterdir()).name
    assert "1 session failed" in done.stderr
    listed = pilotage("perf", "table")
    assert "0/1" in listed.stdout


def wait_for(condition, limit=60):
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def test_a_benchmark_is_cancelled_and_resumed(pilotage, project, private_home, untracked):
    argv = ["perf", "run", "--site", "threads", "--repeat", "2", *SHORT, "-d"]
    run = pilotage(*argv, "--name", "bench").stdout.strip()
    place = private_home / "state" / "runs" / run
    wait_for(lambda: (place / "perf" / "0002" / "output.txt").exists())
    cancelled = json.loads(pilotage("cancel", "bench", "--json").stdout)
    assert cancelled["runs"][0]["state"] == "cancelled"
    (record,) = records(project)
    before = [(session.number, session.status) for session in record.sessions]
    assert before[0] == (1, "finished")
    assert not record.complete
    done = pilotage("resume", "bench", "--name", "again")
    assert done.returncode == 0, done.stderr
    assert f"1 sessions of run {run} are there already" in done.stderr
    assert "session 1 of 2" not in done.stderr
    assert "session 2 of 2: threads: " in done.stderr
    (whole,) = records(project)
    assert whole.id == record.id
    assert len(whole.runs) == 2
    assert [(session.number, session.status) for session in whole.finished] == [(n, "finished") for n in (1, 2)]
    assert whole.sessions[0] == record.sessions[0]


def test_ctrl_c_leaves_what_was_measured_and_says_so(pilotage, project, private_home, untracked):
    argv = [PROGRAM, "perf", "run", "--site", "laptop", "--time", "60", "--repeat", "2", "--settle", "0"]
    process = subprocess.Popen(argv, env=pilotage.env(), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    runs = private_home / "state" / "runs"
    wait_for(lambda: list(runs.glob("*/perf/0001/progress.json")))
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    (run,) = runs.iterdir()
    assert "Traceback" not in said
    assert "KeyboardInterrupt" not in said
    assert f"stopped; what was measured is kept, and `pilotage resume {run.name}` goes on" in said
    assert RunRecord(run).values["state"] == "cancelled"
    outcomes = [json.loads(line) for line in (run / "perf" / "outcomes.jsonl").read_text().splitlines()]
    assert [outcome["session"]["status"] for outcome in outcomes] == ["cancelled"]


def test_sites_are_compared_with_each_other_and_with_a_record(pilotage, project, untracked):
    (project / "old.json").write_text(simulated([1000.0], site="old").to_json())
    done = pilotage("perf", "compare", "threads", "threads", "old.json", "--repeat", "1", *SHORT, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    jsonschema.validate(found, shapes.schema("perf-compare"))
    rates = [verdict for verdict in found["verdicts"] if verdict["metric"] == "rate"]
    assert [(one["a"], one["b"], one["outcome"], one["paired"]) for one in rates] == [
        ("threads", "threads-2", "cannot tell", True),
        ("threads", "old", "cannot tell", False),
    ]
    assert not found["interleaved"]  # with the record
    one, other = records(project)
    assert one.options.interleaved_with == [other.id]
    assert sorted(session.order for record in (one, other) for session in record.sessions) == [1, 2]
    # Records that are there are compared without a run.
    files = [str(path) for path in sorted((project / "results" / "threads").iterdir())]
    again = pilotage("perf", "compare", *files)
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("throughput: cannot tell from 1 session ")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["run", "--site", "nowhere"], "there is no site 'nowhere'"),
        (["run", "--config", "nothing.py"], "there is no such file"),
        (["run", "--workers", "0"], "'0' is no whole number of at least 1"),
        (["run", "--workers", "2,100001"], "'100001' is no whole number of at least 1 and at most 100,000"),
        (["run", "--argsize", "x"], "'x' is no whole number of at least 0"),
        (["compare", "laptop"], "there is nothing to compare it with"),
        (["compare", "laptop", "none.json"], "none.json: cannot be read: No such file or directory"),
        (["run", "--time", "nan"], "nan is no number to count with"),
        (["run", "--settle", "inf"], "inf is no number to count with"),
        (["run", "--repeat", "1000000000000"], "is not in the range"),
        (["table"], "there are no records here"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_a_run(project, private_home, argv, words):
    done = CliRunner().invoke(main, ["perf", *argv])
    assert done.exit_code == 2
    assert words in done.output
    assert not (private_home / "state" / "runs").exists()


def test_what_could_not_be_kept_is_not_measured(pilotage, project, private_home):
    (project / "results").write_text("")
    done = pilotage("perf", "run", "--site", "threads", "--repeat", "1", *SHORT)
    assert done.returncode == 2
    assert f"error: {project / 'results'}: cannot write: Not a directory" in done.stderr
    assert "hint: a file stands where a folder is needed: use another folder" in done.stderr
    assert not (private_home / "state" / "runs").exists()
