"""What is special about S3: what goes wrong on the way, who asks, and large objects."""

import os

import pytest

from pilotage.errors import BrokenTransferError, DataError, DeniedError, NotThereError, UsageError
from pilotage.worker.data import copying
from pilotage.worker.data.base import Entry, Meter, open_store
from pilotage.worker.data.copying import fetch, publish
from pilotage.worker.data.places import place_of
from stores import s3
from stores.proxy import HANG, RESET, before

MB = 1 << 20
LARGE = os.urandom(MB) * 33 + b"and a bit"
"""More than one part, and more than one piece."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with s3.serve(tmp_path_factory.mktemp("s3")) as make:
        yield make


@pytest.fixture
def keeper(server, request, monkeypatch):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3.KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(copying, "PAUSE", 0)
    return server(f"special {next(NUMBERS)}")


NUMBERS = iter(range(1000))


@pytest.fixture
def faults(keeper):
    with before(keeper.options["endpoint_url"]) as made:
        yield made


@pytest.fixture
def opened(keeper, faults):
    """Open a path of the keeper's through the proxy."""
    stores = []

    def open_(path, **options):
        place = place_of(keeper.at(path))
        stores.append(open_store(place, {"endpoint_url": faults.url, "silence": 20, **options}))
        return stores[-1], place

    yield open_
    for store in stores:
        store.close()


def refusal(status, code):
    return (status, f"<Error><Code>{code}</Code><Message>some words</Message></Error>".encode())


TRANSIENT = [
    (503, b""),
    refusal(503, "SlowDown"),
    refusal(429, "TooMany"),
    refusal(400, "RequestTimeout"),
    (500, b""),
    RESET,
]
TRANSIENT = pytest.mark.parametrize(
    "fault", TRANSIENT, ids=["503", "SlowDown", "429", "RequestTimeout", "500", "reset"]
)
CONTENTS = pytest.mark.parametrize("data", [b"small", LARGE], ids=["small", "large"])


@TRANSIENT
@CONTENTS
def test_a_download_is_tried_again(keeper, faults, opened, tmp_path, fault, data):
    keeper.write("file", data)
    store, place = opened("file")
    faults.once(fault, "GET")
    meter = Meter()
    fetch(store, place, str(tmp_path / "file"), meter)
    assert (tmp_path / "file").read_bytes() == data
    assert (meter.bytes, meter.files) == (len(data), 1)
    assert os.listdir(tmp_path) == ["file"]


@TRANSIENT
@CONTENTS
def test_an_upload_is_tried_again(keeper, faults, opened, tmp_path, fault, data):
    (tmp_path / "source").write_bytes(data)
    store, place = opened("file")
    faults.once(fault, "PUT")
    meter = Meter()
    publish(store, str(tmp_path / "source"), place, meter)
    assert keeper.read("file") == data
    assert (meter.bytes, meter.files) == (len(data), 1)
    assert keeper.names() == {"file"}


@pytest.mark.parametrize("data", [b"small" * 10, LARGE], ids=["small", "large"])
def test_a_download_that_is_cut_off(keeper, faults, opened, tmp_path, data):
    keeper.write("file", data)
    store, place = opened("file")
    faults.once(("cut", 20), "GET")
    fetch(store, place, str(tmp_path / "file"))
    assert (tmp_path / "file").read_bytes() == data


def test_a_server_that_says_nothing(keeper, faults, opened, tmp_path, monkeypatch):
    keeper.write("file", b"x")
    store, place = opened("file", silence=1)
    faults.once(HANG, "GET")
    fetch(store, place, str(tmp_path / "file"))
    assert (tmp_path / "file").read_bytes() == b"x"
    faults.once(HANG, "HEAD")
    assert copying.patiently(lambda: store.look(place.path)).size == 1
    monkeypatch.setattr(copying, "TRIES", 1)
    faults.once(HANG, "HEAD")
    with pytest.raises(BrokenTransferError, match="the connection broke"):
        fetch(store, place, str(tmp_path / "other"))


@CONTENTS
def test_what_is_damaged_on_the_way(keeper, faults, opened, tmp_path, data):
    keeper.write("file", data)
    store, place = opened("file")
    damages = [1]

    def rewrite(method, status, headers, body):
        if method == "GET" and damages and len(body) > 3:
            damages.pop()
            body = body[:3] + bytes([body[3] ^ 1]) + body[4:]
        return status, headers, body

    faults.rewrite = rewrite
    with pytest.raises(BrokenTransferError, match="its ETag is"):
        store.get(place.path, store.look(place.path), str(tmp_path / "damaged"), Meter())
    fetch(store, place, str(tmp_path / "file"))
    assert (tmp_path / "file").read_bytes() == data


def test_an_etag_that_is_no_checksum(keeper, faults, opened, tmp_path):
    """As that of an object which the server keeps encrypted with a key of its own service."""
    keeper.write("file", b"data")
    kms = [("x-amz-server-side-encryption", "aws:kms")]

    def rewrite(method, status, headers, body):
        headers = [(name, '"' + "0" * 32 + '"' if name.lower() == "etag" else value) for name, value in headers]
        return status, headers + kms, body

    faults.rewrite = rewrite
    faults.change = lambda headers: headers.pop("if-match", None)
    store, place = opened("file")
    fetch(store, place, str(tmp_path / "file"))
    assert (tmp_path / "file").read_bytes() == b"data"
    kms.clear()
    store, place = opened("file")
    with pytest.raises(BrokenTransferError, match="checksums = false"):
        fetch(store, place, str(tmp_path / "other"))
    store, place = opened("file", checksums=False)
    fetch(store, place, str(tmp_path / "other"))


@CONTENTS
def test_what_is_replaced_while_it_comes(keeper, faults, opened, tmp_path, data):
    other = bytes(reversed(data))
    keeper.write("file", data)
    store, place = opened("file")
    known = store.look(place.path)
    asked = []

    def plan(method, path):
        if method == "GET":
            asked.append(path)
            if len(asked) == (1 if data == b"small" else 2):
                keeper.write("file", other)

    faults.plan = plan
    with pytest.raises(BrokenTransferError, match="it was replaced"):
        store.get(place.path, known, str(tmp_path / "first"), Meter())
    fetch(store, place, str(tmp_path / "file"), known=known)
    assert (tmp_path / "file").read_bytes() == other


def test_a_server_that_says_200_of_a_range(keeper, faults, opened, tmp_path):
    keeper.write("file", LARGE)
    faults.rewrite = lambda method, status, headers, body: (200 if status == 206 else status, headers, body)
    store, place = opened("file")
    meter = Meter()
    fetch(store, place, str(tmp_path / "file"), meter)
    assert (tmp_path / "file").read_bytes() == LARGE
    assert meter.bytes == len(LARGE)


def test_a_server_without_ranges(keeper, faults, opened, tmp_path):
    keeper.write("file", LARGE)
    faults.change = lambda headers: headers.pop("range", None)
    store, place = opened("file")
    with pytest.raises(DataError, match="no ranges"):
        fetch(store, place, str(tmp_path / "file"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("part", ["partNumber=2", "uploadId"])
def test_nothing_is_left_of_an_upload_that_is_refused(keeper, faults, opened, tmp_path, part):
    (tmp_path / "source").write_bytes(LARGE)
    store, place = opened("file")
    faults.plan = lambda method, path: refusal(400, "Odd") if part in path and method in ("PUT", "POST") else None
    with pytest.raises(DataError, match="Odd: some words"):
        publish(store, str(tmp_path / "source"), place)
    assert keeper.names() == set()


@pytest.mark.parametrize("name", ["large", "odd//large"])
def test_a_large_file_goes_in_parts(keeper, opened, tmp_path, name):
    (tmp_path / "source").write_bytes(LARGE)
    (tmp_path / "source").chmod(0o755)
    store, place = opened(name)
    meter = Meter()
    publish(store, str(tmp_path / "source"), place, meter)
    assert meter.bytes == len(LARGE)
    assert keeper.read(name) == LARGE
    assert keeper.executable(name)
    entry = store.look(place.path)
    assert entry.tag.endswith("-3")
    fetch(store, place, str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == LARGE
    assert os.access(tmp_path / "back", os.X_OK)


def test_a_mode_costs_no_request(keeper, faults, opened, tmp_path):
    for number in range(5):
        keeper.write(f"in/{number}", b"x", executable=number == 3)
    store, place = opened("in")
    fetch(store, place, str(tmp_path / "in"))
    assert [os.access(tmp_path / "in" / str(number), os.X_OK) for number in range(5)] == [False] * 3 + [True, False]
    assert sorted(method for method, *_ in faults.seen) == ["GET"] * 7 + [
        "HEAD"
    ]  # a name, whether a folder, what is in


# who asks


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_keys_that_are_wrong_or_have_ended(keeper, faults, opened, tmp_path, code, method):
    keeper.write("file", b"x")
    store, place = opened("file")
    status, body = refusal(403, code) if code != "ExpiredToken" else refusal(400, code)
    faults.plan = lambda asked, path: (status, b"" if asked == "HEAD" else body) if method in (asked, "HEAD") else None
    with pytest.raises(DeniedError) as caught:
        fetch(store, place, str(tmp_path / "file"))
    said = str(caught.value)
    assert f"{keeper.at('file')}: {code}: some words (with the keys in AWS_ACCESS_KEY_ID" in said
    assert s3.KEYS["AWS_SECRET_ACCESS_KEY"] not in said


def test_new_keys_are_looked_for_when_the_old_have_ended(keeper, faults, opened, tmp_path, monkeypatch):
    for name in s3.KEYS:
        monkeypatch.delenv(name)
    keys = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(keys))
    text = "[mine]\naws_access_key_id = {}\naws_secret_access_key = secret\n"
    keys.write_text(text.format("OLDKEY"))
    keeper.write("file", b"x")
    store, place = opened("file", profile="mine")
    store.look(place.path)

    def plan(method, path):
        if "OLDKEY" in faults.seen[-1][2]["authorization"]:
            keys.write_text(text.format("NEWKEY"))
            return refusal(400, "ExpiredToken")
        return None

    faults.plan = plan
    fetch(store, place, str(tmp_path / "file"), known=Entry("", size=1))
    assert "NEWKEY" in faults.seen[-1][2]["authorization"]
    faults.plan = lambda method, path: refusal(403, "AccessDenied")
    with pytest.raises(DeniedError, match=r"with profile mine \(shared-credentials-file\)"):
        fetch(store, place, str(tmp_path / "other"))


def test_a_public_bucket(keeper, faults, opened, tmp_path, monkeypatch):
    for name in s3.KEYS:
        monkeypatch.delenv(name)
    keeper.write("in/file", b"x")
    keeper.client.put_object_acl(**keeper._key("in/file"), ACL="public-read")
    store, place = opened("in", anonymous=True)
    fetch(store, place, str(tmp_path / "in"))
    assert (tmp_path / "in" / "file").read_bytes() == b"x"
    assert not any("authorization" in headers for _, _, headers in faults.seen)
    store, place = opened("in/file")
    with pytest.raises(DeniedError, match="anonymous = true"):
        fetch(store, place, str(tmp_path / "file"))
    with pytest.raises(DeniedError, match="no credentials"):
        fetch(store, place, str(tmp_path / "file"), known=Entry("", size=1))


def test_where_the_server_is_may_be_told_elsewhere(keeper, faults, tmp_path, monkeypatch):
    keeper.write("file", b"x")
    place = place_of(keeper.at("file"))
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", faults.url)
    fetch(open_store(place), place, str(tmp_path / "1"))
    assert len(faults.seen) == 2
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    profile = (
        f"endpoint_url = {faults.url}\nregion = eu-north-1\naws_access_key_id = OF\naws_secret_access_key = FILE\n"
    )
    (tmp_path / "config").write_text(f"[profile mine]\n{profile}")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    fetch(open_store(place, {"profile": "mine"}), place, str(tmp_path / "2"))
    assert len(faults.seen) == 4
    for _, _, headers in faults.seen[2:]:  # a profile that is named is taken, though there are keys in the environment
        assert "Credential=OF/" in headers["authorization"]
        assert "/eu-north-1/" in headers["authorization"]


def test_what_is_wrong_with_a_bucket_or_profile(keeper, opened, tmp_path):
    options = keeper.options
    for url, more, kind, words in [
        ("s3://nobody-has-this/x", {}, NotThereError, "no such bucket"),
        ("s3://nobody-has-this", {}, NotThereError, "no such bucket"),
        ("s3://Not a Bucket/x", {}, UsageError, "cannot be asked for"),
        ("s3://bucket/x", {"profile": "nobody"}, UsageError, "no profile 'nobody'"),
        ("s3://bucket/x", {"endpoint_url": "nowhere"}, UsageError, "cannot be asked for"),
        ("s3://bucket/x", {"endpoint_url": "http://127.0.0.1:1"}, BrokenTransferError, "the connection broke"),
    ]:
        place = place_of(url)
        with pytest.raises(kind, match=words):
            fetch(open_store(place, {**options, **more}), place, str(tmp_path / "x"))
    (tmp_path / "source").write_bytes(b"")
    with pytest.raises(UsageError, match="needs a name"):
        publish(*(opened("in/")[0], str(tmp_path / "source"), opened("in/")[1]))
    place = place_of("s3://nobody-has-this/x")
    with pytest.raises(NotThereError, match="no such bucket"):
        publish(open_store(place, options), str(tmp_path / "source"), place)


def test_a_whole_bucket(keeper, opened, tmp_path):
    """Comes and goes, but is not removed."""
    (tmp_path / "source" / "in").mkdir(parents=True)
    (tmp_path / "source" / "in" / "file").write_bytes(b"x")
    place = place_of(f"s3://{keeper.bucket}")
    store, _ = opened("x")
    publish(store, str(tmp_path / "source"), place)
    assert keeper.names() == {"in/file"}
    fetch(store, place, str(tmp_path / "back"))
    assert (tmp_path / "back" / "in" / "file").read_bytes() == b"x"
    with pytest.raises(UsageError, match="whole bucket"):
        store.remove("")


def test_the_region_of_a_bucket_is_asked_for(keeper, opened):
    keeper.client.create_bucket(Bucket="far-away", CreateBucketConfiguration={"LocationConstraint": "ap-southeast-2"})
    store = open_store(place_of("s3://far-away/x"), keeper.options)
    assert store._door._region_of_bucket(store._door.client) == "ap-southeast-2"
