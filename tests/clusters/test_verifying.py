"""Nodes whose Python is not like the driver's, on a real Slurm: refused before a manager starts, and told once."""

import re
import sys

import pytest

from program import PROGRAM
from pythons import environment, own

SCRIPT = """
import parsl
from parsl import python_app

@python_app
def where(number):
    import socket
    return socket.gethostname()

with parsl.load() as kernel:
    futures = [where(number) for number in range(8)]
    errors = [str(future.exception()) for future in futures]
    print(*sorted(set(errors)))
    print(*sorted({future.result() for future in futures if future.exception() is None}))
    print(len(kernel.executors["slurm-lab"].blocks_to_job_id))
"""
SITE = ("--site", "slurm-lab", "--set", "nodes_per_block=2", "--set", "max_blocks=1")


def test_both_nodes_refuse(slurm, on_head, tmp_path):
    python = environment(tmp_path / "env", {"parsl": "2025.1.6"})
    (tmp_path / "script.py").write_text(SCRIPT)
    done = on_head(PROGRAM, "run", *SITE, "--set", f"python={python}", "script.py", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    parsl = own()["parsl"]
    said = f"{python} has parsl 2025.1.6 (driver: {parsl}); to mend it: {python} -m pip install parsl=={parsl}"
    assert done.stdout.splitlines() == [f"Executor slurm-lab failed due to: node1, node2: {said}", "", "1"], done.stderr
    assert done.stderr.count(f"block 0 of slurm-lab starts no workers: node1, node2: {said}") == 1
    assert done.stderr.count("parsl 2025.1.6") <= 2, done.stderr  # there, and where failures are counted
    assert on_head("squeue", "--noheader").stdout == ""


@pytest.mark.slow
def test_one_node_refuses(slurm, on_head, tmp_path, private_home):
    python = environment(tmp_path / "env", {"parsl": "2025.1.6"})
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\n[ "$(hostname)" != node2 ] || exec {python} "$@"\nexec {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    (tmp_path / "script.py").write_text(SCRIPT)
    done = on_head(PROGRAM, "run", *SITE, "--set", f"python={wrapper}", "script.py", folder=tmp_path)
    assert done.stdout.splitlines() == ["None", "node1", "1"], done.stderr
    errors = private_home.glob("state/runs/*/parsl/**/*.stderr")
    assert any(re.search(r"no workers on node2: \S+ has parsl 2025.1.6", path.read_text()) for path in errors)


@pytest.mark.slow
def test_check_says_the_same(slurm, on_head, tmp_path):
    """What the login host has is right, and the nodes' is not: only a block can tell."""
    import json

    python = environment(tmp_path / "env", {"parsl": "2025.1.6"})
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\n[ "$(hostname)" = head ] || exec {python} "$@"\nexec {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    sets = ["--set", "nodes_per_block=2", "--set", f"python={wrapper}"]
    done = on_head(PROGRAM, "check", "slurm-lab", "--submit", "--json", *sets, folder=tmp_path)
    (site,) = json.loads(done.stdout)["sites"]
    found = {one["probe"]: one for one in site["findings"]}
    parsl = own()["parsl"]
    words = f"it starts no workers: node1, node2: {python} has parsl 2025.1.6 (driver: {parsl})"
    assert found["python"]["status"] == "ok"
    assert (found["block"]["status"], found["block"]["message"]) == ("failed", words)
    assert found["block"]["hint"] == f"{python} -m pip install parsl=={parsl}"
