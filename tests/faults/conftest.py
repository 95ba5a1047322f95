"""What the tests of faults share: runs, and the table of what came of each fault."""

import os
import sys
from pathlib import Path

import pytest

# Helpers of this folder only; pytest's importlib mode puts no folder of tests on the path.
sys.path.insert(0, str(Path(__file__).parent))

from fault_run import FaultRun
from matrix import PAGE, Matrix

MATRIX = pytest.StashKey()


def pytest_configure(config):
    config.stash[MATRIX] = Matrix()


def pytest_sessionfinish(session):
    matrix = session.config.stash[MATRIX]
    if os.environ.get("PILOTAGE_WRITE_MATRIX") and matrix.outcomes:
        PAGE.write_text(matrix.page())


@pytest.fixture
def matrix(request):
    """The table of what came of each fault."""
    return request.config.stash[MATRIX]


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
