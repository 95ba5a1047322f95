"""The table of workers becomes the arguments of Parsl's executor."""

import pytest

from pilotage.errors import SiteValueError
from pilotage.sites import overrides
from pilotage.sites.catalogue import Catalogue, Layer
from pilotage.sites.machines import NEAREST
from pilotage.sites.plan import Machine, plan
from pilotage.worker.accelerators import numbers

HERE = Machine(python="python", cores=8, address="127.0.0.1", gpus=3)


def resolve(text, *assignments):
    catalogue = Catalogue([*Catalogue.load().layers, Layer.parse("test", f"[site.x]\n{text}\n")])
    return catalogue.resolve("x", overrides.parse(assignments))


def arguments(text, *assignments):
    return plan(resolve(text, *assignments), "x", HERE).executor.arguments


def told(text, *assignments):
    with pytest.raises(SiteValueError) as caught:
        arguments(text, *assignments)
    assert caught.value.where
    return f"{caught.value.message} {caught.value.hint or ''}"


def accelerators(text, *assignments):
    return arguments(text, *assignments)["available_accelerators"]


def test_the_old_keys_and_the_table_give_the_same(project):
    old = 'scheduler="slurm"\navailable_accelerators=4\nmax_workers_per_node=4\ncpu_affinity="block"\nmem_per_worker=2'
    new = 'scheduler="slurm"\nworkers={accelerators=4, max_workers_per_node=4, cpu_affinity="block", mem_per_worker=2}'
    assert arguments(old) == arguments(new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("available_accelerators=4", "accelerators=4"),
        ('cpu_affinity="none"', 'cpu_affinity="block"'),
        ("max_workers_per_node=1", "max_workers_per_node=1"),
        ("cores_per_worker=1.0", "cores_per_worker=1.0"),
        ("mem_per_worker=1.0", "mem_per_worker=1.0"),
    ],
)
def test_both_are_an_error(project, old, new):
    words = told(f'scheduler="slurm"\n{old}\nworkers={{{new}}}')
    assert old.split("=")[0] in words
    assert f"workers.{new.split('=')[0]}" in words
    assert "leave one out" in words


def test_both_are_an_error_when_one_is_inherited(project):
    assert "workers.accelerators" in told('extends="polaris"\naddress="127.0.0.1"', "available_accelerators=2")
    assert accelerators('extends="polaris"\naddress="127.0.0.1"', "workers.accelerators=2") == 2


def test_several_accelerators_for_each_worker(project):
    assert accelerators('scheduler="slurm"\nworkers={accelerators=4, gpus_per_worker=2}') == ["0,1", "2,3"]
    ids = 'scheduler="slurm"\nworkers={accelerators=["0.0","0.1","1.0","1.1"], gpus_per_worker=2}'
    assert accelerators(ids) == ["0.0,0.1", "1.0,1.1"]
    assert "cannot be shared out" in told('scheduler="slurm"\nworkers={accelerators=4, gpus_per_worker=3}')


def test_several_workers_on_each(project):
    assert accelerators('scheduler="slurm"\nworkers={accelerators=4, workers_per_gpu=2}') == 8
    assert "not their ids" in told('scheduler="slurm"\nworkers={accelerators=["a"], workers_per_gpu=2}')
    both = 'scheduler="slurm"\nworkers={accelerators=4, workers_per_gpu=2, gpus_per_worker=2}'
    assert "cannot both be more than 1" in told(both)


@pytest.mark.parametrize(
    ("site", "count"),
    [
        ('scheduler="slurm"\ngpus_per_node=4', 4),
        ('scheduler="slurm"\ngres="gpu:a100:2"', 2),
        ('scheduler="slurm"\ngres="craynetwork:1,gpu:6"', 6),
        ('scheduler="pbspro"\nselect_options="ngpus=4:mem=10gb"', 4),
        ('scheduler="pbspro"\nselect_options="mem=10gb:ngpus=2"', 2),
        ('scheduler="local"', 3),
        ('scheduler="kubernetes"\nimage="i"\nextra_limits={"nvidia.com/gpu"="1"}', 1),
    ],
)
def test_as_many_as_a_job_asks_for(project, site, count):
    assert accelerators(f'{site}\nworkers={{accelerators="auto"}}') == count


@pytest.mark.parametrize(
    ("site", "key"),
    [
        ('scheduler="slurm"', "gpus_per_node = N"),
        ('scheduler="slurm"\ngres="craynetwork:1"', "gpus_per_node = N"),
        ('scheduler="pbspro"', "ngpus=N"),
        ('scheduler="kubernetes"\nimage="i"', "nvidia.com/gpu"),
    ],
)
def test_auto_needs_something_to_go_by(project, site, key):
    words = told(f'{site}\nworkers={{accelerators="auto"}}')
    assert "does not say how many accelerators" in words
    assert key in words


class TestNearest:
    POLARIS = 'scheduler="pbspro"\nworkers={accelerators=4, cpu_affinity="nearest", machine="polaris"}'

    def test_the_cores_of_each_accelerator(self, project):
        assert arguments(self.POLARIS)["cpu_affinity"] == "list:24-31,56-63:16-23,48-55:8-15,40-47:0-7,32-39"
        assert arguments('extends="polaris"\naddress="127.0.0.1"')["cpu_affinity"].startswith("list:24-31,56-63:")
        assert arguments('extends="aurora"\naddress="127.0.0.1"')["cpu_affinity"].count(":") == 12

    def test_of_fewer_workers(self, project):
        assert arguments(self.POLARIS, "workers.max_workers_per_node=1")["cpu_affinity"] == "list:24-31,56-63"
        assert arguments(self.POLARIS, "workers.accelerators=2")["cpu_affinity"].count(":") == 2

    def test_of_several_accelerators(self, project):
        found = arguments(self.POLARIS, "workers.gpus_per_worker=2")["cpu_affinity"]
        assert found == "list:24-31,56-63,16-23,48-55:8-15,40-47,0-7,32-39"

    def test_shared_by_several_workers(self, project):
        found = arguments(self.POLARIS, "workers.workers_per_gpu=2", "workers.accelerators=1")["cpu_affinity"]
        assert found == "list:24-27,56-59:28-31,60-63"
        more_than_cores = arguments(self.POLARIS, "workers.workers_per_gpu=9", "workers.accelerators=1")
        assert more_than_cores["cpu_affinity"] == "list:" + ":".join(["24-31,56-63"] * 9)

    def test_it_needs_a_known_machine(self, project):
        words = told('scheduler="slurm"\nworkers={accelerators=4, cpu_affinity="nearest"}')
        assert "polaris" in words
        assert "did you mean 'polaris'?" in told('scheduler="slurm"\nworkers={machine="polari"}')
        too_many = 'scheduler="slurm"\nworkers={accelerators=5, cpu_affinity="nearest", machine="polaris"}'
        assert "polaris has 4 accelerators a node, and 5 are given" in told(too_many)
        assert "expected none, block" in told('scheduler="slurm"\nworkers={cpu_affinity="near"}')
        assert "expected none, block" in told('scheduler="slurm"\ncpu_affinity="nearest"')

    @pytest.mark.parametrize("machine", NEAREST)
    def test_no_core_is_near_two_accelerators(self, machine):
        cores = [core for text in NEAREST[machine] for core in numbers(text)]
        assert cores
        assert len(cores) == len(set(cores))


def test_lists_that_do_not_fit(project):
    text = 'scheduler="slurm"\nworkers={accelerators=4, gpus_per_worker=2, cpu_affinity="list:0:1:2:3"}'
    assert "4 core lists for 2 workers" in told(text)
    assert arguments(text, "workers.gpus_per_worker=1")["cpu_affinity"] == "list:0:1:2:3"
