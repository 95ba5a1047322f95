"""A benchmark on a real Slurm, from its login host."""

import json

from pilotage.perf import folder
from program import PROGRAM


def test_a_batch_site_is_measured(on_head, pilotage, project):
    """Two blocks of a node each: what ran is what was connected, and the queue is told apart from the launch."""
    argv = ["perf", "run", "--site", "slurm-lab", "--time", "0.5", "--repeat", "1"]
    argv += ["--set", "init_blocks=2", "--set", "min_blocks=2", "--set", "exclusive=true"]
    done = on_head(PROGRAM, *argv, "--settle", "0", "--json", folder=project)
    assert done.returncode == 0, done.stderr
    ((name, path),) = json.loads(done.stdout)["records"].items()
    record = folder.read(project / path)
    assert record.id == name
    assert (record.site, record.scheduler, record.executor) == ("slurm-lab", "slurm", "htex")
    (session,) = record.sessions
    assert (session.ran.blocks, session.ran.managers, session.ran.workers, len(session.ran.nodes)) == (2, 2, 4, 2)
    assert [node.workers for node in session.ran.nodes] == [2, 2]
    assert session.cold_start.launch_s is not None
    assert session.rate > 0
    assert record.parameters["provider.partition"] == "debug"
    assert record.parameters["max_nodes"] == 2
    assert "192.0.2" not in record.to_json()
    assert "node1" not in record.to_json()
    config = (project / "configs" / "slurm-lab_slurm_htex_2n4w.py").read_text()
    assert "192.0.2" not in config
    assert on_head("squeue", "--noheader").stdout.strip() == ""
