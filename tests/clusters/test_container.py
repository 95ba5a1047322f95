"""Workers of a real Slurm in containers of charliecloud, on both nodes."""

import json
import os
import subprocess

import psutil
import pytest

import containers
from clusters.cluster_run import wait_for
from program import PROGRAM

LONG = f"319.{os.getpid()}"
SITE = """
[site.boxes]
extends = "slurm-lab"
exclusive = true
init_blocks = 2
[site.boxes.environment]
kind = "container"
runtime = "charliecloud"
image = "{image}"
"""
SCRIPT = """
import json, sys
import parsl
from parsl import python_app

@python_app
def where(number):
    import os, socket, sys, time
    time.sleep(0.5)
    return socket.gethostname(), sys.executable, os.path.exists("/usr/bin/dpkg"), "SLURM_JOB_ID" in os.environ

@python_app
def stay():
    import subprocess
    subprocess.run(["sh", "-c", "sleep @long@ >/dev/null 2>&1 </dev/null & sleep @long@"])

with parsl.load():
    print(json.dumps(sorted({future.result() for future in [where(number) for number in range(12)]})), flush=True)
    if sys.argv[1:]:
        stay().result()
"""


@pytest.fixture
def script(slurm, tmp_path, user_file, monkeypatch):
    """A script, for a site whose nodes have an image."""
    containers.charliecloud(tmp_path)
    user_file(SITE.format(image=containers.image(tmp_path / "image")))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
    (tmp_path / "script.py").write_text(SCRIPT.replace("@long@", LONG))
    return tmp_path / "script.py"


def asleep():
    return [one for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == ["sleep", LONG]]


def test_a_script_in_containers_on_both_nodes(script, on_head, tmp_path):
    done = on_head(PROGRAM, "run", script, "--site", "boxes", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[node, "/usr/bin/python3", False, True] for node in ("node1", "node2")]
    wait_for(lambda: on_head("squeue", "--noheader").stdout == "", "a job is left")


@pytest.mark.slow
def test_a_cancelled_job_leaves_nothing_in_a_container(script, slurm, on_head, pilotage, tmp_path):
    run = [PROGRAM, "run", script, "--site", "boxes", "--", "stay"]
    argv = slurm.host("head").command([str(part) for part in run], str(tmp_path))
    with subprocess.Popen(argv, env=pilotage.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        found = wait_for(lambda: (two := asleep()) and len(two) == 2 and two, "no task has begun")
        on_head("scancel", "--user", "root")
        assert psutil.wait_procs(found, timeout=30)[1] == []
        # The call may come back before its worker ends, or be lost: here only what is left counts.
        process.communicate(timeout=90)
    wait_for(lambda: on_head("squeue", "--noheader").stdout == "", "a job is left")  # one that completes is still there
