"""Real clusters for the tests, on hosts made of namespaces: each started once by each process of the test session.

`slurm`, `slurm_accounting` and `gridengine` have two nodes that see pytest's folders. A fixture fails in the end when
its cluster has left anything on the machine.
"""

import contextlib
import os
import shutil
import time
import uuid
from pathlib import Path

import psutil
import pytest

from clusters.batch_table import Table
from clusters.cluster_run import ClusterRun, repair
from clusters.labs import CACHE, Laptop, reason, started
from pilotage.clusters.gridengine import GridEngineCluster
from pilotage.clusters.slurm import SlurmCluster

TABLE = pytest.StashKey()


@pytest.fixture(autouse=True)
def packages_cache(monkeypatch):
    """Where the programs were fetched to."""
    monkeypatch.setenv("XDG_CACHE_HOME", CACHE)
    return CACHE


@pytest.fixture
def cluster_folder():
    """A folder for a cluster; fails when anything is left in it."""
    if why := reason():
        pytest.skip(why)
    folder = Path(f"/var/lib/pilotage-test-{uuid.uuid4().hex[:8]}") / "lab"
    yield folder
    assert not folder.parent.exists(), "the cluster has left files"


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    """A Slurm without accounting."""
    with started(SlurmCluster, [tmp_path_factory.getbasetemp()]) as lab:
        yield lab


@pytest.fixture(scope="session")
def laptop_lab():
    """A Slurm of two nodes with a laptop outside; pytest's folders are seen by no host. Tests take `laptop`."""
    with started(SlurmCluster, [], laptop=True) as lab:
        yield lab


@pytest.fixture
def laptop(laptop_lab, pilotage):
    """The laptop of a running cluster (`clusters.labs.Laptop`), with a home of this test's own; it reaches SSH alone.

    - ``laptop.run("ssh", "head", "hostname")`` runs a command on the laptop, in ``laptop.home`` (HOME; no XDG folder is
      set, so state, cache and configuration are in it); ``laptop.pilotage("run", script, ...)`` runs this checkout's
      pilotage there, under the same path as here. Options are those of `program.Command.run`: ``timeout``, ``env``.
    - ``laptop.argv(...)`` is the argument list, for Popen with ``env=laptop.command.env()``. That process is nsenter's:
      a signal to it does not reach the command, whose own is in ``laptop.running()``.
    - ``laptop.run(..., host="node1")`` runs it on another host, where HOME is ``/home/cluster``.
    - ``laptop.place("a.py", text)`` writes a file into the laptop's home and returns its path there;
      ``laptop.outside(path)`` is where this machine has a path of the laptop's /home, ``laptop.far(path)`` one of the
      cluster's /home (``laptop.far()`` is /home/cluster itself).
    - By SSH: ``head`` (port 22, GatewayPorts no), ``head-gateway`` (2222, clientspecified), ``node1`` (ProxyJump head);
      keys, config and known_hosts are in ``~/.ssh``, which for ssh is /home/laptop/.ssh whatever HOME is.
    - ``laptop.lab`` is the cluster: ``laptop.lab.host("head").run(["ip", "link", "set", "laptop", "down"])`` pulls the
      cable out. `pilotage.clusters.laptop.begin(host, folder, ports)` starts an sshd that a test has ended; its process
      id is in ``/run/sshd/PORT.pid`` of its host.
    - ``laptop.running()`` are the processes of all hosts: numbers as on this machine, and command lines.

    It fails in the end when the test has left a process on any host.
    """
    yield from _on_laptop(laptop_lab, pilotage)


@pytest.fixture(scope="session")
def gridengine_laptop_lab():
    """A Grid Engine of two nodes with a laptop outside. Tests take `gridengine_laptop`."""
    with started(GridEngineCluster, [], laptop=True) as lab:
        yield lab


@pytest.fixture
def gridengine_laptop(gridengine_laptop_lab, pilotage):
    """As `laptop`, outside a Grid Engine."""
    yield from _on_laptop(gridengine_laptop_lab, pilotage)


def _on_laptop(lab, pilotage):
    it = Laptop(lab, pilotage)
    before = it.running()
    yield it
    end = time.monotonic() + 20
    while (left := {pid: line for pid, line in it.running().items() if pid not in before}) and time.monotonic() < end:
        time.sleep(0.2)
    shutil.rmtree(it.outside(it.home))
    assert not left, f"left behind: {list(left.values())}"


@pytest.fixture(scope="session")
def slurm_accounting(tmp_path_factory):
    """A Slurm with sacct, an account `physics` and a QOS `short`, which refuses others."""
    with started(SlurmCluster, [tmp_path_factory.getbasetemp()], accounting=True) as lab:
        yield lab


@pytest.fixture(scope="session")
def gridengine(tmp_path_factory):
    """A Grid Engine with the queue `all.q` and the parallel environments `smp`, `mpi` and `fill`."""
    with started(GridEngineCluster, [tmp_path_factory.getbasetemp()]) as lab:
        yield lab


@pytest.fixture
def on_head_of(pilotage):
    """Runs a command on the login host of a cluster."""

    def run(lab, *argv, folder=None, **options):
        return pilotage.run(lab.host("head").command(list(map(str, argv)), folder and str(folder)), **options)

    return run


@pytest.fixture
def on_head(slurm, on_head_of):
    """Runs a command on the login host of the Slurm."""
    return lambda *argv, **options: on_head_of(slurm, *argv, **options)


@pytest.fixture
def on_accounting_head(slurm_accounting, on_head_of):
    """Runs a command on the login host of the Slurm with accounting."""
    return lambda *argv, **options: on_head_of(slurm_accounting, *argv, **options)


@pytest.fixture
def on_gridengine_head(gridengine, on_head_of):
    """Runs a command on the login host of the Grid Engine."""
    return lambda *argv, **options: on_head_of(gridengine, *argv, **options)


def pytest_configure(config):
    config.stash[TABLE] = Table()


def pytest_sessionfinish(session):
    table = session.config.stash[TABLE]
    if os.environ.get("PILOTAGE_WRITE_MATRIX") and table.rows:
        table.write()


@pytest.fixture
def table(request):
    """The table of what came of each fault."""
    return request.config.stash[TABLE]


def _starting(cluster, pilotage, folder):
    started = []

    def begin(*arguments, **options):
        started.append(ClusterRun(cluster, pilotage, folder / f"run{len(started)}", *arguments, **options))
        return started[-1]

    yield begin
    repair(cluster)  # a run may wait for a controller that is frozen
    for run in started:
        run.stop()


@pytest.fixture
def start(slurm, pilotage, tmp_path):
    """Starts a run; after the test it is ended whatever happened, and the cluster is repaired."""
    yield from _starting(slurm, pilotage, tmp_path)


@pytest.fixture
def start_accounted(slurm_accounting, pilotage, tmp_path):
    """Starts a run on a cluster whose accounting knows who did what."""
    yield from _starting(slurm_accounting, pilotage, tmp_path)


@pytest.fixture
def control(start, pilotage):
    """Starts a run with a protection switched off: what it leaves is ended, and no failure."""
    yield start
    _kill_what_is_left(pilotage)


@pytest.fixture
def control_accounted(start_accounted, pilotage):
    """As `control`, on a cluster with accounting."""
    yield start_accounted
    _kill_what_is_left(pilotage)


def _kill_what_is_left(pilotage):
    for process in pilotage.left_behind():
        with contextlib.suppress(psutil.NoSuchProcess):  # it ends by itself at this very moment
            process.kill()


@pytest.fixture
def fake_sbatch(tmp_path, slurm):
    """Put something in the place of the first sbatch; returns the environment in which that is so."""
    folder = tmp_path / "programs"

    def make(first):
        folder.mkdir()
        real = slurm.host("head").run(["sh", "-c", "command -v sbatch"]).strip()
        (folder / "sbatch").write_text(
            f"#!/bin/sh\nif mkdir {folder}/first 2>/dev/null; then\n"
            f'  PATH={folder}/of-slurm:$PATH; {first}\nfi\nexec {real} "$@"\n'
        )
        (folder / "of-slurm").mkdir()
        (folder / "of-slurm" / "sbatch-of-slurm").symlink_to(real)
        (folder / "sbatch").chmod(0o755)
        return {"PATH": f"{folder}:{slurm.host('head').run(['sh', '-c', 'echo $PATH']).strip()}"}

    return make
