"""Real programs on real schedulers: the tutorial, the census, and Parsl's own tests."""

import re
import subprocess
from pathlib import Path

import pytest

from program import PROGRAM

pytestmark = pytest.mark.slow  # minutes on a busy machine: make test-clusters runs it

HERE = Path(__file__).parent
UPSTREAM = HERE.parents[1] / ".venv-upstream"
SELECTION = "not cleannet and not unix_filesystem_permissions_required"
BOTH = '[site.both]\nextends = "slurm-lab"\nexclusive = true\ninit_blocks = 2\nmin_blocks = 2\n'
CONFIG = "import pilotage\n\n\ndef fresh_config():\n    return pilotage.config('both')\n"


@pytest.fixture
def hosts_seen(tmp_path, user_file):
    """An environment in which workers leave a trace; returns it, and what gives the hosts that have run tasks."""
    user_file(BOTH)
    seen = tmp_path / "hosts-seen"
    seen.mkdir()
    env = {"PYTHONPATH": str(HERE / "seen"), "HOSTS_SEEN": str(seen)}
    return env, lambda: sorted(path.name for path in seen.iterdir())


def run_all(cluster, pilotage, examples, folder, site, env):
    """Run the tutorial and the census as ``make run`` does; return what they print."""
    script = [str(examples / "run_all"), str(PROGRAM)]
    env = {**env, "SITE": site, "MPLCONFIGDIR": str(folder / "matplotlib")}
    done = pilotage.run(cluster.host("head").command(script, str(folder)), env=env, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / "results" / "census" / "census.csv").exists()
    return done


@pytest.mark.timeout(700)
def test_tutorial_and_census_on_two_nodes(slurm, on_head, pilotage, examples, hosts_seen, tmp_path):
    env, seen = hosts_seen
    run_all(slurm, pilotage, examples, tmp_path, "both", env)
    assert seen() == ["node1", "node2"]
    assert on_head("squeue", "--noheader").stdout == ""


@pytest.mark.slow
@pytest.mark.upstream
@pytest.mark.timeout(900)
@pytest.mark.skipif(not (UPSTREAM / ".ready").exists(), reason="no .venv-upstream: make test builds it")
def test_parsls_own_tests_on_two_nodes(slurm, on_head, pilotage, hosts_seen, tmp_path):
    env, seen = hosts_seen
    (tmp_path / "under_test.py").write_text(CONFIG)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    python = UPSTREAM / "bin" / "python"
    where = "import parsl, os; print(os.path.dirname(parsl.__file__))"
    package = subprocess.run([python, "-c", where], capture_output=True, text=True, check=True).stdout.strip()
    argv = [
        *(python, "-m", "pytest", f"{package}/tests", "-c", tmp_path / "pytest.ini", "-k", SELECTION),
        *("--config", tmp_path / "under_test.py", "--timeout", "120", "-q", "--tb=native", "--random-order-seed=1"),
    ]
    command = slurm.host("head").command(list(map(str, argv)), str(tmp_path))
    done = pilotage.run(command, env=env, timeout=800)
    tail = done.stdout[-4000:]
    assert done.returncode == 0, tail
    assert int(re.search(r"(\d+) passed", tail).group(1)) >= 140, tail
    assert "failed" not in tail.splitlines()[-1]
    assert seen() == ["node1", "node2"]
    assert on_head("squeue", "--noheader").stdout == ""
