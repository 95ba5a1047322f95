"""Every scheduler keeps the contract of rendering and detection; a new one is found by its name."""

import importlib.util
from pathlib import Path

import pytest

from pilotage.schedulers import NAMES, scheduler

# Test folders are no packages, so the suite is loaded by its path.
_spec = importlib.util.spec_from_file_location(
    "scheduler_rendering", Path(__file__).with_name("scheduler_rendering.py")
)
suite = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(suite)

COMPLETE = {
    "slurm": {
        "partition": "gpu",
        "account": "physics",
        "qos": "high",
        "constraint": "a100",
        "clusters": "c1,c2",
        "cores_per_node": 64,
        "mem_per_node": 256,
        "gpus_per_node": 4,
        "gres": "gpu:a100:4",
        "exclusive": True,
        "reservation": "tutorial",
        "scheduler_options": "#SBATCH --mail-type=END",
    },
    "pbspro": {
        "queue": "debug",
        "account": "physics",
        "cpus_per_node": 64,
        "select_options": "ngpus=4",
        "scheduler_options": "#PBS -l filesystems=home",
    },
    "gridengine": {"queue": "all.q", "scheduler_options": "#$ -pe mpi 4"},
    "flux": {
        "queue": "debug",
        "bank": "guests",
        "cores_per_node": 64,
        "gpus_per_node": 4,
        "exclusive": True,
        "scheduler_options": "#flux: --urgency=20",
    },
    "kubernetes": {
        "image": "worker:1",
        "namespace": "physics",
        "init_cpu": 1.5,
        "max_cpu": 2.0,
        "init_mem": "1Gi",
        "max_mem": "2Gi",
        "extra_requests": {"example.org/gpu": "1"},
        "extra_limits": {"example.org/gpu": "1"},
        "user_id": "1000",
        "group_id": "1001",
        "secret": "pull",
        "persistent_volumes": [("claim", "/data")],
        "service_account_name": "runner",
        "annotations": {"example.org/owner": "ada"},
    },
    "ssh": {"hosts": ["ada@node1", "node2"]},
}
REQUIRED = {"kubernetes": {"image": "worker:1"}}


@pytest.mark.parametrize("name", NAMES)
class TestEveryScheduler(suite.SchedulerRendering):
    @pytest.fixture
    def asked(self, name):
        return scheduler(name)

    @pytest.fixture
    def complete(self, name):
        return COMPLETE.get(name, {})

    @pytest.fixture
    def required(self, name):
        return REQUIRED.get(name, {})

    def test_it_is_registered_by_its_own_name(self, asked, name):
        assert asked.name == name
