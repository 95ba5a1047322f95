"""What the tests of faults share: runs, and the table of what came of each fault."""

import os
import sys
import uuid
from pathlib import Path

import pytest

# Helpers of this folder only; pytest's importlib mode puts no folder of tests on the path.
sys.path.insert(0, str(Path(__file__).parent))

from data_run import KEYS, SITE, Bucket, DataRun
from fault_run import FaultRun
from matrix import DataMatrix, Matrix

from stores import s3, web

MATRIX, DATA_MATRIX = pytest.StashKey(), pytest.StashKey()


def pytest_configure(config):
    config.stash[MATRIX], config.stash[DATA_MATRIX] = Matrix(), DataMatrix()


def pytest_sessionfinish(session):
    if os.environ.get("PILOTAGE_WRITE_MATRIX"):
        for key in (MATRIX, DATA_MATRIX):
            session.config.stash[key].write()


@pytest.fixture
def matrix(request):
    """The table of what came of each fault."""
    return request.config.stash[MATRIX]


@pytest.fixture
def data_matrix(request):
    """The table of what came of each fault of data."""
    return request.config.stash[DATA_MATRIX]


@pytest.fixture
def fault_run(tmp_path, pilotage):
    """Make a run in a folder of its own; whatever is left of it is ended when the test is over."""
    made = []

    def make(*arguments, name="run", **options):
        made.append(FaultRun(tmp_path / f"{name}-{len(made)}", pilotage, *arguments, **options))
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture
def data_run(tmp_path, pilotage, user_file):
    """Make a run whose tasks have files, on the site ``data``, of which ``staging`` is what it says of them."""
    made = []

    def make(tasks, staging="", *, workers=2, retries=0, more="", name="data", **options):
        user_file(SITE.format(workers=workers, retries=retries, staging=staging) + more)
        made.append(DataRun(tmp_path / f"{name}-{len(made)}", pilotage, tasks, **options))
        return made[-1]

    yield make
    for one in made:
        one.end()
        assert not one.left_on_node()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory):
    """A real S3 server."""
    with s3.serve(tmp_path_factory.mktemp("s3")) as keeper:
        yield keeper


@pytest.fixture
def bucket(s3_server, tmp_path, monkeypatch):
    """A new bucket of it; tasks have its keys in their environment."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    return Bucket(s3_server(f"b{uuid.uuid4().hex[:12]}"))


@pytest.fixture
def web_server(tmp_path):
    """A web server of a folder."""
    folder = tmp_path / "web"
    folder.mkdir()
    with web.running(folder) as server:
        yield server
