"""What Parsl logs is kept at a bounded cost, seen by others as under Parsl, and collected where it is wanted."""

import logging
import os
import pickle
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from parsl.logconfigs.file import FileLogging

from pilotage import journal
from pilotage.worker import logs, processes, ring, tails

PARSLS = logging.getLogger("parsl")
LOGGER = logging.getLogger("parsl.somewhere")


@pytest.fixture
def base(tmp_path, monkeypatch):
    """The only place for rings."""
    folder = tmp_path / "shm"
    folder.mkdir()
    monkeypatch.setattr(tails, "bases", lambda: [str(folder)])
    return folder


@pytest.fixture
def begin(base, tmp_path, request):
    """Begin the logging of a process of Parsl; returns where its log would be, and how to end it."""
    ends = []

    def begin(name="parsl", config=None, folder=tmp_path / "run" / "000"):
        (tmp_path / "run" / "000").mkdir(parents=True, exist_ok=True)
        end = (config or logs.RingLogging()).initialize_logging(log_dir=folder, log_name=name)
        ends.append(end)
        return folder, end

    yield begin
    for end in ends:
        end()


@pytest.fixture
def root(monkeypatch):
    """The logger above Parsl's, without a handler; pytest puts some on the real one, anew for each phase of a test."""
    above = logging.RootLogger(logging.WARNING)
    monkeypatch.setattr(PARSLS, "parent", above)
    return above


def texts(base):
    found = [ring.read(str(path)) for path in sorted(base.glob("*/*/*")) if path.is_file()]
    return [tail.text.decode() for tail in found if tail]


def held(base):
    [text] = texts(base)
    return text


def test_a_manager_that_waits_for_its_interchange_has_not_failed(begin, base):
    """Parsl calls it an error when the answer takes more than 30 milliseconds, and goes on waiting."""
    folder, _ = begin("manager")
    LOGGER.error("Failed to connect to interchange (tcp://127.0.0.1:54071")
    assert "Failed to connect" in held(base)
    [path] = (path for path in base.glob("*/*/*") if path.is_file())
    assert ring.read(str(path)).errors == 0
    assert list(folder.iterdir()) == []
    LOGGER.error("Something else")
    assert ring.read(str(path)).errors == 1
    assert "Something else" in (folder / "manager.log").read_text()


def test_all_is_in_the_ring_and_nothing_on_the_disk_until_a_warning(begin, base):
    folder, end = begin()
    LOGGER.debug("a detail: %s", 7)
    assert "DEBUG MainThread parsl.somewhere:" in held(base)
    assert "a detail: 7" in held(base)
    assert list(folder.iterdir()) == []
    LOGGER.warning("look out")
    try:
        raise ValueError("the reason")
    except ValueError:
        LOGGER.exception("it failed")
    text = (folder / "parsl.log").read_text()
    assert "look out" in text
    assert "ValueError: the reason" in text
    assert "a detail" not in text
    assert stat.S_IMODE((folder / "parsl.log").stat().st_mode) == 0o600
    end()
    assert list(base.iterdir()) == [], "nothing is left"


def test_a_worker_that_logs_nothing_of_note_makes_no_folder(begin, tmp_path):
    folder, _ = begin("worker_0", folder=tmp_path / "run/000/htex/block-0/m")
    LOGGER.info("started")
    assert not folder.exists()
    LOGGER.error("died")
    assert (folder / "worker_0.log").exists()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_everything_is_private(begin, base):
    begin()
    LOGGER.info("x")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in base.rglob("*")}
    assert modes == {0o700, 0o600}


def test_a_torrent_is_let_through_in_part_and_says_so(begin, base, root):
    begin()
    for number in range(5000):
        LOGGER.debug("line %d", number)
    text = held(base)
    assert logs.RECORDS - 5 < text.count(" line ") <= logs.RECORDS + 5
    assert not LOGGER.isEnabledFor(logging.INFO), "so that records are not even made"
    LOGGER.warning("what matters comes through")
    wait_until(lambda: LOGGER.isEnabledFor(logging.DEBUG))
    LOGGER.debug("again")
    wait_until(lambda: "only warnings were kept" in held(base))
    assert "what matters comes through" in held(base)
    assert held(base).rstrip().endswith(("again", "s"))
    assert not timers()


def test_without_the_gate_all_comes_through(begin, base, root, monkeypatch):
    """The control."""
    monkeypatch.setattr(logs, "RECORDS", 10**9)
    monkeypatch.setattr(logs, "SIZE", 1 << 20)
    begin()
    for number in range(2000):
        LOGGER.debug("line %d", number)
    assert held(base).count(" line ") == 2000


def test_at_the_end_all_is_as_it_was(begin, root):
    futures = logging.getLogger("concurrent.futures")

    def state():
        return PARSLS.level, PARSLS.propagate, list(PARSLS.handlers), list(futures.handlers)

    before = state()
    _, end = begin()
    for _ in range(1000):
        LOGGER.debug("x")
    assert state() != before
    assert timers(), "the gate is closed"
    end()
    assert state() == before
    end()  # twice is no harm
    wait_until(lambda: not timers())
    assert state() == before


def timers():
    return [thread for thread in threading.enumerate() if thread.name == "pilotage-logs" and thread.is_alive()]


# Others than us


class Seen(logging.Handler):
    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


@pytest.fixture
def seen():
    """A handler of the script's own."""
    return Seen()


@pytest.fixture
def parsls_logger():
    """Parsl's logger, whose handlers and level are put back."""
    level, propagate, handlers = PARSLS.level, PARSLS.propagate, list(PARSLS.handlers)
    yield PARSLS
    PARSLS.setLevel(level)
    PARSLS.propagate = propagate
    for handler in [one for one in PARSLS.handlers if one not in handlers]:
        PARSLS.removeHandler(handler)


@pytest.fixture
def begin_parsls(tmp_path):
    """Begin the logging that Parsl has without us."""
    ends = []

    def begin():
        before = list(PARSLS.handlers)
        ends.append(FileLogging().initialize_logging(log_dir=tmp_path / "parsls", log_name="parsl"))
        ends.extend(one.close for one in PARSLS.handlers if one not in before)

    futures = logging.getLogger("concurrent.futures")
    level = futures.level
    yield begin
    for end in ends:
        end()
    futures.setLevel(level)


@pytest.mark.parametrize("whose", ["ours", "parsls"])
@pytest.mark.parametrize(
    ("roots", "handlers", "own", "propagate", "expected"),
    [
        (logging.WARNING, logging.NOTSET, logging.NOTSET, True, ["d", "i", "w"]),
        (logging.INFO, logging.NOTSET, logging.NOTSET, True, ["d", "i", "w"]),
        (logging.DEBUG, logging.NOTSET, logging.NOTSET, True, ["d", "i", "w"]),
        (logging.DEBUG, logging.INFO, logging.NOTSET, True, ["i", "w"]),
        (logging.DEBUG, logging.NOTSET, logging.ERROR, True, ["d", "i", "w"]),
        (logging.DEBUG, logging.NOTSET, logging.NOTSET, False, []),
    ],
    ids=["warning", "info", "debug", "handler at info", "parsl at error", "not propagated"],
)
def test_the_scripts_own_logging_sees_what_it_would_under_parsl(
    begin, begin_parsls, root, seen, parsls_logger, whose, roots, handlers, own, propagate, expected
):
    root.addHandler(seen)
    root.setLevel(roots)
    seen.setLevel(handlers)
    parsls_logger.setLevel(own)
    parsls_logger.propagate = propagate
    begin() if whose == "ours" else begin_parsls()
    LOGGER.debug("d")
    LOGGER.info("i")
    LOGGER.warning("w")
    assert seen.lines == expected


def test_the_scripts_own_logging_misses_nothing_of_a_torrent(begin, root, seen):
    root.addHandler(seen)
    begin()
    expected = []
    for number in range(2000):
        LOGGER.debug("detail %d", number)
        LOGGER.info("%d", number)
        expected += [f"detail {number}", str(number)]
    assert seen.lines == expected
    assert not timers()


def test_who_begins_to_listen_during_a_torrent_sees_all_from_the_next_second_on(begin, root, seen):
    begin()
    for _ in range(1000):
        LOGGER.debug("x")
    assert not LOGGER.isEnabledFor(logging.INFO)
    root.addHandler(seen)
    wait_until(lambda: LOGGER.isEnabledFor(logging.DEBUG))
    for number in range(1000):
        LOGGER.debug("%d", number)
    assert seen.lines == [str(number) for number in range(1000)]


@pytest.mark.parametrize("deaf", ["ignores all", "is told nothing"])
def test_for_who_is_deaf_no_record_is_made(begin, root, seen, parsls_logger, deaf):
    root.addHandler(logging.NullHandler() if deaf == "ignores all" else seen)
    parsls_logger.propagate = deaf == "ignores all"
    begin()
    for _ in range(1000):
        LOGGER.debug("x")
    assert not LOGGER.isEnabledFor(logging.INFO)


def test_who_listens_to_parsl_itself_gets_all(begin, root, seen, parsls_logger):
    parsls_logger.addHandler(seen)
    begin()
    for _ in range(2000):
        LOGGER.debug("x")
    assert len(seen.lines) == 2000


def test_an_error_in_a_callback_is_kept(begin, base):
    begin()
    logging.getLogger("concurrent.futures").error("exception calling callback")
    assert "exception calling callback" in held(base)


def test_a_record_that_cannot_be_formatted_is_kept_as_it_is(begin, base, root, capsys):
    begin()
    LOGGER.info("%d", "no number")
    LOGGER.info("a lone surrogate: \udcff")
    assert "cannot be formatted" in held(base)
    assert "\\udcff" in held(base)
    assert capsys.readouterr().err == ""


def test_it_travels_to_other_processes():
    config = logs.RingLogging()
    assert pickle.loads(pickle.dumps(config)).uuid == config.uuid
    assert repr(config) == "RingLogging()"


FORK = """
import logging, os, pathlib, sys
sys.path.insert(0, {source!r})
from pilotage.worker import logs, tails
tails.bases = lambda: [{base!r}]
root = pathlib.Path({root!r})
if {listens}:
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
config = logs.RingLogging()
end = config.initialize_logging(log_dir=root, log_name="parsl")
logger = logging.getLogger("parsl.x")
logger.info("parent before")
for _ in range({torrent}):
    logger.debug("torrent")
sys.stdout.flush()
if os.fork() == 0:
    logger.info("child")
    logger.warning("child warns")
    sys.stdout.flush()
    os._exit(0)
os.wait()
logger.warning("parent after")
print(sorted(os.listdir(root)), flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("listens", [False, True])
@pytest.mark.parametrize("torrent", [0, 1000])
def test_a_forked_child_leaves_its_parents_ring_alone(base, tmp_path, torrent, listens):
    folder = tmp_path / "run"
    folder.mkdir()
    source = str(Path(logs.__file__).parents[2])
    text = FORK.format(source=source, base=str(base), root=str(folder), torrent=torrent, listens=listens)
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=30)
    assert done.stderr == ""
    told = ["parent before", *["torrent"] * torrent, "child", "child warns", "parent after"] if listens else []
    assert done.stdout.splitlines() == [*told, "['parsl.log']"]
    held_text = held(base)
    assert "parent before" in held_text
    assert "parent after" in held_text
    assert "child" not in held_text
    assert "child warns" in (folder / "parsl.log").read_text()


def test_stderr_may_be_closed(base, tmp_path):
    (tmp_path / "run").mkdir()
    text = f"""
import sys; sys.path.insert(0, {str(Path(logs.__file__).parents[2])!r})
import logging, pathlib
from pilotage.worker import logs, tails
tails.bases = lambda: [{str(base)!r}]
logs.RingLogging().initialize_logging(log_dir=pathlib.Path({str(tmp_path / "run")!r}), log_name="parsl")
logging.getLogger("parsl.x").error("%d", "x")
"""
    assert subprocess.run([sys.executable, "-c", text], stderr=None, close_fds=True, timeout=30).returncode == 0
    assert "cannot be formatted" in held(base)


# Where there is no place for a ring


def test_no_folder_for_rings_leaves_the_warnings_and_costs_nothing(tmp_path, begin, root, monkeypatch):
    monkeypatch.setattr(tails, "bases", lambda: [str(tmp_path / "missing")])
    folder, _ = begin()
    assert not LOGGER.isEnabledFor(logging.INFO), "nothing would keep it"
    LOGGER.warning("still here")
    assert "still here" in (folder / "parsl.log").read_text()


def test_no_folder_for_rings_takes_nothing_from_others(tmp_path, begin, root, seen, monkeypatch):
    monkeypatch.setattr(tails, "bases", lambda: [str(tmp_path / "missing")])
    root.addHandler(seen)
    folder, _ = begin()
    for _ in range(1000):
        LOGGER.debug("x")
    assert len(seen.lines) == 1000
    assert not (folder / "parsl.log").exists()


def test_the_next_place_is_taken_where_the_first_is_full(begin, base, tmp_path, monkeypatch):
    second = tmp_path / "second"
    second.mkdir()
    monkeypatch.setattr(tails, "bases", lambda: [str(base), str(second)])
    fill = ring._fill

    def full_there(descriptor, size):
        if os.readlink(f"/proc/self/fd/{descriptor}").startswith(str(base)):
            raise OSError(28, "full")
        fill(descriptor, size)

    monkeypatch.setattr(ring, "_fill", full_there)
    _, end = begin()
    LOGGER.info("x")
    assert held(second).endswith("x\n")
    end()
    assert list(second.iterdir()) == []


@pytest.mark.parametrize("squatter", ["link", "open to all", "file"])
def test_a_folder_that_another_could_have_made_is_not_used(begin, base, tmp_path, squatter):
    home = Path(tails.home(str(base)))
    if squatter == "link":
        (tmp_path / "target").mkdir(mode=0o700)
        home.symlink_to(tmp_path / "target")
    elif squatter == "file":
        home.touch()
    else:
        home.mkdir()
        home.chmod(0o777)
    folder, _ = begin()
    LOGGER.warning("x")
    assert (folder / "parsl.log").exists()
    assert texts(base) == []
    assert not list((tmp_path / "target").iterdir()) if squatter == "link" else True


def test_another_users_folder_is_not_ours(base, monkeypatch):
    home = Path(tails.home(str(base)))
    home.mkdir(mode=0o700)
    assert tails.is_ours(str(home))
    monkeypatch.setattr(os, "getuid", lambda: os.stat(home).st_uid + 1)
    assert not tails.is_ours(str(home))


def test_warnings_do_not_fill_the_disk(begin, monkeypatch):
    monkeypatch.setattr(logs, "WARNINGS_MOST", 10_000)
    folder, _ = begin()
    for number in range(1000):
        LOGGER.warning("the same again, %d", number)
    text = (folder / "parsl.log").read_text()
    assert len(text) < 11_000
    assert text.endswith("MiB of warnings are kept here\n")


# Collecting


def test_what_is_wanted_is_collected_at_the_end_else_not(begin):
    folder, end = begin()
    LOGGER.debug("forgotten")
    end()
    assert list(folder.iterdir()) == []
    folder, end = begin()
    LOGGER.debug("remembered")
    logs.want()
    end()
    assert "remembered" in (folder / "parsl.tail.log").read_text()
    assert stat.S_IMODE((folder / "parsl.tail.log").stat().st_mode) == 0o600


def test_collecting_twice_adds_what_is_new(begin):
    folder, _ = begin()
    assert not logs.collect(), "nothing has failed"
    for word in ("first", "second"):
        LOGGER.debug(word)
        logs.want()
        assert logs.collect()
    text = (folder / "parsl.tail.log").read_text()
    assert [text.count(word) for word in ("first", "second")] == [1, 1]
    assert text.count("==== parsl, process") == 2


def test_a_collected_tail_begins_anew_before_it_is_too_long(begin, monkeypatch):
    monkeypatch.setattr(tails, "FILE_MOST", 5000)
    folder, _ = begin()
    for number in range(20):
        LOGGER.warning("%d %s", number, "x" * 1000)
        logs.want()
        logs.collect()
    text = (folder / "parsl.tail.log").read_text()
    assert len(text) < 6000
    assert " 19 x" in text


def test_the_rings_of_a_driver_are_in_its_journal_for_as_long_as_they_are_there(begin, tmp_path, monkeypatch):
    kept = journal.Journal(tmp_path / "journal")
    kept.create()
    monkeypatch.setattr(journal, "current", kept)
    _, end = begin()
    [entry] = kept.open_entries()
    assert entry.kind == "temporary_file"
    assert os.path.isdir(entry.what["path"])
    end()
    assert kept.open_entries() == []


def dead_ring(log_dir, name, text, errors=0):
    """Leave a ring as a process does that was killed."""
    made = tails.make(str(log_dir), name, 1 << 14, lambda _folder: None)
    made.write(text)
    for _ in range(errors):
        made.count_error()
    made.close()
    head = Path(made.path).read_bytes()
    me = b'"start": "%s"' % processes.identity(os.getpid())["start"].encode()
    assert me in head
    Path(made.path).write_bytes(head.replace(me, b'"start": "' + b"0" * (len(me) - 11) + b'"'))
    return Path(made.path)


def test_who_takes_a_dead_workers_place_collects_what_it_left(begin, tmp_path, base):
    folder = tmp_path / "run/000/htex/block-0/m"
    folder.mkdir(parents=True)
    dead_ring(folder, "worker_0", b"my last words\n")
    begin("worker_0", folder=folder)
    LOGGER.info("the new one")
    assert "my last words" in (folder / "worker_0.tail.log").read_text()
    assert "last words" not in held(base)


def test_a_living_process_of_the_same_name_keeps_its_ring(begin, base):
    begin()
    begin()
    LOGGER.info("both")
    assert [text.count("both") for text in texts(base)] == [1, 1]


@pytest.fixture
def dead_node(base, tmp_path):
    """Rings of a manager and a worker that were killed, and the folder of the executor's logs."""
    root = tmp_path / "run" / "000"
    root.mkdir(parents=True)
    folder = root / "htex" / "block-0" / "m"
    dead_ring(folder, "manager", b"manager was here\n")
    dead_ring(folder, "worker_0", b"worker was here\n")
    other = root / "htex" / "block-0" / "other"
    dead_ring(other, "manager", b"another node\n")
    return root / "htex"


@pytest.mark.parametrize(
    ("code", "cancelled", "kept"), [(0, False, False), (137, False, True), (143, True, False), (143, False, True)]
)
def test_the_guard_keeps_what_did_not_end_in_order(dead_node, base, code, cancelled, kept):
    if cancelled:
        dead_node.mkdir()
        Path(tails.in_order(str(dead_node), "0")).touch()
    tails.end_node(str(dead_node), "0", "m", code)
    found = {path.name: path.read_text() for path in dead_node.rglob("*.tail.log")}
    assert sorted(found) == (["manager.tail.log", "worker_0.tail.log"] if kept else [])
    assert not kept or "worker was here" in found["worker_0.tail.log"]
    assert len(texts(base)) == 1, "another manager's ring stays"


def test_an_error_that_the_manager_logged_is_kept_though_it_ended_in_order(base, tmp_path):
    (tmp_path / "run/000").mkdir(parents=True)
    folder = tmp_path / "run/000/htex/block-0/m"
    dead_ring(folder, "manager", b"a worker has died\n", errors=1)
    dead_ring(folder, "worker_0", b"last words\n")
    tails.end_node(str(folder.parents[1]), "0", "m", 0)
    assert "last words" in (folder / "worker_0.tail.log").read_text()
    assert list(base.iterdir()) == []


def test_a_node_of_many_workers_brings_little(base, tmp_path, monkeypatch):
    monkeypatch.setattr(tails, "NODE_MOST", 100_000)
    (tmp_path / "run/000").mkdir(parents=True)
    folder = tmp_path / "run/000/htex/block-0/m"
    for number in range(10):
        dead_ring(folder, f"worker_{number}", b"x" * 99 + b"\n" + b"y" * 99 + b"\nlast %d\n" % number)
    for path in base.rglob("*.ring"):
        assert ring.read(str(path)).text
    tails.end_node(str(folder.parents[1]), "0", "m", 1)
    files = sorted(folder.iterdir())
    assert len(files) == 10
    assert all(file.read_text().rstrip().endswith(f"last {number}") for number, file in enumerate(files))


def test_a_run_that_was_removed_does_not_come_back(base, tmp_path):
    path = dead_ring(tmp_path / "gone/000", "parsl", b"x\n")
    assert tails.end_folder(str(path.parent), keep=True) is None
    assert not (tmp_path / "gone").exists()
    assert list(base.iterdir()) == []


def test_a_node_is_rid_of_what_a_killed_guard_has_left(base, tmp_path):
    (tmp_path / "old/000").mkdir(parents=True)
    old = dead_ring(tmp_path / "old/000", "manager", b"old words\n")
    os.utime(old, (0, 0))
    tails.node(["--logdir", str(tmp_path / "new"), "--block_id", "0"])
    assert not Path(old).exists()


def test_of_what_is_not_long_dead_a_node_is_rid_of_managers_and_workers_alone(base, tmp_path):
    now, left = time.time(), {}
    for name, age in (("manager", 60), ("worker_3", 60), ("parsl", 60), ("interchange", 60), ("manager", 5)):
        logs = tmp_path / f"{name}{age}" / "000"
        logs.mkdir(parents=True)
        path = dead_ring(logs, name, b"words\n")
        os.utime(path, (now - age, now - age))
        left[name, age] = Path(path)
    alive = tails.make(str(tmp_path / "alive" / "000"), "manager", 4096)
    os.utime(alive.path, (1, 1))
    tails.node(["--logdir", str(tmp_path / "new"), "--block_id", "0"])
    there = {key for key, path in left.items() if path.exists()}
    assert there == {("parsl", 60), ("interchange", 60), ("manager", 5)}
    assert Path(alive.path).exists()
    alive.close()


def test_what_is_long_dead_is_removed_and_nothing_else(base, tmp_path):
    for name in ("old", "new", "alive"):
        (tmp_path / name / "000").mkdir(parents=True)
    old = dead_ring(tmp_path / "old/000", "parsl", b"old words\n")
    new = dead_ring(tmp_path / "new/000", "parsl", b"new\n")
    alive = tails.make(str(tmp_path / "alive/000"), "parsl", 4096)
    for path in (old, Path(alive.path)):
        os.utime(path, (1, 1))
    tails.remove_stale()
    assert not old.parent.exists()
    assert "old words" in (tmp_path / "old/000/parsl.tail.log").read_text()
    assert new.exists()
    assert Path(alive.path).exists()
    alive.close()


def test_the_guard_and_the_manager_agree_on_the_managers_name():
    line = ["pool", "--logdir=/somewhere/label", "--block_id=3", "--available-accelerators", "a", "b"]
    tails.node(line)
    assert line[-2] == "--uid"
    given = [*line]
    tails.node(line)
    assert line == given


def test_blocks_that_end_in_order_are_told_apart_once_something_has_failed(begin, tmp_path):
    folder, _ = begin()
    logs.ends_in_order(str(folder), "0")
    assert Path(tails.in_order(str(folder), "0")).exists()
    logs.want()
    logs.ends_in_order(str(folder), "1")
    assert not Path(tails.in_order(str(folder), "1")).exists()


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
