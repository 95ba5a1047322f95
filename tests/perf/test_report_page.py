"""The report's page in a real browser: whole, quiet, read on a telephone, in the dark and on paper."""

import io

import pytest
from PIL import Image

from browser import Browser
from perf.reports import EVIL, FIGURES

pytestmark = pytest.mark.timeout(900)  # the browser may have to be installed

# Of each figure's drawing that is shown: its place, and that of each text in it, in pixels.
DRAWINGS = """
[...document.querySelectorAll('figure svg')].filter(one => one.getBoundingClientRect().width).map(one => {
  const place = other => { const b = other.getBoundingClientRect();
    return [b.left + scrollX, b.top + scrollY, b.right + scrollX, b.bottom + scrollY]; };
  return {name: one.closest('figure').previousElementSibling.id, variant: one.getAttribute('class'), place: place(one),
    texts: [...one.querySelectorAll('text')].map(text => ({text: text.textContent, place: place(text),
      turned: (text.getAttribute('transform') || '').includes('rotate(-90')}))};
})
"""

# The right end of the widest caption that is shown.
CAPTIONS = """
Math.max(...[...document.querySelectorAll('caption')].map(one => {
  const words = document.createRange(); words.selectNodeContents(one); return words.getBoundingClientRect().right; }))
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    one = Browser(tmp_path_factory.mktemp("browser"))
    yield one
    one.close()


@pytest.fixture
def file(report):
    return report / "report.html"


@pytest.fixture
def page(browser, file):
    """The report, opened in a window of a desk."""
    one = browser.page()
    one.resize(1200, 900)
    one.open(file.as_uri())
    return one


def picture(page, path):
    """Return what the whole page looks like."""
    width, height = page.evaluate("[innerWidth, document.documentElement.scrollHeight]")
    page.resize(width, height)
    return Image.open(io.BytesIO(page.picture(path).read_bytes())).convert("RGB")


def painted(image, place):
    """Return which part of an area differs from its corner."""
    area = image.crop(tuple(map(round, place)))
    paper = area.getpixel((1, 1))
    colours = area.getcolors(1 << 24)
    return 1 - sum(count for count, colour in colours if colour == paper) / sum(count for count, _ in colours)


def overlap(one, other):
    """Return how far two places reach into each other, in pixels, the shorter way."""
    return min(
        min(one[2], other[2]) - max(one[0], other[0]),
        min(one[3], other[3]) - max(one[1], other[1]),
    )


def assert_legible(drawing, smallest):
    left, top, right, bottom = drawing["place"]
    texts = [one for one in drawing["texts"] if one["text"].strip()]
    assert len(texts) > 5, drawing["name"]
    for number, one in enumerate(texts):
        place = one["place"]
        assert left - 1 <= place[0] < place[2] <= right + 1, (drawing["name"], one, drawing["place"])
        assert top - 1 <= place[1] < place[3] <= bottom + 1, (drawing["name"], one, drawing["place"])
        # A line's box is a sixth higher than its letters' size; a name of an axis may stand on its side.
        assert min(place[3] - place[1], place[2] - place[0] if one["turned"] else smallest + 1) > smallest, one
        for other in texts[number + 1 :]:
            assert overlap(place, other["place"]) < 3, (drawing["name"], one, other)


def test_it_loads_and_shows_every_figure(page, file, tmp_path):
    drawings = page.evaluate(DRAWINGS)
    assert [one["name"] for one in drawings] == FIGURES
    assert {one["variant"] for one in drawings} == {"wide"}
    image = picture(page, tmp_path / "page.png")
    for one in drawings:
        left, top, right, bottom = one["place"]
        assert right - left > 700, one["name"]
        assert bottom - top > 120, one["name"]
        assert painted(image, one["place"]) > 0.02, one["name"]
        assert_legible(one, 12)
    assert page.complaints == []
    assert page.requests == [file.as_uri()] or set(page.requests) == {file.as_uri(), "data:,"}


def test_what_is_blocked_would_be_told(browser, file, tmp_path):
    """A control: a picture from elsewhere is a request or a complaint."""
    text = file.read_text().replace("<main>", '<main><img src="http://127.0.0.1:9/x.png">')
    (tmp_path / "other.html").write_text(text)
    one = browser.page()
    one.open((tmp_path / "other.html").as_uri())
    one.wait("document.images[0].complete")
    assert any("127.0.0.1:9" in words for words in [*one.complaints, *one.requests])


def test_it_is_read_on_a_telephone(page, tmp_path):
    page.resize(360, 740)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    drawings = page.evaluate(DRAWINGS)
    assert [one["name"] for one in drawings] == FIGURES
    assert {one["variant"] for one in drawings} == {"narrow"}
    for one in drawings:
        assert_legible(one, 10)
    # A table is wider than the window, and moves in it; its caption does not.
    assert page.evaluate("Math.max(...[...document.querySelectorAll('table')].map(one => one.scrollWidth))") > 360
    assert page.evaluate(CAPTIONS) <= 360
    image = picture(page, tmp_path / "narrow.png")
    for one in page.evaluate(DRAWINGS):
        assert painted(image, one["place"]) > 0.02, one["name"]


def test_it_is_dark_on_a_dark_screen_and_light_on_paper(page, tmp_path):
    def lightness(image):
        return [sum(image.getpixel((600, y))) / 3 for y in (2, image.height - 2)]

    page.prefer("dark")
    drawings = page.evaluate(DRAWINGS)
    image = picture(page, tmp_path / "dark.png")
    assert max(lightness(image)) < 60
    for one in drawings:
        area = image.crop(tuple(map(round, one["place"])))
        light = sum(count for count, colour in area.getcolors(1 << 24) if sum(colour) > 720)
        assert light < 0.1 * area.width * area.height, f"{one['name']} is light"
    page.prefer("dark", "print")
    assert min(lightness(picture(page, tmp_path / "print.png"))) > 200


def test_the_numbers_of_a_figure_are_opened(page):
    assert not page.evaluate("document.querySelector('details table').checkVisibility()")
    page.evaluate("document.querySelectorAll('summary').forEach(one => one.click())")
    assert page.evaluate("[...document.querySelectorAll('table')].every(one => one.checkVisibility())")
    page.resize(360, 740)
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_names_do_nothing(browser, evil_report):
    one = browser.page()
    one.open((evil_report / "report.html").as_uri())
    assert one.evaluate("document.images.length + document.scripts.length") == 0
    assert one.complaints == []
    assert one.evaluate("document.querySelector('h1').textContent") == "<h1>Title</h1> & more"
    assert one.evaluate("document.title") == "<h1>Title</h1> & more"
    assert EVIL in one.evaluate("document.body.textContent")
