"""Networks and servers that fail while a store moves something; see stores/faults.py for what they do.

Each fault has its control: a plain client that meets it, or the count of how often it was met.
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from pilotage.errors import BrokenTransferError, DataError, DeniedError
from pilotage.worker.data import copying
from pilotage.worker.data.base import Meter
from pilotage.worker.data.copying import fetch, publish
from stores.faults import HANG, RESET, TRUNCATE
from stores.ways import OF_HTTP, WAYS

SIZE = 12_000_000
AFTER = 300_000
DATA = random.Random(1).randbytes(SIZE)


@pytest.fixture
def way(request, tmp_path, monkeypatch):
    monkeypatch.setattr(copying, "PAUSE", 0.01)
    (tmp_path / "server").mkdir()
    with WAYS[request.param](tmp_path / "server", "place") as made:
        for name, value in made.keeper.environment.items():
            monkeypatch.setenv(name, value)
        yield made
        made.close()


EVERY = pytest.mark.parametrize("way", list(WAYS), indirect=True)
HTTP = pytest.mark.parametrize("way", OF_HTTP, indirect=True)


class Watch:
    """Looks, for as long as something is moved, whether what is seen under its final name is whole."""

    def __init__(self, look):
        self._look, self._over, self.seen = look, threading.Event(), []
        self._thread = threading.Thread(target=self._watch)

    def _watch(self):
        while not self._over.is_set():
            try:
                self.seen.append(self._look())
            except (OSError, KeyError, self._missing()):
                self.seen.append(None)
            time.sleep(0.01)

    @staticmethod
    def _missing():
        from botocore.exceptions import ClientError

        return ClientError

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()


def comes(way, tmp_path, **options):
    """Fetch the file, which is seen whole or not at all; returns what was counted."""
    store, place = way.open("file", **options)
    target, meter = tmp_path / "new" / "file", Meter()
    with Watch(lambda: target.stat().st_size) as watch:
        fetch(store, place, str(target), meter)
    assert target.read_bytes() == DATA
    assert os.listdir(tmp_path / "new") == ["file"]
    assert set(watch.seen) <= {None, SIZE}
    assert None in watch.seen
    assert (meter.bytes, meter.files) == (SIZE, 1)


def goes(way, tmp_path, **options):
    """Publish the file, in the place of another."""
    (tmp_path / "source").write_bytes(DATA)
    way.keeper.write("file", b"old")
    store, place = way.open("file", **options)
    meter = Meter()
    with Watch(lambda: way.keeper.read("file")) as watch:
        publish(store, str(tmp_path / "source"), place, meter)
    assert way.keeper.read("file") == DATA
    assert all(one in (b"old", DATA) for one in watch.seen)
    assert b"old" in watch.seen
    assert (meter.bytes, meter.files) == (SIZE, 1)


@EVERY
@pytest.mark.parametrize("cut", [RESET, TRUNCATE])
def test_a_connection_that_breaks_while_a_file_comes(way, tmp_path, cut):
    way.keeper.write("file", DATA)
    known = {"cut": cut, "after": AFTER, "methods": ("GET",)}
    control = way.proxy.add(**known)
    with pytest.raises(OSError):
        way.plain("file")
    assert control.met == 1
    assert way.plain("file") == DATA
    fault = way.proxy.add(**known)
    comes(way, tmp_path)
    assert fault.met == 1


@EVERY
@pytest.mark.parametrize("cut", [RESET, TRUNCATE])
def test_a_connection_that_breaks_while_a_file_goes(way, tmp_path, cut):
    fault = way.proxy.add(cut=cut, after=AFTER, up=True, methods=("PUT", "POST"))
    goes(way, tmp_path)
    assert fault.met == 1
    assert way.keeper.names() == {"file"}


@EVERY
def test_a_connection_that_says_nothing_any_more(way, tmp_path):
    way.keeper.write("file", DATA)
    control = way.proxy.add(cut=HANG, after=AFTER, methods=("GET",))
    with pytest.raises(OSError):
        way.plain("file")
    assert control.met == 1
    fault = way.proxy.add(cut=HANG, after=AFTER, methods=("GET",))
    comes(way, tmp_path, silence=4)
    assert fault.met == 1


@pytest.mark.slow
@EVERY
def test_one_that_never_says_anything_more(way, tmp_path, monkeypatch):
    monkeypatch.setattr(copying, "TRIES", 2)
    way.keeper.write("file", DATA)
    fault = way.proxy.add(cut=HANG, after=AFTER, methods=("GET",), times=None)
    store, place = way.open("file", silence=4)
    meter = Meter()
    with pytest.raises(BrokenTransferError) as caught:
        fetch(store, place, str(tmp_path / "new" / "file"), meter)
    assert "file" in str(caught.value.where)
    assert fault.met >= 1
    assert os.listdir(tmp_path / "new") == []
    assert (meter.bytes, meter.files) == (0, 0)


@pytest.mark.parametrize("way", ["web", "over_ssh", pytest.param("s3", marks=pytest.mark.slow)], indirect=True)
def test_a_server_that_stops_reading_what_goes(way, tmp_path):
    fault = way.proxy.add(cut=HANG, after=AFTER, up=True, methods=("PUT", "POST"))
    goes(way, tmp_path, silence=4)
    assert fault.met == 1


@HTTP
@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_has_a_bad_moment(way, tmp_path, status):
    way.keeper.write("file", DATA)
    control = way.proxy.add(answer=status, methods=("GET",))
    with pytest.raises(OSError, match=str(status)):
        way.plain("file")
    assert control.met == 1
    asked = way.proxy.add(answer=status, times=2)
    comes(way, tmp_path)
    refused = way.proxy.add(answer=status, times=2)
    goes(way, tmp_path)
    assert (asked.met, refused.met) == (2, 2)


@HTTP
def test_credentials_that_end(way, tmp_path):
    """From then on nothing is tried again."""
    way.keeper.write("file", DATA)
    store, place = way.open("file")
    fetch(store, place, str(tmp_path / "first"))
    fault = way.proxy.add(answer=403, times=None)
    before = len(way.proxy.requests)
    with pytest.raises(DeniedError) as caught:
        fetch(store, place, str(tmp_path / "new" / "file"))
    assert "file" in str(caught.value.where)
    assert 1 <= fault.met <= 2  # an address may be signed for GET alone, so that HEAD says little
    assert len(way.proxy.requests) - before == fault.met
    assert not (tmp_path / "new" / "file").exists()
    assert sorted(os.listdir(tmp_path)) == ["first", "server"] or os.listdir(tmp_path / "new") == []


MOVES = """
import sys
from pilotage.worker.data.base import open_store
from pilotage.worker.data.copying import fetch, publish
from pilotage.worker.data.places import place_of

url, options, source, target = sys.argv[1], eval(sys.argv[2]), sys.argv[3], sys.argv[4]
place = place_of(url)
store = open_store(place, options)
publish(store, source, place) if source else fetch(store, place, target)
"""


def killed(way, *words):
    """Start a process that moves the file, slowly, and kill it when some of it has moved; nothing of it runs on."""
    fault = way.proxy.add(rate=2_000_000, up=bool(words[0]), methods=("PUT", "POST", "GET"), times=None)
    options = {"silence": 20, **way.options}
    command = [sys.executable, "-c", MOVES, str(way.place("file").url), repr(options), *words]
    with subprocess.Popen(command) as process:
        while fault.passed < 1_000_000 and process.poll() is None:
            time.sleep(0.01)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    _, left = psutil.wait_procs(children, timeout=20)
    assert not left


@EVERY
def test_a_process_that_is_killed_while_a_file_comes(way, tmp_path):
    way.keeper.write("file", DATA)
    killed(way, "", str(tmp_path / "new" / "file"))
    assert not (tmp_path / "new" / "file").exists()
    assert [name[:6] for name in os.listdir(tmp_path / "new")] == [".file."]


@EVERY
def test_a_process_that_is_killed_while_a_file_goes(way, tmp_path):
    (tmp_path / "source").write_bytes(DATA)
    killed(way, str(tmp_path / "source"), "")
    end = time.monotonic() + 20
    while (left := way.keeper.names()) and not way.is_s3 and time.monotonic() < end:
        time.sleep(0.1)
    assert not [name for name in left if not name.endswith("(upload)")]  # parts that a server keeps by itself


@EVERY
def test_a_disk_that_is_full(way, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", disk], capture_output=True)
    if done.returncode:
        pytest.skip("no small disk can be mounted")
    try:
        way.keeper.write("file", DATA)
        store, place = way.open("file")
        with pytest.raises(DataError, match="No space left") as caught:
            fetch(store, place, str(disk / "file"))
        assert not isinstance(caught.value, BrokenTransferError)
        words = str(caught.value)
        assert str(place) in words
        assert str(disk) in words
        assert os.listdir(disk) == []
    finally:
        subprocess.run(["umount", disk], check=True)
