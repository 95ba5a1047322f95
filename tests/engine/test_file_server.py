"""The driver's end of ``driver:``, asked by a worker's over a way that loses, repeats and mixes up what it carries."""

import errno
import os
import stat
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotage.engine import file_server, listing, uploads
from pilotage.engine.file_server import FileServer
from pilotage.engine.granting import Grants
from pilotage.errors import BrokenTransferError, DataError, DeniedError, NotThereError, UsageError
from pilotage.journal import Journal
from pilotage.worker.data import from_driver, link, wire
from pilotage.worker.data.base import FOLDER, Entry, Meter, of_file
from pilotage.worker.data.from_driver import FromDriver
from pilotage.worker.data.link import Connection, Restarted
from pilotage.worker.data.wire import Message, message_of

PIECE = 1000
INTERCHANGE = link.Interchange(("127.0.0.1",), 1, None, 600.0)


class Way:
    """A `link.Transport` to a server in this process; time passes only where nothing comes.

    ``chances`` says of each message what becomes of it: 0 it is lost, 1 it comes twice, 2 it comes late, 3 the
    connection breaks; anything else: it arrives.
    """

    def __init__(self, server, chances=()):
        self.server, self.now = server, 0.0
        self.coming = []
        self.late = []
        self.chances = iter(chances)
        self.asked = []
        self.breaks = False

    def carried(self, message, to):
        chance = next(self.chances, 9)
        if chance == 1:
            to(message)
        if chance == 2:
            self.late.append((message, to))
        elif chance == 3:
            self.coming.clear()
            self.breaks = True
        elif chance != 0:
            to(message)

    def send(self, frames):
        self.carried([bytes(frame) for frame in frames], self.serve)

    def serve(self, frames):
        request = message_of(frames)
        self.asked.append(request.head["do"])
        reply = self.server.answer(request)
        self.carried([bytes(frame) for frame in reply.frames()], self.coming.append)

    def receive(self, seconds):
        if self.breaks:
            self.breaks = False
            raise Restarted
        if not self.coming:
            late, self.late = self.late, []
            for message, to in reversed(late):
                to(message)
        if not self.coming:
            self.now += seconds
            return None
        return self.coming.pop(0)

    def settle(self):
        """Let all arrive that is late."""
        while self.late:
            late, self.late = self.late, []
            for message, to in late:
                to(message)

    def renew(self):
        self.coming.clear()

    def close(self):
        """Nothing is held."""


class Worker:
    """A worker's end, with a way to a server of its own."""

    def __init__(self, monkeypatch, folder, chances=(), journal=None):
        self.grants = Grants()
        self.server = FileServer(self.grants, journal, lambda: self.way.now)
        self.way = Way(self.server, chances)
        connections = link.Connections()
        monkeypatch.setattr(connections, "_new", lambda _, silence: Connection(self.way, silence, lambda: self.way.now))
        monkeypatch.setattr(connections, "_close_later", lambda: None)
        monkeypatch.setattr(link, "connections", connections)
        self.folder = folder

    def store(self, path="", mode="read", **options):
        """Return a store with a grant for a path in the folder."""
        return FromDriver(INTERCHANGE, {"grant": self.grants.grant(self.at(path), mode), **options})

    def at(self, path):
        return f"{self.folder}/{path}".rstrip("/")

    def asks(self, what, **more):
        """Ask one thing, as anybody might; return what is said."""
        return self.server.answer(Message(os.urandom(wire.NUMBER), {"do": what, **more})).head


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    for module, name, value in [
        (from_driver, "PIECE", PIECE),
        (from_driver, "FILES", 5),
        (file_server, "ENTRIES", 5),
        (uploads, "OPEN", 2),
    ]:
        monkeypatch.setattr(module, name, value)


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A worker whose driver has a folder."""
    (tmp_path / "driver").mkdir()
    (tmp_path / "node").mkdir()
    return Worker(monkeypatch, tmp_path / "driver")


def tree(folder):
    """Return all that is below a folder: content or target and mode, by path."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = ("link", str(path.readlink()))
        elif path.is_dir():
            found[name] = ("folder",)
        else:
            found[name] = ("file", path.read_bytes(), bool(path.stat().st_mode & 0o100))
    return found


def make_tree(folder, files=12):
    for number in range(files):
        path = Path(folder) / f"part {number % 3}" / f"f#{number}%?.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(number * number * 30))
        if number % 4 == 0:
            path.chmod(0o755)
    (Path(folder) / "empty").mkdir()
    (Path(folder) / "link").symlink_to("part 1")
    (Path(folder) / "broken").symlink_to("../nowhere")


CHANCES = st.lists(st.sampled_from([0, 1, 2, 3, 9, 9, 9, 9]), max_size=120)


@settings(deadline=None, max_examples=60)
@given(chances=CHANCES, size=st.integers(0, 12 * PIECE))
def test_a_file_arrives_whole_whatever_the_way_does(tmp_path_factory, chances, size):
    folder = tmp_path_factory.mktemp("one")
    (folder / "driver").mkdir()
    content = os.urandom(size)
    (folder / "there").write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        worker = Worker(patch, folder / "driver", chances)
        meter = Meter()
        worker.store("out", "write").put(str(folder / "there"), worker.at("out"), of_file(folder / "there"), meter)
        assert (folder / "driver" / "out").read_bytes() == content
        assert meter.bytes == size
        reading = worker.store("out")
        reading.get(worker.at("out"), reading.look(worker.at("out")), str(folder / "back"), meter)
        assert (folder / "back").read_bytes() == content
        worker.way.settle()  # what comes late makes nothing anew
        assert os.listdir(folder / "driver") == ["out"]
        assert not worker.server.uploads


@settings(deadline=None, max_examples=30)
@given(chances=CHANCES)
def test_a_folder_arrives_whole_whatever_the_way_does(tmp_path_factory, chances):
    folder = tmp_path_factory.mktemp("folder")
    make_tree(folder / "there")
    (folder / "driver").mkdir()
    (folder / "back").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        worker = Worker(patch, folder / "driver", chances)
        meter = Meter()
        worker.store("out", "write").put_folder(str(folder / "there"), worker.at("out"), meter)
        assert tree(folder / "driver" / "out") == tree(folder / "there")
        assert meter.files == 12
        worker.store("out").get_folder(worker.at("out"), str(folder / "back"), meter)
        assert tree(folder / "back") == tree(folder / "there")
        assert meter.files == 24
        worker.way.settle()
        assert tree(folder / "driver" / "out") == tree(folder / "there")


def test_what_was_committed_is_not_changed_by_what_comes_late(driver, tmp_path):
    """Another has replaced it meanwhile."""
    grant, said = driver.grants.grant(driver.at("out"), "write"), b"content"
    crc = zlib.crc32(said)
    about = {"grant": grant, "path": "", "upload": "0123456789ab"}
    write = Message(b"w" * 16, {"do": "write", **about, "offset": 0, "crc": crc}, memoryview(said))
    checksum = wire.whole_checksum([(0, len(said), crc)])
    commit = Message(b"c" * 16, {"do": "commit", **about, "size": len(said), "checksum": checksum, "executable": False})
    for message in (write, commit):
        assert driver.server.answer(message).head == {}
    (tmp_path / "driver" / "out").write_text("newer")
    for message in (commit, write, commit._replace(number=b"d" * 16)):
        assert driver.server.answer(message).head == {}
    assert tree(tmp_path / "driver") == {"out": ("file", b"newer", False)}


@pytest.mark.parametrize("do", ["store", "remove", "links"])
def test_what_comes_again_is_not_done_again(driver, tmp_path, do):
    """Another has changed it meanwhile."""
    there = tmp_path / "driver" / "out"
    there.mkdir()
    (there / "f").write_bytes(b"old")
    head = {"do": do, "grant": driver.grants.grant(there, "write"), "path": "f", "links": [["f", "x"]]}
    message = Message(b"m" * 16, {**head, "files": [["f", 1, zlib.crc32(b"1"), False]]}, memoryview(b"1"))
    assert driver.server.answer(message).head == {}
    (there / "f").unlink(missing_ok=True)
    (there / "f").write_bytes(b"newer")
    assert driver.server.answer(message).head == {}
    assert tree(there) == {"f": ("file", b"newer", False)}


def test_many_small_files_take_few_round_trips(driver, tmp_path, monkeypatch):
    for module, name in [(from_driver, "FILES"), (file_server, "ENTRIES")]:
        monkeypatch.setattr(module, name, 500)
    for number in range(1000):
        (tmp_path / "driver" / f"f{number:04}").write_bytes(b"x")
    driver.store().get_folder(driver.at(""), str(tmp_path / "node"), Meter())
    assert len(os.listdir(tmp_path / "node")) == 1000
    driver.store("out", "write").put_folder(str(tmp_path / "node"), driver.at("out"), Meter())
    assert len(os.listdir(tmp_path / "driver" / "out")) == 1000
    assert len(driver.way.asked) <= 12


def test_pages_of_a_listing(driver, tmp_path):
    make_tree(tmp_path / "driver" / "in", 40)
    names = [entry.path for entry in driver.store("in").walk(driver.at("in"))]
    assert sorted(names) == sorted(tree(tmp_path / "driver" / "in"))
    assert driver.way.asked.count("list") > 8
    for number, name in enumerate(names):  # folders come before what is in them
        assert os.path.dirname(name) in ["", *names[:number]]


def test_what_a_listing_goes_on_behind_may_be_gone(driver, tmp_path):
    for path in ("a/1", "a/2", "b/1", "c"):
        (tmp_path / "driver" / path).parent.mkdir(exist_ok=True)
        (tmp_path / "driver" / path).touch()
    place = file_server.spot(driver.at(""), "", follow=True)

    def behind(after):
        return [entry.path for entry in listing.entries(place, after)]

    assert behind("") == ["a", "a/1", "a/2", "b", "b/1", "c"]
    assert behind("a") == ["a/1", "a/2", "b", "b/1", "c"]
    assert behind("a/1") == ["a/2", "b", "b/1", "c"]
    assert behind("a/15") == ["a/2", "b", "b/1", "c"]
    assert behind("aa/7") == ["b", "b/1", "c"]
    assert behind("c") == []


def test_look(driver, tmp_path):
    store, there = driver.store(), tmp_path / "driver"
    (there / "f").write_bytes(b"123")
    (there / "f").chmod(0o755)
    (there / "to f").symlink_to("f")
    os.mkfifo(there / "pipe")
    found = store.look(driver.at("f"))
    assert (found.kind, found.size, found.executable) == ("file", 3, True)
    assert store.look(driver.at("to f")).size == 3
    assert store.look(driver.at("")).kind == FOLDER
    with pytest.raises(NotThereError, match=r"driver:.*/nothing: there is no such file"):
        store.look(driver.at("nothing"))
    with pytest.raises(DataError, match="no file and no folder"):
        store.look(driver.at("pipe"))
    with pytest.raises(DataError, match="pipe: it is no file, folder or link"):
        list(store.walk(driver.at("")))
    reply = driver.asks("read", grant=driver.grants.grant(there, "read"), path="", files=[["pipe", 0, 5]])
    assert "no file" in reply["words"]


def test_names_are_any_bytes(driver, tmp_path):
    name = os.fsdecode(b"\xff" + "ü'\"\n$(x)".encode())
    (tmp_path / "driver" / name).write_bytes(b"1")
    driver.store().get_folder(driver.at(""), str(tmp_path / "node"), Meter())
    assert os.listdir(tmp_path / "node") == [name]
    driver.store("out", "write").put_folder(str(tmp_path / "node"), driver.at("out"), Meter())
    assert os.listdir(tmp_path / "driver" / "out") == [name]
    long = "ü" * 127  # as many bytes as a name may have
    driver.store(long, "write").put(str(tmp_path / "node" / name), driver.at(long), Entry("", size=1), Meter())
    assert long in os.listdir(tmp_path / "driver")


def test_links_stay_links_and_folders_may_be_there(driver, tmp_path):
    store, there = driver.store("out", "write"), tmp_path / "driver" / "out"
    for _ in range(2):
        store.make_folder(driver.at("out/a/b"))
        store.make_link(driver.at("out/a/link"), "../c")
    assert tree(there) == {"a": ("folder",), "a/b": ("folder",), "a/link": ("link", "../c")}
    (there / "file").touch()
    with pytest.raises(DataError, match="File exists"):
        store.make_folder(driver.at("out/file"))
    for _ in range(2):
        store.remove(driver.at("out/a/link"))
        store.remove(driver.at("out/a"))
    assert tree(there) == {"file": ("file", b"", False)}
    store.remove(driver.at("out"))
    assert not there.exists()


class TestGrants:
    """Nothing without one, and nothing that is not in it."""

    @pytest.fixture
    def there(self, driver, tmp_path):
        make_tree(tmp_path / "driver" / "mine")
        (tmp_path / "driver" / "secret").write_text("secret")
        return tmp_path / "driver"

    def test_none(self, driver, there):
        store = FromDriver(INTERCHANGE, {})
        for use in (store.look, store.remove, store.make_folder, lambda path: list(store.walk(path))):
            with pytest.raises(DeniedError, match="has not granted"):
                use(driver.at("secret"))

    @pytest.mark.parametrize("do", ["look", "list", "read"])
    @pytest.mark.parametrize("how", ["another key", "another path", "to write", "nonsense", "none", "no text"])
    def test_others(self, driver, there, do, how):
        good = driver.grants.grant(there / "mine", "read")
        text, _, proof = driver.grants.grant(there / "secret", "read").partition(".")
        grant = {
            "another key": Grants().grant(there / "mine", "read"),
            "another path": f"{text}.{good.partition('.')[2]}",
            "to write": driver.grants.grant(there / "mine", "write"),
            "nonsense": "x.y",
            "none": "",
            "no text": 7,
        }[how]
        said = {"path": "", "after": "", "files": [["", 0, 10]]}
        reply = driver.asks(do, grant=grant, **said)
        assert reply["error"] == "DeniedError", reply
        good_reply = driver.asks(do, grant=f"{text}.{proof}", **said)
        assert good_reply.get("error") == ("DataError" if do == "list" else None)  # of a file there is no list

    @pytest.mark.parametrize("do", ["write", "commit", "store", "folders", "links", "remove", "discard"])
    def test_to_read_is_not_to_write(self, driver, there, do):
        before = tree(there)
        reply = driver.asks(do, grant=driver.grants.grant(there / "mine", "read"), path="")
        assert reply["error"] == "DeniedError"
        assert "granted to read it, and not to write it" in reply["words"]
        assert tree(there) == before

    def test_of_a_file_is_not_of_its_neighbour(self, driver, there):
        store = driver.store("mine/part 0")
        for path in ("secret", "mine", "mine/part 01", "mine/part 0/../../secret"):
            with pytest.raises(DeniedError, match="has not granted to read it"):
                store.look(driver.at(path))
        assert store.look(driver.at("mine/../mine/part 0")).kind == FOLDER

    ESCAPES = (
        "../secret",
        "part 0/../../secret",
        "/etc/passwd",
        "out",
        "out/passwd",
        "way/passwd",
        ".",
        "a//b",
        "a\0b",
    )

    @pytest.mark.parametrize("path", ESCAPES)
    def test_escapes(self, driver, there, path):
        (there / "mine" / "out").symlink_to("/etc")
        (there / "mine" / "way").symlink_to("part 0/../../../driver/../../../../../../../etc")
        (there / "mine" / "file").symlink_to("../secret")
        before = tree(there)
        reading = driver.grants.grant(there / "mine", "read")
        for do, more in [("look", {}), ("list", {"after": ""}), ("read", {"files": [[path, 0, 9]]})]:
            reply = driver.asks(do, grant=reading, path=path, **more)
            assert reply.get("error") == "DeniedError", (do, reply)
        writing = {"grant": driver.grants.grant(there / "mine", "write"), "path": path}
        asked = [
            ("write", {"upload": "a" * 12, "offset": 0, "crc": 0}),
            ("commit", {"upload": "b" * 12, "size": 0, "checksum": wire.whole_checksum([]), "executable": False}),
            ("store", {"files": [[path, 0, 0, False]]}),
            ("folders", {"paths": [path]}),
            ("links", {"links": [[path, "x"]]}),
            ("remove", {}),
        ]
        for do, more in asked if path != "out" else asked[3:4]:  # a link itself may be replaced, or removed
            assert driver.asks(do, **writing, **more).get("error") == "DeniedError", do
        assert tree(there) == before

    @pytest.mark.parametrize("name", ["", "../../x", "a/b", "ABCDEF0123", "a" * 50, 7])
    def test_names_of_uploads(self, driver, there, name):
        reply = driver.asks(
            "write", grant=driver.grants.grant(there / "out", "write"), path="", upload=name, offset=0, crc=0
        )
        assert reply["error"] in ("DeniedError", "DataError")
        assert not driver.server.uploads

    def test_a_link_that_is_put_there_meanwhile(self, driver, there, monkeypatch):
        """Between the look at a path and its use, a folder becomes a link."""
        real = file_server.spot

        def late(*arguments, **named):
            place = real(*arguments, **named)
            (there / "mine" / "part 0").rename(there / "mine" / "away")
            (there / "mine" / "part 0").symlink_to("/etc")
            return place

        monkeypatch.setattr(file_server, "spot", late)
        reply = driver.asks("read", grant=driver.grants.grant(there / "mine", "read"), files=[["part 0/passwd", 0, 9]])
        assert "error" in reply

    def test_links_within_are_followed(self, driver, there, tmp_path):
        entry = driver.store("mine").look(driver.at("mine/link/f#1%?.txt"))
        driver.store("mine").get(driver.at("mine/link/f#1%?.txt"), entry, str(tmp_path / "got"), Meter())
        assert (tmp_path / "got").read_bytes() == (there / "mine/part 1/f#1%?.txt").read_bytes()

    def test_what_is_granted_may_be_a_link(self, driver, there):
        (there / "latest").symlink_to("mine")
        assert driver.store("latest").look(driver.at("latest/part 1/f#1%?.txt")).size == 30

    def test_what_is_none(self, driver):
        with pytest.raises(UsageError):
            wire.granted("nonsense")
        with pytest.raises(UsageError):
            driver.grants.grant("/x", "execute")
        assert repr(driver.grants.key) not in repr(driver.grants)


def test_a_file_that_changes_while_it_is_read(driver, tmp_path):
    path = tmp_path / "driver" / "in"
    path.write_bytes(bytes(5 * PIECE))
    store, entry = driver.store("in"), of_file(path)
    path.write_bytes(bytes(6 * PIECE))
    with pytest.raises(BrokenTransferError, match="changed"):
        store.get(driver.at("in"), entry, str(tmp_path / "got"), Meter())


def test_a_piece_that_is_not_what_was_sent(driver, tmp_path):
    (tmp_path / "node" / "f").write_bytes(bytes(3 * PIECE))
    real = driver.way.serve
    driver.way.serve = lambda frames: real([frames[0], *(b"\1" + frame[1:] for frame in frames[1:])])
    with pytest.raises(BrokenTransferError, match="not what was sent"):
        driver.store("out", "write").put(
            str(tmp_path / "node" / "f"), driver.at("out"), Entry("", size=3 * PIECE), Meter()
        )
    assert not os.listdir(tmp_path / "driver")


@pytest.mark.parametrize("lies", [{"size": 1}, {"checksum": "0" * 32}])
def test_what_is_not_whole_gets_no_name(driver, tmp_path, lies):
    (tmp_path / "node" / "f").write_bytes(bytes(3 * PIECE))
    real = driver.server.answer

    def answer(request):
        return real(request._replace(head={**request.head, **(lies if request.head["do"] == "commit" else {})}))

    driver.server.answer = answer
    with pytest.raises(BrokenTransferError, match="have come"):
        driver.store("out", "write").put(
            str(tmp_path / "node" / "f"), driver.at("out"), Entry("", size=3 * PIECE), Meter()
        )
    assert not os.listdir(tmp_path / "driver")


def test_the_driver_is_silent_for_too_long(driver, tmp_path):
    driver.way.server = None
    driver.way.serve = lambda frames: None
    with pytest.raises(DataError, match="nothing has been heard of the driver for 600 s") as caught:
        driver.store("in").look(driver.at("in"))
    assert not isinstance(caught.value, BrokenTransferError)  # those are tried again
    with pytest.raises(DataError, match="for 900 s"):
        driver.store("in", silence=900).look(driver.at("in"))


def test_a_full_disk_is_told_with_the_path(driver, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "node" / "f").write_bytes(bytes(3 * PIECE))
    monkeypatch.setattr(uploads.os, "pwrite", full)
    with pytest.raises(DataError, match=r"driver:.*/driver/out: the driver cannot write it: No space") as caught:
        driver.store("out", "write").put(
            str(tmp_path / "node" / "f"), driver.at("out"), Entry("", size=3 * PIECE), Meter()
        )
    assert "make room" in caught.value.hint
    assert not isinstance(caught.value, BrokenTransferError)
    assert not os.listdir(tmp_path / "driver")


def test_the_executable_bit_and_the_umask(driver, tmp_path):
    before = os.umask(0o027)
    try:
        for name, executable in (("x", True), ("plain", False)):
            (tmp_path / "node" / name).write_bytes(b"1")
            driver.store(name, "write").put(
                str(tmp_path / "node" / name), driver.at(name), Entry("", size=1, executable=executable), Meter()
            )
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "driver").iterdir()}
    assert modes == {"x": 0o750, "plain": 0o640}


def begin(worker, path, upload):
    reply = worker.asks(
        "write", grant=worker.grants.grant(worker.at("out"), "write"), path=path, upload=upload, offset=0, crc=0
    )
    assert reply == {}


def parts(folder):
    return sorted(path.name.split(".")[1] for path in Path(folder).rglob("*.part"))


def test_what_nobody_goes_on_with_is_removed(driver, tmp_path):
    begin(driver, "old", "a" * 12)
    driver.way.now = 100
    begin(driver, "new", "b" * 12)
    driver.server.uploads.expire(50)
    assert parts(tmp_path) == ["new"]
    reply = driver.asks(
        "write", grant=driver.grants.grant(driver.at("out"), "write"), path="old", upload="a" * 12, offset=5, crc=0
    )
    assert reply["error"] == "BrokenTransferError"  # it is begun anew
    assert parts(tmp_path) == ["new"]


def test_the_end_removes_what_is_not_whole_and_the_journal_knew_it(tmp_path, monkeypatch):
    from pilotage.runs import ending, sweep

    (tmp_path / "driver" / "out" / "sub").mkdir(parents=True)
    journal = Journal(tmp_path / "journal")
    journal.create()
    worker = Worker(monkeypatch, tmp_path / "driver", journal=journal)
    for number, path in enumerate(["one", "two", "sub/three", "sub/four"]):
        begin(worker, path, f"{number}" * 12)
    (tmp_path / "driver" / "out" / ".another.abc-def.part").touch()
    entries = journal.open_entries()
    assert [(entry.kind, entry.what["below"]) for entry in entries] == [("part_files", False), ("part_files", True)]
    assert not any(map(sweep._is_known_to_be_gone, entries))
    assert ending.describe(entries)[0].startswith(f"part files {tmp_path}/driver/out on ")
    assert [ending.end(entry) for entry in entries] == [None, None]  # as after a kill
    assert parts(tmp_path) == ["another"]
    assert all(map(sweep._is_known_to_be_gone, entries))
    begin(worker, "five", "5" * 12)
    worker.server.end()
    assert parts(tmp_path) == ["another"]
    assert not journal.open_entries()


def test_without_a_journal_that_can_be_written_nothing_is_made(tmp_path, monkeypatch):
    (tmp_path / "driver" / "out").mkdir(parents=True)
    worker = Worker(monkeypatch, tmp_path / "driver", journal=Journal(tmp_path / "nowhere" / "journal"))
    reply = worker.asks(
        "write", grant=worker.grants.grant(worker.at("out"), "write"), path="x", upload="a" * 12, offset=0, crc=0
    )
    assert "error" in reply
    assert not parts(tmp_path)


@pytest.mark.parametrize("head", [{}, {"do": "boil"}, {"do": "read"}, {"do": ["look"]}, {"do": "list", "grant": {}}])
def test_nonsense_is_answered(driver, head):
    assert driver.server.answer(Message(b"n" * 16, head)).head["error"] in ("DataError", "DeniedError")
