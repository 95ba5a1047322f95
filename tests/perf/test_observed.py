"""From what a session's process saw to the parts of its record; and the machine it saw it on."""

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotage.perf import machine
from pilotage.perf.observed import cold_start, ran
from pilotage.perf.request import Request, numbers, turns

TIMES = {"started": 100.0, "loaded": 101.0, "submitted": 101.5, "running": 103.0, "connected": 105.0}
LOOKS = [{"host": "n1", "cores": 4, "cpu": "A", "manager_started": 103.5, "pool": "m1"}]


def seen(**more):
    return {"times": {**TIMES, "first_result": 105.25}, "looks": LOOKS, **more}


def test_the_parts_of_a_cold_start():
    found = cold_start(seen())
    assert found.model_dump() == {
        "driver_s": 1.5,
        "queue_s": 1.5,
        "launch_s": 0.5,
        "connect_s": 1.5,
        "first_task_s": 0.25,
        "total_s": 5.25,
    }


def test_a_state_that_was_seen_after_the_manager_says_nothing_about_the_queue():
    found = cold_start(seen(times={**TIMES, "running": 104.0, "first_result": 105.25}))
    assert found.queue_s is None
    assert found.launch_s == 2.0


def test_threads_have_no_blocks():
    found = cold_start({"times": {"started": 1.0, "loaded": 1.5, "first_result": 1.75}, "looks": []})
    assert (found.driver_s, found.queue_s, found.connect_s, found.first_task_s) == (0.5, None, None, 0.25)


def test_without_a_first_result_there_is_no_cold_start():
    assert cold_start({"times": TIMES, "looks": []}) is None
    assert cold_start({}) is None


@given(
    st.fixed_dictionaries({"started": st.floats(0, 10), "first_result": st.floats(10, 20)}),
    st.dictionaries(st.sampled_from(["loaded", "submitted", "running", "connected"]), st.floats(0, 30)),
    st.lists(st.floats(0, 30), max_size=3),
)
def test_parts_add_up_whatever_the_clocks_say(ends, times, managers):
    found = cold_start({"times": {**times, **ends}, "looks": [{"manager_started": at} for at in managers]})
    parts = [found.driver_s, found.queue_s, found.launch_s, found.connect_s, found.first_task_s]
    known = [part for part in parts if part is not None]
    assert all(part >= 0 for part in known)
    if "loaded" not in times or "submitted" in times or times["loaded"] <= ends["first_result"]:
        assert sum(known) == pytest.approx(found.total_s, abs=0.002) or "submitted" not in times


def test_what_ran_is_what_was_connected():
    managers = {
        "m1": {"block": "0", "workers": 2, "python": "3.11.2", "parsl": "1"},
        "m2": {"block": "1", "workers": 3, "python": "3.11.2", "parsl": "1"},
        "m3": {"block": "1", "workers": 3, "python": "3.11.2", "parsl": "1"},
    }
    looks = [*LOOKS, {**LOOKS[0], "pool": "m2"}, {"host": "n2", "cores": 8, "cpu": "B", "pool": "m3"}]
    found = ran({"managers": managers, "looks": looks, "workers": 8, "most_managers": 3})
    assert (found.blocks, found.managers, found.workers) == (2, 3, 8)
    assert [(node.cores, node.cpu, node.workers) for node in found.nodes] == [(4, "A", 5), (8, "B", 3)]
    assert "n1" not in found.model_dump_json()
    assert ran({}).workers == 0


@given(st.integers(1, 6), st.integers(1, 5), st.integers())
def test_every_repeat_has_each_configuration_once(count, repeat, seed):
    found = turns(count, repeat, seed)
    for number in range(1, repeat + 1):
        assert sorted(place for n, place in found if n == number) == list(range(count))
    assert [n for n, _ in found] == sorted(n for n, _ in found)
    assert found == turns(count, repeat, seed)


def test_the_order_is_another_in_every_repeat():
    assert len({tuple(place for n, place in turns(5, 8, 1) if n == number) for number in range(1, 9)}) > 4


def test_a_request_comes_back_from_its_arguments(tmp_path):
    request = Request(2.5, 7, tmp_path, (0, 10), (1, 4), latency=True, seed=-3, compare=("a", "@/x.json"), settle=0.0)
    assert Request.parse(request.arguments()) == request
    plain = Request(30.0, 5, tmp_path)
    assert Request.parse(plain.arguments()) == plain


def test_numbers_of_an_option():
    assert numbers("1, 2,2,4", "--workers", least=1) == (1, 2, 4)
    assert numbers("", "--workers", least=1) == ()


def test_the_machine_is_told_without_its_name(monkeypatch):
    import platform

    found = machine.machine()
    assert found.cores >= found.usable_cores >= 1
    assert found.memory_bytes > 0
    assert found.kernel
    assert platform.node() not in found.model_dump_json()
    monkeypatch.setattr(platform, "node", lambda: "another")
    assert machine.machine().id != found.id


def test_the_load_is_that_of_the_time_between(monkeypatch):
    ticks = iter(
        [[0] * 8, [0] * 8, [10, 0, 0, 90, 0, 0, 0, 0], [10, 0, 0, 90, 0, 0, 0, 0], [60, 0, 0, 130, 0, 0, 0, 10]]
    )
    monkeypatch.setattr(machine, "_ticks", lambda: next(ticks))
    watch = machine.LoadWatch()
    watch.settle(0.0)
    found = watch.done()
    assert found.busy_before == 0.1
    assert found.steal == 0.1
    monkeypatch.setattr(machine, "_ticks", lambda: None)
    assert machine.LoadWatch().done().steal is None


def test_the_revision_is_that_of_a_tracked_folder(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.invalid"]
        subprocess.run(["git", "-C", tmp_path, *identity, *arguments], check=True, capture_output=True)

    assert machine.revision(tmp_path) is None
    git("init", "-q", "-b", "main")
    (tmp_path / "a").write_text("1")
    assert machine.revision(tmp_path) is None
    git("add", "a")
    git("commit", "-q", "-m", "a")
    found = machine.revision(tmp_path)
    assert (len(found.commit), found.branch, found.dirty) == (40, "main", False)
    (tmp_path / "a").write_text("2")
    assert machine.revision(tmp_path).dirty
    (tmp_path / "inner").mkdir()
    assert machine.revision(tmp_path / "inner") is None, "a virtual environment in a checkout is no part of it"
