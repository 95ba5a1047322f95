"""`pilotage cluster`: what its commands say and do."""

import json
import os
import shutil
from pathlib import Path

import pytest

from clusters.labs import CACHE, reason


@pytest.fixture
def command(pilotage, cluster_folder, tmp_path):
    """Runs `pilotage cluster` on clusters of this test alone."""

    def run(*arguments, env=None, **options):
        more = {"PILOTAGE_CLUSTERS": str(cluster_folder.parent), "XDG_CACHE_HOME": CACHE, **(env or {})}
        return pilotage("cluster", *arguments, env=more, **options)

    yield run
    run("down")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["exec", "head", "true"], "no cluster is up"),
        (["exec", "--cluster", "slurm", "head", "true"], "no cluster is up"),
        (["up", "slrum"], "'slrum' is not one of 'slurm', 'gridengine', 'kind'"),
        (["up", "slurm", "--nodes", "0"], "0 is not in the range"),
        (["up", "slurm", "--nodes", "65"], "from 1 to 64"),
        (["up", "slurm", "--dry-run"], "--dry-run prints what containers are made of"),
        (["up", "gridengine", "--accounting"], "--accounting is for `pilotage cluster up slurm` alone"),
        (["up", "slurm", "--docker", "--accounting"], "--accounting is for `pilotage cluster up slurm` alone"),
        (["up", "gridengine", "--docker"], "gridengine is not to be had in containers"),
        (["down", "gridengine", "--docker"], "gridengine is not to be had in containers"),
    ],
)
def test_what_cannot_be(command, arguments, words):
    done = command(*arguments)
    assert done.returncode in (1, 2)
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_where_there_is_none(command):
    assert command("down").stdout == "there was none\n"
    assert command("down", "gridengine").stdout == "gridengine: there was none\n"
    done = command("status")
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        "CLUSTER  HOST  ADDRESS  STATE  SCHEDULER\n",
        "no cluster is up\n",
    )
    told = json.loads(command("status", "--json").stdout)["clusters"]
    assert [(one["kind"], one["up"]) for one in told] == [("slurm", False), ("gridengine", False)]


def test_where_clusters_cannot_be_started(pilotage, tmp_path):
    """Without apt-get, as on other distributions; and as nobody in particular."""
    if why := reason():
        pytest.skip(why)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("unshare", "nsenter", "setsid", "mount"):
        (programs / name).symlink_to(shutil.which(name))
    env = {"PATH": str(programs), "PILOTAGE_CLUSTERS": str(tmp_path / "clusters"), "XDG_CACHE_HOME": str(tmp_path)}
    for kind in ("slurm", "gridengine"):
        done = pilotage("cluster", "up", kind, env=env)
        assert done.returncode == 2
        assert "this machine has no apt-get" in done.stderr
        assert "pilotage cluster up slurm --docker" in done.stderr
        assert not (tmp_path / "clusters").exists()
    (programs / "unshare").unlink()
    done = pilotage("cluster", "up", "slurm", env=env)
    assert (done.returncode, "unshare is not installed" in done.stderr) == (2, True)


def test_hosts_are_roots(monkeypatch, tmp_path):
    """Whose namespaces nobody else may enter: nsenter would say so, and not what to do."""
    from pilotage.clusters.slurm import SlurmCluster
    from pilotage.errors import ClusterError
    from pilotage.worker import processes

    here = {**processes.identity(os.getpid()), "begun": True}
    state = {"nodes": 1, "cpus": 1, "share": [], "hosts": {"head": here}}
    (tmp_path / "state.json").write_text(json.dumps(state))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ClusterError, match="root's"):
        SlurmCluster(tmp_path).host("head")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert SlurmCluster(tmp_path).host("head").process == os.getpid()


def test_programs_that_another_cluster_uses_stay(pilotage, tmp_path):
    """The hosts see them where they are: without them nothing could be started there any more."""
    if why := reason():
        pytest.skip(why)
    programs = tmp_path / "cache/pilotage/packages/some"
    programs.mkdir(parents=True)
    (tmp_path / "clusters/slurm-lab").mkdir(parents=True)
    env = {"PILOTAGE_CLUSTERS": str(tmp_path / "clusters"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = pilotage("cluster", "down", "gridengine", "--purge", env=env)
    assert (done.returncode, "in use: slurm is up" in done.stderr) == (1, True), done.stderr
    assert programs.exists()
    assert pilotage("cluster", "down", "--purge", env=env).returncode == 0
    assert not programs.parent.exists()


def test_both_kinds_at_once(command, tmp_path):
    up = command("up", "slurm", "--nodes", "1", "--share", tmp_path)
    assert (up.returncode, up.stdout) == (0, "slurm: head, node1 are up\n"), up.stderr
    assert "--site slurm-lab" in up.stderr
    up = command("up", "gridengine", "--nodes", "1", "--json")
    assert up.returncode == 0, up.stderr
    assert [host["name"] for host in json.loads(up.stdout)["hosts"]] == ["head", "node1"]
    assert "--site gridengine-lab" in up.stderr

    rows = [line.split() for line in command("status").stdout.splitlines()[1:]]
    assert rows == [
        ["slurm", "head", "192.0.2.1", "up"],
        ["slurm", "node1", "192.0.2.2", "up", "idle"],
        ["gridengine", "head", "192.0.2.1", "up"],
        ["gridengine", "node1", "192.0.2.2", "up", "0/4", "slots"],
    ]
    assert len(command("status", "slurm").stdout.splitlines()) == 3

    done = command("exec", "head", "true")
    assert (done.returncode, "slurm and gridengine are up" in done.stderr) == (1, True)
    assert "--cluster slurm" in done.stderr
    home = Path("/")
    inside = command("exec", "--cluster", "gridengine", "head", "qconf", "-sql", cwd=home)
    assert (inside.returncode, inside.stdout) == (0, "all.q\n"), inside.stderr
    inside = command("exec", "--cluster", "slurm", "node1", "sh", "-c", "hostname; pwd; exit 7", cwd=tmp_path)
    assert (inside.returncode, inside.stdout.split()) == (7, ["node1", str(tmp_path)])

    assert command("down", "gridengine").stdout == "gridengine: ended\n"
    inside = command("exec", "head", "--", "hostname", cwd=home)
    assert (inside.returncode, inside.stdout) == (0, "head\n"), "the only one that is up"
    assert command("up", "slurm", "--nodes", "1", "--share", tmp_path).stdout == "slurm: head, node1 were up\n"
    assert command("down").stdout == "slurm: ended\n"
    assert command("down").stdout == "there was none\n"


def test_the_machine_s_own_folder(monkeypatch):
    from pilotage.clusters.kinds import labs

    monkeypatch.delenv("PILOTAGE_CLUSTERS", raising=False)
    assert [str(lab.folder) for lab in labs()] == ["/var/lib/pilotage/slurm-lab", "/var/lib/pilotage/gridengine-lab"]
    monkeypatch.setenv("PILOTAGE_CLUSTERS", "here")
    assert [lab.folder for lab in labs("slurm")] == [Path(os.getcwd()) / "here/slurm-lab"]
