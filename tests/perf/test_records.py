"""Records as files: names, reading folders of many people's, and what is told and not used."""

import json
import os
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perf.simulated import RAN, record, session
from pilotage.errors import StorageError
from pilotage.perf import folder, shapes
from pilotage.perf.record import ColdStart, Iteration, Latency, Ran, Record, Session


@pytest.fixture
def full():
    sessions = [
        session(1, 1000.0, latency=Latency(samples=[0.5, 0.001, 0.002], warm_up=1), cold_start=ColdStart(total_s=2.0)),
        session(2, 1100.0, shutdown_s=0.2, marks=["short"]),
        session(3, 900.0, status="failed", reason="its end failed"),
        session(4, 900.0, status="cancelled", reason="stopped"),
    ]
    return record(
        sessions=sessions, parameters={"max_blocks": 2, "config.retries": 0, "provider.class": "SlurmProvider"}
    )


def test_a_record_comes_back_as_it_was_written(full, tmp_path):
    path = folder.write(full, tmp_path)
    assert folder.read(path) == full
    jsonschema.validate(json.loads(path.read_text()), shapes.schema("perf-record"))


def test_the_names_of_files(full, tmp_path):
    path = folder.write(full, tmp_path, "config = 1\n")
    assert str(path.relative_to(tmp_path)) == "results/lab/2026-11-21_lab_local_htex_1n2w_101500-k7d2-1.json"
    assert (tmp_path / "configs" / "lab_local_htex_1n2w.py").read_text() == "config = 1\n"


NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=20)


@given(NAMES, NAMES)
def test_any_sites_name_makes_a_plain_file_name(site, executor):
    one = record([1.0], site=site, executor=executor)
    path = folder.result_path(one)
    assert len(path.parts) == 3
    assert path.parts[1] not in ("", ".", "..")
    assert path.name.count("_") == 5
    assert all(c.isalnum() or c in "._+-" for c in path.name)


def test_a_record_that_is_written_again_replaces_itself(tmp_path):
    first = folder.write(record(sessions=[session(1, 1.0, ran=Ran())]), tmp_path)
    assert "_0n0w_" in first.name
    other = folder.write(record([1.0], name="20261121-101500-zzzz-1"), tmp_path)
    second = folder.write(record([1.0, 2.0]), tmp_path)
    assert sorted(path.name for path in second.parent.iterdir()) == sorted([second.name, other.name])
    assert len(folder.read(second).sessions) == 2


def test_numbers_come_from_sessions_that_have_finished(full):
    assert full.values("rate") == [1000.0, 1100.0]
    assert full.values("latency_p50") == [0.0015]
    assert full.values("cold_start") == [2.0]
    assert full.values("shutdown") == [0.2]
    assert not full.complete
    assert record([1.0]).complete


def test_the_rate_is_that_of_the_last_iteration():
    one = Session(number=1, status="finished", started="2026-11-21T10:15:00Z", iterations=[
        Iteration(number=1, runtime_tps=5.0, warm_up=True), Iteration(number=2, runtime_tps=7.0)
    ])  # fmt: skip
    assert one.rate == 7.0
    assert Session(number=1, status="failed", started="2026-11-21T10:15:00Z", iterations=one.iterations).rate is None


def test_the_tags_are_those_of_published_histories(full):
    full = full.model_copy(update={"versions": {"parsl": "2026.10.26"}})
    assert full.tags == {"Parsl version": "2026.10.26", "Parsl Executor": "htex", "Parsl Provider": "SlurmProvider"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is no JSON"),
        ("[]", "is no record of a benchmark"),
        ('{"schema_version": 1}', "is no record of a benchmark"),
        ('{"schema_version": 2, "sessions": [], "new": 1}', r"written by a newer pilotage \(schema 2, known is 1\)"),
        ('{"schema_version": 1, "sessions": []}', "is a broken record: id: Field required"),
    ],
)
def test_what_is_no_record_is_told(text, words, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(StorageError, match=words):
        folder.read(path)


def test_unknown_keys_and_impossible_numbers_are_no_record(full):
    good = json.loads(full.to_json())
    for change in ({"unknown": 1}, {"sessions": [{**good["sessions"][0], "elapsed": -1}]}, {"id": "../x"}):
        with pytest.raises(StorageError, match="is a broken record"):
            folder.parse(json.dumps({**good, **change}), "x")
    assert "NaN" not in full.to_json()


@pytest.mark.parametrize("text", ["[" * 100_000, '{"schema_version": 1, "sessions": ' + "[" * 100_000])
def test_brackets_without_end_are_no_record(text):
    with pytest.raises(StorageError, match="is no JSON"):
        folder.parse(text, "x")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("created", "yesterday"),
        ("created", "../../../tmp/x"),
        ("created", "99999-01-01T00:00:00+00:00"),
        ("site", "\x1b[31mred"),
        ("executor", "two\nlines"),
        ("label", "\0"),
    ],
)
def test_what_a_file_name_or_a_terminal_would_stumble_over_is_no_record(full, key, value):
    with pytest.raises(StorageError, match=f"is a broken record: {key}: "):
        folder.parse(json.dumps({**json.loads(full.to_json()), key: value}), "x")
    session = {**json.loads(full.to_json())["sessions"][0], "started": value}
    if key == "created":
        with pytest.raises(StorageError, match=r"is a broken record: sessions\.0\.started: "):
            folder.parse(json.dumps({**json.loads(full.to_json()), "sessions": [session]}), "x")


def test_the_date_of_a_file_is_that_of_the_record_however_it_is_written():
    for created in ("2026-11-21T10:15:00+0100", "20261121/101500", "2026-11-21"):
        assert folder.result_path(record([1.0], created=created)).name.startswith("2026-11-21_lab_")


def test_records_are_in_the_order_of_their_time_whatever_their_zones(tmp_path):
    """Of two people in two zones: by their clocks the later one comes first."""
    early = record([1.0], name="20261121-091500-aaaa-1", created="2026-11-21T17:15:00+0800", site="x")
    late = record([2.0], name="20261121-101500-bbbb-1", created="2026-11-21T04:15:00-0600", site="x")
    for one in (late, early):
        folder.write(one, tmp_path)
    assert [one.id for one in folder.read_all([tmp_path]).records.values()] == [early.id, late.id]


def test_what_is_no_file_is_passed_over(tmp_path):
    (tmp_path / "folder.json").mkdir()
    os.mkfifo(tmp_path / "pipe.json")  # whoever reads it waits for ever
    (tmp_path / "loop.json").symlink_to("loop.json")
    found = folder.read_all([tmp_path])
    assert (found.records, found.problems) == ({}, [])


def test_of_two_forms_of_a_record_the_fuller_one_is_used(tmp_path):
    part, whole = record([1.0]), record([1.0, 2.0])
    folder.write(part, tmp_path / "shared")
    folder.write(whole, tmp_path / "mine")
    for places in (["shared", "mine"], ["mine", "shared"]):
        found = folder.read_all([tmp_path / place for place in places])
        assert list(found.records.values()) == [whole]
        (problem,) = found.problems
        assert problem.startswith(str(tmp_path / "shared"))
        assert "another form of this record, which is used, is in" in problem


def test_a_folder_of_many_peoples_records(tmp_path):
    """Other files, newer and broken records and copies are told, or passed over; none is averaged."""
    early = record([1.0], name="20261120-101500-aaaa-1", created="2026-11-20T10:15:00+0000", site="x")
    late = record([2.0], name="20261122-101500-bbbb-1", created="2026-11-22T10:15:00+0000", site="y")
    folder.write(late, tmp_path / "anna")
    place = folder.write(early, tmp_path / "ben" / "deep")
    (tmp_path / "copy.json").write_text(early.to_json())
    (tmp_path / "newer.json").write_text('{"schema_version": 9, "sessions": []}')
    (tmp_path / "broken.json").write_text(late.to_json()[:-20])
    (tmp_path / "README.md").write_text("records")
    found = folder.read_all([tmp_path, place])
    assert [one.id for one in found.records.values()] == [early.id, late.id]
    assert sorted(problem.rpartition("/")[2].partition(":")[0] for problem in found.problems) == [
        "2026-11-20_x_local_htex_1n2w_101500-aaaa-1.json",
        "broken.json",
        "newer.json",
    ]
    assert any("the same record is in" in problem for problem in found.problems)


def test_a_place_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(StorageError, match="there is no such file or folder"):
        folder.read_all([tmp_path / "nothing"])


def test_the_schemas_are_in_the_reference():
    reference = Path(__file__).parents[2] / "docs" / "reference" / "schemas"
    for name in shapes.SCHEMAS:
        assert json.loads((reference / f"{name}.json").read_text()) == shapes.schema(name)
        jsonschema.Draft202012Validator.check_schema(shapes.schema(name))


def test_what_ran_is_that_of_the_fullest_session():
    more = RAN.model_copy(update={"workers": 6})
    assert record(sessions=[session(1, 1.0), session(2, 1.0, ran=more), session(3, 1.0, ran=Ran())]).ran == more
    assert Record.model_validate_json(record([1.0]).to_json()).ran == RAN
