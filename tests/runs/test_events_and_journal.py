"""Events and the journal: what is read is what was written, whatever happened to the file meanwhile."""

import contextlib
import multiprocessing
import os
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotage.events import LONGEST, Events
from pilotage.journal import RESERVE, Journal

MANY = 200


@pytest.fixture
def journal(tmp_path):
    made = Journal(tmp_path / "journal.jsonl")
    made.create()
    return made


@pytest.fixture
def events(tmp_path):
    return Events(tmp_path / "events.jsonl")


def test_what_is_open(journal):
    first = journal.intend("process", role="driver")
    second = journal.intend("batch_job", name="x")
    third = journal.intend("temporary_file", path="/x")
    journal.identify(first, pid=1)
    journal.ended(third)
    journal.ended(third)
    journal.ended("unknown")
    journal.identify("unknown", pid=2)
    found = journal.open_entries()
    assert [(entry.key, entry.kind, entry.what, entry.id) for entry in found] == [
        (first, "process", {"role": "driver"}, {"pid": 1}),
        (second, "batch_job", {"name": "x"}, None),
    ]
    with pytest.raises(ValueError, match="none of process"):
        journal.intend("cat")
    assert Journal(journal.path + ".none").open_entries() == []


def test_a_torn_line_spoils_no_other(journal, events):
    key = journal.intend("process", role="a")
    with open(journal.path, "ab") as file:
        file.write(b'\n{"key": "torn", "kind": "proc')
    other = journal.intend("process", role="b")
    with open(journal.path, "ab") as file:
        file.write(b'\n\xff\xfe\n[1]\n3\n{"key": 4}\n{"kind": "process"}\n')
    assert [entry.key for entry in journal.open_entries()] == [key, other]
    events.tell("one", "1")
    with open(events.path, "ab") as file:
        file.write(b'\n{"at": 3, "ki')
    events.tell("two", "2")
    assert [event["kind"] for event in events.read()[0]] == ["one", "two"]


def write_many(folder, name):
    journal, events = Journal(f"{folder}/journal.jsonl"), Events(f"{folder}/events.jsonl")
    for number in range(MANY):
        key = journal.intend("process", role=name, number=number)
        if number % 2:
            journal.ended(key)
        events.tell(name, "x" * 3000, number=number)


def test_four_processes_write_at_once(journal, events, tmp_path):
    context = multiprocessing.get_context("spawn")
    names = ["a", "b", "c", "d"]
    writers = [context.Process(target=write_many, args=(str(tmp_path), name)) for name in names]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
        assert writer.exitcode == 0
    entries = journal.open_entries()
    told, _ = events.read()
    for name in names:
        assert [e.what["number"] for e in entries if e.what["role"] == name] == list(range(0, MANY, 2))
        assert [e["detail"]["number"] for e in told if e["kind"] == name] == list(range(MANY))
    assert len({entry.key for entry in entries}) == len(entries) == 2 * MANY


def test_events_are_read_on_from_a_place(events):
    assert events.read() == ([], 0)
    events.tell("one", "1")
    found, place = events.read()
    assert [event["kind"] for event in found] == ["one"]
    assert events.read(place) == ([], place)
    with open(events.path, "ab") as file:
        file.write(b'\n{"kind": "half", "message": ')
        file.flush()
        found, place = events.read(place)
        assert found == []
        file.write(b'"whole"}\n')
    assert [event["kind"] for event in events.read(place)[0]] == ["half"], "it was not whole before"


def test_a_long_message_and_odd_details(events):
    events.tell("long", "x" * 100_000, "warning", path=os.devnull, what=object)
    (event,) = events.read()[0]
    assert len(event["message"]) == LONGEST
    assert event["level"] == "warning"
    with pytest.raises(ValueError, match="none of info"):
        events.tell("x", "y", "fatal")


TEXTS = st.dictionaries(st.text(max_size=8), st.text(max_size=30), max_size=3)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("intend"), TEXTS),
        st.tuples(st.just("identify"), st.integers(0, 5)),
        st.tuples(st.just("ended"), st.integers(0, 5)),
        st.tuples(st.just("torn"), st.binary(max_size=40)),
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=150)
@given(STEPS)
def test_a_journal_is_read_as_it_was_meant(tmp_path_factory, steps):
    """Against a model, with rubbish in between."""
    journal = Journal(tmp_path_factory.mktemp("journal") / "j")
    model = {}
    keys = []
    for step, what in steps:
        if step == "intend":
            keys.append(journal.intend("process", **{f"a{key}": value for key, value in what.items()}))
            model[keys[-1]] = ({f"a{key}": value for key, value in what.items()}, None)
        elif step == "torn":
            with open(journal.path, "ab") as file:
                # It may be JSON by chance, but not a record of ours.
                file.write(b"\n" + what.replace(b'"key"', b""))
        elif what < len(keys):
            if step == "ended":
                journal.ended(keys[what])
                model.pop(keys[what], None)
            else:
                journal.identify(keys[what], pid=what)
                if keys[what] in model:
                    model[keys[what]] = (model[keys[what]][0], {"pid": what})
    assert {entry.key: (entry.what, entry.id) for entry in journal.open_entries()} == model


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=300), st.integers(0, 400))
def test_nothing_in_a_file_is_an_error(tmp_path_factory, data, place):
    path = tmp_path_factory.mktemp("files") / "f"
    path.write_bytes(data)
    assert isinstance(Journal(path).open_entries(), list)
    found, end = Events(path).read(place)
    assert isinstance(found, list)
    assert place <= end <= max(place, len(data))


@settings(deadline=None, max_examples=100)
@given(st.lists(st.text(max_size=40), max_size=8), st.lists(st.integers(1, 200), max_size=30))
def test_events_read_in_any_portions_are_the_same(tmp_path_factory, messages, portions):
    folder = tmp_path_factory.mktemp("events")
    whole, growing = Events(folder / "whole"), Events(folder / "growing")
    for message in messages:
        whole.tell("x", message)
    data = (folder / "whole").read_bytes() if messages else b""
    found, place, written = [], 0, 0
    for size in [*portions, len(data)]:
        with open(growing.path, "ab") as file:
            file.write(data[written : written + size])
        written += size
        more, place = growing.read(place)
        found += more
    assert [event["message"] for event in found] == messages


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 256 kB, which only root can mount."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"this machine does not let root mount: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_full_disk(small_disk):
    """What was there can be told to have ended, from the reserve; nothing new is created."""
    journal, events = Journal(small_disk / "journal.jsonl"), Events(small_disk / "events.jsonl")
    journal.create()
    reserve = small_disk / "journal.jsonl.reserve"
    assert reserve.stat().st_size == RESERVE
    keys = [journal.intend("process", role="x" * 100) for _ in range(20)]
    with open(small_disk / "filler", "wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(b"x" * 512)
    before = os.stat(journal.path).st_size
    events.tell("lost", "x" * 8000)  # no error, and nothing torn that matters
    while reserve.exists():
        keys.append(journal.intend("process", role="y" * 100))
    assert os.stat(journal.path).st_size > before
    for key in keys:
        journal.ended(key)
    assert journal.open_entries() == []
    with pytest.raises(OSError, match="No space"):  # noqa: PT012  how many fit is the disk's affair
        for _ in range(10_000):
            journal.intend("process", role="z" * 100)
    assert {entry.what["role"] for entry in journal.open_entries()} == {"z" * 100}, "those before it are whole"
