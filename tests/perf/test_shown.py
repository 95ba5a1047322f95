"""Tables, histories and figures of records."""

import builtins
import errno
import json
import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import jsonschema
import pytest

from perf.simulated import RAN, rates, record, session
from pilotage.errors import MissingExtraError, StorageError, UsageError
from pilotage.perf import folder, plot, shapes, text
from pilotage.perf.history import history, revision_of
from pilotage.perf.record import ColdStart, Latency, Revision
from pilotage.perf.report import panels
from pilotage.perf.report.series import gather


def dated(day, values, **more):
    name = f"202611{day:02}-101500-aaaa-1"
    return record(values, name=name, created=f"2026-11-{day:02}T10:15:00+0000", **more)


@pytest.fixture
def several():
    """Three days of one site, the third 20 % slower, and another site with more workers."""
    revisions = [{"pilotage": Revision(commit=letter * 40, dirty=letter == "c")} for letter in "abc"]
    lab = [dated(day, rates(day, 20, 8_000 if day == 3 else 10_000), revisions=revisions[day - 1]) for day in (1, 2, 3)]
    latency = Latency(samples=[0.5, *[0.001 + n / 1e6 for n in range(200)]], warm_up=1)
    start = ColdStart(driver_s=0.5, launch_s=0.1, connect_s=0.3, first_task_s=0.01, total_s=0.91)
    more = RAN.model_copy(update={"workers": 8})
    sessions = [session(n, 30_000.0 + n, ran=more, latency=latency, cold_start=start) for n in range(1, 4)]
    return [*lab, record(sessions=sessions, site="big", name="20261104-101500-bbbb-1")]


def test_a_regression_is_marked_in_the_history(several):
    steps = history(several)
    assert [(step.site, step.change) for step in steps] == [
        ("lab", "first"),
        ("lab", "same"),
        ("lab", "worse"),
        ("big", "first"),
    ]
    assert [step.revision for step in steps[:3]] == ["a" * 10, "b" * 10, "c" * 10 + "+"]
    assert steps[2].since == several[1].id
    assert steps[2].verdict.ratio.high < 0.9
    assert [step.change for step in history(several, "cold_start")] == ["first"]
    assert history(several, site="nowhere") == []


def test_longer_times_are_worse(several):
    def starts(seconds, day):
        made = [session(n, 1.0, cold_start=ColdStart(total_s=seconds + n / 1000)) for n in range(1, 11)]
        return dated(day, (), sessions=made)

    assert [step.change for step in history([starts(1, 1), starts(2, 2), starts(1, 3)], "cold_start")] == [
        "first",
        "worse",
        "better",
    ]


def test_a_record_without_a_revision_is_told_by_its_version(several):
    assert revision_of(several[3]) == "0.1.0"


def test_few_sessions_have_a_spread_and_many_an_interval():
    assert text.shown(record([1000.0]), "rate") == "1,000"
    assert text.shown(record([1000.0, 1100.0, 1200.0]), "rate") == "1,097 [1,000-1,200]"
    assert " to " in text.shown(record(rates(1, 10)), "rate")
    assert text.shown(record([1.0]), "cold_start") == "-"


def test_plain_tables_have_their_columns_below_each_other():
    assert text.table(("a", "long name"), [("1", "2"), ("333", "4")]) == "a    long name\n1    2\n333  4"


@pytest.fixture
def written(several, project):
    for one in several:
        folder.write(one, project)
    (project / "results" / "newer.json").write_text('{"schema_version": 9, "sessions": []}')
    return project


@pytest.mark.parametrize("command", ["table", "history"])
def test_the_commands_read_a_folder_and_tell_what_they_do_not_use(written, pilotage, command):
    done = pilotage("perf", command, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    jsonschema.validate(found, shapes.schema(f"perf-{command}"))
    assert len(found["problems"]) == 1
    assert "not used: results/newer.json: was written by a newer pilotage" in done.stderr
    people = pilotage("perf", command, "results", "--site", "lab").stdout
    assert people.count("\n") == 4
    assert ("WORSE" in people) == (command == "history")


def texts(path):
    root = ElementTree.parse(path).getroot()
    return [element.text for element in root.iter("{http://www.w3.org/2000/svg}text") if element.text]


def test_every_figure_is_drawn_with_units(several, tmp_path):
    path = tmp_path / "all.svg"
    assert plot.draw(several, plot.KINDS, path) == list(plot.KINDS)
    shown = " | ".join(texts(path))
    for words in (
        "Throughput by site",
        "tasks/s, more is better",
        "workers that ran",
        "ms from the call to its result, less is better",
        "s from the start of the driver, less is better",
        "time of the record (UTC)",
        "▼ 18 % slower",
        "at cccccccccc+",
        "big",
    ):
        assert words in shown
    plot.draw(several, plot.KINDS, other := tmp_path / "again.svg")
    assert other.read_bytes() == path.read_bytes()


def test_without_kinds_all_but_the_history_is_drawn(several, tmp_path):
    assert plot.draw(several, (), tmp_path / "a.svg") == ["throughput", "workers", "latency", "startup"]
    assert plot.draw(several[:3], (), tmp_path / "b.svg") == ["throughput", "workers"]


def test_a_history_of_times_rings_what_takes_longer(tmp_path):
    def starts(seconds, day):
        made = [session(n, 1.0, cold_start=ColdStart(total_s=seconds + n / 1000)) for n in range(1, 11)]
        return dated(day, (), sessions=made)

    plot.draw([starts(1, 1), starts(2, 2)], ["history"], tmp_path / "a.svg", "cold_start")
    shown = texts(tmp_path / "a.svg")
    assert {"▲ 99 % longer", "s", "History: cold start"} <= set(shown)


def test_every_session_is_a_point(several):
    from matplotlib.figure import Figure

    canvas = Figure()
    series = gather({Path(one.id): one for one in several}, []).series
    panels.throughput(canvas, series, panels.WIDE)
    points = [line for line in canvas.axes[0].lines if line.get_markersize() == 6.5]
    assert sum(len(line.get_xdata()) for line in points) == 63


def test_what_cannot_be_drawn_is_told(several, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="Format 'xyz' is not supported"):
        plot.draw(several, ["throughput"], tmp_path / "a.xyz")
    with pytest.raises(UsageError, match="the name has no ending that says the format"):
        plot.draw(several, ["throughput"], tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="no numbers for latency"):
        plot.draw(several[:3], ["latency"], tmp_path / "a.svg")
    with pytest.raises(UsageError, match="nothing to draw"):
        plot.draw([record(sessions=[session(1, 1, status="failed", reason="x")])], (), tmp_path / "a.svg")
    monkeypatch.setattr(panels, "installed", lambda: False)
    with pytest.raises(MissingExtraError) as caught:
        plot.draw(several, ["throughput"], tmp_path / "a.svg")
    assert caught.value.hint == "pip install 'pilotage[report]'"


@pytest.mark.filterwarnings("error")
def test_letters_and_numbers_that_no_font_and_no_axis_has_are_drawn_in_silence(tmp_path):
    many = RAN.model_copy(update={"workers": 10**30})
    one = record(sessions=[session(1, 1e300, ran=many), session(2, 1e-300)], site="日本 $x$")
    plot.draw([one], (), tmp_path / "a.svg")
    assert "日本 $x$" in texts(tmp_path / "a.svg")
    assert len(text.row(one)[6]) < 40


def test_a_picture_that_cannot_be_written_leaves_the_one_before(several, tmp_path, monkeypatch):
    path = tmp_path / "a.svg"
    path.write_text("before")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fchmod", full)
    with pytest.raises(StorageError, match="No space left"):
        plot.draw(several[:1], ["throughput"], path)
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("a.svg", "before")]


def test_the_command_draws_what_there_is(written, pilotage):
    done = pilotage("perf", "plot", "-o", "out.png", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"schema_version": 1, "files": ["out.png"]}
    assert (written / "out.png").read_bytes().startswith(b"\x89PNG")


def test_the_groups_help_imports_no_command(monkeypatch):
    """Whoever asks for help does not wait for Parsl, pydantic or matplotlib."""
    from click.testing import CliRunner

    from pilotage.cli.perf import perf

    real = builtins.__import__

    def watched(name, *rest):
        assert not name.startswith(("pilotage.cli.perf_", "pilotage.perf", "parsl", "matplotlib")), name
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", watched)
    assert "compare" in CliRunner().invoke(perf, ["--help"]).output
