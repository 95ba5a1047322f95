"""What a web server's store does besides what every store does."""

import base64
import os
import threading
import time

import pytest

from pilotage.errors import BrokenTransferError, DataError, DeniedError, UsageError
from pilotage.worker.data import copying
from pilotage.worker.data.base import Meter, open_store
from pilotage.worker.data.copying import fetch, publish
from pilotage.worker.data.places import place_of, shown
from stores import web
from stores.faults import TRUNCATE, HttpProxy


@pytest.fixture
def server(tmp_path, monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    (tmp_path / "server").mkdir()
    with web.running(tmp_path / "server") as made:
        yield made


@pytest.fixture
def other(tmp_path):
    (tmp_path / "other").mkdir()
    with web.running(tmp_path / "other") as made:
        yield made


@pytest.fixture
def pauses(monkeypatch):
    made = []
    monkeypatch.setattr(copying, "time", type("Time", (), {"sleep": staticmethod(made.append)}))
    return made


def get(url, target, meter=None):
    """Fetch ``url``; returns what came."""
    place = place_of(url)
    store = open_store(place, {"silence": 20})
    try:
        fetch(store, place, str(target), meter)
    finally:
        store.close()
    return target.read_bytes()


def put(source, url):
    place = place_of(url)
    store = open_store(place, {"silence": 20})
    try:
        publish(store, str(source), place)
    finally:
        store.close()


def keep(server, path, data):
    there = server.folder / path
    there.parent.mkdir(parents=True, exist_ok=True)
    there.write_bytes(data)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_an_address_that_leads_elsewhere(server, other, tmp_path, status):
    keep(other, "file", b"here")
    server.leads_to = other.url
    assert get(f"{server.url}/to/{status}/file", tmp_path / "new") == b"here"


@pytest.mark.parametrize("status", [307, 308])
def test_a_put_that_leads_elsewhere(server, other, tmp_path, status):
    """As storage with many doors does."""
    server.leads_to = other.url
    (tmp_path / "source").write_bytes(b"x" * 3_000_000)
    put(tmp_path / "source", f"{server.url}/to/{status}/deep/file")
    assert (other.folder / "deep/file").read_bytes() == b"x" * 3_000_000


def test_an_address_that_leads_in_a_circle(server, tmp_path):
    server.leads_to = f"{server.url}/to/302"
    with pytest.raises(DataError, match="from one address to the next"):
        get(f"{server.url}/to/302/file", tmp_path / "new")


def test_an_address_that_leads_out_of_the_web(server, tmp_path):
    server.leads_to = "file:///etc"
    with pytest.raises(DataError, match="no web address"):
        get(f"{server.url}/to/302/passwd", tmp_path / "new")


def test_a_name_and_password_in_the_address(server, tmp_path):
    server.user = "me:pass word"
    keep(server, "file", b"secret")
    url = server.url.replace("//", "//me:pass%20word@")
    assert get(f"{url}/file", tmp_path / "new") == b"secret"
    assert "pass" not in shown(f"{url}/file")
    with pytest.raises(DeniedError) as caught:
        get(f"{url.replace('word', 'wrong')}/file", tmp_path / "other")
    assert "wrong" not in str(caught.value)
    assert "401" in str(caught.value)


def test_a_name_and_password_of_netrc(server, tmp_path, monkeypatch):
    server.user = "me:password"
    keep(server, "file", b"secret")
    with pytest.raises(DeniedError):
        get(f"{server.url}/file", tmp_path / "new")
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password password\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert get(f"{server.url}/file", tmp_path / "new") == b"secret"
    (tmp_path / "netrc").write_text("nonsense")
    with pytest.raises(DeniedError, match="netrc cannot be read"):
        get(f"{server.url}/file", tmp_path / "other")


def test_no_password_goes_to_another_server(server, other, tmp_path):
    keep(other, "file", b"here")
    server.leads_to = other.url
    get(f"{server.url.replace('//', '//me:password@')}/to/302/file", tmp_path / "new")
    assert any("Authorization" in headers for _, _, headers in server.requests)
    assert not any("Authorization" in headers for _, _, headers in other.requests)


def test_a_password_goes_on_to_the_same_server(server, tmp_path):
    keep(server, "file", b"here")
    server.user = "me:password"
    assert get(f"{server.url.replace('//', '//me:password@')}/to/302/file", tmp_path / "new") == b"here"


def test_a_proxy(server, tmp_path, monkeypatch):
    """That it was asked, with the whole address, is what it writes down; its own password goes to it alone."""
    keep(server, "file", b"here")
    with HttpProxy(server.server_port) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//me:password@"))
        assert get("http://some.where.invalid/file", tmp_path / "new") == b"here"
        assert {path for _, path, _ in proxy.requests} == {"http://some.where.invalid/file"}
        wanted = base64.b64encode(b"me:password").decode()
        assert all(one["Proxy-Authorization"] == f"Basic {wanted}" for _, _, one in server.requests)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        seen = len(proxy.requests)
        get(f"{server.url}/file", tmp_path / "direct")
        assert len(proxy.requests) == seen


def test_a_server_that_answers_no_head(server, tmp_path):
    keep(server, "file", b"12345")
    keep(server, "empty", b"")
    server.without_head = True
    store = open_store(place_of(server.url + "/x"), {})
    assert store.look("file").size == 5
    assert store.look("empty").size == 0
    assert store.look("file").tag
    store.close()
    assert get(f"{server.url}/file", tmp_path / "new") == b"12345"


@pytest.mark.parametrize("size", [0, 1, 1_234_567])
def test_a_body_without_a_length(server, tmp_path, size):
    data = os.urandom(size)
    keep(server, "file", data)
    meter = Meter()
    assert get(f"{server.url}/chunked/file", tmp_path / "new", meter) == data
    assert (meter.bytes, meter.files) == (size, 1)


def test_a_body_without_a_length_that_is_cut(server, tmp_path, pauses):
    keep(server, "file", os.urandom(1_000_000))
    with HttpProxy(server.server_port) as proxy:
        fault = proxy.add(cut=TRUNCATE, after=500_000, methods=("GET",), times=None)
        with pytest.raises(BrokenTransferError, match="before all had come"):
            get(f"{proxy.url}/chunked/file", tmp_path / "new")
    assert fault.met == copying.TRIES


@pytest.mark.parametrize(("way", "goes_on"), [("", True), ("bare/", False)])
def test_what_breaks_off_is_gone_on_with(server, tmp_path, pauses, way, goes_on):
    """Where the server can tell that it is the same; otherwise it comes once more."""
    data = os.urandom(10_000_000)
    keep(server, "file", data)
    meter = Meter()
    with HttpProxy(server.server_port) as proxy:
        fault = proxy.add(cut=TRUNCATE, after=4_000_000, methods=("GET",), times=2)
        assert get(f"{proxy.url}/{way}file", tmp_path / "new", meter) == data
    assert fault.met == 2
    assert (meter.bytes, meter.files) == (len(data), 1)
    ranges = [one["Range"] for method, _, one in server.requests if "Range" in one]
    assert len(ranges) == (2 if goes_on else 0)
    assert len(pauses) == (0 if goes_on else 2)


def test_what_changes_while_it_comes_is_not_mixed(server, tmp_path, pauses):
    server.has_checksums = False
    old, new = b"o" * 10_000_000, b"n" * 10_000_000
    keep(server, "file", old)

    class Changes(Meter):
        def add(self, count, files=0):
            super().add(count, files)
            if self.bytes >= 3_000_000 and server.folder.joinpath("file").read_bytes() == old:
                keep(server, "file", new)

    with HttpProxy(server.server_port) as proxy:
        fault = proxy.add(cut=TRUNCATE, after=6_000_000, methods=("GET",))
        assert get(f"{proxy.url}/file", tmp_path / "new", Changes()) == new
    assert fault.met == 1


def test_a_checksum_that_is_not_right(server, tmp_path, pauses):
    keep(server, "file", b"some")
    server.md5 = base64.b64encode(b"0" * 16).decode()
    with pytest.raises(BrokenTransferError, match="MD5"):
        get(f"{server.url}/file", tmp_path / "new")
    assert len(pauses) == copying.TRIES - 1
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("asked", "waited"), [("7", 7), ("86400", copying.LONGEST_PAUSE), ("soon", 0)])
def test_a_server_that_says_when_to_come_back(server, tmp_path, pauses, asked, waited):
    keep(server, "file", b"here")
    with HttpProxy(server.server_port) as proxy:
        proxy.add(answer=429, headers={"Retry-After": asked})
        assert get(f"{proxy.url}/file", tmp_path / "new") == b"here"
    (pause,) = pauses
    assert pause == waited if waited else pause < 1


def test_a_server_that_takes_nothing(server, tmp_path, pauses):
    server.read_only = True
    (tmp_path / "source").write_bytes(b"x" * 5_000_000)
    with pytest.raises(DeniedError, match="405"):
        put(tmp_path / "source", f"{server.url}/file")
    assert not pauses


def test_a_folder_is_refused(server, tmp_path):
    place = place_of(f"{server.url}/folder")
    store = open_store(place, {})
    with pytest.raises(UsageError, match="no folders"):
        list(store.walk(place.path))
    (tmp_path / "source").mkdir()
    with pytest.raises(UsageError, match="no folders"):
        publish(store, str(tmp_path / "source"), place)
    store.close()


def test_a_server_that_is_not_there(server, tmp_path, pauses):
    server.server_close()
    with pytest.raises(BrokenTransferError, match="refused"):
        get(f"{server.url}/file", tmp_path / "new")
    assert len(pauses) == copying.TRIES - 1


def test_an_address_that_is_none(tmp_path, pauses):
    with pytest.raises(DataError, match="no web address"):
        get("http://localhost:port/file", tmp_path / "new")
    assert not pauses


def test_what_signs_an_address_is_not_shown(server, tmp_path):
    with pytest.raises(DataError) as caught:
        get(f"{server.url}/file?signature=secret", tmp_path / "new")
    assert "secret" not in str(caught.value)
    assert server.requests[0][1] == "/file?signature=secret"


def test_connections_are_used_again(server, tmp_path):
    for number in range(5):
        keep(server, str(number), b"x")
    seen, serve = set(), server.RequestHandlerClass.setup

    def setup(handler):
        serve(handler)
        seen.add(handler.client_address)

    handler = type("Handler", (server.RequestHandlerClass,), {"setup": setup})
    server.RequestHandlerClass = handler
    store = open_store(place_of(f"{server.url}/0"), {})
    for number in range(5):
        fetch(store, place_of(f"{server.url}/{number}"), str(tmp_path / str(number)))
    assert len(seen) == 1
    store.close()


def test_a_connection_that_the_server_has_ended_meanwhile(server, tmp_path, pauses):
    keep(server, "file", b"x")
    with HttpProxy(server.server_port) as proxy:
        place = place_of(f"{proxy.url}/file")
        store = open_store(place, {})
        fetch(store, place, str(tmp_path / "1"))
        proxy.drop()
        end = time.monotonic() + 20
        while threading.active_count() > 20 and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.2)
        fetch(store, place, str(tmp_path / "2"))
        store.close()
    assert not pauses
