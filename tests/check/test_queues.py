"""Which queue a block goes to, and under which account, however the site says it."""

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
    def run(self, argv, *, timeout=30):
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
