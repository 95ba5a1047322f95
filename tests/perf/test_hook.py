"""A benchmark's run gives its records to MLflow, with what belongs to them; and nothing secret with them."""

import pytest

from perf.made_up import record
from pilotage.paths import RunFolder, private_folder
from pilotage.perf import folder as records
from pilotage.perf import hook, mlflow_child, waiting


@pytest.fixture
def run(private_home):
    """The folder of a run with a record of one session, its logs and a rendered script."""
    folder = RunFolder(private_folder(private_home / "state" / "runs" / "20261120-101010-abcd"))
    folder.output.write_text("session 1 of 1: laptop\n")
    session = private_folder(folder.path / "perf" / "0001")
    (session / "output.txt").write_text("==== Iteration 1 ====\n")
    (session / "stderr.txt").write_text("")
    scripts = private_folder(folder.parsl / "000" / "submit_scripts")
    (scripts / "block-0.submit").write_text("#!/bin/bash\nexport API_TOKEN=hunter2hunter2\nsrun worker\n")
    return folder


def test_a_record_goes_with_its_config_script_logs_and_figures(run, tmp_path):
    one = record("abcd-1", count=1)
    records.write(one, tmp_path, "config = None\n")
    assert hook.keep(run, [one], tmp_path, "http://127.0.0.1:9", pytest.fail)
    (order,) = waiting.orders()
    names = {path.relative_to(order.files_folder).as_posix() for path in order.files()}
    assert names >= {"record.json", "laptop_local_htex_1n2w.py", "logs/driver.log", "logs/0001/output.txt"}
    assert names >= {"scripts/block-0.submit", "figures/throughput.png", "figures/startup.png"}
    assert "logs/0001/stderr.txt" not in names  # nothing is in it
    script = (order.files_folder / "scripts" / "block-0.submit").read_text()
    assert "hunter2" not in script
    assert "srun worker" in script


def test_a_drawing_library_that_does_not_work_costs_the_pictures_alone(run, tmp_path, monkeypatch):
    def broken(*_):
        raise ImportError("a shared object is missing")

    monkeypatch.setattr("pilotage.perf.report.inline.png", broken)
    assert hook.keep(run, [record("abcd-1", count=1)], tmp_path, "http://127.0.0.1:9", pytest.fail)
    (order,) = waiting.orders()
    names = {path.relative_to(order.files_folder).as_posix() for path in order.files()}
    assert "record.json" in names
    assert not any(name.startswith("figures/") for name in names)


def test_without_mlflow_and_without_a_store_asked_for_nothing_is_kept(run, tmp_path, monkeypatch):
    monkeypatch.setattr(mlflow_child, "missing", lambda uri: ["mlflow-skinny"])
    said = []
    assert not hook.keep(run, [record("abcd-1")], tmp_path, None, said.append)
    assert "pip install 'pilotage[mlflow]'" in said[0]
    assert waiting.orders() == []


def test_a_password_in_an_address_is_refused_before_anything_is_measured(pilotage):
    done = pilotage("perf", "run", "--site", "threads", "--tracking-uri", "http://me:secret@127.0.0.1:9")
    assert done.returncode == 2
    assert "MLFLOW_TRACKING_PASSWORD" in done.stderr
    assert "secret" not in done.stderr
