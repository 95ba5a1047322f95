"""Records go to MLflow, once each and whole, and wait on the disk for as long as it takes."""

import errno
import fcntl
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings

import jsonschema
import pytest

from perf import pages
from perf.fake_mlflow import FakeMlflow
from perf.made_up import record
from pilotage.errors import UsageError
from pilotage.paths import TrackingFolder
from pilotage.perf import folder, mlflow_child, shapes, tracking, waiting
from pilotage.perf.importing import import_store
from pilotage.perf.logged import SENT_TAG
from program import PROGRAM

FILES = {"config.py": "config = None\n", "logs/driver.log": "a line\n"}


@pytest.fixture
def server():
    """A fake MLflow server."""
    found = [FakeMlflow()]
    yield found
    found[-1].stop()


@pytest.fixture
def here(monkeypatch):
    """Let MLflow's client work in this process: it takes seconds to be imported, and here it is once."""
    for name, value in {**mlflow_child.PATIENCE, **mlflow_child.SWITCHES}.items():
        monkeypatch.setenv(name, value)

    def ask(module, request, seconds):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield from importlib.import_module(f"pilotage.perf.{module}").answers(request)

    monkeypatch.setattr(mlflow_child, "ask", ask)


@pytest.fixture
def store(empty_store):
    """The default store, its tables made already."""
    path = TrackingFolder.standard().database
    path.parent.mkdir(parents=True)
    shutil.copy(empty_store, path)
    return path


def track(one, **more):
    said = []
    return tracking.track(one, FILES, say=said.append, **more), said


def wanted(one):
    """What is to be in MLflow of a record: all its points, sorted."""
    run = tracking.run_of(one, "x", "0")
    return sorted((name, *point) for name, points in run.metrics.items() for point in points)


READ = """
import json, sys
from mlflow import MlflowClient
client = MlflowClient(tracking_uri=sys.argv[1])
told = []
for experiment in client.search_experiments():
    for run in client.search_runs([experiment.experiment_id]):
        history = {key: [(m.timestamp, m.value, m.step) for m in client.get_metric_history(run.info.run_id, key)]
                   for key in run.data.metrics}
        files = {}
        for name in ("record.json", "config.py", "logs/driver.log"):
            files[name] = open(client.download_artifacts(run.info.run_id, name, sys.argv[2])).read()
        told.append({"experiment": experiment.name, "name": run.info.run_name, "status": run.info.status,
                     "params": run.data.params, "tags": run.data.tags, "history": history, "files": files})
print(json.dumps(told))
"""


def read_by_mlflow(path, tmp_path):
    """Return the runs of a store as MLflow's own client reads them."""
    done = subprocess.run(
        [sys.executable, "-c", READ, f"sqlite:///{path}", str(tmp_path)],
        env={**mlflow_child.environment(), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_mlflows_own_client_reads_the_record_back(store, tmp_path):
    one = record("abcd-1", failures=1)
    track(one)
    sent, said = track(one)  # the same again
    assert (sent.there, sent.waiting, sent.problems, said) == ([one.id], [], [], [])
    (run,) = read_by_mlflow(store, tmp_path)
    assert run["experiment"] == "parsl-perf"
    assert run["name"] == "laptop htex 1n2w"
    assert run["status"] == "FAILED"  # a session has failed
    tags, params = run["tags"], run["params"]
    assert (tags["Parsl version"], tags["Parsl Executor"]) == ("2026.10.26", "HighThroughputExecutor")
    assert (tags["Parsl Provider"], tags["site"], tags["scheduler"]) == ("LocalProvider", "laptop", "local")
    assert tags["git revision here"] == "01234567" * 5 + "-dirty"
    assert tags["pilotage version"] == "0.1.0"
    assert "the interchange has died" in tags["problems"]
    for name in (
        "cores_per_worker",
        "nodes_per_block",
        "cores_per_node",
        "min_blocks",
        "max_blocks",
        "max_nodes",
        "max_cores",
    ):
        assert params[name] == str(one.parameters[name])
    assert params["executor.odd key_"] == "é"
    assert "whole in the record" in params["provider.worker_init"]
    history = run["history"]
    assert sorted((key, *point) for key, points in history.items() for point in points) == wanted(one)
    # A step is an iteration, so that the page draws curves.
    assert [step for _, _, step in history["runtime_tps"]] == list(range(9))
    assert [value for _, value, _ in history["runtime_tps"]] == [
        i.runtime_tps for s in one.finished for i in s.iterations
    ]
    assert {
        "num_iterations",
        "num_tasks",
        "submission_s",
        "submission_tps",
        "runtime_s",
        "latency_p50_s",
        "latency_p99_s",
    } <= set(history)
    assert {"startup/queue_s", "startup/connect_s", "startup/total_s"} <= set(history)
    assert 999999.0 not in [value for _, value, _ in history["runtime_tps"]]  # the failed session's is set apart
    assert [value for _, value, _ in history["unfinished/runtime_tps"]] == [999999.0]
    assert folder.parse(run["files"]["record.json"], "") == one
    assert run["files"]["config.py"] == FILES["config.py"]
    assert run["files"]["logs/driver.log"] == FILES["logs/driver.log"]
    # And it comes back as the record that it was.
    imported = import_store(str(store), tmp_path / "back")
    assert [folder.read(path) for path in imported.new] == [one]


def test_a_server_that_is_away_loses_nothing(server, monkeypatch, pilotage):
    server[0].stop()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server[0].uri)
    first, second = record("aaaa-1"), record("bbbb-1")
    sent, said = track(first)
    assert (sent.sent, sent.waiting) == ([], [first.id])
    assert any("1 record waits for MLflow" in words for words in said)
    again, _ = track(second)  # a server that was away just now is not waited for again
    assert again.waiting == [first.id, second.id]
    assert not again.problems
    monkeypatch.delenv("MLFLOW_TRACKING_URI")  # each knows where it was to go
    server.append(server[0].again())
    done = pilotage("perf", "sync")
    assert (done.returncode, done.stdout) == (0, "2 sent\n"), done.stderr
    assert sorted(run["tags"]["pilotage.record"] for run in server[-1].active()) == [first.id, second.id]
    assert waiting.orders() == []
    assert pilotage("perf", "sync").stdout == "nothing waits\n"


@pytest.mark.parametrize("request_number", [4, 6, 8, 9, 10, 11, 12])
def test_a_server_that_dies_in_the_middle_gets_the_rest_and_nothing_twice(here, server, request_number):
    """It is killed before another request each time: before the first metrics, between them, before the end."""
    one = record("cccc-1", count=150)  # of which the points need several requests
    server[0].fault = lambda number, name: "die" if number == request_number else None
    sent, _ = track(one, uri=server[0].uri)
    assert sent.waiting == [one.id]
    assert all(SENT_TAG not in run["tags"] for run in server[0].active())
    assert len(server[0].active()) == (request_number > 4)
    server.append(server[0].again())
    assert tracking.send(insist=True).sent == [one.id]
    (run,) = server[-1].active()
    assert server[-1].points(run) == wanted(one)
    assert run["info"]["status"] == "FINISHED"
    assert run["params"]["site"] == "laptop"
    assert [name for name in server[-1].files if name.endswith("record.json")]
    assert tracking.send(insist=True).sent == []


def test_a_record_that_has_grown_replaces_or_completes_its_run(here, server):
    """A benchmark that was resumed has more sessions; steps of others may have moved."""
    uri = server[0].uri
    track(record("dddd-1", count=2), uri=uri)
    more = record("dddd-1", count=3)
    more.options.repeat = 2  # as it was asked for
    assert track(more, uri=uri)[0].sent == [more.id]
    (run,) = server[0].active()
    assert server[0].points(run) == wanted(more)
    assert len(server[0].runs) == 1
    more.sessions.pop(0)
    assert track(more, uri=uri)[0].sent == [more.id]
    (run,) = server[0].active()
    assert server[0].points(run) == wanted(more)
    assert len(server[0].runs) == 2  # the one before is deleted there, not lost


def test_what_somebody_has_deleted_there_does_not_come_back(here, server):
    one = record("eeee-1")
    track(one, uri=server[0].uri)
    next(iter(server[0].runs.values()))["info"]["lifecycle_stage"] = "deleted"
    sent, _ = track(record("eeee-1", count=2), uri=server[0].uri)
    assert sent.deleted == [one.id]
    assert server[0].active() == []
    assert waiting.orders() == []


def test_a_server_that_fails_is_told_of_and_what_was_for_it_waits(here, server):
    server[0].fault = lambda number, name: 500
    sent, _ = track(record("ffff-1"), uri=server[0].uri)
    assert sent.waiting
    assert "500" in " ".join(sent.problems)
    server[0].fault = lambda number, name: 400 if name == "runs/create" else None
    two = record("gggg-1")
    tracking.keep(two, FILES, server[0].uri)
    sent = tracking.send(insist=True)
    # It is the record that is refused: the other one is tried all the same.
    assert len(sent.problems) == 2
    assert sent.waiting == ["20261120-101010-ffff-1", two.id]


def test_a_server_that_does_not_answer_is_given_up(server, monkeypatch):
    monkeypatch.setattr(tracking, "START", 3)
    monkeypatch.setattr(tracking, "EACH", 1)
    server[0].fault = lambda number, name: 30.0
    sent, said = track(record("hhhh-1"), uri=server[0].uri)
    assert sent.waiting
    assert "no answer within 4 s" in " ".join(said)


@pytest.mark.parametrize("way", ["SIGTERM", "SIGKILL"])
def test_a_sync_that_is_ended_leaves_no_process_and_loses_nothing(server, pilotage, way):
    one = record("llll-1")
    tracking.keep(one, FILES, server[0].uri)
    server[0].fault = lambda number, name: 30.0
    process = subprocess.Popen(
        [PROGRAM, "perf", "sync"], env=pilotage.env(), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    while not server[0].asked:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(getattr(signal, way))
    said = process.communicate(timeout=30)[1]
    assert process.returncode == (-9 if way == "SIGKILL" else 130)
    assert "Traceback" not in said
    assert pages.gone(pilotage) == []
    assert [order.id for order in waiting.orders()] == [one.id]
    temporary = TrackingFolder.standard().temporary
    if way == "SIGKILL":  # what it has left goes with the next child, once it is old enough
        for left in temporary.iterdir():
            os.utime(left, (0, 0))
        server[0].fault = lambda number, name: None
        assert tracking.send(insist=True).sent == [one.id]
    assert list(temporary.iterdir()) == []


def test_one_who_waits_for_another_that_sends_is_told(here, server):
    tracking.keep(record("mmmm-1"), FILES, server[0].uri)
    said = []
    with TrackingFolder.standard().lock.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sender = threading.Thread(target=tracking.send, kwargs={"say": said.append})
        sender.start()
        while not said:
            assert sender.is_alive()
            time.sleep(0.02)
        assert said == ["waiting for another process that sends to MLflow"]
        assert waiting.orders()
    sender.join(60)
    assert waiting.orders() == []


def test_what_is_broken_or_gone_meanwhile_keeps_nothing_from_being_sent(here, server):
    good, gone = record("nnnn-1"), record("oooo-1")
    for one in (gone, good):
        tracking.keep(one, FILES, server[0].uri)
    broken = TrackingFolder.standard().waiting / "20261120-101010-pppp-1.0123abcd"
    broken.mkdir()
    (broken / "order.json").write_text("[]")
    folders = [str(order.folder) for order in waiting.orders()]
    shutil.rmtree(next(folder for folder in folders if gone.id in folder))  # after they were listed
    request = {"uri": server[0].uri, "folders": folders}
    answers = list(mlflow_child.ask("mlflow_sender", request, 60))
    assert [(answer["id"], answer["outcome"]) for answer in answers] == [(good.id, "sent")]
    assert broken.exists()


def test_on_a_full_disk_the_record_is_sent_from_its_file_later(server, monkeypatch, tmp_path, pilotage):
    one = record("iiii-1")
    path = folder.write(one, tmp_path, "config = None\n")

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "order.json")

    with monkeypatch.context() as patch:
        patch.setattr(waiting, "write_json", full)
        sent, said = track(one, uri=server[0].uri)
    assert sent.problems
    assert "No space left" in said[0]
    assert "perf sync FILE" in said[0]
    assert waiting.orders() == []
    assert not list(TrackingFolder.standard().waiting.iterdir())  # no half of one
    done = pilotage("perf", "sync", path, "--tracking-uri", server[0].uri, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    jsonschema.validate(found, shapes.schema("perf-sync"))
    assert found == {
        "schema_version": 1,
        "sent": [one.id],
        "there": [],
        "deleted": [],
        "waiting": [],
        "problems": [],
    }
    assert [name.rpartition("/")[2] for name in server[0].files] == ["laptop_local_htex_1n2w.py", "record.json"]


def test_without_mlflow_installed_records_wait_and_sync_says_what_to_install(monkeypatch):
    monkeypatch.setattr(mlflow_child, "NEEDED", {"no_such_module": "mlflow-skinny"})
    monkeypatch.setattr(mlflow_child, "missing", lambda uri: ["mlflow-skinny"])
    sent, said = track(record("jjjj-1"), uri="http://127.0.0.1:9")
    assert sent.waiting
    assert "pip install 'pilotage[mlflow]'" in " ".join(said)
    with pytest.raises(tracking.PilotageError, match="not installed"):
        tracking.send(insist=True)
    assert len(waiting.orders()) == 1


def test_what_waits_is_listed_and_can_be_forgotten(pilotage):
    track(record("kkkk-1"), uri="http://127.0.0.1:9")
    done = pilotage("perf", "sync", "--dry-run")
    assert "20261120-101010-kkkk-1" in done.stdout
    found = json.loads(pilotage("perf", "sync", "--dry-run", "--json").stdout)
    jsonschema.validate(found, shapes.schema("perf-sync"))
    assert found["waiting"] == [{"id": "20261120-101010-kkkk-1", "store": "http://127.0.0.1:9"}]
    assert pilotage("perf", "sync", "--forget", "20261120-101010-none-1").returncode == 2
    both = pilotage("perf", "sync", "--dry-run", "--forget", "20261120-101010-kkkk-1")
    assert both.returncode == 2
    assert "--dry-run changes nothing, and --forget would" in both.stderr
    assert len(waiting.orders()) == 1
    assert pilotage("perf", "sync", "--forget", "20261120-101010-kkkk-1").stdout == "nothing waits\n"


def test_a_server_that_is_away_is_told_of_in_few_words(pilotage, project):
    done = pilotage("perf", "import", "http://127.0.0.1:9")
    assert (done.returncode, done.stderr) == (1, "error: http://127.0.0.1:9: nothing listens there\n")


def test_a_relative_file_is_the_same_from_every_folder(project):
    assert tracking.address("sqlite:///mine.db") == f"sqlite:///{project}/mine.db"
    assert tracking.address("sqlite:////tmp/mine.db") == "sqlite:////tmp/mine.db"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.write_text("no database " * 10), "file is not a database"),
        (lambda path: path.mkdir(), "a folder stands where the database is to be"),
        (lambda path: path.parent.rmdir(), "there is no such folder"),
    ],
)
def test_a_store_that_cannot_be_one_is_told_in_words_and_left_as_it_is(project, make, words):
    path = project / "store" / "mlflow.db"
    path.parent.mkdir()
    make(path)
    before = [(one, one.is_file() and one.read_bytes()) for one in project.rglob("*")]
    sent, said = track(record("qqqq-1"), uri=f"sqlite:///{path}")
    assert sent.waiting
    assert words in said[-2]
    assert "Background" not in "".join(said)
    assert [(one, one.is_file() and one.read_bytes()) for one in project.rglob("*")] == before


@pytest.mark.parametrize(
    "uri", ["./mlruns", "file:///tmp/mlruns", "localhost:5000", "http://", "http://[::1", "sqlite:x"]
)
def test_what_is_no_address_is_refused_with_what_is_one(uri):
    with pytest.raises(UsageError, match="no address"):
        tracking.address(uri)


def test_nothing_of_mlflow_is_imported_by_pilotage_itself():
    heavy = "('mlflow', 'sqlalchemy', 'matplotlib')"
    code = "import sys; from pilotage.perf import tracking, importing, page; "
    code += f"print(sorted(name for name in sys.modules if name.startswith({heavy})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
