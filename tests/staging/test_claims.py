"""What the driver keeps of outputs: whose a URL is, and what it copies itself."""

import os
import tempfile
import types
from concurrent.futures import Future

import pytest

from pilotage import Directory, File
from pilotage.errors import UsageError
from pilotage.staging import by_driver
from pilotage.staging.provider import Staging
from pilotage.worker.data import scratch, staged
from pilotage.worker.data.files import Files
from pilotage.worker.data.places import place_of
from pilotage.worker.data.things import IN, mark


class Manager:
    """What is asked of Parsl's data manager."""

    def __init__(self):
        self.dfk = types.SimpleNamespace(executors={})

    def output(self, url, task):
        Staging(shared=True).stage_out(self, "here", File(url), task)


def test_what_a_failed_task_was_to_write_is_anothers_to_write():
    manager, first, second = Manager(), Future(), Future()
    manager.output("driver:out", first)
    with pytest.raises(UsageError, match="output of two tasks"):
        manager.output("driver:out", second)
    first.set_exception(ValueError("it fails"))
    manager.output("driver:out", second)
    second.set_result(None)
    with pytest.raises(UsageError, match="output of two tasks"):
        manager.output("driver:out", Future())


def test_a_call_that_is_refused_takes_nothing():
    manager, refused, other = Manager(), Future(), Future()
    manager.output("driver:theirs", other)
    manager.output("driver:mine", refused)
    with pytest.raises(UsageError, match="output of two tasks"):
        manager.output("driver:theirs", refused)
    manager.output("driver:mine", Future())


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """The folder that is a bucket."""
    monkeypatch.setenv(scratch.VARIABLE, f"{scratch.PREFIX}1.2.3")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket" / "x").write_text("text")

    class Bucket(Files):
        def look(self, path):
            return super().look(str(tmp_path / "bucket" / path))

        def walk(self, path):
            return super().walk(str(tmp_path / "bucket" / path))

        def get(self, path, *more):
            return super().get(str(tmp_path / "bucket" / path), *more)

    monkeypatch.setattr(by_driver, "store_of", lambda _context, place: Bucket(place, {}))


@pytest.mark.parametrize("url", ["s3://bucket", "s3://bucket/", "s3://bucket/."])
def test_the_driver_brings_a_whole_bucket(url, bucket):
    folder, marked = Directory(url), []
    staging = types.SimpleNamespace(options={}, mark_path=lambda _dm, _file, _role, path, **_more: marked.append(path))
    by_driver.bring(staging, Manager(), place_of(url), folder, None).result(60)
    assert os.listdir(marked[0]) == ["x"]


def test_the_driver_takes_nothing_of_a_call_that_has_not_run(bucket):
    task = Future()
    task.task_record = {"from_memo": True}
    staging = types.SimpleNamespace(options={}, mark_path=lambda *_, **__: None)
    published = by_driver.take(staging, Manager(), place_of("s3://bucket/out"), File("s3://bucket/out"), task)
    task.set_result("what it returned once")
    assert published.result(60) is None


def test_what_was_told_as_moved_and_has_failed_is_taken_back(monkeypatch):
    told = []
    monkeypatch.setattr(staged.accounts, "moved", told.append)
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(staged, "time", types.SimpleNamespace(monotonic=lambda: next(clock)))
    file = File("s3://bucket/key")
    mark(file, IN, file.url)
    meter = staged._Told(file, IN)
    meter.add(5)
    assert sum(record["bytes"] for record in told) == 5
    monkeypatch.setattr(staged, "time", types.SimpleNamespace(monotonic=lambda: 0))
    meter.take_back()
    meter.__exit__(ValueError, None, None)
    assert meter.bytes == sum(record["bytes"] for record in told) == 0
