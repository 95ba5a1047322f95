"""Hosts without a scheduler: blocks as sessions of processes, by real shells; and a pool with a host that is away."""

import contextlib
import os
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parsl.jobs.states import JobState
from parsl.providers.errors import SubmitException

from hosts.conftest import cache, far, sockets, sshd  # noqa: F401  fixtures
from hosts.sshd import free_port
from pilotage import events, journal
from pilotage.errors import HostError, UnsupportedError
from pilotage.hosts import openssh
from pilotage.hosts.base import Completed
from pilotage.hosts.local import LocalHost
from pilotage.hosts.openssh import OpenSSHHost
from pilotage.providers.ledger import Ledger
from pilotage.providers.pool import Pool, PoolProvider
from pilotage.schedulers.batch import RefusedError, State, UnclearError
from pilotage.schedulers.ssh_jobs import SSHJobs


@pytest.fixture
def ledger():
    made = Ledger(SSHJobs(), LocalHost())
    yield made
    made.cancel([job for job in made._jobs if not made._jobs[job].observed.state.final])


@pytest.fixture
def script(tmp_path):
    def write(text, name="job"):
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


def until(ledger, job, state, seconds=20):
    end = time.monotonic() + seconds
    while (observed := ledger.look([job])[0]).state is not state:
        assert time.monotonic() < end, observed
        time.sleep(0.05)
    return observed


def test_a_session_that_ends_well(ledger, script, tmp_path):
    job = ledger.submit(script("echo out; echo err >&2\n", "it's a job"), "it's a job")
    assert until(ledger, job, State.COMPLETED).exit_code == 0
    assert (tmp_path / "it's a job.stdout").read_text() == "out\n"
    assert (tmp_path / "it's a job.stderr").read_text() == "err\n"


def test_an_exit_code(ledger, script):
    assert until(ledger, ledger.submit(script("exit 3\n"), "job"), State.FAILED).exit_code == 3


def test_one_that_is_killed(ledger, script):
    job = ledger.submit(script("sleep 60\n"), "job")
    until(ledger, job, State.RUNNING)
    os.killpg(int(job.split(".")[0]), 9)
    assert "killed" in until(ledger, job, State.FAILED).words


def test_all_of_it_is_ended(ledger, script, tmp_path):
    """Children that ignore SIGTERM too, as long as they are of the session; the node guard has the others."""
    text = f"(trap '' TERM; exec sleep 61) & echo $! >{tmp_path}/child\nexec sleep 60\n"
    job = ledger.submit(script(text), "job")
    until(ledger, job, State.RUNNING)
    end = time.monotonic() + 10
    while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text():
        assert time.monotonic() < end
    assert ledger.cancel([job]) == [True]
    child = int((tmp_path / "child").read_text())
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end + 10
        time.sleep(0.05)
    assert ledger.look([job])[0].state is State.CANCELLED


def test_another_process_of_the_same_number_is_left_alone():
    mine = psutil.Process()
    done = LocalHost().run(SSHJobs().cancel_command([f"{mine.pid}.1"]))
    assert done.ok
    (observed,) = (
        SSHJobs()
        .parse_status([LocalHost().run(argv) for argv in SSHJobs().status_commands([f"{mine.pid}.1"])])
        .values()
    )
    assert observed.state is State.FAILED


def test_it_is_found_by_its_name(ledger, script):
    job = ledger.submit(script("sleep 60\n", "pilotage-x.1"), "pilotage-x.1")
    until(ledger, job, State.RUNNING)
    jobs = SSHJobs()
    assert jobs.parse_list(LocalHost().run(jobs.list_command("me"))).get(job) == "pilotage-x.1"


def test_a_script_that_is_not_there(ledger):
    job = ledger.submit("/no/such/folder/job", "job")
    assert until(ledger, job, State.FAILED)


@given(st.text(), st.text(), st.integers(0, 255))
def test_no_answer_is_too_strange(out, err, code):
    answer = Completed(("sh",), code, out, err)
    jobs = SSHJobs()
    with contextlib.suppress(UnclearError, RefusedError):
        jobs.parse_submit(answer)
    with contextlib.suppress(UnclearError):
        found = jobs.parse_status([answer, answer])
        assert not any(one.state is State.COMPLETED for one in found.values()) or "0" in out
    with contextlib.suppress(UnclearError):
        jobs.parse_list(answer)


@pytest.fixture
def pool(far, sockets, sshd, tmp_path, monkeypatch):  # noqa: F811
    """A pool of a host that answers and one that does not, under a run's journal."""
    run = tmp_path / "run"
    (run / "parsl" / "label").mkdir(parents=True)
    monkeypatch.setattr(journal, "current", journal.Journal(run / "journal.jsonl"))
    monkeypatch.setattr(events, "current", events.Events(run / "events.jsonl"))
    config = (sshd.folder / "ssh_config").read_text().replace(str(sshd.port), str(free_port()))
    (tmp_path / "ssh_config").write_text(config.replace("Host far", "Host dead"))
    dead = OpenSSHHost("dead", ("-F", str(tmp_path / "ssh_config")), sockets)
    monkeypatch.setattr(openssh, "_HOSTS", {"far": far, "dead": dead})
    made = Pool(["dead", "far"], str(tmp_path / "there"), sys.executable, "label")
    provider = PoolProvider(["dead", "far"], max_blocks=2, init_blocks=2)
    provider.pool, provider.script_dir = made, str(run / "parsl" / "label")
    made.folder.begin(run / "parsl")
    (run / "parsl" / "keys").write_text("secret")
    made.folder.send(run / "parsl" / "keys")
    made.open(free_port())
    yield provider
    provider.cancel(list(provider.resources))
    made.close()
    assert not list((tmp_path / "there").iterdir())
    assert not journal.current.open_entries()


def test_a_host_that_is_away_is_passed_over_and_told(pool, tmp_path):
    block = pool.submit("cat /@pilotage@/keys; sleep 60", 1, "block-0")
    assert block.startswith("far ")
    (told,) = [event for event in events.current.read()[0] if event["kind"] == "host-away"]
    assert "dead is passed over" in told["message"]
    assert pool.status([block])[0].state is JobState.RUNNING
    with pytest.raises(SubmitException, match="no host takes it"):
        pool.submit("sleep 60", 1, "block-1")
    entries = journal.current.open_entries()
    assert {entry.kind for entry in entries} >= {"batch_job", "remote_folder", "tunnel"}
    (script,) = Path(tmp_path, "there").glob("*/label/*block-0*[0-9]")
    assert "PILOTAGE_INTERCHANGE=127.0.0.1:" in script.read_text()
    assert pool.cancel([block]) == [True]
    assert pool.status([block])[0].state is JobState.CANCELLED
    assert Path(f"{tmp_path}/run/parsl/label/{script.name}.stdout").read_text() == "secret"


def test_a_block_that_fails_is_told_and_its_host_is_free_again(pool):
    block = pool.submit("echo why >&2; exit 4", 1, "block-0")
    end = time.monotonic() + 20
    while not (status := pool.status([block])[0]).terminal:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert (status.state, status.exit_code) == (JobState.FAILED, 4)
    assert status.stderr.strip().endswith("why")
    again = pool.submit("sleep 60", 1, "block-1")
    assert again.startswith("far ")
    pool.cancel([again])


def test_a_host_that_does_not_come_back_is_given_up(pool, monkeypatch):
    from pilotage.providers import pool as module

    block = pool.submit("sleep 60", 1, "block-0")
    (member,) = pool._members.values()
    monkeypatch.setattr(type(member.way), "is_up", property(lambda self: False))
    monkeypatch.setattr(member.ledger, "look", None)  # who asks one that is away waits for it
    assert pool.status([block])[0].state is JobState.RUNNING
    monkeypatch.setattr(module, "DEAD", 0.0)
    status = pool.status([block])[0]
    assert status.state is JobState.FAILED
    assert "has not answered for" in status.message
    monkeypatch.setattr(module, "AGAIN", 0.0)
    with pytest.raises(SubmitException, match="the connection to far is lost"):
        pool.submit("sleep 60", 1, "block-1")


def test_a_host_is_free_again_whatever_its_preparation_has_raised(monkeypatch):
    pool = Pool(["nowhere"], "~/.pilotage", "python3", "label")

    def full(_member):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pool, "_prepare", full)
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            pool.take()


def test_hosts_are_made_ready_at_once_and_one_that_is_away_keeps_no_other_waiting(monkeypatch):
    pool = Pool(["dead", "one", "two"], "~/.pilotage", "python3", "label")
    both, taken, problems = threading.Barrier(3), [], []

    def prepare(member):
        both.wait(10)
        if member.name == "dead":
            while len(taken) < 2:
                time.sleep(0.01)
            raise HostError("no answer", where="dead")

    monkeypatch.setattr(pool, "_prepare", prepare)

    def take():
        try:
            taken.append(pool.take().name)
        except HostError as error:
            problems.append(str(error))

    threads = [threading.Thread(target=take) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(taken) == ["one", "two"]
    assert len(problems) == 1
    assert "dead" in problems[0]
    assert PoolProvider.at_once > 1


def test_a_host_that_an_environment_is_not_for_is_passed_over(monkeypatch):
    pool = Pool(["unlike", "like"], "~/.pilotage", "python3", "label")

    def prepare(member):
        if member.name == "unlike":
            raise UnsupportedError("there is no python3.11", hint="name one")

    monkeypatch.setattr(pool, "_prepare", prepare)
    assert pool.take().name == "like"
    provider = PoolProvider(["unlike"])
    provider.pool = Pool(["unlike"], "~/.pilotage", "python3", "label")
    monkeypatch.setattr(provider.pool, "_prepare", prepare)
    with pytest.raises(SubmitException, match=r"no host takes it: there is no python3\.11"):
        provider.submit("true", 1)
