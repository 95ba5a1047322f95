"""Runs of sessions that nobody ran."""

import fcntl
import os
import subprocess
import sys

import pytest

from perf import reports
from perf.made_up import several
from pilotage.assembly.configs import targets
from pilotage.paths import RunFolder, private_folder
from pilotage.perf.campaign import Campaign
from pilotage.perf.request import Request
from pilotage.perf.subjects import subjects_of


@pytest.fixture
def campaign(private_home, tmp_path, monkeypatch):
    """Make a campaign of sites whose sessions are simulated."""
    monkeypatch.setattr("pilotage.perf.machine.revisions", lambda _: {})
    monkeypatch.setattr("pilotage.perf.campaign._config", lambda _: "config = None\n")
    count = iter(range(10_000))

    def make(labels, runner, *, repeat=20, seed=1, folder=None, **more):
        folder = folder or RunFolder(private_folder(private_home / "state" / "runs" / f"run-{next(count)}"))
        request = Request(time_s=1, repeat=repeat, root=tmp_path, seed=seed, **more)
        chosen = [target for label in labels for target in targets({label: "laptop"})]
        said = []
        made = Campaign(folder, request, subjects_of(chosen, request.workers), runner, said.append)
        made.said, made.folder = said, folder
        return made

    return make


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """A SQLite store of MLflow's with its tables and nothing in them: they take seconds to be made."""
    base = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):  # one for all processes of the session
        base = base.parent
    path = base / "empty-mlflow.db"
    with (base / "empty-mlflow.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            made = path.with_suffix(".part")
            code = f"from mlflow import MlflowClient; MlflowClient('sqlite:///{made}').search_experiments()"
            env = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "GIT_PYTHON_REFRESH": "quiet", "TMPDIR": str(base)}
            subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, timeout=170)
            made.rename(path)
    return path


@pytest.fixture(scope="session")
def report(tmp_path_factory):
    """The folder of a report with all figures."""
    return reports.made(several(), tmp_path_factory.mktemp("report"), tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def evil_report(tmp_path_factory):
    """The folder of a report whose names HTML would take for its own."""
    title = "<h1>Title</h1> & more"
    return reports.made(reports.evil(), tmp_path_factory.mktemp("evil"), tmp_path_factory.mktemp("home"), title=title)
