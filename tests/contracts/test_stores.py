"""What every store of data keeps, against real servers; see stores/keeper.py for how a scheme comes in here."""

import hashlib
import os
import random
import threading
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from pilotage.errors import BrokenTransferError, DataError, DeniedError, NotThereError
from pilotage.worker.data import copying
from pilotage.worker.data.base import FILE, FOLDER, LINK, Entry, Meter, open_store
from pilotage.worker.data.copying import fetch, publish
from pilotage.worker.data.places import place_of
from stores.keeper import HARD_NAMES, modules

MB = 1_000_000
SERVERS = modules()


def keepers(**wanted):
    """Parametrise over the keepers that have all of these attributes."""
    fitting = [
        name
        for name, module in SERVERS.items()
        if all(getattr(module.KEEPER, key) == value for key, value in wanted.items())
    ]
    return pytest.mark.parametrize("keeper", fitting, indirect=True)


EVERY = keepers()
WRITING = keepers(writes=True)
OF_FOLDERS = keepers(folders=True)
BOTH = keepers(folders=True, writes=True)
SIZES = pytest.mark.parametrize("size", [0, 1, 5 * MB + 1, pytest.param(600 * MB, marks=pytest.mark.slow)])


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """Return the server of a name, which is started when it is first asked for."""
    with ExitStack() as stack:
        running = {}

        def server(name):
            if name not in running:
                running[name] = stack.enter_context(SERVERS[name].serve(tmp_path_factory.mktemp(name)))
            return running[name]

        yield server


@pytest.fixture
def keeper(request, servers, monkeypatch):
    made = servers(request.param)(f"place {next(_NUMBERS)}")
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


_NUMBERS = iter(range(1_000_000))


@pytest.fixture
def opened(keeper):
    """Return (store, place) of a path below the keeper's place; the store is always the same."""
    stores = []

    def open_(path=""):
        place = place_of(keeper.at(path) if path else keeper.url)
        if not stores:
            stores.append(open_store(place, {"silence": 20, **keeper.options}))
        return stores[0], place

    yield open_
    for store in stores:
        store.close()


@pytest.fixture
def pauses(monkeypatch):
    """Return the pauses before another try, none of which is made."""
    made = []
    monkeypatch.setattr(copying, "time", SimpleNamespace(sleep=made.append))
    return made


def content(size):
    """Return bytes of which no two pieces are the same."""
    return random.Random(size).randbytes(size)


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_file(path, size):
    """Make a file of ``size`` bytes; returns its SHA-256."""
    piece = content(min(size, 7 * MB + 3))
    with open(path, "wb") as file:
        while (left := size - file.tell()) > 0:
            file.write(piece[:left])
    return digest(path)


def tree(folder):
    """Return what is below a folder of this machine: bytes, a link's target, or None for a folder."""
    found = {}
    for base, folders, files in os.walk(folder):
        for name in folders + files:
            path = os.path.join(base, name)
            short = os.path.relpath(path, folder)
            if os.path.islink(path):
                found[short] = os.readlink(path)
            elif os.path.isdir(path):
                found[short] = None
            else:
                with open(path, "rb") as file:
                    found[short] = file.read()
    return found


def plain(names):
    """Return names of files and links, without the folders."""
    return {name for name in names if not name.endswith("/")}


# files


@EVERY
@SIZES
def test_a_file_comes(keeper, opened, tmp_path, size):
    wanted = make_file(tmp_path / "source", size)
    keeper.write("in/file", (tmp_path / "source").read_bytes())
    store, place = opened("in/file")
    meter = Meter()
    entry = fetch(store, place, str(tmp_path / "new" / "file"), meter)
    assert digest(tmp_path / "new" / "file") == wanted
    assert (entry.kind, entry.size) == (FILE, size)
    assert (meter.bytes, meter.files) == (size, 1)
    assert os.listdir(tmp_path / "new") == ["file"]


@WRITING
@SIZES
def test_a_file_goes(keeper, opened, tmp_path, size):
    wanted = make_file(tmp_path / "source", size)
    store, place = opened("deep/er/file")
    meter = Meter()
    publish(store, str(tmp_path / "source"), place, meter)
    assert hashlib.sha256(keeper.read("deep/er/file")).hexdigest() == wanted
    assert plain(keeper.names()) == {"deep/er/file"}
    assert (meter.bytes, meter.files) == (size, 1)


@EVERY
def test_names_come_as_they_are(keeper, opened, tmp_path):
    names = [name for name in HARD_NAMES if name not in keeper.cannot]
    for name in names:
        keeper.write(f"{name}/{name}", name.encode())
    for number, name in enumerate(names):
        store, place = opened(f"{name}/{name}")
        fetch(store, place, str(tmp_path / str(number)))
        assert (tmp_path / str(number)).read_text() == name


@OF_FOLDERS
def test_names_come_as_they_are_with_their_folder(keeper, opened, tmp_path):
    names = [name for name in HARD_NAMES if name not in keeper.cannot]
    for name in names:
        keeper.write(f"all 1/{name}/{name}", name.encode())
    store, place = opened("all 1")
    fetch(store, place, str(tmp_path / "all"))
    assert tree(tmp_path / "all") == {f"{name}/{name}": name.encode() for name in names} | dict.fromkeys(names)


@WRITING
def test_names_go_as_they_are(keeper, opened, tmp_path):
    names = [name for name in HARD_NAMES if name not in keeper.cannot]
    for name in names:
        (tmp_path / name).write_text(name)
        store, place = opened(f"{name}/{name}")
        publish(store, str(tmp_path / name), place)
    assert plain(keeper.names()) == {f"{name}/{name}" for name in names}
    assert [keeper.read(f"{name}/{name}").decode() for name in names] == names


@WRITING
def test_a_file_in_the_place_of_another(keeper, opened, tmp_path):
    keeper.write("file", b"the old one, which is longer")
    (tmp_path / "source").write_bytes(b"the new one")
    store, place = opened("file")
    publish(store, str(tmp_path / "source"), place)
    assert keeper.read("file") == b"the new one"
    assert keeper.names() == {"file"}


@keepers(modes=True)
def test_what_may_be_executed_comes_so(keeper, opened, tmp_path):
    for name, executable in (("program", True), ("text", False)):
        keeper.write(f"in/{name}", b"#!/bin/sh\n", executable=executable)
        store, place = opened(f"in/{name}")
        fetch(store, place, str(tmp_path / name))
        assert bool((tmp_path / name).stat().st_mode & 0o100) == executable
    store, place = opened("in")
    fetch(store, place, str(tmp_path / "all"))
    assert [os.access(tmp_path / "all" / name, os.X_OK) for name in ("program", "text")] == [True, False]


@keepers(modes=True, writes=True)
def test_what_may_be_executed_goes_so(keeper, opened, tmp_path):
    for name, mode in (("program", 0o755), ("text", 0o644)):
        (tmp_path / name).write_bytes(b"#!/bin/sh\n")
        (tmp_path / name).chmod(mode)
        store, place = opened(name)
        publish(store, str(tmp_path / name), place)
        assert keeper.executable(name) == (mode == 0o755)


# folders


@OF_FOLDERS
def test_a_folder_comes(keeper, opened, tmp_path):
    wanted = {"a": b"1", "b": None, "b/c": None, "b/c/d": b"22", "b/e": content(5 * MB), "ab": b""}
    for name, data in wanted.items():
        if data is not None:
            keeper.write(f"in/{name}", data)
    keeper.write("in2/not this", b"")  # its name begins with the folder's
    keeper.write("in beside", b"")
    if keeper.empty_folders:
        keeper.folder("in/b/empty")
        wanted["b/empty"] = None
    if keeper.links:
        keeper.link("in/b/link", "../a")
        keeper.link("in/out", "/nowhere")
        wanted |= {"b/link": "../a", "out": "/nowhere"}
    store, place = opened("in")
    meter = Meter()
    entry = fetch(store, place, str(tmp_path / "new" / "in"), meter)
    assert entry.kind == FOLDER
    assert tree(tmp_path / "new" / "in") == wanted
    assert (meter.bytes, meter.files) == (5 * MB + 3, 4)
    assert os.listdir(tmp_path / "new") == ["in"]


@BOTH
def test_a_folder_goes(keeper, opened, tmp_path):
    source = tmp_path / "source"
    (source / "b" / "c").mkdir(parents=True)
    (source / "b" / "empty").mkdir()
    (source / "a").write_bytes(b"1")
    (source / "b" / "c" / "d").write_bytes(b"22")
    (source / "b" / "e").write_bytes(content(5 * MB))
    (source / "b" / "link").symlink_to("../a")
    store, place = opened("deep/out")
    meter = Meter()
    publish(store, str(source), place, meter)
    names = {"deep/out/a", "deep/out/b/c/d", "deep/out/b/e", "deep/out/b/link"}
    assert plain(keeper.names()) == names
    if keeper.empty_folders:
        assert "deep/out/b/empty/" in keeper.names()
    assert keeper.read("deep/out/b/c/d") == b"22"
    assert keeper.read("deep/out/b/e") == content(5 * MB)
    if keeper.links:
        assert keeper.target("deep/out/b/link") == "../a"
        assert (meter.bytes, meter.files) == (5 * MB + 3, 3)
    else:
        assert keeper.read("deep/out/b/link") == b"1"
        assert (meter.bytes, meter.files) == (5 * MB + 4, 4)


@BOTH
def test_a_folder_goes_and_comes_back(keeper, opened, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_bytes(b"x")
    (source / "deep" / "er").mkdir(parents=True)
    (source / "deep" / "er" / "file").write_bytes(b"y")
    store, place = opened("out")
    publish(store, str(source), place)
    fetch(store, place, str(tmp_path / "back"))
    assert tree(tmp_path / "back") == tree(source)


@keepers(folders=True, empty_folders=True)
def test_an_empty_folder_comes(keeper, opened, tmp_path):
    keeper.folder("in")
    store, place = opened("in")
    fetch(store, place, str(tmp_path / "in"))
    assert tree(tmp_path) == {"in": None}


@keepers(folders=True, empty_folders=True, writes=True)
def test_an_empty_folder_goes(keeper, opened, tmp_path):
    (tmp_path / "source").mkdir()
    store, place = opened("out")
    publish(store, str(tmp_path / "source"), place)
    assert keeper.names() == {"out/"}


@BOTH
def test_a_folder_into_one_that_is_there(keeper, opened, tmp_path):
    keeper.write("out/same", b"old")
    keeper.write("out/b/other", b"stays")
    keeper.write("out/c/other", b"stays")
    source = tmp_path / "source"
    (source / "b").mkdir(parents=True)
    (source / "same").write_bytes(b"new")
    (source / "b" / "new").write_bytes(b"new")
    store, place = opened("out")
    publish(store, str(source), place)
    assert plain(keeper.names()) == {"out/same", "out/b/other", "out/c/other", "out/b/new"}
    assert keeper.read("out/same") == b"new"
    assert keeper.read("out/b/other") == b"stays"


@OF_FOLDERS
@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_many_small_files_come(keeper, opened, tmp_path, count):
    wanted = {f"{number % 10}/file {number}": b"%d" % number for number in range(count)}
    for name, data in wanted.items():
        keeper.write(f"in/{name}", data)
    store, place = opened("in")
    meter = Meter()
    fetch(store, place, str(tmp_path / "in"), meter)
    assert {name: data for name, data in tree(tmp_path / "in").items() if data is not None} == wanted
    assert (meter.bytes, meter.files) == (sum(map(len, wanted.values())), count)


@BOTH
@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_many_small_files_go(keeper, opened, tmp_path, count):
    for number in range(10):
        (tmp_path / "source" / str(number)).mkdir(parents=True)
    for number in range(count):
        (tmp_path / "source" / str(number % 10) / f"file {number}").write_bytes(b"%d" % number)
    store, place = opened("out")
    meter = Meter()
    publish(store, str(tmp_path / "source"), place, meter)
    assert plain(keeper.names()) == {f"out/{number % 10}/file {number}" for number in range(count)}
    assert all(keeper.read(f"out/{n % 10}/file {n}") == b"%d" % n for n in range(0, count, 100))
    assert (meter.bytes, meter.files) == (sum(len(str(number)) for number in range(count)), count)


# what goes wrong


@EVERY
@pytest.mark.parametrize("path", ["file", "deep/er/file", "deep/"])
def test_what_is_not_there(keeper, opened, tmp_path, pauses, path):
    keeper.write("file2", b"its name begins with the other's")
    store, place = opened(path)
    with pytest.raises(NotThereError) as caught:
        fetch(store, place, str(tmp_path / "new"))
    assert path.rstrip("/") in str(caught.value.where)
    assert pauses == []
    assert os.listdir(tmp_path) == []


@keepers(refuses=True)
def test_what_may_not_be_read(keeper, opened, tmp_path, pauses):
    keeper.write("secret/file", b"secret")
    with keeper.refused("secret/file") as url:
        place = place_of(url)
        store = open_store(place, {"silence": 20, **keeper.options})
        with pytest.raises(DeniedError) as caught:
            fetch(store, place, str(tmp_path / "new"))
        store.close()
    assert "secret/file" in str(caught.value.where)
    assert pauses == []
    assert os.listdir(tmp_path) == []


@keepers(refuses=True, writes=True)
def test_what_may_not_be_written(keeper, opened, tmp_path, pauses, monkeypatch):
    keeper.write("secret/other", b"theirs")
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o755)
    (tmp_path / "source").write_bytes(b"ours")
    with keeper.refused("secret/file") as url:
        place = place_of(url)
        store = open_store(place, {"silence": 20, **keeper.options})
        with pytest.raises(DeniedError) as caught:
            publish(store, "source", place)
        store.close()
    assert "secret" in str(caught.value.where)
    assert pauses == []
    assert plain(keeper.names()) == {"secret/other"}


@keepers(any_name=True)
@pytest.mark.parametrize("name", ["a/../../x", "../x", "a//x", "/x", "a/./x"])
def test_a_listing_that_leads_elsewhere(keeper, opened, tmp_path, pauses, name):
    keeper.write("in/good", b"")
    keeper.write(f"in/{name}", b"bad")
    store, place = opened("in")
    with pytest.raises(DataError, match="would not be below its folder") as caught:
        fetch(store, place, str(tmp_path / "new" / "in"))
    assert name in str(caught.value)
    assert pauses == []
    assert tree(tmp_path) == {"new": None}


@keepers(any_name=True)
@pytest.mark.parametrize("name", ["a//x", "a/./x", "a/../x", "//x"])
def test_one_file_of_an_odd_name(keeper, opened, tmp_path, name):
    """As what it is called is not a path of this machine, it can be brought."""
    keeper.write(name, b"odd")
    store, place = opened(name)
    fetch(store, place, str(tmp_path / "file"))
    assert (tmp_path / "file").read_bytes() == b"odd"


class Stops(Meter):
    """Breaks a transfer off, once something has moved."""

    def __init__(self):
        super().__init__()
        self.stopped = threading.Event()

    def add(self, count, files=0):
        super().add(count, files)
        if count > 0 and not self.stopped.is_set():
            self.stopped.set()
            raise DataError("stopped by the test")


class Watches(Meter):
    """Looks at something whenever bytes have moved."""

    def __init__(self, look):
        super().__init__()
        self.look, self.seen = look, []

    def add(self, count, files=0):
        super().add(count, files)
        if count > 0 and len(self.seen) < 20:
            self.seen.append(self.look())


@EVERY
def test_nobody_sees_half_a_file_that_comes(keeper, opened, tmp_path):
    keeper.write("file", content(20 * MB))
    store, place = opened("file")
    meter = Watches((tmp_path / "new").exists)
    fetch(store, place, str(tmp_path / "new"), meter)
    assert meter.seen
    assert not any(meter.seen)


@WRITING
def test_nobody_sees_half_a_file_that_goes(keeper, opened, tmp_path):
    (tmp_path / "source").write_bytes(content(20 * MB))
    keeper.write("file", b"old")
    store, place = opened("file")
    meter = Watches(lambda: keeper.read("file"))
    publish(store, str(tmp_path / "source"), place, meter)
    assert meter.seen
    assert all(seen in (b"old", content(20 * MB)) for seen in meter.seen)


@EVERY
def test_nothing_is_left_of_what_breaks_off(keeper, opened, tmp_path, pauses):
    keeper.write("file", content(20 * MB))
    store, place = opened("file")
    with pytest.raises(DataError, match="stopped by the test"):
        fetch(store, place, str(tmp_path / "new" / "file"), Stops())
    assert tree(tmp_path) == {"new": None}
    fetch(store, place, str(tmp_path / "new" / "file"))  # the store is none the worse
    assert (tmp_path / "new" / "file").read_bytes() == content(20 * MB)


@WRITING
def test_nothing_is_there_of_what_breaks_off(keeper, opened, tmp_path, pauses):
    """Whether something has gone when the meter hears of it is the store's affair; it is whole then."""
    (tmp_path / "source").write_bytes(content(20 * MB))
    keeper.write("file", b"old")
    store, place = opened("file")
    with pytest.raises(DataError, match="stopped by the test"):
        publish(store, str(tmp_path / "source"), place, Stops())
    assert keeper.names() == {"file"}
    assert keeper.read("file") in (b"old", content(20 * MB))


@OF_FOLDERS
def test_nothing_is_left_of_a_folder_that_breaks_off(keeper, opened, tmp_path, pauses):
    for number in range(20):
        keeper.write(f"in/{number}", content(1000))
    store, place = opened("in")
    with pytest.raises(DataError, match="stopped by the test"):
        fetch(store, place, str(tmp_path / "new" / "in"), Stops())
    assert tree(tmp_path) == {"new": None}


@EVERY
def test_what_has_another_size_than_it_had(keeper, opened, tmp_path, pauses):
    """What was known of it is asked anew before the second try."""
    keeper.write("file", b"x" * 1000)
    store, place = opened("file")
    known = store.look(place.path)
    keeper.write("file", b"y" * 2000)
    meter = Meter()
    fetch(store, place, str(tmp_path / "file"), meter, known)
    assert (tmp_path / "file").read_bytes() == b"y" * 2000
    assert (meter.bytes, meter.files) == (2000, 1)
    assert len(pauses) == 1


@EVERY
def test_what_never_comes_whole(keeper, opened, tmp_path, pauses, monkeypatch):
    keeper.write("file", b"x" * 1000)
    store, place = opened("file")
    look = store.look
    monkeypatch.setattr(store, "look", lambda path: look(path)._replace(size=1001, tag="", md5="", crc32c=""))
    meter = Meter()
    with pytest.raises(BrokenTransferError, match=r"1,00[01] .*1,00[01]"):
        fetch(store, place, str(tmp_path / "new" / "file"), meter)
    assert len(pauses) == copying.TRIES - 1
    assert tree(tmp_path) == {"new": None}
    assert (meter.bytes, meter.files) == (0, 0)


# what a store says


@EVERY
def test_what_a_store_says_of_a_file(keeper, opened):
    keeper.write("in/file", b"12345")
    store, place = opened("in/file")
    entry = store.look(place.path)
    assert (entry.path, entry.kind, entry.size) == ("", FILE, 5)
    assert entry.md5 in ("", hashlib.md5(b"12345").hexdigest())
    assert store.look(place.path).tag == entry.tag
    keeper.write("in/file", b"123456")
    assert store.look(place.path).tag != entry.tag or not entry.tag


@OF_FOLDERS
def test_what_a_store_says_of_a_folder(keeper, opened):
    keeper.write("in/a", b"1", executable=True)
    keeper.write("in/b/c/d", b"22")
    keeper.write("in2", b"")
    wanted = {"a": (FILE, 1), "b/c/d": (FILE, 2)}
    if keeper.empty_folders:
        keeper.folder("in/b/empty")
        wanted["b/empty"] = (FOLDER, -1)
    if keeper.links:
        keeper.link("in/link", "b")
        wanted["link"] = (LINK, -1)
    for path in ("in", "in/"):
        store, place = opened(path)
        assert store.look(place.path) == Entry("", FOLDER)
        entries = list(store.walk(place.path))
        found = {entry.path: (entry.kind, entry.size) for entry in entries}
        above = {"b": (FOLDER, -1), "b/c": (FOLDER, -1)}  # of these a store need not tell
        assert found | above == wanted | above
        assert len(found) == len(entries)
        order = [entry.path for entry in entries]
        for entry in entries:
            folder = entry.path.rpartition("/")[0]
            assert folder not in order or order.index(folder) < order.index(entry.path)


@WRITING
def test_what_a_store_removes(keeper, opened):
    for path in ("file", "file2", "in/a", "in/b/c", "in2/a"):
        keeper.write(path, b"")
    if keeper.empty_folders:
        keeper.folder("in/empty")
    if keeper.links:
        keeper.link("link", "in2")
        store, place = opened("link")
        store.remove(place.path)
    for path in ("file", "in") if keeper.folders else ("file", "in/a", "in/b/c"):
        store, place = opened(path)
        store.remove(place.path)
    assert plain(keeper.names()) == {"file2", "in2/a"}
    store.remove(place.path)
    with pytest.raises(NotThereError):
        store.look(place.path)


@EVERY
def test_several_threads_use_one_store(keeper, opened, tmp_path):
    for number in range(8):
        keeper.write(f"in/{number}", content(MB + number))
    store, _ = opened("in/0")
    wrong = []

    def bring(number):
        fetch(store, place_of(keeper.at(f"in/{number}")), str(tmp_path / str(number)))
        if (tmp_path / str(number)).read_bytes() != content(MB + number):
            wrong.append(number)

    threads = [threading.Thread(target=bring, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(os.listdir(tmp_path)) == 8
