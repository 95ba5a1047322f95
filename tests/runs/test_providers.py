"""Runs whose blocks come from a provider that is none of ours: what they have started is known, and told."""

import json
import re
import signal
import time

import psutil
import pytest

from pilotage.journal import Journal

SCRIPT = """\
import parsl
from parsl import python_app

@python_app
def wait(seconds):
    import time
    time.sleep(seconds)
    return 42

with parsl.load():
    print("ready", wait(0).result(), flush=True)
    wait(SECONDS).result()
"""
CONFIG = """\
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider

class Cloud(LocalProvider):
    "Names its jobs as a service far away would."

    def submit(self, *arguments, **options):
        job = super().submit(*arguments, **options)
        self.resources["i-" + job] = self.resources[job]
        return "i-" + job

config = Config(
    executors=[HighThroughputExecutor(label="mine", address="127.0.0.1", max_workers_per_node=1, provider=PROVIDER())],
    strategy="none",
)
"""
LOCAL, CLOUD = CONFIG.replace("PROVIDER", "LocalProvider"), CONFIG.replace("PROVIDER", "Cloud")


@pytest.fixture
def started(pilotage, project, private_home):
    """Start a detached run on a config file; returns its folder once a task has come back."""
    ids = []

    def start(config, seconds=300, *sites):
        (project / "config.py").write_text(config)
        (project / "s.py").write_text(SCRIPT.replace("SECONDS", str(seconds)))
        done = pilotage("run", "-d", "-q", "--site", *(sites or ("./config.py",)), "s.py")
        assert done.returncode == 0, done.stderr
        ids.append(done.stdout.strip())
        folder = private_home / "state" / "runs" / ids[-1]
        awaited(lambda: (folder / "driver.log").exists() and "ready 42" in (folder / "driver.log").read_text())
        return folder

    yield start
    if ids:
        pilotage("cancel", "--now", *ids)


def awaited(condition, seconds=60):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)
    return found


def open_blocks(folder):
    entries = Journal(folder / "journal.jsonl").open_entries()
    return [entry for entry in entries if entry.what.get("role", "block") == "block" and entry.kind != "temporary_file"]


def state(folder):
    return json.loads((folder / "run.json").read_text())["state"]


def kill_driver(folder):
    for process in psutil.process_iter():
        try:
            if "pilotage.cli.driver" in (words := " ".join(process.cmdline())) and folder.name in words:
                process.send_signal(signal.SIGKILL)
        except psutil.Error:
            continue
    awaited(lambda: state(folder) == "failed")


@pytest.mark.parametrize("config", [LOCAL, CLOUD], ids=["local", "cloud"])
def test_a_run_that_ends_by_itself_leaves_an_empty_journal(started, config):
    folder = started(config, 0)
    awaited(lambda: state(folder) == "finished")
    assert Journal(folder / "journal.jsonl").open_entries() == []


def test_parsls_own_local_provider_with_the_driver_killed(started):
    folder = started(LOCAL)
    (block,) = open_blocks(folder)
    assert block.kind == "process"
    assert psutil.pid_exists(block.id["pid"])
    kill_driver(folder)
    assert Journal(folder / "journal.jsonl").open_entries() == []
    assert not psutil.pid_exists(block.id["pid"])


def test_what_only_its_provider_can_end_is_told_until_a_person_has_seen_to_it(started, pilotage):
    folder = started(CLOUD)
    (block,) = open_blocks(folder)
    job = block.id["job_id"]
    kill_driver(folder)
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines() if line]
    (told,) = [event["message"] for event in events if event["kind"] == "left"]
    assert re.search(
        rf"provider job {job} pilotage-{folder.name}\S+ of Cloud cannot be ended: only .*Cloud knows", told
    )
    cleaned = pilotage("clean")
    assert cleaned.returncode == 1
    assert cleaned.stdout.startswith("ended 0 things of 1 dead run\n")
    assert f"provider job {job}" in cleaned.stdout
    assert "End it by hand" in cleaned.stdout
    assert "End it by hand" in pilotage("ps").stderr
    assert "has left a provider job" in pilotage("rm", folder.name).stderr
    assert pilotage("rm", "--force", folder.name).returncode == 0
    assert pilotage("clean").stdout == "ended 0 things of 0 dead runs\n"


def test_a_site_of_any_provider_of_parsls(started, user_file, project, pilotage, monkeypatch):
    """By the class's name in a site, wherever that is from."""
    (project / "clouds.py").write_text(CLOUD.partition("config = ")[0])
    monkeypatch.setenv("PYTHONPATH", str(project))
    user_file('[site.cloud]\nscheduler = "parsl"\naddress = "127.0.0.1"\nprovider.class = "clouds.Cloud"\n')
    folder = started("", 300, "cloud")
    (block,) = open_blocks(folder)
    assert block.what["provider"] == "clouds.Cloud"
    assert pilotage("cancel", folder.name).returncode == 0
    awaited(lambda: state(folder) == "cancelled")
    assert open_blocks(folder) == []


def test_parsls_class_by_its_longer_name_is_ours(started, user_file):
    user_file(
        '[site.x]\nscheduler = "parsl"\naddress = "127.0.0.1"\n'
        'provider.class = "parsl.providers.local.local.LocalProvider"\n'
    )
    folder = started("", 300, "x")
    (block,) = open_blocks(folder)
    assert block.what["group"] is True
