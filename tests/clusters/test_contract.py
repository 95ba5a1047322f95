"""Real schedulers pass what every scheduler passes: Slurm, with accounting and without, and Grid Engine.

``PILOTAGE_TEST_SITE=NAME`` takes the site NAME of your own site files in their place; see docs/howto/contract.md.
"""

import contextlib
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from contracts.scheduler import SchedulerContract, System
from pilotage.hosts.base import Completed
from pilotage.hosts.local import LocalHost
from pilotage.schedulers import batch
from pilotage.schedulers.batch import NoHistoryError, UnclearError
from pilotage.sites.catalogue import Catalogue
from pilotage.sites.listing import resolved_toml
from pilotage.sites.plan import provider_settings
from program import PROGRAM, Command

SITE = os.environ.get("PILOTAGE_TEST_SITE")
# Every test has a home of its own; the site is that of the person who runs them.
RESOLVED = Catalogue.load().resolve(SITE) if SITE else None
HOME = Path(os.environ.get("PILOTAGE_TEST_FOLDER") or Path.home())
PATIENCE = 180.0
"""Seconds that a job of a site may wait."""
pytestmark = [pytest.mark.timeout(1200)] if SITE else []
ELSEWHERE = "tests/clusters/test_faults.py does it, with a run"
LABS = {
    "slurm": ("slurm", "slurmctld", ("--site", "slurm-lab"), {"partition": "debug"}),
    "slurm_accounting": ("slurm", "slurmctld", ("--site", "slurm-lab"), {"partition": "debug"}),
    "gridengine": ("gridengine", "sge_qmaster", ("--site", "gridengine-lab"), {"queue": "all.q"}),
}
ONE_BLOCK, ON_TWO_NODES = ("--set", "max_blocks=1"), ("--set", "nodes_per_block=2")


class LoginHost(LocalHost):
    """The head of a cluster."""

    def __init__(self, lab):
        self.lab = lab

    def run(self, argv, *, timeout=30):
        done = LocalHost().run(self.lab.host("head").command(list(map(str, argv))), timeout=timeout)
        return Completed(tuple(argv), done.exit_code, done.stdout, done.stderr)

    def has(self, program):
        return self.run(["sh", "-c", f"command -v {program}"]).ok


def of_lab(lab, name, folder):
    scheduler, daemon, site, settings = LABS[name]

    @contextlib.contextmanager
    def silence():
        head = psutil.Process(lab.host("head").process)
        (controller,) = [child for child in head.children(recursive=True) if daemon in child.name()]
        controller.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            controller.send_signal(signal.SIGCONT)

    def run(*arguments):
        argv = lab.host("head").command(list(map(str, (PROGRAM, *arguments))), str(folder))
        return Command("contract").run(argv)

    return System(
        scheduler,
        LoginHost(lab),
        folder,
        run,
        (*site, *ONE_BLOCK, *(ON_TWO_NODES if scheduler == "slurm" else ())),
        settings=settings,
        nodes=2 if scheduler == "slurm" else 1,
        walltime=("00:01:00", 180) if scheduler == "slurm" else ("00:00:02", 120),
        # What a frozen qmaster was asked for it does not do when it goes on: there the answer alone is lost.
        silence=silence if scheduler == "slurm" else None,
        down=silence,
        processes=running,
        cannot={"test_a_node_that_dies": ELSEWHERE},
    )


def running(text):
    """Return the command lines with a text of what runs on any host of this machine."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            found.append(" ".join(process.cmdline()))
    return [line for line in found if text in line]


def of_site(folder):
    site = RESOLVED.site
    (folder / "pilotage.toml").write_text(resolved_toml(RESOLVED))

    def run(*arguments):
        home = {"HOME": str(folder), "PILOTAGE_STATE": str(folder / "state")}
        return Command("contract").run([PROGRAM, *arguments], env=home, cwd=folder, timeout=600)

    return System(
        site.scheduler,
        LocalHost(),
        folder,
        run,
        ("--site", SITE),
        settings=provider_settings(site),
        nodes=site.nodes_per_block,
        patience=PATIENCE,
        walltime=("00:01:00", 240) if site.scheduler == "slurm" else ("00:00:05", 240),
        history=has_history(batch(site.scheduler)),
    )


def has_history(commands):
    if commands.name != "pbspro":
        return True
    try:
        commands.parse_history([LocalHost().run(argv) for argv in commands.history_commands(["1"])])
    except NoHistoryError:
        return False
    except UnclearError:
        return True
    return True


def remove(folder):
    """Remove a folder to which the last output may still be on its way."""
    end = time.monotonic() + 60
    while folder.exists() and time.monotonic() < end:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.5)
    assert not folder.exists()


@pytest.fixture(scope="module", params=[SITE] if SITE else LABS)
def system(request, tmp_path_factory):
    """A real scheduler."""
    if SITE:
        folder = Path(tempfile.mkdtemp(prefix="pilotage-contract-", dir=HOME))
        yield of_site(folder)
        remove(folder)
        return
    try:
        lab = request.getfixturevalue(request.param)
    except pytest.FixtureLookupError:
        pytest.skip(f"there is no {request.param} for the tests yet")
    yield of_lab(lab, request.param, tmp_path_factory.mktemp(request.param))


class TestSchedulers(SchedulerContract):
    @pytest.mark.slow
    def test_a_job_that_exceeds_its_walltime(self, jobs, system):
        super().test_a_job_that_exceeds_its_walltime(jobs, system)
