"""Runs as text: what stands in the columns of ``ps``, in the last line of a run, and of tasks that failed."""

import pytest

from pilotage.runs.run import summary
from pilotage.runs.text import ROW, failed, row

RUN = {
    "id": "20260101-000000-aaaa",
    "name": None,
    "script": "/home/ada/jets/fit.py",
    "state": "finished",
    "host": "here",
    "sites": {"laptop": "laptop"},
    "own_config": False,
    "tasks": {"done": 1, "failed": 0, "total": 1, "reused": 0, "changed": 0},
    "rate": 1.0,
    "blocks": {},
    "started": None,
    "node_hours": 0.0,
    "elapsed": 2.0,
    "exit_code": 0,
    "resumes": None,
}
KIND = {"app": "work", "exception": "ValueError", "message": "bad event 17\nand more", "traceback": "T", "shown": True}


def cell(run, column):
    return dict(zip(ROW, row(run), strict=True))[column]


@pytest.mark.parametrize(
    ("sites", "text"),
    [
        ({"laptop": "laptop"}, "laptop"),
        ({"cpu": "laptop", "gpu": "polaris"}, "cpu=laptop, gpu=polaris"),
        ({"mine": "/a/very/long/path/mine.py"}, "mine.py"),
        ({"cpu": "laptop", "gpu": "/a/very/long/path/mine.py"}, "cpu=laptop, gpu=mine.py"),
    ],
)
def test_sites_of_ps_are_short(sites, text):
    assert cell({**RUN, "sites": sites}, "site") == text


def test_ps_names_the_script_by_its_file():
    assert cell(RUN, "script") == "fit.py"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "laptop · 1 task done, 0 failed, 0/s · 2.0 s"),
        (
            {"tasks": {"done": 2, "failed": 0, "total": 2, "reused": 1}},
            "2 tasks done, 0 failed, 1 of them reused, 1/s ·",
        ),
        ({"tasks": {}}, "laptop · no tasks · 2.0 s"),
        ({"tasks": {}, "resumes": "x"}, "no tasks · 0 reused, 0 run again since their app has changed · 2.0 s"),
        (
            {"tasks": {"done": 1, "failed": 1, "total": 2}},
            "1 task done, 1 failed, 1/s · 2.0 s · pilotage show 20260101-000000-aaaa says what failed",
        ),
    ],
)
def test_the_last_line(changes, words):
    assert words in summary({**RUN, **changes})


@pytest.mark.parametrize(
    ("count", "tasks", "line"),
    [
        (1, [17], "1 x work: ValueError: bad event 17 (task 17)"),
        (3, [17, 2500, 4999], "3 x work: ValueError, first: bad event 17 (tasks 17, 2500, 4999)"),
        (2000, [17, 18], "2,000 x work: ValueError, first: bad event 17 (tasks 17, 18 and 1,998 more)"),
    ],
)
def test_a_kind_of_failure(count, tasks, line):
    text = failed([{**KIND, "count": count, "tasks": tasks, "first_task": tasks[0]}])
    assert text == f"{count:,} task{'s' if count != 1 else ''} failed\n  {line}"
