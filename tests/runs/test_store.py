"""The store of runs: which are there, which is meant, which may go."""

import json
import os
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotage.errors import SiteValueError, StorageError, UsageError
from pilotage.paths import RunFolder
from pilotage.runs import store
from pilotage.runs.record import RunRecord
from pilotage.sites import keeping
from pilotage.worker import processes

DAY = 86400


@pytest.fixture
def make(private_home):
    """Make a run of that state: its folder, with ``size`` bytes in it, whose record is ``age`` seconds old."""

    def run(state="finished", *, age=0, size=0, name=None, run_id=None, **more):
        folder = RunFolder.create()
        if run_id:
            folder.path.rename(folder.path.with_name(run_id))
            folder = RunFolder(folder.path.with_name(run_id))
        values = {
            "schema_version": 1,
            "id": folder.id,
            "name": name,
            "folder": str(folder.path),
            "script": "/s.py",
            "state": state,
            "sites": {"threads": "threads"},
            "started_at": time.time() - age - 10,
            "owner": processes.identity(os.getpid()),
            **more,
        }
        folder.record.write_text(json.dumps(values))
        (folder.path / "big").write_bytes(b"x" * size)
        os.utime(folder.record, (time.time() - age,) * 2)
        return folder

    return run


def ids(folders):
    return [folder.id for folder in folders]


def test_old_runs_go(make):
    old, new, live = make(age=3 * DAY), make(age=DAY), make("running", age=9 * DAY)
    lost = make("lost", age=5 * DAY)
    assert set(store.expire(2 * DAY, None, dry_run=True)) == {old.id, lost.id}
    assert old.path.exists()
    assert set(store.expire(2 * DAY, None)) == {old.id, lost.id}
    assert set(ids(store.folders())) == {new.id, live.id}
    assert store.expire(None, None) == []


def test_the_oldest_go_where_all_are_too_big(make):
    runs = [make(size=100_000, run_id=f"20260101-00000{n}-aaaa") for n in range(4)]
    live = make("running", size=100_000, run_id="20250101-000000-aaaa")
    assert store.expire(None, 350_000) == ids(runs[:2])
    assert set(ids(store.folders())) == {live.id, *ids(runs[2:])}
    assert store.expire(None, 350_000) == []
    assert store.expire(None, 0) == ids(runs[2:]), "all but the one that goes on"


def test_both_limits(make):
    old = make(age=3 * DAY, size=100_000, run_id="20260101-000009-aaaa")
    big = make(size=100_000, run_id="20260101-000001-aaaa")
    new = make(size=100_000, run_id="20260101-000002-aaaa")
    assert set(store.expire(2 * DAY, 150_000)) == {old.id, big.id}
    assert ids(store.folders()) == [new.id]


def test_a_run_that_may_have_left_something_stays(make):
    folder = make("lost", age=9 * DAY)
    RunRecord(folder.path).mark_live()
    assert store.expire(DAY, 0) == []
    RunRecord(folder.path).unmark_live()
    assert store.expire(DAY, 0) == [folder.id]


def test_a_removal_that_is_broken_off_leaves_no_half_of_a_run(make, monkeypatch):
    folder = make()

    def refuse(path):
        raise OSError(13, "Permission denied", str(path))

    monkeypatch.setattr(store.shutil, "rmtree", refuse)
    with pytest.raises(StorageError, match="Permission denied"):
        store.remove([folder])
    assert store.runs() == []


def test_which_is_meant(make):
    first = make(run_id="20260101-000000-aaaa", name="x")
    second = make(run_id="20260101-000000-bbbb", name="x")
    third = make(run_id="20260102-000000-aaaa", name="20260101")
    assert store.find("x") == second
    assert store.find("@last") == third
    assert store.find("20260101-000000-a") == first
    assert store.find("20260101") == third, "a name before the beginning of an id"
    with pytest.raises(UsageError, match="2 runs begin with '20260101-'"):
        store.find("20260101-")


def test_states(make):
    here = processes.identity(os.getpid())
    another_boot = {**here, "boot": "another/pid:[1]"}
    beside = {**here, "boot": here["boot"].partition("/")[0] + "/pid:[1]"}
    elsewhere = {**here, "host": "elsewhere"}
    given = {
        make("running").id: "running",
        make("stopping", owner={**here, "start": "1"}).id: "lost",
        make("running", owner=another_boot).id: "lost",
        make("running", owner=beside).id: "silent",
        make("running", owner=elsewhere).id: "silent",
        make("cancelled", owner=elsewhere).id: "cancelled",
    }
    beats = make("running", owner=elsewhere)
    beats.heartbeat.touch()
    assert {run["id"]: run["state"] for run in store.runs()} == {**given, beats.id: "running"}
    os.utime(beats.heartbeat, (time.time() - store.SILENT - 1,) * 2)
    assert next(run["state"] for run in store.runs() if run["id"] == beats.id) == "silent"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = ["id", "folder", "state", "owner", "sites", "script", "name", "schema_version"]


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(st.sampled_from(KEYS), VALUES))
def test_another_programs_file_is_no_run(tmp_path_factory, values):
    """Unless it has all that a record has."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "run.json").write_text(json.dumps(values))
    found = RunRecord(folder).values
    assert found in ({}, values)
    if not isinstance(values.get("owner"), dict):
        assert found == {}
        with pytest.raises(StorageError, match="cannot be read"):
            store.values_of(RunFolder(folder))


@pytest.mark.parametrize(
    ("text", "seconds"), [("30d", 30 * DAY), ("12h", 43200), ("2w", 14 * DAY), ("90m", 5400), ("1.5 h", 5400)]
)
def test_spans(text, seconds):
    assert keeping.seconds(text) == seconds


@pytest.mark.parametrize(("text", "size"), [("10GB", 10**10), ("500 MB", 5 * 10**8), ("1.5KB", 1500)])
def test_sizes(text, size):
    assert keeping.size(text) == size


@pytest.mark.parametrize(
    "table",
    [
        {"keep": "30"},
        {"keep": 30},
        {"keep": "d"},
        {"keep": "-1d"},
        {"keep": "३d"},
        {"max_size": "10"},
        {"max_size": "1PB"},
    ],
)
def test_wrong_limits(table):
    with pytest.raises(SiteValueError, match="is no"):
        keeping.limits(table)


def test_limits():
    assert keeping.limits({}) == (None, None)
    assert keeping.limits({"keep": "1d", "max_size": "1GB"}) == (DAY, 10**9)
    with pytest.raises(SiteValueError, match="unknown key 'kepe'") as caught:
        keeping.limits({"kepe": "1d"})
    assert caught.value.hint == "did you mean 'keep'?"
