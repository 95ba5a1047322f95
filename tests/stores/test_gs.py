"""What is special about Google Cloud Storage."""

import gzip
import os

import pytest

from pilotage.errors import BrokenTransferError, DataError, DeniedError, NotThereError
from pilotage.worker.data import copying
from pilotage.worker.data.base import Meter, open_store
from pilotage.worker.data.copying import fetch, publish
from pilotage.worker.data.places import place_of
from stores import gs
from stores.proxy import HANG, RESET, before

LARGE = os.urandom(1 << 20) * 33 + b"and a bit"
"""More than one part, and more than one piece."""
CONTENTS = pytest.mark.parametrize("data", [b"small", LARGE], ids=["small", "large"])


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with gs.serve(tmp_path_factory.mktemp("gs")) as make:
        yield make


NUMBERS = iter(range(1000))


@pytest.fixture
def keeper(server, monkeypatch):
    monkeypatch.setattr(copying, "PAUSE", 0)
    return server(f"special {next(NUMBERS)}")


@pytest.fixture
def faults(keeper, monkeypatch):
    with before(keeper.endpoint) as made:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", made.url)
        yield made


@pytest.fixture
def opened(keeper, faults):
    stores = []

    def open_(path, **options):
        place = place_of(keeper.at(path))
        stores.append(open_store(place, {"silence": 20, **options}))
        return stores[-1], place

    yield open_
    for store in stores:
        store.close()


@pytest.mark.parametrize("fault", [503, 429, 500, RESET, ("cut", 3)], ids=str)
@CONTENTS
def test_a_download_is_tried_again(keeper, faults, opened, tmp_path, fault, data):
    keeper.write("file", data)
    store, place = opened("file")
    known = store.look(place.path)
    faults.once(fault, "GET")
    meter = Meter()
    fetch(store, place, str(tmp_path / "file"), meter, known)
    assert (tmp_path / "file").read_bytes() == data
    assert (meter.bytes, meter.files) == (len(data), 1)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("fault", [503, 429, RESET], ids=str)
@CONTENTS
def test_an_upload_is_tried_again(keeper, faults, opened, tmp_path, fault, data):
    (tmp_path / "source").write_bytes(data)
    store, place = opened("file")
    faults.once(fault, "POST")
    meter = Meter()
    publish(store, str(tmp_path / "source"), place, meter)
    assert keeper.read("file") == data
    assert (meter.bytes, meter.files) == (len(data), 1)
    assert keeper.names() == {"file"}


def test_a_server_that_says_nothing(keeper, faults, opened, tmp_path):
    keeper.write("file", b"x")
    store, place = opened("file", silence=1)
    known = store.look(place.path)
    faults.once(HANG, "GET")
    fetch(store, place, str(tmp_path / "file"), known=known)
    assert (tmp_path / "file").read_bytes() == b"x"


@CONTENTS
def test_what_is_damaged_on_the_way(keeper, faults, opened, tmp_path, data):
    keeper.write("file", data)
    store, place = opened("file")
    known = store.look(place.path)
    damages = [1]

    def rewrite(method, status, headers, body):
        if method == "GET" and damages:
            damages.pop()
            body = body[:3] + bytes([body[3] ^ 1]) + body[4:]
        return status, headers, body

    faults.rewrite = rewrite
    with pytest.raises(BrokenTransferError, match="its CRC-32C is"):
        store.get(place.path, known, str(tmp_path / "damaged"), Meter())
    fetch(store, place, str(tmp_path / "file"))
    assert (tmp_path / "file").read_bytes() == data


def test_what_is_replaced_before_it_comes(keeper, opened, tmp_path):
    keeper.write("file", b"old")
    store, place = opened("file")
    known = store.look(place.path)
    keeper.write("file", b"new")
    with pytest.raises(
        BrokenTransferError, match=r"it was replaced|its CRC-32C is"
    ):  # this server does not look at what is wanted
        store.get(place.path, known, str(tmp_path / "first"), Meter())
    fetch(store, place, str(tmp_path / "file"), known=known)
    assert (tmp_path / "file").read_bytes() == b"new"


def test_what_is_kept_compressed_comes_so(keeper, opened, tmp_path):
    """Its size and checksum are those of what is kept."""
    packed = gzip.compress(b"x" * 10_000)
    blob = keeper._blob("file")
    blob.content_encoding = "gzip"
    blob.upload_from_string(packed)
    store, place = opened("file")
    fetch(store, place, str(tmp_path / "file"))
    assert (tmp_path / "file").read_bytes() == packed


def test_who_asks(keeper, faults, opened, tmp_path, monkeypatch):
    keeper.write("file", b"x")
    store, place = opened("file", anonymous=True)
    faults.plan = lambda method, path: (403, b'{"error": {"message": "no access", "code": 403}}')
    with pytest.raises(DeniedError, match=r"file: no access \(with anonymous"):
        fetch(store, place, str(tmp_path / "file"))
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nothing.json"))
    store, place = opened("file", endpoint_url=faults.url)
    with pytest.raises(DeniedError, match="no credentials that can be used"):
        fetch(store, place, str(tmp_path / "file"))


def test_what_google_says_of_an_upload_is_told_without_its_address(keeper, faults, opened, tmp_path):
    """It is as good as a key to whoever reads it."""
    (tmp_path / "source").write_bytes(LARGE)
    store, place = opened("file")
    faults.plan = lambda method, path: (400, b'{"error": {"message": "odd", "code": 400}}')
    with pytest.raises(DataError) as caught:
        publish(store, str(tmp_path / "source"), place)
    assert "upload" not in str(caught.value)
    assert keeper.names() == set()


def test_no_request_is_made_besides(keeper, faults, opened, tmp_path):
    keeper.write("file", b"x")
    store, place = opened("file")
    fetch(store, place, str(tmp_path / "file"))
    assert len(faults.seen) == 2


def test_a_bucket_that_is_not_there(keeper, faults, tmp_path):
    for url in ("gs://nobody-has-this/x", "gs://nobody-has-this"):
        place = place_of(url)
        with pytest.raises(NotThereError):
            fetch(open_store(place), place, str(tmp_path / "x"))
