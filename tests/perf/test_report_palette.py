"""The report's colours are told apart by the colour-blind and in grey, and stand out from the page."""

import itertools

import pytest

from pilotage.perf.report import palette

# Machado, Oliveira and Fernandes (2009), severity 1.0: what of linear red, green and blue is left.
SIGHT = {
    "all colours": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "no red": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "no green": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "no blue": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}
PAGES = [
    pytest.param(palette.SERIES, palette.PAPER, id="paper"),
    pytest.param(palette.DARK_SERIES, palette.DARK_PAPER, id="dark"),
]
WHITE = (0.95047, 1.0, 1.08883)


def linear(colour):
    """Return linear red, green and blue of ``#rrggbb``, 0 to 1."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def seen(colour, sight):
    parts = linear(colour)
    return [min(1, max(0, sum(a * b for a, b in zip(row, parts, strict=True)))) for row in SIGHT[sight]]


def luminance(parts):
    return 0.2126729 * parts[0] + 0.7151522 * parts[1] + 0.0721750 * parts[2]


def lab(parts):
    """Return CIELAB under daylight (D65)."""
    red, green, blue = parts
    x = 0.4124564 * red + 0.3575761 * green + 0.1804375 * blue
    z = 0.0193339 * red + 0.1191920 * green + 0.9503041 * blue
    a, b, c = (
        value ** (1 / 3) if value > 216 / 24389 else (24389 / 27 * value + 16) / 116
        for value in (x / WHITE[0], luminance(parts) / WHITE[1], z / WHITE[2])
    )
    return 116 * b - 16, 500 * (a - b), 200 * (b - c)


def distance(one, other):
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5


def contrast(one, other):
    dark, light = sorted((luminance(linear(one)), luminance(linear(other))))
    return (light + 0.05) / (dark + 0.05)


def closest(colours, sight):
    """Return the least distance of any two colours."""
    found = [lab(seen(colour, sight)) for colour in colours]
    return min(distance(one, other) for one, other in itertools.combinations(found, 2))


def test_the_measure_knows_colours_that_the_colour_blind_confuse():
    """A control: matplotlib's own red and green differ for most people, and hardly for whoever sees no green."""
    pair = ("#d62728", "#2ca02c")
    assert closest(pair, "all colours") > 100
    assert closest(pair, "no green") < 10
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize(("colours", "paper"), PAGES)
@pytest.mark.parametrize("sight", SIGHT)
def test_any_two_series_differ(colours, paper, sight):
    assert closest(colours, sight) > 33


@pytest.mark.parametrize(("colours", "paper"), PAGES)
def test_any_two_series_differ_in_grey(colours, paper):
    greys = sorted(lab(linear(colour))[0] for colour in colours)
    assert min(light - dark for dark, light in itertools.pairwise(greys)) > 5


@pytest.mark.parametrize(("colours", "paper"), PAGES)
def test_series_stand_out_from_the_page(colours, paper):
    assert min(contrast(colour, paper) for colour in colours) >= 3.2


@pytest.mark.parametrize("place", [0, 1], ids=["paper", "dark"])
def test_words_are_read_on_the_page(place):
    paper = palette.ROLES["paper"][place]
    for role in ("ink", "muted", "alarm"):  # 4.5 is what WCAG asks of text
        assert contrast(palette.ROLES[role][place], paper) > 4.5, role


@pytest.mark.parametrize("place", [0, 1], ids=["paper", "dark"])
def test_the_parts_of_a_start_differ_in_grey_and_by_their_patterns(place):
    greys = sorted(lab(linear(palette.ROLES[f"part{part}"][place]))[0] for part in range(1, 6))
    assert min(light - dark for dark, light in itertools.pairwise(greys)) > 8
    assert len(set(palette.HATCHES)) == 5


def test_a_series_is_told_by_its_marker_or_its_dashes_alone():
    numbers = range(5)
    assert len({palette.marker(number) for number in numbers}) == 5
    assert len({palette.dash(number) for number in numbers}) == 5
    looks = {(palette.colour(n), palette.marker(n), palette.dash(n)) for n in range(200)}
    assert len(looks) == 200


def test_each_colour_of_a_figure_stands_for_one_of_the_pages():
    """A figure's colours are replaced by variables: two roles of one colour on paper would be one on the dark page."""
    pairs, names = palette.variables()
    assert len(names) == len(pairs)
