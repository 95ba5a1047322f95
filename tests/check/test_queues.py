"""Which queue a block goes to, and under which account, however the site says it."""

import json

import pytest

from pilotage.check.probe import probes
from pilotage.hosts.base import Completed

LIMITS = {
    "short*": "up|30:00",
    "long": "up|1-00:00:00",
    "endless": "up|infinite",
    "down": "down|infinite",
}
PARTITIONS = "".join(f"{name}|{limit}|2|4|4096|(null)\n" for name, limit in LIMITS.items())
NODES = "".join(f"{name}|2|4|4096|(null)|idle|(null)|n[1-2]\n" for name in LIMITS)


class Slurm:
    def __init__(self):
        self.asked = []

    def run(self, argv, *, timeout=30):
        self.asked.append(tuple(argv))
        return Completed(tuple(argv), 0, NODES if "--exact" in argv else PARTITIONS, "")

    def has(self, program):
        return True


@pytest.fixture
def judged(check):
    """Return what the probes of queue and walltime find of a site on a Slurm with three partitions."""

    def run(toml, walltime="01:00:00"):
        asked = [probe for probe in probes() if probe.name in ("queue", "walltime")]
        site = f'scheduler = "slurm"\nwalltime = "{walltime}"\n{toml}'
        found = check(site, host=Slurm(), asked=asked)
        return {one["probe"]: one for one in found["findings"]}

    return run


@pytest.mark.parametrize(
    "toml",
    [
        'partition = "long"',
        'partition = "short,long"',
        'partition = "long,down"',
        'scheduler_options = "#SBATCH --partition=long"',
        'scheduler_options = "#SBATCH --mail-type=NONE -p long"',
        'partition = "short"\nscheduler_options = "#SBATCH -p long"',
    ],
)
def test_a_block_that_a_partition_takes(judged, toml):
    found = judged(toml)
    assert [one["status"] for one in found.values()] == ["ok", "ok"], found
    assert "of 24:00:00 at most" in found["walltime"]["message"]


def test_each_of_several_is_looked_for(judged):
    found = judged('partition = "long,lnog"')["queue"]
    assert (found["status"], found["message"]) == ("failed", "there is no partition 'lnog'")
    found = judged('scheduler_options = "#SBATCH --partition=lnog"')["queue"]
    assert (found["status"], found["message"]) == ("failed", "there is no partition 'lnog'")
    assert found["where"].endswith("scheduler_options")


def test_without_a_name_it_is_the_default(judged):
    found = judged("")
    assert found["queue"]["message"] == "short: 2 of 2 nodes take jobs"
    assert found["walltime"]["message"] == "01:00:00 is more than short allows: 00:30:00"


def test_a_walltime_of_a_minute_where_no_limit_is_told(judged):
    found = judged('partition = "endless"\n', "00:01:00")["walltime"]
    assert (found["status"], "leaves no time" in found["message"]) == ("warning", True)


@pytest.mark.parametrize(
    ("known", "status"), [("physics\nroot\n", "ok"), ("", "skipped"), ("root\n", "failed"), (None, "skipped")]
)
def test_an_account_in_capitals_and_a_user_without_any(check, known, status):
    """Slurm takes names in any letters, and where it enforces nothing a user may have no account at all."""
    asked = [probe for probe in probes() if probe.name == "account"]
    host = Slurm()
    host.run = lambda argv, timeout: Completed(tuple(argv), known is None, known or "", "")
    found = check('scheduler = "slurm"\naccount = "Physics"', host=host, asked=asked)
    assert [one["status"] for one in found["findings"]] == [status]


# Other clusters than this host's

FAR = "CLUSTER: far\nlong|up|1-00:00:00|2|4|4096|(null)\n"
FAR_NODES = "CLUSTER: far\nlong|2|4|4096|(null)|idle|(null)|f[1-2]\n"


class Slurms(Slurm):
    """Two clusters: this host's, and one that is far away and has another partition."""

    def run(self, argv, *, timeout=30):
        here = super().run(argv, timeout=timeout)
        if "--clusters=far" in argv:
            return Completed(tuple(argv), 0, FAR_NODES if "--exact" in argv else FAR, "")
        if "--clusters=fra" in argv:
            return Completed(tuple(argv), 1, "", "sinfo: error: 'fra' can't be reached now\n")
        return here


def test_the_partitions_of_the_cluster_that_jobs_go_to(check):
    """And not those of this host's own, where `short` is the default."""
    asked = [one for one in probes() if one.name in ("scheduler", "queue", "walltime", "nodes", "cores")]
    host = Slurms()
    site = 'scheduler = "slurm"\nclusters = "far"\nwalltime = "02:00:00"\npartition = '
    found = {one["probe"]: one for one in check(f'{site}"long"', host=host, asked=asked)["findings"]}
    assert {name: one["status"] for name, one in found.items()} == dict.fromkeys(found, "ok"), found
    assert found["scheduler"]["message"] == "answers; long"
    assert "--clusters=far" in found["queue"]["command"]
    assert all("--clusters=far" in argv for argv in host.asked if argv[0] == "sinfo")
    found = {one["probe"]: one for one in check(f'{site}"short"', host=Slurms(), asked=asked)["findings"]}
    assert found["queue"]["message"] == "there is no partition 'short'"


def test_a_cluster_that_cannot_be_asked(check):
    asked = [one for one in probes() if one.name in ("scheduler", "queue")]
    found = check('scheduler = "slurm"\nclusters = "fra"\npartition = "long"', host=Slurms(), asked=asked)["findings"]
    assert [one["status"] for one in found] == ["failed", "skipped"]
    assert "'fra' can't be reached now" in found[0]["message"]
    assert found[0]["where"].endswith("site.mine.clusters")
    assert "sacctmgr" in found[0]["hint"]


@pytest.mark.parametrize(
    ("key", "answer"), [("account", "physics\n"), ("reservation", "ReservationName=maintenance\n")]
)
def test_what_a_cluster_has_is_asked_for_there(check, key, answer):
    host = Slurm()
    asked = [one for one in probes() if one.name == key]
    host.run = lambda argv, timeout: host.asked.append(tuple(argv)) or Completed(tuple(argv), 0, answer, "")
    name = answer.strip().rpartition("=")[2]
    found = check(f'scheduler = "slurm"\nclusters = "far"\n{key} = "{name}"', host=host, asked=asked)["findings"]
    assert [one["status"] for one in found] == ["ok"]
    assert {"cluster=far", "--clusters=far"} & set(host.asked[0])


# What directives say, of the other schedulers

QUEUES = ("short", "long")
PBS_QUEUE = {"queue_type": "Execution", "enabled": "True", "started": "True"}
PBS = {
    "-Q": {"Queue": {name: {**PBS_QUEUE, "resources_max": {"walltime": "00:30:00"}} for name in QUEUES}},
    "-a": {"nodes": {"n1": {"state": "free", "resources_available": {"ncpus": 4, "mem": "8388608kb"}}}},
    "-B": {"Server": {"head": {"default_queue": "short"}}},
}
PBS["-Q"]["Queue"]["long"]["resources_max"]["walltime"] = "24:00:00"
HOSTS = "HOSTNAME ARCH NCPU LOAD MEMTOT MEMUSE SWAPTO SWAPUS\n" + "-" * 70 + "\nn1 lx 4 0.1 8.0G 1.0G 0.0 0.0\n"
ANSWERS = {
    "pbspro": lambda argv: json.dumps(PBS[argv[1]]),
    "gridengine": lambda argv: {
        ("qconf", "-sql"): "".join(f"{name}\n" for name in QUEUES),
        ("qhost",): HOSTS,
        ("qconf", "-sq", "short"): "qname short\nh_rt 00:30:00\n",
        ("qconf", "-sq", "long"): "qname long\nh_rt 24:00:00\n",
        ("qstat", "-f", "-u", "nobody"): "".join(f"{name}@n1 BIP 0/0/4 0.1 lx\n" for name in QUEUES),
    }[argv],
    "flux": lambda argv: {
        "queue": "short*|enabled|started|30m|inf\nlong|enabled|started|24h|inf\n",
        "resource": "short,long|free|2|8|0|n[1-2]\n" if "|{state}|" in argv[-1] else "short,long|2|8|0\n",
    }[argv[1]],
}
IN_DIRECTIVES = {
    "pbspro": ["#PBS -q {}", "#PBS -l filesystems=home -q {}", "#PBS -q{}", "#PBS -q {}@head"],
    "gridengine": ["#$ -q {}", "#$ -pe smp 2 -q {}", "#$ -q {}@n1", "#$ -q never*,{}"],
    "flux": [
        "#flux: --queue={}",
        "#flux: -q {}",
        "# flux: --exclusive --queue {}",
        "#FLUX: -q{}",
        "#flux: --queue='{}'",
    ],
}
NO_QUEUE = {
    "pbspro": ["##PBS -q nowhere", "# PBS -q nowhere", "#PBS -N a-q", "echo '#PBS' -q nowhere"],
    "gridengine": ["# $ -q nowhere", "##$ -q nowhere", "#$ -N a-q"],
    "flux": ["#flux -q nowhere", "#flux: --job-name=a-q"],
}
OTHERS = [(name, one) for name, some in IN_DIRECTIVES.items() for one in some if "never*" not in one]


@pytest.fixture
def judged_by(check):
    """Return what the probes of queue and walltime find of a site of a scheduler with the queues short and long."""

    def run(name, options, key="", walltime="01:00:00"):
        class Host:
            def run(self, argv, *, timeout=30):
                return Completed(tuple(argv), 0, ANSWERS[name](tuple(argv)), "")

            def has(self, program):
                return True

        asked = [probe for probe in probes() if probe.name in ("queue", "walltime")]
        toml = f'scheduler = "{name}"\nwalltime = "{walltime}"\nscheduler_options = """{options}"""\n{key}'
        return {one["probe"]: one for one in check(toml, host=Host(), asked=asked)["findings"]}

    return run


@pytest.mark.parametrize(("name", "line"), OTHERS)
def test_the_queue_of_a_directive_is_the_one_that_is_judged(judged_by, name, line):
    """Without the directive, and by the site's own key, it is `short`, which gives half an hour."""
    key = "" if name == "gridengine" else 'queue = "short"'
    found = judged_by(name, line.format("long"), key)
    assert [one["status"] for one in found.values()] == ["ok", "ok"], found
    assert found["queue"]["message"].startswith("long: ")
    assert "of 24:00:00 at most" in found["walltime"]["message"]
    found = judged_by(name, line.format("short"))["walltime"]
    assert (found["status"], found["message"]) == ("failed", "01:00:00 is more than short allows: 00:30:00")


@pytest.mark.parametrize(("name", "line"), OTHERS)
def test_a_queue_of_a_directive_that_is_not_there(judged_by, name, line):
    found = judged_by(name, line.format("lnog"))["queue"]
    assert (found["status"], found["message"]) == ("failed", "there is no queue 'lnog'")
    assert found["hint"].startswith("did you mean 'long'?")
    assert found["where"].endswith("site.mine.scheduler_options")


@pytest.mark.parametrize(("name", "line"), [(name, one) for name, some in NO_QUEUE.items() for one in some])
def test_what_looks_like_a_directive_and_is_none(judged_by, name, line):
    found = judged_by(name, line, 'queue = "long"')["queue"]
    assert found["message"].startswith("long: ")


def test_the_last_of_several_directives(judged_by):
    for name, (line, *_) in IN_DIRECTIVES.items():
        both = f"{line.format('nowhere')}\n{line.format('long')}"
        assert judged_by(name, both)["queue"]["message"].startswith("long: "), name


def test_a_list_of_queues_of_grid_engine(judged_by):
    found = judged_by("gridengine", "#$ -q short,long")
    assert "of 24:00:00 at most" in found["walltime"]["message"], "that gives more"
    assert judged_by("gridengine", "#$ -q lo*")["queue"]["message"].startswith("long: ")
    assert judged_by("gridengine", "#$ -q never*,long")["queue"]["message"] == "there is no queue 'never*'"
