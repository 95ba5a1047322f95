"""The report of a small measurement, word for word, and the laws of its parts."""

import importlib
import json
import os
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

GOLDEN = Path(__file__).parent / "golden"


def samples(measure, peer, values, *numbers):
    return [
        {
            "repeat": repeat,
            "measure": measure,
            "peer": peer,
            "took": 1.0,
            "values": dict(zip(values, each, strict=True)),
        }
        for repeat, each in enumerate(numbers)
    ]


@pytest.fixture
def record():
    peers = {
        "pilotage": {"title": "pilotage, site laptop", "version": "0.1.0"},
        "parsl-htex": {"title": "Parsl HTEX", "version": "2026.10.26"},
        "ray": {"title": "Ray", "version": "2.60.0"},
        "processpool": {"title": "ProcessPoolExecutor", "version": None},
    }
    latencies = ("p50", "p99", "cold_start")
    return {
        "schema_version": 1,
        "date": "2026-01-02",
        "revision": "0123456789ab",
        "machine": {
            "processor": "A processor",
            "cores": 2,
            "memory_GB": 25.3,
            "system": "Linux 6.1",
            "python": "3.11.2",
            "load_before": 0.25,
        },
        "seed": 1,
        "quick": False,
        "own_network": True,
        "settings": {"perf": [8]},
        "peers": peers,
        "samples": [
            *samples("perf", "pilotage", ["rate"], [10_000], [21_000], [33_000]),
            *samples("perf", "parsl-htex", ["rate"], [1_000], [1_000], [1_100]),
            *samples("throughput", "pilotage", ["rate"], [12_000], [13_000]),
            *samples("throughput", "ray", ["rate"], [2_000], [3_000]),
            *samples("latency", "pilotage", latencies, [0.0005, 0.002, 1.5], [0.0006, 0.003, 1.4]),
            *samples("latency", "parsl-htex", latencies, [0.001, 0.004, 6.0], [0.001, 0.004, 6.2]),
            *samples("mapping", "pilotage", ["rate_small", "grown_MB"], [3e6, -0.5]),
            {"repeat": 0, "measure": "tail", "peer": "pilotage", "took": 400, "error": "no result within 400 s; why"},
            {"repeat": 1, "measure": "tail", "peer": "pilotage", "took": 400, "error": "no result within 400 s; why"},
        ],
    }


def test_the_report_is_golden(record):
    from report import as_json, markdown
    from summary import summarize

    summary = summarize(record)
    for name, text in {"report.md": markdown(summary) + "\n", "report.json": as_json(summary)}.items():
        if os.environ.get("PILOTAGE_UPDATE_GOLDEN"):
            (GOLDEN / name).write_text(text)
        assert text == (GOLDEN / name).read_text(), name


def test_the_json_holds_every_sample(record):
    from report import as_json
    from summary import summarize

    read = json.loads(as_json(summarize(record)))
    assert read["samples"] == record["samples"]
    assert read["machine"] == record["machine"]


def test_ratios_pair_the_repeats_that_both_have(record):
    from summary import ratio

    del record["samples"][0]  # pilotage's first repeat
    found = ratio(record["samples"], "perf", "rate", "parsl-htex")
    assert (found.value, found.low, found.high, found.count) == (25.5, 21, 30, 2)
    assert ratio(record["samples"], "perf", "rate", "dask") is None


@pytest.mark.parametrize(
    ("title", "value", "verdict"),
    [
        ("unmodified parsl-perf, to stock HTEX", 11.9, "missed"),
        ("unmodified parsl-perf, to stock HTEX", 12, "met"),
        ("unmodified parsl-perf, to stock HTEX", 20, "reached"),
        ("cold start, to stock HTEX", 0.36, "missed"),
        ("cold start, to stock HTEX", 0.35, "met"),
        ("cold start, to stock HTEX", 0.2, "reached"),
    ],
)
def test_verdicts_know_which_way_is_better(title, value, verdict):
    from summary import GOALS

    (goal,) = (goal for goal in GOALS if goal.title == title)
    assert goal.verdict(value) == verdict


def test_goals_and_metrics_name_measures_and_peers_that_exist():
    from measures import MEASURES
    from summary import GOALS, METRICS

    shown = {(metric.measure, metric.value) for metric in METRICS}
    for goal in GOALS:
        assert (goal.measure, goal.value) in shown
        assert goal.against is None or goal.against in MEASURES[goal.measure].peers
        assert "pilotage" in MEASURES[goal.measure].peers
    assert {measure for measure, _ in shown} == set(MEASURES)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (12345.6, "12,300"), (999.9, "1,000"), (0.0012345, "0.00123"), (1.0, "1.00"), (-45.67, "-45.7")],
)
def test_numbers_have_three_significant_digits(value, text):
    from report import number

    assert number(value) == text


@given(st.floats(1e-9, 1e12))
def test_a_shown_number_is_the_number_within_half_a_percent(value):
    from report import number

    assert float(number(value).replace(",", "")) == pytest.approx(value, rel=5.1e-3)


@given(st.text(), st.text(), st.text(min_size=1))
def test_prose_around_the_markers_stays(before, after, text):
    from report import BEGIN, END, between_markers

    page = f"{before}{BEGIN}old{END}{after}"
    once = between_markers(page, text)
    assert once == f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"
    assert between_markers(once, text) == once


@pytest.mark.parametrize("page", ["", "<!-- numbers: begin -->", "<!-- numbers: end --><!-- numbers: begin -->"])
def test_a_page_without_markers_is_refused(page):
    from report import between_markers

    with pytest.raises(ValueError, match="once each"):
        between_markers(page, "text")


def test_the_page_has_its_markers():
    from report import BEGIN, END, ROOT

    page = (ROOT / "docs" / "performance.md").read_text()
    assert page.count(BEGIN) == page.count(END) == 1


def test_a_folder_without_the_page_gets_one(record, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    import report

    (tmp_path / "results.json").write_text(json.dumps(record))
    monkeypatch.setattr(sys, "argv", ["report.py", str(tmp_path / "results.json"), "--docs", str(tmp_path / "new")])
    report.main()
    page = (tmp_path / "new" / "performance.md").read_text()
    assert page.startswith(f"# Performance, measured\n\n{report.BEGIN}\n\n2026-01-02: A processor")
    report.main()
    assert (tmp_path / "new" / "performance.md").read_text() == page, "which is then as good as any"


@pytest.mark.parametrize(
    ("results", "page", "words"),
    [
        (None, "", "results.json: No such file or directory"),
        ("not JSON", "", "results.json: this is no JSON"),
        ("a record", "without markers", "performance.md: the page needs the lines"),
    ],
)
def test_what_cannot_be_read_is_told(results, page, words, record, tmp_path, monkeypatch, capsys):
    import report

    if results is not None:
        (tmp_path / "results.json").write_text(json.dumps(record) if results == "a record" else results)
    (tmp_path / "performance.md").write_text(page)
    monkeypatch.setattr(sys, "argv", ["report.py", str(tmp_path / "results.json"), "--docs", str(tmp_path)])
    with pytest.raises(SystemExit) as caught:
        report.main()
    assert caught.value.code == 2
    assert words in capsys.readouterr().err
    assert (tmp_path / "performance.md").read_text() == page


@pytest.mark.parametrize(("name", "usage"), [("startup", "[REPEATS]"), ("supervision", "[REPEATS] [SECONDS]")])
def test_programs_that_measure_say_how_they_are_called(name, usage, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit) as caught:
        importlib.import_module(name).main()
    assert caught.value.code == 0
    assert f"usage: {name}.py [-h] {usage}\n" in capsys.readouterr().out


def test_the_figure_is_drawn_the_same_each_time(record, tmp_path):
    pytest.importorskip("matplotlib")
    from figure import draw
    from summary import summarize

    for name in ("one.svg", "two.svg"):
        draw(summarize(record), tmp_path / name)
    drawn = (tmp_path / "one.svg").read_bytes()
    assert drawn == (tmp_path / "two.svg").read_bytes()
    texts = {each.text for each in ET.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")}
    assert {"pilotage, site laptop", "Ray", "No-op tasks a second"} <= texts
