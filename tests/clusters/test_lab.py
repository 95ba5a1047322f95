"""What every kind of cluster does: it comes up, is repaired, is started twice at once, and leaves nothing."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from clusters.labs import in_namespaces, machine, namespaces
from pilotage.clusters import hosts
from pilotage.clusters.gridengine import GridEngineCluster
from pilotage.clusters.slurm import SlurmCluster
from pilotage.clusters.surroundings import hosts_file, preparation
from pilotage.errors import ClusterError, UnsupportedError

KINDS = pytest.mark.parametrize(
    ("kind", "options"),
    [
        pytest.param(SlurmCluster, {}, id="slurm"),
        pytest.param(SlurmCluster, {"accounting": True}, id="slurm-accounting"),
        pytest.param(GridEngineCluster, {}, id="gridengine"),
    ],
)


@pytest.fixture(params=["slurm", "gridengine"])
def lab(request):
    return request.getfixturevalue(request.param)


def test_hosts_have_folders_of_their_own_and_share_the_rest(lab, tmp_path):
    lab.host("node1").run(["sh", "-c", "echo mine > /tmp/only-here"])
    assert "only-here" not in lab.host("node2").run(["ls", "/tmp"])
    assert not Path("/tmp/only-here").exists()
    lab.host("node1").run(["sh", "-c", f"echo shared > {tmp_path}/seen"])
    assert (tmp_path / "seen").read_text() == "shared\n"
    assert lab.visible(tmp_path) == tmp_path.resolve()
    with pytest.raises(ClusterError, match="have a /tmp of their own") as caught:
        lab.visible(Path("/tmp/elsewhere"))
    assert "--share" in caught.value.hint


def test_up_again_changes_nothing(lab):
    before = lab.status()
    assert lab.up(2) is False
    assert lab.status() == before
    for other in ({"nodes": 3}, {"cpus": 8}, {"share": [Path("/run")]}):
        with pytest.raises(ClusterError, match="another one is up, with 2 nodes of 4 CPUs and --share /tmp/") as caught:
            lab.up(**{"nodes": 2, **other})
        assert caught.value.hint == f"`pilotage cluster down {lab.kind}` ends it"


def test_a_node_without_daemons_is_started_again(lab, monkeypatch):
    """Whoever started it was ended in the middle."""
    lab.host("node2").end()

    def interrupted(host):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(lab, "_begin", interrupted)
        with pytest.raises(KeyboardInterrupt):
            lab.up(2)
    assert len(hosts.holders(lab.folder)) == 3
    with pytest.raises(ClusterError, match="node2 is down") as caught:
        lab.host("node2")
    assert caught.value.hint == f"`pilotage cluster up {lab.kind} --nodes 2 --cpus 4` starts it again"
    assert lab.up(2) is True
    assert len(hosts.holders(lab.folder)) == 3
    assert [host["up"] for host in lab.status()["hosts"]] == [True, True, True]


def test_no_such_host(lab):
    with pytest.raises(ClusterError, match="there is no host 'node9'") as caught:
        lab.host("node9")
    assert "head, node1, node2" in caught.value.hint


@KINDS
def test_it_leaves_nothing(cluster_folder, kind, options):
    before = machine()
    cluster = kind(cluster_folder, **options)
    assert cluster.status() == {"kind": cluster.kind, "up": False, "hosts": [], "folder": str(cluster_folder)}
    assert cluster.down() is False
    assert not cluster_folder.parent.exists(), "nothing is written for nothing"
    problems = []

    def up():
        try:
            cluster.up(1)
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=up) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        assert problems == []
        assert [host["name"] for host in cluster.status()["hosts"]] == ["head", "node1"]
        assert len(hosts.holders(cluster_folder)) == 2, "both at once have started each host once"
        held = namespaces(host.process for host in hosts.holders(cluster_folder))
        assert len(in_namespaces(held)) > 4, "the hosts and their daemons"
        assert machine() == before, "nothing of it is the machine's"
    finally:
        assert cluster.down() is True
    assert in_namespaces(held) == []
    assert not cluster_folder.exists()
    assert machine() == before


def test_what_is_looked_for_can_be_found(tmp_path):
    """A process in a namespace of its own, as one that a cluster forgot would be."""
    process = subprocess.Popen(["unshare", "--net", "sleep", "60"])
    try:
        while not (held := namespaces([process.pid])):
            assert process.poll() is None
        assert process.pid in in_namespaces(held)
    finally:
        process.kill()
        process.wait()
    assert in_namespaces(held) == []


def test_up_and_down_at_once(cluster_folder):
    cluster, problems = SlurmCluster(cluster_folder), []

    def again_and_again():
        for change in (lambda: cluster.up(1), cluster.down) * 2:
            try:
                change()
            except Exception as error:
                problems.append(error)

    threads = [threading.Thread(target=again_and_again) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cluster.down()
    assert problems == []
    assert hosts.holders(cluster.folder) == []


def test_hosts_that_nobody_noted_are_ended(cluster_folder):
    cluster_folder.mkdir(parents=True)
    prepare = cluster_folder / "x.sh"
    prepare.write_text("true\n")
    host = hosts.start("x", prepare, cluster_folder / "x.ready", cluster_folder / "x.log")
    assert host.is_up
    assert SlurmCluster(cluster_folder).down() is True
    assert not host.is_up
    assert not cluster_folder.exists()


def test_a_host_that_cannot_start_says_why(cluster_folder):
    cluster_folder.mkdir(parents=True)
    prepare = cluster_folder / "x.sh"
    prepare.write_text("echo no such mount >&2; exit 3\n")
    with pytest.raises(ClusterError, match="the host x does not start: no such mount"):
        hosts.start("x", prepare, cluster_folder / "x.ready", cluster_folder / "x.log")
    assert hosts.holders(cluster_folder) == []
    assert SlurmCluster(cluster_folder).down() is True


def test_a_start_that_fails_leaves_nothing(cluster_folder, monkeypatch):
    cluster = GridEngineCluster(cluster_folder)

    def refused():
        raise UnsupportedError("this machine has no apt-get")

    monkeypatch.setattr(cluster, "_programs", refused)
    with pytest.raises(UnsupportedError, match="apt-get"):
        cluster.up(1)
    assert not cluster_folder.parent.exists()


@pytest.mark.parametrize("kind", [SlurmCluster, GridEngineCluster])
def test_only_root(monkeypatch, tmp_path, kind):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UnsupportedError, match="only root") as caught:
        kind(tmp_path / "lab").up()
    assert "sudo" in caught.value.hint
    assert "--docker" in caught.value.hint
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(UnsupportedError, match="Linux") as caught:
        kind(tmp_path / "lab").up()
    assert "--docker" in caught.value.hint


def test_somebody_else_s(monkeypatch, tmp_path):
    (tmp_path / "lab").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ClusterError, match="the Slurm of this machine is root's") as caught:
        SlurmCluster(tmp_path / "lab").down()
    assert caught.value.hint == "use sudo"
    assert (tmp_path / "lab").exists()


def test_the_preparation_of_a_host_is_shell(tmp_path):
    shares = [Path("/tmp/a b"), Path("/run/c")]
    text = preparation("node1", Path("/var/lib/x"), [Path("/cache/one"), Path("/cache/two")], shares, ["munge", "lock"])
    (tmp_path / "node1.sh").write_text(text)
    subprocess.run(["bash", "-n", tmp_path / "node1.sh"], check=True)
    lines = text.splitlines()
    assert "mount --rbind '/tmp/a b' /var/lib/x/share/0" in lines
    assert lines.index("mount --rbind /run/c /var/lib/x/share/1") < lines.index(
        "mount --move /var/lib/x/share/1 /run/c"
    )
    assert "mount -t overlay -o ro,lowerdir=/cache/one/usr:/cache/two/usr:/usr overlay /usr" in lines
    assert "mkdir -p -m 755 /run/munge /run/lock" in lines


def test_the_hosts_file():
    assert hosts_file(["head", "node1"]) == "127.0.0.1 localhost\n192.0.2.1 head\n192.0.2.2 node1\n"
