"""A Slurm cluster on this machine: it comes up, is repaired, and leaves nothing."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from conftest import PROGRAM
from pilotage.clusters import hosts
from pilotage.clusters.slurm import SlurmCluster, hosts_file, preparation
from pilotage.errors import ClusterError, UnsupportedError


def interfaces():
    return set(psutil.net_if_addrs())


def mounts():
    return Path("/proc/self/mountinfo").read_text()


def test_a_job_on_every_node(slurm, on_head):
    done = on_head("srun", "--nodes=2", "hostname")
    assert sorted(done.stdout.split()) == ["node1", "node2"], done.stderr


def test_hosts_have_folders_of_their_own_and_share_the_rest(slurm, tmp_path):
    slurm.host("node1").run(["sh", "-c", "echo mine > /tmp/only-here"])
    assert "only-here" not in slurm.host("node2").run(["ls", "/tmp"])
    assert not Path("/tmp/only-here").exists()
    slurm.host("node1").run(["sh", "-c", f"echo shared > {tmp_path}/seen"])
    assert (tmp_path / "seen").read_text() == "shared\n"
    assert slurm.visible(tmp_path) == tmp_path.resolve()
    with pytest.raises(ClusterError, match="have a /tmp of their own") as caught:
        slurm.visible(Path("/tmp/elsewhere"))
    assert "--share" in caught.value.hint


def test_up_again_changes_nothing(slurm):
    before = slurm.status()
    assert slurm.up(2) is False
    assert slurm.status() == before
    with pytest.raises(ClusterError, match="a cluster of 2 nodes with 4 CPUs is up"):
        slurm.up(3)


def test_a_node_that_was_lost_is_started_again(slurm, on_head):
    slurm.host("node2").end()
    assert [host["up"] for host in slurm.status()["hosts"]] == [True, True, False]
    with pytest.raises(ClusterError, match="node2 is down"):
        slurm.host("node2")
    assert slurm.up(2) is True
    done = on_head("srun", "--nodes=2", "--time=1", "hostname")
    assert sorted(done.stdout.split()) == ["node1", "node2"], done.stderr


def test_a_command_has_its_exit_code_folder_and_environment(slurm, on_head, tmp_path):
    done = on_head("sh", "-c", 'pwd; hostname; echo "$HOME"; exit 7', folder=tmp_path)
    assert (done.returncode, done.stdout.split()) == (7, [str(tmp_path), "head", os.environ["HOME"]])


def test_no_such_host(slurm):
    with pytest.raises(ClusterError, match="there is no host 'node9'") as caught:
        slurm.host("node9")
    assert "head, node1, node2" in caught.value.hint


def test_it_leaves_nothing(cluster_folder, monkeypatch, packages_cache):
    folder = cluster_folder.with_name("another")
    before = interfaces(), mounts()
    cluster = SlurmCluster(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", packages_cache)
    assert cluster.status() == {"up": False, "hosts": [], "folder": str(folder)}
    assert cluster.down() is False
    threads = [threading.Thread(target=cluster.up, args=(1,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [host["name"] for host in cluster.status()["hosts"]] == ["head", "node1"]
    assert len(hosts.holders(folder)) == 2, "both at once have started each host once"
    inside = [process for host in hosts.holders(folder) for process in psutil.Process(host.process).children()]
    assert inside
    assert (interfaces(), mounts()) == before, "nothing of it is the machine's"
    assert cluster.down() is True
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in inside)
    assert not folder.exists()
    assert (interfaces(), mounts()) == before


def test_up_and_down_at_once(cluster_folder, monkeypatch, packages_cache):
    monkeypatch.setenv("XDG_CACHE_HOME", packages_cache)
    cluster, problems = SlurmCluster(cluster_folder.with_name("contended")), []

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
    folder = cluster_folder.with_name("killed")
    folder.mkdir(parents=True)
    prepare = folder / "x.sh"
    prepare.write_text("true\n")
    host = hosts.start("x", prepare, folder / "x.ready", folder / "x.log")
    assert host.is_up
    assert SlurmCluster(folder).down() is True
    assert not host.is_up
    assert not folder.exists()


def test_a_host_that_cannot_start_says_why(cluster_folder):
    folder = cluster_folder.with_name("broken")
    folder.mkdir(parents=True)
    prepare = folder / "x.sh"
    prepare.write_text("echo no such mount >&2; exit 3\n")
    with pytest.raises(ClusterError, match="the host x does not start: no such mount"):
        hosts.start("x", prepare, folder / "x.ready", folder / "x.log")
    assert hosts.holders(folder) == []
    prepare.unlink()
    (folder / "x.log").unlink()
    folder.rmdir()


def test_only_root(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UnsupportedError, match="only root"):
        SlurmCluster(tmp_path / "slurm").up()
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(UnsupportedError, match="Linux"):
        SlurmCluster(tmp_path / "slurm").up()


def test_the_preparation_of_a_host_is_shell(tmp_path):
    text = preparation("node1", Path("/var/lib/x"), Path("/cache/root"), [Path("/tmp/a b"), Path("/run/c")])
    (tmp_path / "node1.sh").write_text(text)
    subprocess.run(["bash", "-n", tmp_path / "node1.sh"], check=True)
    lines = text.splitlines()
    assert "mount --rbind '/tmp/a b' /var/lib/x/share/0" in lines
    assert lines.index("mount --rbind /run/c /var/lib/x/share/1") < lines.index(
        "mount --move /var/lib/x/share/1 /run/c"
    )


def test_the_hosts_file():
    assert hosts_file(["head", "node1"]) == "127.0.0.1 localhost\n192.0.2.1 head\n192.0.2.2 node1\n"


class TestCommands:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["exec", "head", "true"], "no cluster is up"),
            (["up", "slrum"], "'slrum' is not 'slurm'"),
            (["up", "slurm", "--nodes", "0"], "0 is not in the range"),
            (["up", "slurm", "--nodes", "65"], "from 1 to 64"),
        ],
    )
    def test_what_cannot_be(self, pilotage, arguments, words):
        if Path("/var/lib/pilotage/slurm-lab").exists():
            pytest.skip("this machine's own cluster is up")
        done = pilotage("cluster", *arguments)
        assert done.returncode in (1, 2)
        assert words in done.stderr
        assert "Traceback" not in done.stderr


SCRIPT = """
import parsl
from parsl import python_app

@python_app
def where(number):
    import socket, time
    time.sleep(0.5)
    return socket.gethostname()

with parsl.load():
    print(*sorted({future.result() for future in [where(number) for number in range(12)]}))
"""


def test_a_script_on_both_nodes(slurm, on_head, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    exclusive = ["--set", "exclusive=true", "--set", "init_blocks=2"]
    done = on_head(PROGRAM, "run", "script.py", "--site", "slurm-lab", *exclusive, folder=tmp_path)
    assert (done.returncode, done.stdout.split()) == (0, ["node1", "node2"]), done.stderr
    assert on_head("squeue", "--noheader").stdout == ""


@pytest.mark.parametrize(
    "name", ["0_getting_started", "1_parallel_workflow", "2_sequential_workflow", "3_dynamic_workflow"]
)
def test_the_tutorial(slurm, on_head, examples, tmp_path, name):
    done = on_head(PROGRAM, "run", examples / f"{name}.py", "--site", "slurm-lab", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert on_head("squeue", "--noheader").stdout == ""


GOLDEN = sorted((Path(__file__).parents[1] / "assembly" / "golden").glob("slurm*.sh"))
GOLDEN += sorted((Path(__file__).parents[1] / "schedulers" / "golden").glob("slurm*.sh"))


@pytest.mark.parametrize("script", GOLDEN, ids=lambda path: path.stem)
def test_a_golden_script_is_accepted(on_head, script, tmp_path):
    """Slurm reads every directive; refused may be only what this cluster has not (another one cannot be asked)."""
    lines = [line for line in script.read_text().splitlines() if "--clusters" not in line]
    (tmp_path / "job.sh").write_text("\n".join(lines) + "\n")
    done = on_head("sbatch", "--test-only", "--partition=debug", tmp_path / "job.sh")
    absent = ("Invalid account", "Invalid qos", "nvalid feature", "Invalid generic resource", "node configuration")
    assert done.returncode == 0 or any(words in done.stderr for words in absent), done.stderr
    assert "nrecognized option" not in done.stderr
