"""What is being done now: who says it, and what others read of it."""

import threading
import time

import pytest

from pilotage import steps


@pytest.fixture
def told(tmp_path, monkeypatch):
    """What a reader sees now, as ``label: words``."""
    monkeypatch.setattr(steps, "current", steps.Steps(tmp_path / "steps.json"))
    return lambda: [f"{one['label']}: {one['words']}" for one in steps.read(tmp_path / "steps.json")]


def test_a_step_is_there_while_it_goes_on(told):
    with steps.doing("lab", "connecting with login1"):
        assert told() == ["lab: connecting with login1"]
    assert told() == []


def test_one_that_fails_ends_too(told):
    with pytest.raises(ValueError, match="no"), steps.doing("lab", "trying"):
        raise ValueError("no")
    assert told() == []


def test_of_steps_within_each_other_the_inner_one_is_shown(told):
    with steps.doing("lab", "building"):
        with steps.doing("lab", "sending"), steps.doing("cpu", "connecting"):
            assert told() == ["cpu: connecting", "lab: sending"]
        assert told() == ["lab: building"]


def test_what_a_step_says_last_is_seen_and_not_all_that_it_says(told, monkeypatch):
    writes = []
    real = steps.write_json
    monkeypatch.setattr(steps, "write_json", lambda *given: (writes.append(given), real(*given)))
    with steps.doing("lab", "building") as step:
        for number in range(1000):
            step.now(f"building {number}")
        end = time.monotonic() + 20
        while told() != ["lab: building 999"]:
            assert time.monotonic() < end, told()
            time.sleep(0.01)
        assert len(writes) < 500
    step.now("too late")
    assert told() == []


def test_steps_of_many_threads(told):
    def work(label):
        for number in range(20):
            with steps.doing(label, str(number)):
                pass

    threads = [threading.Thread(target=work, args=(f"site{number}",)) for number in range(8)]
    with steps.doing("lab", "all along"):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert told() == ["lab: all along"]


def test_a_listener_hears_each_begin(tmp_path, monkeypatch):
    heard = []
    monkeypatch.setattr(steps, "current", steps.Steps(tmp_path / "file", lambda *given: heard.append(given)))
    with steps.doing("lab", "connecting"):
        assert heard == [("lab", "connecting")]


def test_without_a_run_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(steps, "current", None)
    with steps.doing("lab", "connecting") as step:
        step.now("still")


def test_a_folder_that_is_gone_stops_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(steps, "current", steps.Steps(tmp_path / "gone" / "file"))
    with steps.doing("lab", "connecting") as step:
        step.now("still")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"steps": 1}', '{"steps": [{"label": "a"}]}', '{"steps": [1]}'])
def test_what_cannot_be_read_is_nothing(tmp_path, text):
    (tmp_path / "file").write_text(text)
    assert steps.read(tmp_path / "file") == []
