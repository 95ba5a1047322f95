"""What is being done for sites, in the live line, as lines where there is none, and in ``ps`` and ``show``."""

import os
import re

import jsonschema
import pytest

from pilotage import steps
from pilotage.paths import RunFolder, write_json
from pilotage.runs import run as running
from pilotage.runs.run import News
from pilotage.runs.shapes import RUN
from pilotage.runs.status import StatusLine
from pilotage.runs.store import shown
from pilotage.runs.text import full
from pilotage.worker import processes

SAMPLE = {
    "tasks": {"waiting": 1, "launched": 0, "done": 2, "failed": 0, "total": 3, "reused": 0},
    "rate": 1.0,
    "blocks": {"pending": 1},
}


@pytest.fixture
def folder(private_home, monkeypatch):
    made = RunFolder.create()
    monkeypatch.setattr(steps, "current", steps.Steps(made.steps))
    return made


def line(folder, columns=120):
    text = StatusLine(folder, "lab, cpu")(columns)
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_before_there_are_tasks_the_line_shows_all_that_is_done(folder):
    assert line(folder) == ""
    with steps.doing("lab", "connecting with login1"), steps.doing("cpu", "opening the way"):
        assert line(folder) == "cpu: opening the way · lab: connecting with login1 · 0.0 s"
    assert line(folder) == ""


def test_beside_the_counts_one_is_shown(folder):
    write_json(folder.progress, SAMPLE)
    with steps.doing("lab", "connecting with node2"):
        assert "1 waiting · lab: connecting with node2 · 1/s · 1 block (1 pending) · 0.0 s" in line(folder)
    assert "lab:" not in line(folder)


class Clock:
    def __init__(self):
        self.now = 1000.0

    def time(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    it = Clock()
    for module in (steps, running):
        monkeypatch.setattr(module.time, "time", it.time)
    monkeypatch.setattr(steps, "PERIOD", 0.0)
    return it


def test_where_there_is_no_line_what_takes_long_is_told_once(folder, clock):
    news = News(folder, quiet=False)
    with steps.doing("lab", "connecting with login1"):
        assert news() == []
        clock.now += running.LONG
        assert news() == ["pilotage: lab: connecting with login1"]
        clock.now += 100
        assert news() == []
    with steps.doing("lab", "connecting with login1"):
        clock.now += running.LONG
        assert news() == ["pilotage: lab: connecting with login1"]  # another one


def test_one_that_says_much_is_told_now_and_then(folder, clock):
    news, told = News(folder, quiet=False), []
    with steps.doing("lab", "building") as step:
        for second in range(25):
            clock.now += 1
            step.now(f"building: {second}")
            told += news()
    assert told == ["pilotage: lab: building: 0", "pilotage: lab: building: 10", "pilotage: lab: building: 20"]


@pytest.mark.parametrize("options", [{"quiet": True}, {"quiet": False, "has_line": True}])
def test_no_lines_where_they_are_not_wanted(folder, clock, options):
    news = News(folder, **options)
    with steps.doing("lab", "connecting"):
        clock.now += 10
        assert news() == []


def values(folder, state):
    owner = processes.identity(os.getpid())
    return {
        **dict.fromkeys(RUN["properties"]),
        **{"id": folder.id, "folder": str(folder.path), "state": state, "owner": owner, "kind": "run"},
        **{"script": "a.py", "arguments": [], "sites": {"lab": "lab"}, "cwd": "/", "reason": "", "error": None},
        **{"blocks": {}, "blocks_of": {}, "tasks": {}, "waits_for": "", "node_hours": 0.0, "own_config": False},
    }


def test_it_is_in_what_ps_and_show_tell(folder):
    with steps.doing("lab", "connecting with login1"):
        told = shown(values(folder, "running"))
        jsonschema.validate(told, RUN)
        assert [(one["label"], one["words"]) for one in told["doing"]] == [("lab", "connecting with login1")]
        more = {"versions": {}, "events": [], "journal": [], "logs": [], "failures": []}
        assert "doing      lab: connecting with login1\n" in full({**told, **more}) + "\n"
        assert shown(values(folder, "finished"))["doing"] == []  # whatever a driver has left that was killed
