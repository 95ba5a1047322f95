"""Batch jobs are ended from the journal alone, also those whose ids nobody has written down."""

import time

import pytest

from pilotage import journal
from pilotage.hosts.base import Completed
from pilotage.hosts.local import LocalHost
from pilotage.providers import jobs
from pilotage.providers.unanswered import GHOST

GONE = (1, "", "scancel: error: Kill job error on job id 7: Invalid job id specified")
FROZEN = (124, "", "no answer within 30 s")


class Slurm(LocalHost):
    def __init__(self, listed=(), refused=()):
        self.listed, self.refused, self.asked = list(listed), dict(refused), []

    def run(self, argv, *, timeout):
        self.asked.append(tuple(argv))
        code, out, err = self.answer(argv)
        return Completed(tuple(argv), code, out, err)

    def answer(self, argv):
        if argv[0] == "squeue":
            found = self.listed.pop(0) if len(self.listed) > 1 else self.listed[0]
            return (
                found
                if isinstance(found, tuple)
                else (0, "".join(f"{job}|{name}\n" for job, name in found.items()), "")
            )
        return next((self.refused[job] for job in argv[1:] if job in self.refused), (0, "", ""))

    def cancelled(self):
        return [argv[1:] for argv in self.asked if argv[0] == "scancel"]


@pytest.fixture
def slurm(monkeypatch):
    """Put a Slurm in the place of this machine's."""
    monkeypatch.setattr(jobs, "SOON", 0.0)

    def make(*listed, **refused):
        machine = Slurm(listed or ({},), {job.removeprefix("job"): answer for job, answer in refused.items()})
        monkeypatch.setattr(jobs, "LocalHost", lambda: machine)
        return machine

    return make


def entry(identity=None, *, name="pilotage-x", age=0.0):
    return journal.Entry(name, "batch_job", {"scheduler": "slurm", "name": name}, identity, time.time() - age)


def twice(job=None, *, age=0.0):
    known = {"job_id": job} if job else {}
    return entry({**known, "unanswered": time.time() - age})


def test_all_jobs_with_one_command(slurm):
    machine = slurm()
    assert jobs.end([entry({"job_id": "7"}, name="a"), entry({"job_id": "8"}, name="b")]) == {}
    assert machine.asked == [("scancel", "7", "8")]


def test_of_several_each_has_its_reason(slurm):
    machine = slurm(job7=GONE, job8=(1, "", "Access denied"))
    assert jobs.end([entry({"job_id": job}, name=job) for job in "789"]) == {"8": "Access denied"}
    assert machine.cancelled() == [("7", "8", "9"), ("7",), ("8",), ("9",)]


def test_a_frozen_scheduler_is_waited_for_once(slurm):
    machine = slurm(job7=FROZEN)
    left = jobs.end([entry({"job_id": job}, name=job) for job in "789"])
    assert left == dict.fromkeys("789", "no answer within 30 s")
    assert len(machine.asked) == 1


def test_a_job_without_an_id_is_found_by_its_name(slurm):
    machine = slurm({"7": "other", "8": "pilotage-x"})
    assert jobs.end([entry()]) == {}
    assert machine.cancelled() == [("8",)]


def test_one_that_may_turn_up_stays(slurm):
    machine = slurm()
    left = jobs.end([entry(age=GHOST / 2)])
    assert "may turn up" in left["pilotage-x"]
    assert jobs.may_turn_up(entry(age=GHOST / 2))
    assert machine.cancelled() == []


def test_one_that_never_was_is_given_up(slurm):
    slurm()
    assert jobs.end([entry(age=GHOST + 1)]) == {}


def test_a_scheduler_that_has_just_woken_is_asked_again(slurm):
    """What was submitted while it was frozen is there a moment later."""
    machine = slurm({}, {"8": "pilotage-x"})
    assert jobs.end([entry(age=GHOST + 1)]) == {}
    assert machine.cancelled() == [("8",)]


@pytest.mark.parametrize("age", [0, GHOST + 1])
def test_of_two_submissions_both_are_looked_for(slurm, age):
    machine = slurm({"7": "pilotage-x", "9": "pilotage-x"})
    assert jobs.end([twice("7", age=age)]) == {}
    assert machine.cancelled() == [("7", "9")]
    slurm({"7": "pilotage-x"})
    assert ("may turn up" in jobs.end([twice("7", age=age)]).get("pilotage-x", "")) is (age == 0)
    slurm()
    assert ("may turn up" in jobs.end([twice(age=age)]).get("pilotage-x", "")) is (age == 0)


def test_a_scheduler_that_cannot_be_asked(slurm):
    slurm((1, "", "Unable to contact slurm controller"))
    assert jobs.end([entry(age=GHOST + 1)]) == {
        "pilotage-x": "slurm cannot be asked from here: Unable to contact slurm controller"
    }


def test_one_that_cannot_be_looked_for_holds_up_no_other(slurm):
    """Of PBS, one odd job of somebody else's can make the list of names unreadable."""
    machine = slurm((1, "", "no list today"))
    left = jobs.end(
        [entry(name="a"), entry({"job_id": "7"}, name="b"), entry({"job_id": "8", "unanswered": 0.0}, name="c")]
    )
    assert machine.cancelled() == [("7", "8")]
    assert left == dict.fromkeys("ac", "slurm cannot be asked from here: no list today")


def test_what_has_an_id_does_not_turn_up(slurm):
    assert not jobs.may_turn_up(entry({"job_id": "7"}))
    assert not jobs.may_turn_up(entry(age=GHOST + 1))
    assert jobs.may_turn_up(twice("7"))


def test_of_each_cluster_its_own(slurm):
    """A site that sends jobs to other clusters than this host's: theirs are asked for, and cancelled there."""

    def there(name, identity=None):
        what = {"scheduler": "slurm", "name": name, "clusters": "a,b"}
        return journal.Entry(name, "batch_job", what, identity, time.time())

    machine = slurm((0, "CLUSTER: a\n7|x\nCLUSTER: b\n7|n2\n", ""))
    assert jobs.end([there("n1", {"job_id": "7;a"}), there("n2"), entry({"job_id": "7"})]) == {}
    listing = next(argv for argv in machine.asked if argv[0] == "squeue")
    assert "--clusters=a,b" in listing
    assert machine.cancelled() == [("--clusters=a", "7"), ("--clusters=b", "7"), ("7",)]
