"""No storm of jobs: Parsl's own strategy over our providers, for an hour in which a scheduler is silent or refuses."""

import time as real
from concurrent.futures import ThreadPoolExecutor

import pytest
from parsl.executors import status_handling
from parsl.executors.status_handling import BlockProviderExecutor
from parsl.jobs.strategy import Strategy
from parsl.launchers import SimpleLauncher

from pilotage.hosts.base import Completed
from pilotage.hosts.local import LocalHost
from pilotage.providers import batch
from pilotage.providers.flux import FluxProvider
from pilotage.providers.ledger import Ledger
from pilotage.providers.scripts import GridEngineProvider, PBSProProvider, SlurmProvider

RUNNING = {
    "slurm": [(0, "7|RUNNING|None|node1\n", "")],
    "pbspro": [(0, '{"pbs_server": "h", "Jobs": {"7.h": {"job_state": "R", "exec_host": "a/0"}}}', "")],
    "gridengine": [
        (
            0,
            "<job_info><job_list><JB_job_number>7</JB_job_number><state>r</state>"
            "<queue_name>all.q@a</queue_name></job_list></job_info>",
            "",
        )
    ],
    "flux": [(0, '{"id": 7, "state": "RUN", "nodelist": "a"}', "")],
}
PROVIDERS = {
    "slurm": (SlurmProvider, "7\n"),
    "pbspro": (PBSProProvider, "7.h\n"),
    "gridengine": (GridEngineProvider, "7\n"),
    "flux": (FluxProvider, "\u01928\n"),
}
DOWN = {
    "out of time": (124, "", "no answer within 30 s"),
    "down": (1, "", "cannot connect to the server"),
}


class Time:
    now = 1000.0

    def time(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


class Machine(LocalHost):
    """Answers a submission with its answer, and every other command with what is the case."""

    def __init__(self, submission, says):
        self.submission, self.says, self.submitted, self.asked = submission, says, 0, 0

    def run(self, argv, *, timeout=30):
        if argv[0] in ("sbatch", "qsub") or argv[:2] == ("flux", "batch"):
            self.submitted += 1
            return Completed(tuple(argv), *self.submission)
        self.asked += 1
        return Completed(tuple(argv), *self.says)

    def has(self, program):
        return True


class Executor(BlockProviderExecutor):
    """Has more tasks than workers, always."""

    label = "lab"
    workers_per_node = 1

    def __init__(self, provider):
        super().__init__(provider=provider, block_error_handler=False)

    def status(self):
        blocks, jobs = self._get_block_and_job_ids()
        told = self._make_status_dict(blocks, self.provider.status(jobs))
        return {**told, **self._simulated_status}

    def outstanding(self):
        return 100

    def _get_launch_command(self, block_id):
        return "true"

    def submit(self, *arguments):
        raise NotImplementedError

    def start(self):
        raise NotImplementedError

    def shutdown(self):
        raise NotImplementedError


@pytest.fixture
def an_hour(monkeypatch, tmp_path):
    """Runs the strategy for an hour of simulated time, twice a second."""
    time = Time()
    monkeypatch.setattr(status_handling, "time", time)

    def run(name, machine, changed, ticks=7200):
        kind, _ = PROVIDERS[name]
        provider = kind(launcher=SimpleLauncher(), init_blocks=1, max_blocks=3, walltime="02:00:00", nodes_per_block=1)
        provider.script_dir = str(tmp_path)
        provider._ledger = Ledger(provider.batch(), machine, clock=time.time, sleep=time.sleep)
        executor = Executor(provider)
        strategy = Strategy(strategy="htex_auto_scale", max_idletime=120)
        strategy.add_executors([executor])
        for tick in range(ticks):
            if tick == 60:
                changed(machine)
            executor.poll_facade()
            strategy.strategize([executor])
            time.now += 0.5
        return executor

    return run


@pytest.mark.parametrize("name", PROVIDERS)
@pytest.mark.parametrize("silence", DOWN)
def test_an_hour_of_silence_submits_nothing_more(an_hour, name, silence):
    """Three blocks run; then nobody answers. Of each block one job is asked for, and no more."""
    machine = Machine((0, PROVIDERS[name][1], ""), RUNNING[name][0])
    before = []

    def changed(machine):
        before.append(machine.submitted)
        machine.says = DOWN[silence]

    executor = an_hour(name, machine, changed)
    assert machine.submitted == before[0] == 3
    assert all(status.state.name == "RUNNING" for status in executor.status_facade.values())
    assert machine.asked < 400, "and it is asked seldom"


@pytest.mark.parametrize("name", PROVIDERS)
def test_refusals_are_a_handful_of_submissions(an_hour, name):
    """Five minutes of them; Parsl asks for three blocks twice a second, 1,800 in all."""
    machine = Machine((1, "", "you may not"), (1, "", "cannot connect to the server"))
    executor = an_hour(name, machine, lambda machine: None, ticks=600)
    assert len(executor.status_facade) > 1500, "that is what Parsl asked for"
    assert 3 <= machine.submitted < 8


def test_a_provider_has_one_ledger_whoever_asks_first(monkeypatch):
    """The first blocks are started on a thread of their own, while another asks how often to look at them."""

    def slowly(*given, **named):
        real.sleep(0.05)
        return Ledger(*given, **named)

    monkeypatch.setattr(batch, "Ledger", slowly)
    provider = SlurmProvider(launcher=SimpleLauncher())
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: provider.ledger, range(4)))
    assert all(one is found[0] for one in found)
