"""Parsl's own tests under our configs, in an environment of their own (``make test`` builds it)."""

import re
import subprocess
from pathlib import Path

import pytest

VENV = Path(__file__).parents[2] / ".venv-upstream"
SELECTION = "not cleannet and not unix_filesystem_permissions_required"
CONFIG = """\
import pilotage


def fresh_config():
    return pilotage.config({site!r})
"""

pytestmark = [
    pytest.mark.upstream,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not (VENV / ".ready").exists(), reason="no .venv-upstream: make test builds it"),
]


@pytest.mark.parametrize("site", ["laptop", "threads"])
def test_parsls_own_suite(site, project, pilotage):
    (project / "under_test.py").write_text(CONFIG.format(site=site))
    (project / "pytest.ini").write_text("[pytest]\n")
    python = VENV / "bin" / "python"
    where = "import parsl, os; print(os.path.dirname(parsl.__file__))"
    package = subprocess.run([python, "-c", where], capture_output=True, text=True, check=True).stdout.strip()
    done = pilotage.run(
        [
            *(python, "-m", "pytest", f"{package}/tests", "-c", project / "pytest.ini", "-k", SELECTION),
            *("--config", project / "under_test.py", "--timeout", "120", "-q", "--tb=native", "--random-order-seed=1"),
        ],
        timeout=800,
        cwd=project,
    )
    tail = done.stdout[-4000:]
    assert done.returncode == 0, tail
    passed = int(re.search(r"(\d+) passed", tail).group(1))
    assert passed >= 140, tail
    assert "failed" not in tail.splitlines()[-1]
