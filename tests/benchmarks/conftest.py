"""The harness is a folder of scripts beside each other: its tests import them as they import each other."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _scripts_beside_each_other(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield
    for name in ("figure", "measures", "peers", "processes", "report", "run", "startup", "summary", "supervision"):
        sys.modules.pop(name, None)
