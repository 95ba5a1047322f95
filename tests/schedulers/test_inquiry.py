"""What schedulers say of themselves; the shapes are of Slurm 22.05, OpenPBS 23.06, Grid Engine 8.1 and Flux 0.88."""

import json

import pytest

from pilotage.hosts.base import Completed
from pilotage.schedulers.base import Queue
from pilotage.schedulers.flux_inquiry import FluxInquiry
from pilotage.schedulers.gridengine_inquiry import GridEngineInquiry
from pilotage.schedulers.inquiry import NAMES, inquiry
from pilotage.schedulers.pbspro_inquiry import PBSProInquiry
from pilotage.schedulers.slurm_inquiry import SlurmInquiry


def said(stdout="", stderr="", code=0):
    return Completed(("x",), code, stdout, stderr)


@pytest.mark.parametrize(
    ("scheduler", "answer", "version"),
    [
        ("slurm", "slurm-wlm 22.05.8\n", "22.05.8"),
        ("pbspro", "pbs_version = 23.06.06\n", "23.06.06"),
        ("gridengine", "SGE 8.1.9\nusage: qstat [options]\n", "8.1.9"),
        ("gridengine", "GE 6.2u5\nusage: qstat [options]\n", "6.2u5"),
        ("flux", "commands:    \t\t0.88.0\nlibflux-core:\t\t0.88.0\n", "0.88.0"),
        ("slurm", "usage: sinfo\n", ""),
    ],
)
def test_versions(scheduler, answer, version):
    assert inquiry(scheduler).parse_version(said(answer)) == version


@pytest.mark.parametrize("name", NAMES)
def test_each_has_the_name_it_is_asked_by(name):
    found = inquiry(name)
    assert found.name == name
    assert found.nodes_commands()
    assert all(isinstance(word, str) for argv in found.nodes_commands() for word in argv)


class TestSlurm:
    def test_nodes(self):
        text = (
            "debug*|2|4|4096|(null)|idle|(null)|node[1-2]\n"
            "gpu|1|64|512000|gpu:a100:4(S:0-1)|mix|a100,nvme|gpu1\n"
            "gpu|3|64|512000|gpu:a100:4(S:0-1)|down*|a100|gpu[2-4]\n"
            "slurm_load_partitions: something\n"
        )
        debug, up, down = SlurmInquiry().parse_nodes([text])
        assert (debug.queue, debug.count, debug.cores, debug.memory, debug.gpus) == ("debug", 2, 4, 4, 0)
        assert (debug.usable, debug.names, debug.features) == (True, "node[1-2]", frozenset())
        assert (up.memory, up.gpus, up.usable, up.features) == (500, 4, True, {"a100", "nvme"})
        assert (down.count, down.usable, down.state) == (3, False, "down*")

    @pytest.mark.parametrize("state", ["drain", "drng", "down", "drained*", "inval", "fail", "unk*"])
    def test_nodes_that_take_no_jobs(self, state):
        (node,) = SlurmInquiry().parse_nodes([f"a|1|4|4096|(null)|{state}|(null)|n1\n"])
        assert not node.usable

    @pytest.mark.parametrize("state", ["idle", "mix", "alloc", "comp", "idle~", "resv", "plnd", "idle#", "maint"])
    def test_nodes_that_do(self, state):
        (node,) = SlurmInquiry().parse_nodes([f"a|1|4|4096|(null)|{state}|(null)|n1\n"])
        assert node.usable

    def test_names(self):
        by_key = {one.key: one for one in SlurmInquiry().named("ada")}
        assert "user=ada" in by_key["account"].command
        assert by_key["account"].read(said("physics\nchem\nphysics\n")) == ["physics", "chem"]
        assert by_key["qos"].read(said("normal,high\n\nnormal\n")) == ["normal", "high"]
        assert by_key["account"].read(said("", "You are not running a supported accounting_storage plugin", 1)) is None
        lines = "ReservationName=tutorial StartTime=2026-11-26T10:00:00 Nodes=node1\nReservationName=maint Nodes=ALL\n"
        assert by_key["reservation"].read(said(lines)) == ["tutorial", "maint"]
        assert by_key["reservation"].read(said("No reservations in the system\n")) == []

    @pytest.mark.parametrize(
        ("line", "limits"),
        [
            ("short|00:10:00|cpu=8,node=2\n", ("00:10:00", 2)),
            ("normal||\n", (None, None)),
            ("long|7-00:00:00|\n", ("168:00:00", None)),
            ("", (None, None)),
        ],
    )
    def test_the_limits_of_a_qos(self, line, limits):
        assert SlurmInquiry().parse_limits(said(line)) == limits

    def test_trial(self):
        asked = SlurmInquiry()
        assert asked.trial_command("job.sh") == ("sbatch", "--test-only", "job.sh")
        start = "sbatch: Job 9 to start at 2026-11-26T22:13:13 using 2 processors on nodes node1 in partition debug\n"
        assert asked.parse_trial(said("", start)) == ""
        refused = "sbatch: error: allocation failure: Requested node configuration is not available\n"
        assert asked.parse_trial(said("", refused, 1)) == "Requested node configuration is not available"


class TestPBSPro:
    def node(self, state="free", queue=None, **size):
        node = {"state": state, "resources_available": {"ncpus": 2, "mem": "24684084kb", **size}}
        return node if queue is None else {**node, "queue": queue}

    def test_nodes(self):
        table = {
            "a": self.node(),
            "b": self.node(),
            "c": self.node("offline,down"),
            "g": self.node(queue="gpu", ngpus=4, ncpus=64),
            "login": {"state": "free", "resources_available": {}},
        }
        found = PBSProInquiry().parse_nodes([json.dumps({"nodes": table})])
        assert [(one.queue, one.count, one.names, one.usable) for one in found] == [
            ("", 2, "a,b", True),
            ("", 1, "c", False),
            ("gpu", 1, "g", True),
        ]
        assert (found[0].cores, found[0].memory, found[0].gpus) == (2, 23, 0)
        assert (found[2].cores, found[2].gpus) == (64, 4)

    def test_it_judges_no_script(self):
        assert PBSProInquiry().trial_command("job.sh") is None


class TestGridEngine:
    TABLE = """\
queuename                      qtype resv/used/tot. load_avg arch          states
---------------------------------------------------------------------------------
all.q@node1                    BIP   0/0/2          0.01     lx-amd64
---------------------------------------------------------------------------------
all.q@node2                    BIP   0/1/4          -NA-     lx-amd64      au
---------------------------------------------------------------------------------
long.q@node2                   BP    0/0/4          0.20     lx-amd64      d
"""

    def test_nodes(self):
        one, unreachable, disabled = GridEngineInquiry().parse_nodes([self.TABLE])
        assert (one.queue, one.names, one.cores, one.usable) == ("all.q", "node1", 2, True)
        assert (unreachable.names, unreachable.cores, unreachable.usable, unreachable.state) == (
            "node2",
            4,
            False,
            "au",
        )
        assert (disabled.queue, disabled.usable) == ("long.q", False)

    @pytest.mark.parametrize(
        ("line", "longest"),
        [
            ("h_rt                  INFINITY", None),
            ("h_rt                  01:00:00", "01:00:00"),
            ("h_rt                  3600", "01:00:00"),
            ("h_rt                  00:30:00,[node1=02:00:00], \\\n                      [node2=INFINITY]", None),
            ("h_rt                  00:30:00,[node1=02:00:00]", "02:00:00"),
        ],
    )
    def test_the_limit_of_a_queue(self, line, longest):
        text = f"qname                 all.q\ns_rt                  00:01:00\n{line}\ns_cpu                 INFINITY\n"
        assert GridEngineInquiry().parse_detail(Queue(name="all.q"), said(text)).max_walltime == longest

    def test_parallel_environments(self):
        (pe,) = GridEngineInquiry().named("ada")
        assert pe.read(said("make\nsmp\n")) == ["make", "smp"]
        assert pe.read(said("", "no parallel environment defined\n", 1)) == []
        assert pe.read(said("", "error: commlib error: got select error\n", 1)) is None

    def test_trial(self):
        asked = GridEngineInquiry()
        assert asked.parse_trial(said("verification: found suitable queue(s)\n")) == ""
        bad = (
            'Job 1 cannot run in queue "all.q" because it offers only ql:h_rt=3600\nverification: no suitable queues\n'
        )
        assert "offers only ql:h_rt=3600" in asked.parse_trial(said(bad))


class TestFlux:
    def test_nodes(self):
        text = "|free|2|4|0|flux[a-b]\n|allocated|0|0|0|\nbatch,debug|down|1|8|4|fluxc\n"
        free, batch, debug = FluxInquiry().parse_nodes([text])
        assert (free.queue, free.count, free.cores, free.gpus, free.usable) == ("", 2, 2, 0, True)
        assert (batch.queue, batch.cores, batch.gpus, batch.usable) == ("batch", 8, 4, False)
        assert debug.queue == "debug"

    def test_trial(self):
        assert FluxInquiry().parse_trial(said('{"resources": []}')) == ""
        assert "invalid" in FluxInquiry().parse_trial(said("", "flux-batch: ERROR: invalid argument\n", 1))
