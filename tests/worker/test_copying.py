"""What the engine of copying does with several files at once, and with what is kept of a file of this machine."""

import os
import threading

import pytest

from pilotage.errors import DataError
from pilotage.worker.data import files
from pilotage.worker.data.base import Cancelled, Entry, Meter, open_store
from pilotage.worker.data.copying import at_once, fetch, publish
from pilotage.worker.data.places import place_of

NUMBERS = [Entry(str(number)) for number in range(100)]


def test_what_is_under_way_ends_when_another_has_failed():
    meter, both = Meter(), threading.Barrier(2, timeout=20)
    seen = []

    def work(entry):
        seen.append(entry.path)
        both.wait()
        if entry.path == "0":
            raise DataError("the first")
        while True:  # a large file
            meter.add(1)

    with pytest.raises(DataError, match="the first"):
        at_once(2, work, NUMBERS, meter)
    assert sorted(seen) == ["0", "1"], "no more are begun"


def test_what_is_under_way_ends_when_the_meter_above_is_cancelled():
    above = Meter()
    meter = Meter(above)

    def work(entry):
        above.cancelled = True
        meter.add(1)

    with pytest.raises(Cancelled):
        at_once(2, work, NUMBERS, meter)
    assert (meter.bytes, above.bytes) == (0, 0)


def test_ctrl_c_ends_what_is_under_way(monkeypatch):
    meter, begun = Meter(), threading.Event()
    join = threading.Thread.join

    def interrupted(self, timeout=None):
        monkeypatch.setattr(threading.Thread, "join", join)
        begun.wait(20)
        raise KeyboardInterrupt

    def work(entry):
        begun.set()
        while True:
            meter.add(1)

    monkeypatch.setattr(threading.Thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        at_once(2, work, NUMBERS, meter)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("Data")]


@pytest.mark.parametrize("size", [5, files.SMALL + 5])
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o700, 0o440])
def test_a_file_keeps_its_permissions(tmp_path, mode, size):
    (tmp_path / "in").write_bytes(b"x" * size)
    (tmp_path / "in").chmod(mode)
    place = place_of(tmp_path / "in")
    fetch(open_store(place), place, str(tmp_path / "fetched"))
    place = place_of(tmp_path / "published")
    publish(open_store(place), str(tmp_path / "in"), place)
    for name in ("fetched", "published"):
        assert (tmp_path / name).stat().st_mode & 0o777 == mode, name
        assert (tmp_path / name).stat().st_size == size


def test_the_umask_holds_for_what_is_copied(tmp_path):
    (tmp_path / "in").write_bytes(b"x")
    (tmp_path / "in").chmod(0o755)
    place = place_of(tmp_path / "in")
    before = os.umask(0o077)
    try:
        fetch(open_store(place), place, str(tmp_path / "out"))
    finally:
        os.umask(before)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700


def test_what_is_full_is_told_of_the_target(tmp_path, monkeypatch):
    (tmp_path / "in").write_bytes(b"x")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(DataError, match="No space left") as caught:
        files.copy(str(tmp_path / "in"), str(tmp_path / "out"), Meter())
    assert caught.value.where == str(tmp_path / "out")


@pytest.mark.parametrize("is_there", [False, True])
def test_half_a_folder_is_never_seen_where_none_was(tmp_path, is_there):
    source, target = tmp_path / "source", tmp_path / "in" / "target"
    source.mkdir()
    (source / "a").write_text("a")
    (source / "b").write_text("b")
    target.parent.mkdir()
    if is_there:
        target.mkdir()
        (target / "c").write_text("c")

    class Failing(files.Files):
        at_once = 1
        fails = True

        def put(self, source, path, entry, meter):
            assert is_there or not target.exists()
            if path.endswith("b") and self.fails:
                raise DataError("it fails")
            super().put(source, path, entry, meter)

    store = Failing(place_of("/"), {})
    with pytest.raises(DataError, match="it fails"):
        publish(store, str(source), place_of(str(target)))
    assert os.listdir(target.parent) == (["target"] if is_there else [])
    store.fails = False
    publish(store, str(source), place_of(f"driver:{target}/"))
    assert sorted(os.listdir(target)) == ["a", "b", *(["c"] if is_there else [])]
    assert os.listdir(target.parent) == ["target"]
