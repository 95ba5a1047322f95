"""What a node has fetched, for whoever wants it: once, whole, as it is at its place, and not more than is allowed."""

import fcntl
import json
import multiprocessing
import os
import signal
import stat
import threading
import time
from pathlib import Path

import pytest

from pilotage.errors import BrokenTransferError, DataError, DeniedError
from pilotage.worker.data import cache as caching
from pilotage.worker.data.base import Meter
from pilotage.worker.data.cache import Cache, remove_tree_or_file
from pilotage.worker.data.files import Files
from pilotage.worker.data.places import place_of

fork = multiprocessing.get_context("fork")


class Counting(Files):
    """Files of this machine; each that is read is written down, and ``before`` is called first."""

    def __init__(self, log, before=lambda path, target: None):
        super().__init__(None, {})
        self.log = log
        self.before = before

    def get(self, path, entry, target, meter):
        with self.log.open("a") as file:
            file.write(f"{path}\n")
        self.before(path, target)
        super().get(path, entry, target, meter)

    @property
    def count(self):
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0


@pytest.fixture
def source(tmp_path):
    """A folder of things to fetch."""
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


@pytest.fixture
def store(tmp_path):
    return Counting(tmp_path / "log")


@pytest.fixture
def cache(tmp_path):
    """A cache with room for a megabyte."""
    return Cache(str(tmp_path / "cache"), 1_000_000)


@pytest.fixture
def got(tmp_path, cache, store):
    """Get what is at a path; returns what was found, and where it is."""
    numbers = iter(range(1000))

    def get(path, cache=cache, store=store):
        target = tmp_path / "tasks" / str(next(numbers)) / Path(path).name
        return cache.get(store, place_of(str(path)), str(target), Meter()), target

    return get


def entries(tmp_path):
    """Return the names of what is kept, without notes."""
    return sorted(name for name in os.listdir(tmp_path / "cache") if not name.endswith(".json"))


def until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_one_of_many_processes_fetches(tmp_path, source, cache):
    (source / "x").write_text("text")
    started = tmp_path / "started"
    started.mkdir()
    # The one that fetches waits until all others want the same.
    store = Counting(tmp_path / "log", lambda *_: until(lambda: len(list(started.iterdir())) == 6))

    def get(number):
        (started / str(number)).touch()
        target = tmp_path / f"task-{number}"
        found = cache.get(store, place_of(str(source / "x")), str(target), Meter())
        os._exit(int(found.cached) if target.read_text() == "text" else 9)

    processes = [fork.Process(target=get, args=(number,)) for number in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert sorted(process.exitcode for process in processes) == [0, 1, 1, 1, 1, 1]
    assert store.count == 1
    assert len({(tmp_path / f"task-{number}").stat().st_ino for number in range(6)}) == 1, "one file for all"


def test_one_of_many_threads_fetches(tmp_path, source, cache, got):
    (source / "x").write_text("text")
    started = []
    store = Counting(tmp_path / "log", lambda *_: until(lambda: len(started) == 6))

    def get():
        started.append(1)
        got(source / "x", store=store)

    threads = [threading.Thread(target=get) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.count == 1


@pytest.mark.parametrize("folder", [False, True])
def test_a_fetch_that_is_killed_leaves_nothing_that_is_used(tmp_path, source, cache, got, store, folder):
    path = source
    for name in "abc":
        (source / name).write_text(name * 1000)
    if not folder:
        path = source / "b"

    def half(path, target):
        if path.endswith("b"):
            Path(target).write_text("half")
            (tmp_path / "half").touch()
            time.sleep(60)

    def get():
        cache.get(Counting(tmp_path / "other", half), place_of(str(path)), str(tmp_path / "t"), Meter())

    process = fork.Process(target=get)
    process.start()
    until((tmp_path / "half").exists)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert any(name.endswith(".part") for name in entries(tmp_path)), "the test has killed it too late"
    found, target = got(path)
    assert not found.cached
    assert not (tmp_path / "t").exists()
    assert store.count == (3 if folder else 1)
    read = {one.name: one.read_text() for one in target.iterdir()} if folder else {"b": target.read_text()}
    assert read == {name: name * 1000 for name in read}
    assert len(entries(tmp_path)) == 1, "what the killed one has left is gone"
    assert got(path)[0].cached


def test_what_has_changed_is_fetched_anew(source, got, store):
    path = source / "x"
    path.write_text("one")
    before = path.stat()
    assert got(path)[1].read_text() == "one"
    path.write_text("two")  # as many bytes
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    found, target = got(path)
    assert (found.cached, target.read_text(), store.count) == (False, "two", 2)
    assert got(path)[0].cached


@pytest.mark.parametrize("change", ["file", "new", "removed", "link"])
def test_a_folder_that_has_changed_is_fetched_anew(source, got, change):
    (source / "x").write_text("one")
    (source / "sub").mkdir()
    (source / "link").symlink_to("x")
    got(source)
    assert got(source)[0].cached
    if change == "file":
        (source / "x").write_text("other")
    elif change == "new":
        (source / "sub" / "y").write_text("")
    elif change == "removed":
        (source / "sub").rmdir()
    else:
        (source / "link").unlink()
        (source / "link").symlink_to("sub")
    found, target = got(source)
    assert not found.cached
    assert {path.name for path in target.rglob("*")} == {path.name for path in source.rglob("*")}
    assert (target / "x").read_text() == (source / "x").read_text()
    assert os.readlink(target / "link") == os.readlink(source / "link")


@pytest.mark.parametrize("folder", [False, True])
def test_what_a_task_has_changed_is_not_given_to_others(source, got, store, folder):
    (source / "x").write_text("right")
    path = source if folder else source / "x"
    target = got(path)[1]
    file = target / "x" if folder else target
    assert not file.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
    file.chmod(0o600)
    file.write_text("wrong")  # what root does in spite of that
    found, target = got(path)
    assert not found.cached
    assert (target / "x" if folder else target).read_text() == "right"
    assert store.count == 2


def test_what_was_not_asked_for_the_longest_goes_first(tmp_path, source, got, store):
    small = Cache(str(tmp_path / "cache"), 250)
    for name in "abcd":
        (source / name).write_text(name * 100)
    first = got(source / "a", small)[1]
    got(source / "b", small)
    assert got(source / "a", small)[0].cached
    got(source / "c", small)
    assert len(entries(tmp_path)) == 2
    assert got(source / "a", small)[0].cached
    assert not got(source / "b", small)[0].cached
    assert first.read_text() == "a" * 100, "a task keeps what it has"
    assert sum((tmp_path / "cache" / name).stat().st_size for name in entries(tmp_path)) <= 250


def test_many_small_files_do_not_each_read_what_is_known_of_all_others(source, got, monkeypatch):
    reads = []
    loads = json.loads
    monkeypatch.setattr("pilotage.worker.data.cache.json.loads", lambda text: reads.append(1) or loads(text))
    for number in range(100):
        (source / str(number)).write_text("x")
        assert not got(source / str(number))[0].cached
    assert len(reads) < 1000


def test_small_files_do_not_fill_more_than_the_limit(tmp_path, source, got):
    small = Cache(str(tmp_path / "cache"), 1000)
    for number in range(400):
        (source / str(number)).write_text("x" * (number % 9 + 2))
        got(source / str(number), small)
    assert 800 < sum((tmp_path / "cache" / name).stat().st_size for name in entries(tmp_path)) <= 1000


def test_what_is_larger_than_all_or_says_nothing_of_its_content_is_not_kept(tmp_path, source, got, store):
    (source / "large").write_text("l" * 300)
    assert got(source / "large", Cache(str(tmp_path / "cache"), 250))[0] is None
    (source / "x").write_text("x")
    store.look = lambda path: Files.look(store, path)._replace(tag="")
    assert got(source / "x")[0] is None
    assert store.count == 0


def test_an_entry_that_somebody_takes_does_not_go(tmp_path, source, got, monkeypatch):
    """While it is held, another fetch has to make room."""
    small = Cache(str(tmp_path / "cache"), 250)
    for name in "ab":
        (source / name).write_text(name * 200)
    got(source / "a", small)
    link = caching.link

    def late(path, target):
        monkeypatch.setattr(caching, "link", link)
        got(source / "b", small)
        link(path, target)

    monkeypatch.setattr(caching, "link", late)
    found, target = got(source / "a", small)
    assert found.cached
    assert target.read_text() == "a" * 200


def test_without_locks_nothing_is_kept(tmp_path, source, got, store, monkeypatch):
    (source / "x").write_text("text")

    def no_locks(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(caching.fcntl, "flock", no_locks)
    assert got(source / "x")[0] is None
    assert entries(tmp_path) == []
    monkeypatch.undo()
    assert got(source / "x")[0] is not None


def test_without_hard_links_a_task_has_a_copy(source, got, cache, tmp_path, monkeypatch):
    (source / "x").write_text("text")
    (source / "run").write_text("#!/bin/sh")
    (source / "run").chmod(0o755)

    def no_links(*_, **__):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(caching.os, "link", no_links)
    target = got(source)[1]
    remove_tree_or_file(str(tmp_path / "cache"))
    assert (target / "x").read_text() == "text", "a task keeps what it has"
    assert not (target / "x").is_symlink()
    assert os.access(target / "run", os.X_OK)


def test_those_who_wait_for_a_fetch_that_fails_are_told_the_same(tmp_path, source, cache):
    (source / "x").write_text("text")
    waiting = []

    def fail(path, target):
        until(lambda: len(waiting) == 3)
        time.sleep(0.3)  # for them to come to the lock
        raise DeniedError("it is not allowed")

    store = Counting(tmp_path / "log", fail)
    errors = []

    def get():
        waiting.append(1)
        try:
            cache.get(store, place_of(str(source / "x")), str(tmp_path / "never"), Meter())
        except DataError as error:
            errors.append(error)

    threads = [threading.Thread(target=get) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [error.message for error in errors] == ["it is not allowed"] * 3
    assert store.count < 3
    kept = Counting(tmp_path / "log")
    assert cache.get(kept, place_of(str(source / "x")), str(tmp_path / "t"), Meter()) is not None, "a later one tries"


def test_a_note_that_is_cut_off_is_no_note(tmp_path, source, got):
    (source / "x").write_text("text")
    got(source / "x")
    (note,) = (tmp_path / "cache").glob("*.json")
    note.write_text(note.read_text()[:20])
    found, target = got(source / "x")
    assert (found.cached, target.read_text()) == (False, "text")
    note.write_text("[]")
    assert got(source / "x")[1].read_text() == "text"


def test_the_lock_is_not_held_when_it_is_over(source, got, tmp_path):
    (source / "x").write_text("text")
    got(source / "x")
    (note,) = (tmp_path / "cache").glob("*.json")
    with note.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with pytest.raises(DataError):
        got(source / "not-there")
    assert issubclass(BrokenTransferError, DataError)


def test_what_a_killed_process_has_begun_is_removed_and_what_a_living_one_makes_is_not(store, source, tmp_path):
    def wait(path, target):
        with open(target, "w") as file:
            file.write("half")
        os.close(began[1])
        time.sleep(600)

    folder, processes = tmp_path / "cache", []
    Cache(str(folder), 1_000_000).get(store, make(source / "whole"), str(tmp_path / "whole"), Meter())
    for name in ("killed", "alive"):
        began = os.pipe()
        fetching = Counting(tmp_path / "other", wait)
        place = make(source / name)
        processes.append(
            fork.Process(
                target=Cache(str(folder), 1_000_000).get, args=(fetching, place, str(tmp_path / name), Meter())
            )
        )
        processes[-1].start()
        os.close(began[1])
        assert os.read(began[0], 1) == b""  # it has written a half
        os.close(began[0])
    try:
        parts = {path.name for path in folder.glob(".*.part")}
        assert len(parts) == 2
        processes[0].kill()
        processes[0].join()
        caching.remove_unfinished(str(folder))
        left = {path.name for path in folder.glob(".*.part")}
        assert len(left) == 1
        assert left < parts
        processes[1].kill()
        processes[1].join()
        # One that was killed between the rename and its note is no entry either.
        entry = next(path for path in folder.glob("*") if path.suffix == "" and not path.name.startswith("."))
        caching.remove_unfinished(str(folder))
        assert entry.exists()
        entry.with_suffix(".json").write_text("")
        caching.remove_unfinished(str(folder))
        assert not entry.exists()
        assert not list(folder.glob(".*.part"))
    finally:
        for process in processes:
            process.kill()
            process.join()


def make(path):
    path.write_text("text")
    return place_of(str(path))
