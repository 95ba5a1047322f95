"""`perf report`: a page that needs nothing else, and the figures and numbers beside it."""

import csv
import html.parser
import io
import json
import re
import xml.etree.ElementTree as ElementTree

import jsonschema
import pytest

from perf.made_up import record, several
from perf.reports import EVIL, FIGURES
from pilotage.errors import MissingExtraError, UsageError
from pilotage.perf import folder, shapes
from pilotage.perf.report import panels, writing
from pilotage.perf.report.figures import figures
from pilotage.perf.report.inline import svg
from pilotage.perf.report.panels import WIDE
from pilotage.perf.report.series import gather
from pilotage.perf.text import number

TAGS = "html head meta link title style body main h1 h2 p figure figcaption details summary div table caption thead"
TAGS += " tbody tr th td svg g path defs use clippath rect text tspan desc pattern"
VOID = ("meta", "link")


class Parsed(html.parser.HTMLParser):
    """The elements, attributes and texts of a page; every element must be closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.words, self.open = set(), [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def parsed(folder):
    return Parsed((folder / "report.html").read_text())


def test_what_is_written(report):
    names = {path.name for path in report.iterdir()}
    assert names == {
        "report.html",
        "report.md",
        "sessions.csv",
        "iterations.csv",
        *(f"{name}.{form}" for name in FIGURES for form in ("svg", "png")),
    }
    for name in FIGURES:
        ElementTree.parse(report / f"{name}.svg")
        assert (report / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_each_figure_has_a_title_words_and_its_numbers(report):
    page = (report / "report.html").read_text()
    for name in FIGURES:
        for variant in ("wide", "narrow"):
            assert page.count(f'id="{name}-{variant}-title"') == 1
            words = re.search(f'<desc id="{name}-{variant}-text">([^<]*)</desc>', page)[1]
            assert "laptop" in words or name == "history"
    assert page.count("<summary>The numbers of this figure</summary>") == 5
    assert "lab: 5 records, worse: 2026-11-24 0.8" in page
    assert page.count("SLOWER: 0.8") == 1


def test_nothing_is_asked_for_from_elsewhere(report):
    page = (report / "report.html").read_text()
    outside = {word for word in re.findall(r"(?:https?:)?//[\w.]+", page) if word != "http://www.w3.org"}
    assert outside == set()
    found = parsed(report)
    assert found.tags <= set(TAGS.split())
    for name, value in found.attributes:
        if name in ("src", "href", "xlink:href"):
            assert value.startswith(("#", "data:")), (name, value)
    policy = next(value for name, value in found.attributes if name == "content" and "default-src" in value)
    assert "default-src 'none'" in policy


def test_names_within_the_page_are_there_once(report):
    attributes = parsed(report).attributes
    names = [value for name, value in attributes if name == "id"]
    assert len(names) == len(set(names))
    text = " ".join(str(value) for _, value in attributes)
    wanted = set(re.findall(r"url\(#([^)]+)\)", text))
    wanted |= {value[1:] for name, value in attributes if name == "xlink:href"}
    wanted |= {one for name, value in attributes if name == "aria-labelledby" for one in value.split()}
    assert wanted
    assert wanted <= set(names)


def test_names_are_no_html(evil_report):
    found = parsed(evil_report)
    assert not {"img", "script", "b", "i"} & found.tags
    assert found.tags <= set(TAGS.split())
    words = " ".join(found.words)
    for text in (EVIL, "<b>", "<h1>Title</h1> & more", "</td></table>", "$x^2$"):
        assert text in words, text
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    for name in ("throughput", "latency", "startup"):
        root = ElementTree.parse(evil_report / f"{name}.svg").getroot()
        texts = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
        assert any(str(text).startswith('"><img src=x onerror') for text in texts), texts


def test_names_are_no_markdown_and_no_formula(evil_report):
    text = (evil_report / "report.md").read_text()
    assert not re.search(r"(?<!\\)<", text)
    assert "=1+1\\|\\*x\\*" in text
    rows = list(csv.DictReader(io.StringIO((evil_report / "sessions.csv").read_text())))
    assert {row["site"] for row in rows} == {EVIL, "'=1+1|*x*"}


def test_every_session_and_iteration_is_in_the_numbers(report):
    records = several()
    rows = list(csv.DictReader(io.StringIO((report / "sessions.csv").read_text())))
    assert len(rows) == sum(len(one.sessions) for one in records)
    by_id = {one.id: one for one in records}
    for row in rows:
        session = by_id[row["record"]].sessions[int(row["session"]) - 1]
        assert row["status"] == session.status
        assert row["rate"] == ("" if session.rate is None else str(session.rate))
    rows = list(csv.DictReader(io.StringIO((report / "iterations.csv").read_text())))
    assert len(rows) == sum(len(session.iterations) for one in records for session in one.sessions)


def test_what_does_not_count_is_told_and_in_no_number(report):
    page = (report / "report.html").read_text()
    below = page[page.index('id="not-counted"') :]
    assert below.count("the interchange has died: exit code 1") == 2
    assert "999,999" not in page
    assert "62 sessions count, 2 do not" in page


def test_equal_numbers_give_equal_files():
    first, second, other = (
        [svg(figure, WIDE) for figure in figures(gather({one.id: one for one in records}, []))[:2]]
        for records in (several()[:2], several()[:2], several()[1:3])
    )
    assert first == second
    assert first != other


def test_what_is_drawn_alone_looks_the_same_in_each_figure():
    material = gather({one.id: one for one in several()}, [])
    by_name = {one.name: one.number for one in material.series}
    assert [(one.name, one.number) for one in material.families] == [
        ("lab", by_name["lab"]),
        ("laptop", by_name["laptop 1 workers/node"]),
        ("threads", by_name["threads"]),
    ]


def test_a_figure_without_numbers_is_left_out():
    one = record("aaaa-1")
    for session in one.sessions:
        session.latency = session.cold_start = None
    assert [figure.name for figure in figures(gather({"a": one}, []))] == ["throughput", "workers"]
    assert figures(gather({"a": record("bbbb-1", count=0, failures=2)}, [])) == []


def test_numbers_are_read_easily():
    assert [number(value) for value in (0, 1234.4, 0.01234, 12.34, 1e6)] == [
        "0",
        "1,234",
        "0.0123",
        "12.3",
        "1,000,000",
    ]


def test_the_command_writes_it_and_tells_what_it_did_not_use(pilotage, project):
    folder.write(record("aaaa-1"), project)
    (project / "results" / "broken.json").write_text('{"schema_version": 1, "sessions": 3}')
    done = pilotage("perf", "report", "-o", "out", "--json", "--title", "Mine")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    jsonschema.validate(found, shapes.schema("perf-report"))
    assert found["files"][0] == "out/report.html"
    assert all((project / file).is_file() for file in found["files"])
    assert (found["records"], found["not_counted"], len(found["problems"])) == (1, 0, 1)
    assert "broken.json" in done.stderr
    page = (project / "out" / "report.html").read_text()
    assert "<h1>Mine</h1>" in page
    assert "Left out: results/broken.json" in page


def test_without_records_or_matplotlib_there_is_no_report(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="there is no record"):
        writing.write([tmp_path], tmp_path / "report")
    assert not (tmp_path / "report").exists()
    monkeypatch.setattr(panels, "installed", lambda: False)
    with pytest.raises(MissingExtraError) as caught:
        writing.write([tmp_path], tmp_path / "report")
    assert caught.value.hint == "pip install 'pilotage[report]'"
