"""The fakes of PBS Pro and of Flux pass what every scheduler passes."""

import contextlib

import pytest

from contracts.scheduler import SchedulerContract, System
from fakes.lab import Lab
from program import PROGRAM, Command

SITES = {
    "pbspro": 'extends = "pbspro"\nqueue = "main"\nlauncher = { class = "SimpleLauncher" }\n',
    "flux": 'extends = "flux"\nnodes_per_block = 2\n',
}
VARIANTS = {
    "pbspro": ("pbspro", {}),
    "pbspro without history": ("pbspro", {"history": False}),
    "flux": ("flux", {}),
    "flux that forgets at once": ("flux", {"history": False}),
}
CANNOT = {
    "pbspro": {},
    "flux": {
        "test_it_tells_of_its_queues": "no recording has the answer of flux queue list",
        "test_a_node_that_dies": "no recording has it",
    },
}

LESS = {
    "pbspro": {"test_a_block_runs_tasks_on_each_of_its_nodes_and_goes": "as without history"},
    "flux that forgets at once": {
        "test_a_block_runs_tasks_on_each_of_its_nodes_and_goes": "as with the other one",
        "test_a_job_that_exceeds_its_walltime": "as with the other one",
    },
}


@pytest.fixture(scope="module", params=VARIANTS)
def system(request, tmp_path_factory):
    """A fake scheduler with a site for it."""
    scheduler, switches = VARIANTS[request.param]
    folder = tmp_path_factory.mktemp(scheduler)
    lab = Lab(scheduler, folder / "lab")
    lab.switch(**switches)
    (folder / "pilotage.toml").write_text(
        f'[site.fake]\n{SITES[scheduler]}address = "127.0.0.1"\nmax_workers_per_node = 1\nwalltime = "00:05:00"\n'
    )

    @contextlib.contextmanager
    def switched(name):
        lab.switch(**{name: True})
        try:
            yield
        finally:
            lab.switch(**{name: False})

    def fail_node(name):
        lab.fail(name)
        return lambda: lab.repair(name)

    def run(*arguments):
        return Command("contract").run([PROGRAM, *arguments], env={"PATH": lab.path}, cwd=folder)

    yield System(
        scheduler,
        lab,
        folder,
        run,
        ("--site", "fake"),
        settings={"queue": "main"} if scheduler == "pbspro" else {"exclusive": True},
        nodes=2 if scheduler == "flux" else 1,
        history=lab.machine.switches["history"],
        silence=lambda: switched("frozen"),
        down=lambda: switched("down"),
        fail_node=fail_node if scheduler == "pbspro" else None,
        processes=lambda text: [line for line in map(words, lab.processes()) if text in line],
        cannot=CANNOT[scheduler] | LESS.get(request.param, {}),
    )
    assert lab.close() == [], "processes of jobs are left"


def words(process):
    with contextlib.suppress(Exception):
        return " ".join(process.cmdline())
    return ""


class TestFakes(SchedulerContract):
    @pytest.mark.parametrize("old_json", [True, False])
    def test_an_odd_environment_hides_no_job(self, jobs, system, old_json):
        if system.scheduler == "pbspro":
            system.host.switch(old_json=old_json)
        try:
            super().test_an_odd_environment_hides_no_job(jobs, system)
        finally:
            system.host.switch(old_json=False)
