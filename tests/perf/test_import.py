"""Stores of MLflow, in the old file form and in the new ones, become records: nothing is lost, nothing made up."""

import hashlib
import json
import math
import os
import shutil
import subprocess
import sys

import jsonschema
import pytest

from perf import old_store
from pilotage.errors import StorageError, UsageError
from pilotage.perf import file_store, folder, shapes
from pilotage.perf.importing import import_store
from pilotage.perf.logged import LoggedRun


@pytest.fixture
def old(tmp_path):
    """A store in the old form; returns its folder and what it holds."""
    root = tmp_path / "mlruns"
    return root, old_store.make(root)


def records_of(imported):
    return {(record := folder.read(path)).imported.run_id: record for path in (*imported.new, *imported.unchanged)}


def assert_nothing_is_lost(run: LoggedRun, held):
    """Every value of a run is in what a record keeps of it, to the last digit."""
    assert run.name == held["name"]
    assert run.params == held["params"]
    assert {key: value for key, value in run.tags.items() if key in held["tags"]} == held["tags"]
    assert set(run.metrics) == set(held["metrics"])
    for name, points in held["metrics"].items():
        # As text: a NaN does not equal itself.
        assert [tuple(map(repr, point)) for point in run.metrics[name]] == [tuple(map(repr, p)) for p in points], name


def test_every_value_of_an_old_store_is_in_the_records(old, tmp_path):
    root, held = old
    imported = import_store(str(root), tmp_path)
    assert not imported.problems
    found = records_of(imported)
    assert set(found) == set(held)
    for run, record in found.items():
        assert_nothing_is_lost(record.imported, held[run])
        assert record.imported.experiment == "parsl-perf-exp-01"
        assert record.imported.user == "someone"
        assert record.imported.end is None or record.imported.end - record.imported.start == 1400
        assert record.imported.more["artifact_uri"].endswith(f"{run}/artifacts")


def test_what_is_no_measurement_is_marked_and_not_averaged(old, tmp_path):
    root, held = old
    imported = import_store(str(root), tmp_path)
    for run, record in records_of(imported).items():
        (session,) = record.sessions
        if held[run]["why"] is None:
            assert session.status == "finished"
            assert record.values("rate") == [held[run]["metrics"]["runtime_tps"][-1][1]]
        else:
            assert held[run]["why"] in session.reason
            assert session.status != "finished"
            assert record.values("rate") == []
            assert session.reason in record.marks
    assert len(imported.marked) == sum(one["why"] is not None for one in held.values())


def test_fields_are_filled_from_what_the_store_says_and_from_nothing_else(old, tmp_path):
    root, _ = old
    by_name = {record.imported.name: record for record in records_of(import_store(str(root), tmp_path)).values()}
    record = by_name["batch-two-nodes"]
    assert (record.site, record.scheduler, record.executor) == ("batch-two-nodes", "slurm", "htex")
    assert record.tags == {key: value for key, value in old_store.tags("SlurmProvider").items() if "mlflow" not in key}
    assert {key: record.parameters[key] for key in old_store.PARAMS} == {
        key: int(value) for key, value in old_store.PARAMS.items()
    }
    assert record.ran.workers == 0  # nobody knows
    assert record.options.time_s is None
    assert record.sessions[0].iterations[0].number == 3
    assert any("only the last of 3 iterations" in mark for mark in record.marks)
    assert [i.runtime_tps for i in by_name["each step"].sessions[0].iterations] == [310.5, 880.0, 905.25]
    assert [i.num_tasks for i in by_name["no steps given"].sessions[0].iterations] == [10, 2500]
    odd = by_name['odd: name, "quoted"'].parameters
    assert (odd["path/of"], odd["number"], odd["flag"]) == ("007", 2.5, True)


def test_importing_twice_changes_nothing(old, tmp_path):
    root, held = old
    first = import_store(str(root), tmp_path)
    assert len(first.new) == len(held)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.rglob("*.json")}
    second = import_store(str(root), tmp_path)
    assert (second.new, second.updated) == ([], [])
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.rglob("*.json")} == before


def test_a_run_that_cannot_be_read_is_told_and_the_others_are_read(old, tmp_path, pilotage):
    root, held = old
    broken = sorted(root.rglob("metrics/runtime_tps"))[0]
    broken.write_text("1752000001000 many 0\n")
    half = sorted(root.glob("*/*/meta.yaml"))[-1]
    half.write_text(half.read_text()[:200].replace("status", "stat"))
    done = pilotage("perf", "import", root, "-o", tmp_path, "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    jsonschema.validate(told, shapes.schema("perf-import"))
    assert len(told["new"]) == len(held) - 2
    assert set(told["marked"]) < set(told["new"])
    assert all(folder.read(tmp_path / path).origin == "imported" for path in told["new"])
    assert len(told["problems"]) == 2
    assert "runtime_tps, line 1" in "".join(told["problems"])


def test_a_time_before_or_after_all_time_is_a_problem_and_a_names_control_characters_go(tmp_path):
    root = tmp_path / "mlruns"
    old_store.make(
        root, [("box", {"metrics": old_store.metrics(1.0), "tags": old_store.tags(site="a\x1b[31mb")}, None)]
    )
    (path,) = import_store(str(root), tmp_path).new
    assert folder.read(path).site == "a [31mb"
    (meta,) = root.glob("*/*/meta.yaml")
    meta.write_text(meta.read_text().replace("1752000000000", "9" * 30))
    (problem,) = import_store(str(root), tmp_path).problems
    assert "is out of all time" in problem


def test_an_experiment_or_a_run_alone_can_be_imported(old, tmp_path):
    root, held = old
    assert len(file_store.read(root / old_store.NUMBER).runs) == len(held)
    assert len(file_store.read(root.parent).runs) == len(held)
    run = next(iter(held))
    assert [one.run_id for one in file_store.read(root / old_store.NUMBER / run).runs] == [run]


def test_what_is_no_store_is_refused(tmp_path, pilotage):
    (tmp_path / "notes.txt").write_text("no database\n")
    with pytest.raises(StorageError, match="no run of MLflow's"):
        import_store(str(tmp_path), tmp_path)
    with pytest.raises(UsageError, match="no SQLite database"):
        import_store(str(tmp_path / "notes.txt"), tmp_path)
    with pytest.raises(StorageError, match="no such folder"):
        import_store(str(tmp_path / "nowhere"), tmp_path)
    done = pilotage("perf", "import", f"sqlite:///{tmp_path}/nowhere.db")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "nowhere.db").exists()


WRITE = """
import sys
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
import json
client = MlflowClient(tracking_uri=sys.argv[1])
experiment = client.create_experiment("parsl-perf-exp-01", artifact_location=sys.argv[2])
for run in json.load(sys.stdin).values():
    made = client.create_run(experiment, start_time=1752000000000, run_name=run["name"])
    metrics = [Metric(k, float(v), t, s) for k, points in run["metrics"].items() for t, v, s in points]
    client.log_batch(made.info.run_id, metrics, [Param(*p) for p in run["params"].items()],
                     [RunTag(*t) for t in run["tags"].items()])
    client.log_text(made.info.run_id, "text", "notes/a.txt")
    client.set_terminated(made.info.run_id, "FINISHED", 1752000005000)
"""


def write_by_mlflow(uri, artifacts, held, tmp_path, **env):
    """Let MLflow write a store; NaN is text in what is sent to it."""
    text = json.dumps(held).replace("NaN", '"nan"').replace("Infinity", '"inf"')
    env = {
        **os.environ,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "GIT_PYTHON_REFRESH": "quiet",
        "TMPDIR": str(tmp_path),
        **env,
    }
    argv = [sys.executable, "-c", WRITE, uri, str(artifacts)]
    done = subprocess.run(argv, input=text, env=env, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def some():
    """A few runs, by name: what MLflow itself is to write."""
    names = ("box-8cpu", "each step", "odd name", "placeholder")
    return {
        name: {
            "name": name,
            "why": None,
            "params": what.get("params", {}),
            "tags": what.get("tags", {}),
            "metrics": points,
        }
        for name, what, points in (
            (
                name,
                what,
                {
                    m: [(1752000001000 + i, float(v), s) for i, (v, s) in enumerate(p)]
                    for m, p in what["metrics"].items()
                },
            )
            for name, what in ((n.split(":")[0].strip("'").replace("odd", "odd name"), w) for n, w, _ in old_store.RUNS)
        )
        if name in names
    }


@pytest.mark.parametrize("form", ["files", "sqlite"])
def test_a_store_that_mlflow_has_written_is_imported_without_loss(form, some, tmp_path, empty_store):
    place = tmp_path / "store"
    place.mkdir()
    if form == "sqlite":
        shutil.copy(empty_store, place / "mlflow.db")
    uri = f"sqlite:///{place}/mlflow.db" if form == "sqlite" else str(place)
    write_by_mlflow(uri, tmp_path / "artifacts", some, tmp_path, MLFLOW_ALLOW_FILE_STORE="true")
    store = str(place / "mlflow.db") if form == "sqlite" else uri
    before = digest(place)
    found = {record.imported.name: record for record in records_of(import_store(store, tmp_path / "to")).values()}
    assert digest(place) == before, "the store was written to"
    assert set(found) == set(some)
    for name, record in found.items():
        held = json.loads(json.dumps(some[name]))
        if form == "sqlite":  # a database keeps no order, and no infinity
            for points in held["metrics"].values():
                points.sort(key=lambda point: (point[0], point[2]))
                points[:] = [
                    [t, math.copysign(1.7976931348623157e308, v) if math.isinf(v) else v, s] for t, v, s in points
                ]
            for points in record.imported.metrics.values():
                points.sort(key=lambda point: (point.timestamp, point.step))
        assert_nothing_is_lost(record.imported, held)
        assert record.imported.status == "FINISHED"
        assert (record.imported.start, record.imported.end) == (1752000000000, 1752000005000)
    assert found["each step"].sessions[0].iterations[2].num_tasks == 30000
    assert found["placeholder"].values("rate") == []
    if form == "sqlite":
        assert found["each step"].imported.artifacts == {"notes/a.txt": 4}


def digest(place):
    """Return what tells whether a file below a folder has changed."""
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(place.rglob("*")) if path.is_file()}
