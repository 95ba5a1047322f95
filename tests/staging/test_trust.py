"""What others could do with what is kept of data: names in a shared folder, and secrets in a URL."""

import dataclasses
import os
import tempfile
import threading

import pytest
from parsl.data_provider.files import File as ParslFile

from pilotage.errors import BrokenTransferError, DataError
from pilotage.staging import known
from pilotage.staging.known import has_changed, read_by
from pilotage.worker.data import scratch, ssh_connection
from pilotage.worker.data.base import Meter
from pilotage.worker.data.cache import Cache
from pilotage.worker.data.files import Files
from pilotage.worker.data.places import place_of, shown
from pilotage.worker.data.staged import in_sandbox, once_staged, stage

SIGNED = "https://storage.example/in.csv?signature=hunter2"


@pytest.mark.parametrize("url", ["https://hunter2@h.example/x", "http://me:hunter2@h.example/x", SIGNED])
def test_no_secret_of_a_web_address_is_shown(url):
    assert "hunter2" not in shown(url)
    assert shown("ssh://me@h.example/x") == "ssh://me@h.example/x", "a name is no secret"


def test_a_link_that_somebody_has_put_where_a_blocks_folder_would_be_is_not_followed(tmp_path, monkeypatch):
    monkeypatch.setenv(scratch.VARIABLE, f"{scratch.PREFIX}1.2.3")
    (tmp_path / "home").mkdir()
    (tmp_path / f"{scratch.PREFIX}1.2.3").symlink_to("home")
    with pytest.raises(PermissionError, match="another user"):
        scratch.task_folder(str(tmp_path))
    assert not any((tmp_path / "home").iterdir())


@dataclasses.dataclass
class Adding:
    """What has no hash, as an app may be made of."""

    count: int

    def __call__(self, value):
        return value + self.count


def test_a_function_without_a_hash_may_be_called_and_have_files():
    assert in_sandbox(Adding(2))(1) == 3
    assert in_sandbox(stage(sandbox=True)(Adding(2))).args == (Adding(2),)
    assert once_staged(Adding(2)).args == (Adding(2),)


def test_a_link_that_cannot_be_made_leaves_nothing(tmp_path):
    (tmp_path / "in" / "name" / "full").mkdir(parents=True)
    with pytest.raises(DataError):
        Files(place_of(str(tmp_path)), {}).make_link(str(tmp_path / "in" / "name"), "target")
    assert os.listdir(tmp_path / "in") == ["name"]


def test_who_waits_for_a_fetch_that_fails_is_told_no_secret(tmp_path, monkeypatch):
    cache, errors = Cache(str(tmp_path / "cache"), 10**6), []
    both, asked = threading.Event(), []

    class Failing(Files):
        def look(self, path):
            return super().look(__file__)

        def get(self, path, entry, target, meter):
            assert both.wait(20)
            raise DataError("it fails")

    def clock():
        asked.append(len(asked) + 1)
        if len(asked) == 2:  # the other is about to wait for the first
            both.set()
        return asked[-1]

    monkeypatch.setattr("pilotage.worker.data.cache.time.time", clock)

    def get():
        try:
            cache.get(Failing(place_of("/"), {}), place_of(SIGNED), str(tmp_path / "t"), Meter())
        except DataError as error:
            errors.append(error)

    threads = [threading.Thread(target=get) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert any(isinstance(error, BrokenTransferError) for error in errors), "one has waited"
    assert not any("hunter2" in str(error) for error in errors)


def test_what_is_kept_of_a_call_has_no_secret_of_its_inputs(monkeypatch):
    states = {SIGNED: "first", "s3://bucket/key": "first"}
    monkeypatch.setattr(known, "state_of", lambda url, _options=None: states.get(url))

    class Kernel:
        executors = {"there": None}

    task = {
        "args": (ParslFile(SIGNED),),
        "kwargs": {"inputs": [ParslFile("s3://bucket/key")]},
        "dfk": Kernel,
        "executor": "there",
    }
    read = read_by(task)
    assert len(read) == 2
    assert "hunter2" not in str(read)
    assert not has_changed(read, task)
    states[SIGNED] = "second"
    assert has_changed(read, task)


def test_a_workers_connection_of_ssh_leaves_nothing_that_does_not_go_with_the_block(tmp_path, monkeypatch):
    monkeypatch.setenv(scratch.VARIABLE, f"{scratch.PREFIX}1.2.3")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(ssh_connection, "LONGEST", 1000)
    folder = ssh_connection._socket_folder()
    assert os.path.dirname(folder) == str(tmp_path / f"{scratch.PREFIX}1.2.3")
