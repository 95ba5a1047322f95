"""A real Slurm for the tests, on hosts made of namespaces: started once by each process of the test session."""

import os
import shutil
import sys
import uuid
from pathlib import Path

import pytest

from pilotage.clusters.slurm import SlurmCluster

CACHE = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))  # every test has a home of its own


def reason():
    """Return why no cluster can be started here, None where it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "a cluster's hosts need Linux and root"
    if not all(map(shutil.which, ("apt-get", "dpkg-deb", "unshare", "nsenter"))):
        return "a cluster's programs come from Debian's packages"
    return None


@pytest.fixture(scope="session")
def cluster_folder():
    """A folder for a cluster; fails when anything is left in it."""
    if why := reason():
        pytest.skip(why)
    folder = Path(f"/var/lib/pilotage-test-{uuid.uuid4().hex[:8]}") / "slurm"
    yield folder
    assert not folder.parent.exists(), "the cluster has left files"


@pytest.fixture(scope="session")
def slurm(cluster_folder, tmp_path_factory):
    """A Slurm of two nodes that see pytest's folders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", CACHE)
        cluster = SlurmCluster(cluster_folder)
        cluster.up(2, share=[tmp_path_factory.getbasetemp()])
    yield cluster
    cluster.down()


@pytest.fixture(scope="session")
def packages_cache():
    """Where the programs were fetched to."""
    return CACHE


@pytest.fixture
def on_head(slurm, pilotage):
    """Runs a command on the login host."""

    def run(*argv, folder=None, **options):
        return pilotage.run(slurm.host("head").command(list(map(str, argv)), folder and str(folder)), **options)

    return run
