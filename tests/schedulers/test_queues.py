"""What schedulers say of themselves: partitions, queues, nodes and accounts, and answers that make no sense."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotage.schedulers import scheduler
from pilotage.schedulers.base import Queue
from pilotage.schedulers.flux import duration
from pilotage.schedulers.slurm import walltime


def queues(name, *outputs):
    return {queue.name: queue for queue in scheduler(name).parse_queues(outputs)}


# Slurm.

SINFO = """\
debug*|up|30:00|2|16|64000|(null)
cpu|up|1-00:00:00|100|64+|256000+|(null)
gpu|up|2-12:00:00|8|64|512000|gpu:a100:4(S:0-1),mps:400
gpu|up|2-12:00:00|4|48|768000|gpu:h100:8(S:0,1)
mixed|up|infinite|4|16|64000|gpu:1
mixed|up|infinite|6|32|128000|(null)
old|inact|n/a|2|8|1|(null)
"""


def test_partitions():
    assert queues("slurm", SINFO) == {
        "debug": Queue(
            name="debug", default=True, max_walltime="00:30:00", max_nodes=2, cores_per_node=16, memory_per_node=62
        ),
        "cpu": Queue(name="cpu", max_walltime="24:00:00", max_nodes=100, cores_per_node=64, memory_per_node=250),
        "gpu": Queue(
            name="gpu",
            max_walltime="60:00:00",
            max_nodes=12,
            cores_per_node=48,
            memory_per_node=500,
            gpus_per_node=4,
        ),
        "mixed": Queue(name="mixed", max_nodes=10, cores_per_node=16, memory_per_node=62),
        "old": Queue(name="old", available=False, max_nodes=2, cores_per_node=8),
    }


@pytest.mark.parametrize(
    ("text", "clock"),
    [
        ("infinite", None),
        ("UNLIMITED", None),
        ("n/a", None),
        ("", None),
        ("30", "00:30:00"),
        ("30:00", "00:30:00"),
        ("1:30:00", "01:30:00"),
        ("1-00:00:00", "24:00:00"),
        ("7-12", "180:00:00"),
        ("2-01:30", "49:30:00"),
        ("90:00", "01:30:00"),
    ],
)
def test_slurms_times(text, clock):
    assert walltime(text) == clock


@pytest.mark.parametrize(
    ("gres", "count"),
    [
        ("(null)", None),
        ("", None),
        ("gpu", 1),
        ("gpu:4", 4),
        ("gpu:a100:4(S:0-1)", 4),
        ("gpu:a100:2(S:0,1),gpu:v100:2(S:2,3)", 4),
        ("mps:100,gpu:1g.5gb:7", 7),
        ("craynetwork:4,nvme:2", None),
        ("gpu:a100", None),
    ],
)
def test_gpus_among_generic_resources(gres, count):
    [queue] = queues("slurm", f"p|up|1:00|1|1|1024|{gres}").values()
    assert queue.gpus_per_node == count


def test_unreadable_lines_of_sinfo_are_left_out():
    noise = "slurm_load_partitions: error\n|up|1:00|1|1|1|x\np|up\n*|up|1:00|1|1|1|x\nok|up|soon|many|some|?|gpu:x\n"
    assert queues("slurm", noise) == {"ok": Queue(name="ok")}


def test_accounts():
    slurm = scheduler("slurm")
    assert "user=ada" in slurm.account_query("ada")
    answer = "physics|ada\nchem|ada\nphysics|ada\nother|bob\nroot|\n|ada\nno such\n"
    assert slurm.parse_accounts(answer, "ada") == ["physics", "chem"]


# PBS Pro.

NODE = {"state": "free", "resources_available": {"ncpus": 64, "mem": "527672488kb", "ngpus": 4}}


def qstat(**described):
    return json.dumps({"timestamp": 1, "pbs_server": "head", "Queue": described})


def pbsnodes(*nodes):
    return json.dumps({"nodes": {f"node{i}": node for i, node in enumerate(nodes)}})


def execution(**more):
    return {"queue_type": "Execution", "enabled": "True", "started": "True", **more}


def test_pbs_queues():
    answer = qstat(
        debug=execution(resources_max={"walltime": "01:00:00", "nodect": 2}),
        long=execution(resources_max={"walltime": "168:00:00"}),
        closed=execution(enabled="False"),
        stopped=execution(started="False"),
    )
    server = json.dumps({"Server": {"head": {"default_queue": "long"}}})
    node = {"cores_per_node": 64, "memory_per_node": 503, "gpus_per_node": 4}
    assert queues("pbspro", answer, pbsnodes(NODE, NODE, NODE), server) == {
        "debug": Queue(name="debug", max_walltime="01:00:00", max_nodes=2, **node),
        "long": Queue(name="long", default=True, max_walltime="168:00:00", max_nodes=3, **node),
        "closed": Queue(name="closed", available=False, max_nodes=3, **node),
        "stopped": Queue(name="stopped", available=False, max_nodes=3, **node),
    }


def test_a_routing_queue_stands_for_those_that_users_cannot_name():
    hidden = {"from_route_only": "True"}
    answer = qstat(
        prod={"queue_type": "Route", "enabled": "True", "started": "True", "route_destinations": "small,large"},
        small=execution(resources_max={"walltime": "03:00:00", "nodect": 24}, **hidden),
        large=execution(resources_max={"walltime": "24:00:00", "nodect": 496}, **hidden),
    )
    [prod] = queues("pbspro", answer, pbsnodes(NODE)).values()
    assert (prod.name, prod.max_walltime, prod.max_nodes, prod.available) == ("prod", "24:00:00", 496, True)


def test_a_routing_queue_has_no_limit_where_one_destination_has_none():
    answer = qstat(
        prod={"queue_type": "Route", "route_destinations": "small, large"},
        small=execution(resources_max={"walltime": "03:00:00"}),
        large=execution(),
    )
    assert queues("pbspro", answer)["prod"].max_walltime is None


def test_nodes_that_belong_to_a_queue_are_its_own():
    big = {"queue": "big", "resources_available": {"ncpus": 128, "mem": "1024gb"}}
    found = queues("pbspro", qstat(big=execution(), rest=execution()), pbsnodes(NODE, big, big))
    assert (found["big"].cores_per_node, found["big"].max_nodes, found["big"].memory_per_node) == (128, 2, 1024)
    assert (found["rest"].cores_per_node, found["rest"].max_nodes) == (64, 1)


def test_a_pbs_node_is_the_smallest_that_a_job_may_get():
    small = {"resources_available": {"ncpus": 8, "mem": "16777215kb"}}
    broken = {"state": "down", "resources_available": {"host": "gone"}}
    [queue] = queues("pbspro", qstat(q=execution()), pbsnodes(NODE, small, broken)).values()
    assert (queue.max_nodes, queue.cores_per_node, queue.memory_per_node, queue.gpus_per_node) == (2, 8, 15, None)


def test_pbs_answers_in_part():
    assert queues("pbspro", qstat(q=execution())) == {"q": Queue(name="q")}
    assert queues("pbspro", qstat(q=execution(), odd="text"), "down", "[]") == {"q": Queue(name="q")}
    assert queues("pbspro", '{"timestamp": 1}', pbsnodes(NODE)) == {}


# Grid Engine.

QHOST = """\
HOSTNAME                ARCH         NCPU NSOC NCOR NTHR  LOAD  MEMTOT  MEMUSE  SWAPTO  SWAPUS
----------------------------------------------------------------------------------------------
global                  -               -    -    -    -     -       -       -       -       -
node1                   lx-amd64       32    2   16   32  0.01  125.6G    2.1G     0.0     0.0
node2                   lx-amd64       16    1    8   16     -    1.5T       -       -       -
"""
OLD_QHOST = """\
HOSTNAME                ARCH         NCPU  LOAD  MEMTOT  MEMUSE  SWAPTO  SWAPUS
-------------------------------------------------------------------------------
global                  -               -     -       -       -       -       -
node1                   lx26-amd64      4  0.00  980.0M  200.0M     0.0     0.0
"""


def test_grid_engine_queues():
    node = {"cores_per_node": 16, "memory_per_node": 125}
    assert queues("gridengine", "all.q\nshort.q\n", QHOST) == {
        "all.q": Queue(name="all.q", default=True, **node),
        "short.q": Queue(name="short.q", **node),
    }


def test_columns_of_an_older_qhost():
    assert queues("gridengine", "q\n", OLD_QHOST) == {"q": Queue(name="q", cores_per_node=4)}


def test_grid_engine_answers_in_part():
    assert queues("gridengine", "q\n") == {"q": Queue(name="q")}
    assert queues("gridengine", "error: no qmaster here\n\nq\n", "nothing") == {"q": Queue(name="q")}


# Flux.


def test_flux_queues():
    listed = "debug*|enabled|started|1h|4\nbatch|enabled|stopped|1.5d|inf\noff|disabled|started|inf|inf\n"
    resources = "debug|4|192|16\nbatch|8|768|0\nbatch|2|192|0\ndebug,off|2|96|8\n"
    assert queues("flux", listed, resources) == {
        "debug": Queue(
            name="debug", default=True, max_walltime="01:00:00", max_nodes=4, cores_per_node=48, gpus_per_node=4
        ),
        "batch": Queue(name="batch", available=False, max_walltime="36:00:00", max_nodes=10, cores_per_node=96),
        "off": Queue(name="off", available=False, max_nodes=2, cores_per_node=48, gpus_per_node=4),
    }


def test_resources_of_no_queue_are_everybodys():
    assert queues("flux", "q|enabled|started|30m|inf", "|3|12|0\n") == {
        "q": Queue(name="q", max_walltime="00:30:00", max_nodes=3, cores_per_node=4)
    }


def test_an_instance_without_named_queues_has_none():
    assert queues("flux", "|enabled|started|inf|inf\n", "|2|4|0\n") == {}


def test_flux_answers_in_part():
    assert queues("flux", "q|enabled|started|inf|inf") == {"q": Queue(name="q")}
    assert queues("flux", "flux-queue: ERROR\nq|enabled|started|inf|inf\n", "a|b\n|x|1|1\nq|0|0|0\n") == {
        "q": Queue(name="q")
    }


@pytest.mark.parametrize(
    ("text", "total"),
    [("90s", 90), ("1.5h", 5400), ("2d", 172800), ("30m", 1800), ("250ms", 0), ("60", 60), ("inf", None), ("", None)],
)
def test_fluxs_durations(text, total):
    assert duration(text) == total


# Anything at all: never an exception, and every queue could be written into a site.

fields = st.text("09|*:-+.,()", max_size=12)
values = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text("T0:9kb", max_size=6))
tables = st.recursive(
    values, lambda inner: st.dictionaries(st.sampled_from(["walltime", "nodect", "ncpus", "mem", "ngpus"]), inner)
)
one_node = st.fixed_dictionaries(
    {
        "resources_available": st.fixed_dictionaries(
            {"ncpus": st.integers(1, 9)}, optional={"mem": tables, "ngpus": tables}
        )
    },
    optional={"queue": tables},
)
one_queue = st.dictionaries(st.sampled_from(["resources_max", "route_destinations", "enabled", "started"]), tables)
one_server = st.dictionaries(st.just("default_queue"), tables)


def answer_of(key, one):
    return st.dictionaries(st.text(max_size=3), one | values).map(lambda inner: json.dumps({key: inner}))


ANSWERS = {
    "slurm": [st.lists(st.lists(fields, min_size=7, max_size=7).map("|".join)).map("\n".join)],
    "pbspro": [answer_of("Queue", one_queue), answer_of("nodes", one_node), answer_of("Server", one_server)],
    "gridengine": [st.text("aq.\n "), st.text("HOSTNAME NCPU MEMTOT 09.GT-\n")],
    "flux": [st.lists(st.lists(fields, min_size=5, max_size=5).map("|".join)).map("\n".join), st.text("|0q,9\n")],
}


@pytest.mark.parametrize("name", ANSWERS)
@given(data=st.data())
def test_answers_that_look_right_but_are_not(name, data):
    outputs = [data.draw(answer | st.text()) for answer in ANSWERS[name]]
    for queue in scheduler(name).parse_queues(outputs):
        assert queue.name
        assert queue.max_walltime is None or len(queue.max_walltime.split(":")) == 3
        numbers = (queue.max_nodes, queue.cores_per_node, queue.memory_per_node, queue.gpus_per_node)
        assert all(number is None or number >= 0 for number in numbers)
